//! Path patterns of routes. A pattern is compared with the normalised path of a request, so it is normalised
//! itself: one that could never match is refused.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::gateway::{PathPattern, PathSegment};
use crate::leaf::{Text, short, text};

/// `routes.path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// What it matches.
    pub(crate) pattern: PathPattern,
    /// As it was written.
    pub(crate) typed: String,
}

impl Text for Path {
    const EXPECTED: &'static str = "a path such as \"/v1\" or \"=/status\"";
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (exact, path) = match text.strip_prefix('=') {
            Some(path) => (true, path),
            None => (false, text),
        };
        if text.len() > 1024 {
            return Err(format!("\"{}\" is longer than 1024 bytes", short(text)));
        }
        let segments = segments(path)?;
        let mut seen = BTreeSet::new();
        for segment in &segments {
            if let PathSegment::Parameter(name) = segment
                && !seen.insert(name)
            {
                return Err(format!(
                    "\"{}\" has {{{name}}} twice; give each its own name",
                    short(text)
                ));
            }
        }
        Ok(Self {
            pattern: PathPattern { segments, exact },
            typed: text.to_owned(),
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

text!(Path, "^=?/[^?#\\s]*$", "/v1/users/{id}");

/// `upstreams.health.path`: the target of a request, with its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckTarget(pub(crate) String);

impl Text for CheckTarget {
    const EXPECTED: &'static str = "a path such as \"/healthz\"";
}

impl FromStr for CheckTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if text.starts_with('/') && is_visible && text.len() <= 1024 {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "\"{}\" can't be asked for; write a path of visible characters that begins with /, such as \"/healthz\"",
            short(text)
        ))
    }
}

impl fmt::Display for CheckTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

text!(CheckTarget, "^/[!\"$-~]*$", "/healthz");

/// `routes.strip_prefix`: literal segments, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(pub(crate) Vec<String>);

impl Text for Prefix {
    const EXPECTED: &'static str = "the beginning of a path, such as \"/v1\"";
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let literal = |segment| match segment {
            PathSegment::Literal(literal) => Ok(literal),
            PathSegment::Parameter(name) => Err(format!(
                "\"{}\" has {{{name}}} in it; only fixed text can be stripped",
                short(text)
            )),
        };
        let segments: Vec<String> = segments(text)?
            .into_iter()
            .map(literal)
            .collect::<Result<_, _>>()?;
        if segments.is_empty() {
            return Err("\"/\" strips nothing; remove it".to_owned());
        }
        Ok(Self(segments))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|segment| write!(f, "/{segment}"))
    }
}

text!(Prefix, "^/[^?#{}\\s]+$", "/v1");

fn segments(path: &str) -> Result<Vec<PathSegment>, String> {
    let shown = short(path);
    let Some(inner) = path.strip_prefix('/') else {
        return Err(format!(
            "\"{shown}\" must begin with a slash; write \"/{}\"",
            shown.trim_start_matches('.')
        ));
    };
    if inner.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(odd) = inner.chars().find(|c| matches!(c, '?' | '#')) {
        return Err(format!("\"{shown}\" has a {odd}; write the path alone"));
    }
    if inner.ends_with('/') {
        let without = shown.trim_end_matches('/');
        return Err(format!(
            "\"{shown}\" ends with a slash; write \"{without}\", which matches what is below it too"
        ));
    }
    inner.split('/').map(|text| segment(text, &shown)).collect()
}

fn segment(text: &str, path: &str) -> Result<PathSegment, String> {
    match text {
        "" => return Err(format!("\"{path}\" has an empty segment; write one slash")),
        "." | ".." => {
            return Err(format!(
                "\"{path}\" has a dot segment; write the path that it leads to"
            ));
        }
        "*" | "**" => {
            return Err(format!(
                "\"{path}\" has a {text}; write {{name}} for any one segment; what is below a path matches anyway"
            ));
        }
        _ => {}
    }
    if let Some(name) = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        let first = name
            .chars()
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if first && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Ok(PathSegment::Parameter(name.to_owned()));
        }
        return Err(format!(
            "\"{path}\" has {{{name}}}; a parameter's name has letters, digits and underscores, such as {{id}}"
        ));
    }
    if text.contains(['{', '}']) {
        return Err(format!(
            "\"{path}\": a parameter such as {{id}} is a whole segment"
        ));
    }
    literal(text, path).map(PathSegment::Literal)
}

/// Normalises percent-encoding as RFC 3986 §6.2.2 says: what needs none has none, digits in upper case.
fn literal(text: &str, path: &str) -> Result<String, String> {
    let mut normal = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            if !is_path_character(c) {
                return Err(format!(
                    "\"{path}\" has the character {c:?}; write it percent-encoded"
                ));
            }
            normal.push(c);
            continue;
        }
        let digits: String = rest.by_ref().take(2).collect();
        let byte = u8::from_str_radix(&digits, 16)
            .ok()
            .filter(|_| digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .ok_or_else(|| format!("\"{path}\" has %{digits}, which is no percent-encoding"))?;
        match byte {
            b'/' | b'\\' | 0 => {
                return Err(format!(
                    "\"{path}\" has %{digits}, which no path has when it is matched"
                ));
            }
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => normal.push(char::from(byte)),
            byte => normal.push_str(&format!("%{byte:02X}")),
        }
    }
    if normal == "." || normal == ".." {
        return Err(format!(
            "\"{path}\" has a dot segment; write the path that it leads to"
        ));
    }
    Ok(normal)
}

/// `pchar` of RFC 3986, without percent-encoding.
fn is_path_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@".contains(c)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in ".{0,40}") {
            let _ = (text.parse::<Path>(), text.parse::<Prefix>());
        }

        #[test]
        fn a_pattern_reads_back_as_the_same_pattern(text in "=?(/([a-z.~]{1,4}|\\{[a-z]{1,3}\\}|%[a-f0-9]{2})){1,4}") {
            if let Ok(path) = text.parse::<Path>() {
                let mut normal = if path.pattern.exact { "=".to_owned() } else { String::new() };
                for segment in &path.pattern.segments {
                    normal.push('/');
                    match segment {
                        PathSegment::Literal(literal) => normal.push_str(literal),
                        PathSegment::Parameter(name) => normal.push_str(&format!("{{{name}}}")),
                    }
                }
                prop_assert_eq!(normal.parse::<Path>().unwrap().pattern, path.pattern);
            }
        }
    }

    #[test]
    fn needless_encoding_is_undone() {
        let path: Path = "/%61%2d%c3%9f".parse().unwrap();
        assert_eq!(
            path.pattern.segments,
            [PathSegment::Literal("a-%C3%9F".to_owned())]
        );
    }
}
