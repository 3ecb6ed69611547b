//! Turns `serde`'s sentences into ones for people.
//!
//! `serde` says what it expected in fixed forms; a form that is not known here is passed on as it is.

/// The message for a setting, given the path at which it stands.
pub(crate) fn for_people(message: &str, path: &str) -> String {
    let known = || quoted(message).skip(1).collect::<Vec<_>>();
    if message.starts_with("unknown field ") {
        return unknown_key(quoted(message).next().unwrap_or_default(), &known(), path);
    }
    if message.starts_with("unknown variant ") {
        let typed = quoted(message).next().unwrap_or_default();
        return not_a_word(typed, &known());
    }
    let invalid = ["invalid type: ", "invalid value: ", "invalid length "]
        .into_iter()
        .find_map(|start| message.strip_prefix(start));
    match invalid.and_then(|rest| rest.split_once(", expected ")) {
        Some((found, expected)) => format!("{} is {}; write {}", value(found), kind(found), wanted(expected)),
        None => message.to_owned(),
    }
}

/// What to say of a word that is none of those known.
pub(crate) fn not_a_word(typed: &str, known: &[&str]) -> String {
    match nearest(typed, known) {
        Some(near) => format!(
            "\"{typed}\" is not known here; did you mean \"{near}\"? Write {}",
            either(known)
        ),
        None => format!("\"{typed}\" is not known here; write {}", either(known)),
    }
}

/// `"a", "b" or "c"`.
pub(crate) fn either(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [one] => format!("\"{one}\""),
        [first @ .., last] => {
            let first: Vec<_> = first.iter().map(|word| format!("\"{word}\"")).collect();
            format!("{} or \"{last}\"", first.join(", "))
        }
    }
}

fn unknown_key(typed: &str, known: &[&str], path: &str) -> String {
    let table = path.rsplit_once('.').map_or("", |(table, _)| table);
    let whose = if table.is_empty() {
        "at the top".to_owned()
    } else {
        format!("in {table}")
    };
    match nearest(typed, known) {
        Some(near) => format!("is no known key; did you mean \"{near}\"?"),
        None => format!("is no known key; {whose} there can be {}", known.join(", ")),
    }
}

fn quoted(message: &str) -> impl Iterator<Item = &str> {
    message.split('`').skip(1).step_by(2)
}

/// `integer `5`` → `5`; `string "x"` → `"x"`; `map` → `this`.
fn value(found: &str) -> &str {
    found
        .find(['`', '"'])
        .and_then(|at| found.get(at..))
        .map_or("this", |value| value.trim_matches('`'))
}

fn kind(found: &str) -> &'static str {
    match found.split([' ', '`']).next().unwrap_or_default() {
        "integer" => "a number",
        "floating" => "a number with a fraction",
        "string" => "text",
        "boolean" => "true or false",
        "sequence" => "a list",
        "map" => "a table",
        _ => "not what belongs here",
    }
}

fn wanted(expected: &str) -> String {
    match expected {
        "a string" => "text in quotation marks".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list, such as [\"…\"]".to_owned(),
        "u16" | "u32" | "u64" | "usize" => "a whole number from 0".to_owned(),
        "f64" => "a number".to_owned(),
        other if other.starts_with("struct ") => "a table, such as { … }".to_owned(),
        other => other.to_owned(),
    }
}

/// The known word that a typed one was most likely meant to be.
fn nearest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    let typed = plain(typed);
    let near = known.iter().map(|word| (distance(&typed, &plain(word)), *word));
    let (distance, word) = near.min_by_key(|(distance, _)| *distance)?;
    if distance <= 2.min(typed.chars().count() / 3 + 1) {
        return Some(word);
    }
    let continued = |word: &&&str| {
        let word = plain(word);
        typed.len() >= 4 && (word.starts_with(&typed) || typed.starts_with(&word))
    };
    known.iter().find(continued).copied()
}

/// Edits from one word to the other, two swapped neighbours being one (Damerau and Levenshtein's, restricted).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut earlier: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut before = None;
    for (i, x) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let mut least = at(&above, j) + usize::from(x != *y);
            least = least.min(at(&above, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = j > 0 && before == Some(*y) && b.get(j - 1) == Some(&x);
            if swapped {
                least = least.min(at(&earlier, j - 1) + 1);
            }
            row.push(least);
        }
        earlier = std::mem::replace(&mut above, row);
        before = Some(x);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_is_the_fewest_edits() {
        for (a, b, expected) in [
            ("", "", 0),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("proxi", "proxy", 1),
            ("cots", "cost", 1),
            ("abcd", "badc", 2),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn serdes_sentences_become_ones_for_people() {
        for (sentence, expected) in [
            (
                "invalid type: integer `5`, expected a string",
                "5 is a number; write text in quotation marks",
            ),
            (
                "invalid type: string \"5\", expected u64",
                "\"5\" is text; write a whole number from 0",
            ),
            (
                "invalid type: map, expected a boolean",
                "this is a table; write true or false",
            ),
            ("something else", "something else"),
        ] {
            assert_eq!(for_people(sentence, "a"), expected);
        }
    }
}
