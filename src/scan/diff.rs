//! Standard input: any text, in which the added lines of a unified diff are told by their file and line there.
//!
//! Inside a hunk only added lines are looked at, since what is taken away or stays is no new leak; outside of hunks
//! everything is, such as the message of a patch. The merges of `git diff` (`@@@`) are read too. A line of any
//! length is taken in pieces of 64 KiB.

use std::io::{self, BufRead, BufReader, Read};

use keyward_contract::find::Finder;
use memchr::memchr;

use super::finding::{Finding, Place, shown_text};

const PIECE: usize = 64 * 1024;

/// Reads a text to its end; answers what was found, and how many bytes it has.
pub(super) fn scan(input: impl Read) -> io::Result<(Vec<Finding>, u64)> {
    let mut input = BufReader::with_capacity(PIECE, input);
    let mut reading = Reading::default();
    loop {
        let bytes = match input.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if bytes.is_empty() {
            reading.line_ends();
            return Ok((reading.findings, reading.bytes));
        }
        let (piece, ends) = match memchr(b'\n', bytes) {
            Some(at) => (bytes.get(..at).unwrap_or_default(), true),
            None => (bytes, false),
        };
        reading.take(piece);
        let consumed = piece.len() + usize::from(ends);
        if ends {
            reading.line_ends();
            reading.line += 1;
        }
        reading.bytes += consumed as u64;
        input.consume(consumed);
    }
}

#[derive(Debug, Default)]
struct Reading {
    findings: Vec<Finding>,
    bytes: u64,
    /// How many lines ended before.
    line: u64,
    /// The beginning of this line, as much as tells what it is.
    head: Vec<u8>,
    finder: Finder,
    /// What was found in this line: its place, and the finding without its place.
    hits: Vec<(u64, keyward_contract::find::Hit)>,
    /// The name of the file as it was, then as it is.
    old_name: Option<String>,
    new_name: Option<String>,
    hunk: Option<Hunk>,
}

/// More than any file name, and all that the first line of a hunk needs.
const HEAD: usize = 8 * 1024;

impl Reading {
    fn take(&mut self, piece: &[u8]) {
        let room = HEAD.saturating_sub(self.head.len()).min(piece.len());
        self.head.extend_from_slice(piece.get(..room).unwrap_or_default());
        let hits = &mut self.hits;
        self.finder.feed(piece, |at, hit| hits.push((at, hit)));
    }

    fn line_ends(&mut self) {
        let head = std::mem::take(&mut self.head);
        let head = head.strip_suffix(b"\r").unwrap_or(&head);
        let place = match &mut self.hunk {
            Some(hunk) => hunk.take(head),
            None => LineIs::Text,
        };
        if self.hunk.as_ref().is_some_and(Hunk::is_over) {
            self.hunk = None;
        }
        match place {
            LineIs::Text => {
                self.note(head);
                self.report("-", self.line + 1, 0);
            }
            LineIs::Added { line, marks } => {
                let name = self.new_name.clone();
                self.report(name.as_deref().unwrap_or("-"), line, marks);
            }
            LineIs::Other => {}
        }
        self.hits.clear();
        self.finder = Finder::default();
    }

    fn report(&mut self, path: &str, line: u64, marks: u64) {
        for (at, hit) in std::mem::take(&mut self.hits) {
            let place = Place::Line(line, at.saturating_sub(marks) + 1);
            self.findings.push(Finding::new(path, place, &hit));
        }
    }

    /// What a line outside of hunks says of those to come.
    fn note(&mut self, head: &[u8]) {
        if let Some(name) = head.strip_prefix(b"--- ") {
            (self.old_name, self.new_name) = (Some(unquoted(name)), None);
        } else if let Some(name) = head.strip_prefix(b"+++ ") {
            let name = unquoted(name);
            let old = self.old_name.as_deref().unwrap_or_default();
            self.new_name = Some(shown_text(without_side(old, &name)));
        } else if self.new_name.is_some()
            && let Some(hunk) = Hunk::parse(head)
        {
            self.hunk = Some(hunk);
        } else if !head.starts_with(b"@@") {
            self.new_name = self.new_name.take().filter(|_| head.starts_with(b"\\"));
        }
    }
}

/// What a line is.
enum LineIs {
    /// Outside of every hunk.
    Text,
    /// Added, as this line of its file; so many marks stand before it.
    Added { line: u64, marks: u64 },
    /// Taken away, or as it was.
    Other,
}

/// What is left of a hunk.
#[derive(Debug)]
struct Hunk {
    /// Lines of each file as it was; a merge has several.
    old: Vec<u64>,
    /// Lines of the file as it is.
    new: u64,
    /// The next line of the file as it is.
    line: u64,
}

impl Hunk {
    /// Reads `@@ -1,2 +3,4 @@`, or with an `@` more for each further parent of a merge.
    fn parse(head: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(head.get(..head.len().min(400))?).unwrap_or_else(|error| {
            std::str::from_utf8(head.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default()
        });
        let ats = text.bytes().take_while(|byte| *byte == b'@').count();
        if ats < 2 {
            return None;
        }
        let mut words = text.get(ats..)?.split(' ').filter(|word| !word.is_empty());
        let mut old = Vec::with_capacity(ats - 1);
        for _ in 1..ats {
            old.push(range(words.next()?.strip_prefix('-')?)?.1);
        }
        let (line, new) = range(words.next()?.strip_prefix('+')?)?;
        (words.next()?.bytes().filter(|byte| *byte == b'@').count() == ats).then_some(Self { old, new, line })
    }

    /// Takes the next line of it.
    fn take(&mut self, head: &[u8]) -> LineIs {
        if head.first() == Some(&b'\\') {
            return LineIs::Other;
        }
        let marks = head.get(..self.old.len().min(head.len())).unwrap_or_default();
        let added = marks.contains(&b'+');
        let taken_away = marks.contains(&b'-');
        for (index, left) in self.old.iter_mut().enumerate() {
            let mark = marks.get(index).unwrap_or(&b' ');
            // In a merge, a parent has what another parent's marks call taken away only where it says so itself.
            if *mark == b'-' || (!taken_away && *mark != b'+') {
                *left = left.saturating_sub(1);
            }
        }
        if taken_away {
            return LineIs::Other;
        }
        let line = self.line;
        self.line += 1;
        self.new = self.new.saturating_sub(1);
        if added {
            let marks = marks.len() as u64;
            LineIs::Added { line, marks }
        } else {
            LineIs::Other
        }
    }

    fn is_over(&self) -> bool {
        self.new == 0 && self.old.iter().all(|left| *left == 0)
    }
}

/// `3,4` or `3`: the first line, and how many.
fn range(text: &str) -> Option<(u64, u64)> {
    match text.split_once(',') {
        Some((first, count)) => Some((first.parse().ok()?, count.parse().ok()?)),
        None => Some((text.parse().ok()?, 1)),
    }
}

/// A name as it stands in a diff: up to a tab, and without git's quotes and escapes.
fn unquoted(name: &[u8]) -> String {
    let name = name.split(|byte| *byte == b'\t').next().unwrap_or_default();
    let Some(quoted) = name.strip_prefix(b"\"").and_then(|name| name.strip_suffix(b"\"")) else {
        return String::from_utf8_lossy(name).into_owned();
    };
    let mut bytes = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        match after {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            [escaped, after @ ..] => {
                bytes.push(match escaped {
                    b'n' => b'\n',
                    b't' => b'\t',
                    other => *other,
                });
                rest = after;
            }
            [] => {}
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Without the `b/` that git puts before it, when it put an `a/` before the other.
fn without_side<'a>(old: &str, new: &'a str) -> &'a str {
    let side = |name: &str| {
        matches!(
            name.as_bytes(),
            [b'a' | b'b' | b'c' | b'i' | b'o' | b'w', b'/', ..]
        )
    };
    if side(new) && (side(old) || old == "/dev/null") {
        new.get(2..).unwrap_or(new)
    } else {
        new
    }
}

#[cfg(test)]
mod tests {
    use keyward_contract::{Environment, KeyKind, PlainKey};

    use super::*;

    /// Puts a new key in the place of each `KEY`; every place with `!` must be found as `path:line:column`.
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let mut made = String::new();
        for (index, part) in text.split("KEY").enumerate() {
            if index > 0 {
                let key = PlainKey::mint(KeyKind::Customer, Environment::Production).unwrap();
                made.push_str(key.expose());
            }
            made.push_str(part);
        }
        let (findings, bytes) = scan(made.as_bytes()).unwrap();
        assert_eq!(bytes, made.len() as u64);
        let places: Vec<_> = findings
            .iter()
            .map(|finding| finding.to_string().split(": ").next().unwrap().to_owned())
            .collect();
        assert_eq!(places, expected, "{text}");
    }

    #[test]
    fn of_a_diff_only_added_lines_are_told_by_file_and_line() {
        check(
            "diff --git a/x/y.rs b/x/y.rs\nindex 1..2 100644\n--- a/x/y.rs\n+++ b/x/y.rs\n\
             @@ -1,3 +1,4 @@ fn main() KEY\n kept KEY\n-gone KEY\n+came KEY\n+  KEY\n kept\n\
             @@ -90 +91,2 @@\n-old KEY\n+new\n+++ KEY\n\
             diff --git a/z b/z\nnew file mode 100644\n--- /dev/null\n+++ b/z\n@@ -0,0 +1 @@\n+KEY\n\\ No newline at end of file\n",
            // What git quotes of the file beside the place is text of the diff, and was there before; better told twice.
            &["-:5:27", "x/y.rs:2:6", "x/y.rs:3:3", "x/y.rs:92:4", "z:1:1"],
        );
    }

    #[test]
    fn what_is_no_diff_is_a_text() {
        check("KEY\nand KEY\r\n\n  KEY", &["-:1:1", "-:2:5", "-:4:3"]);
        // The message of a commit, and its changes.
        check(
            "commit 1\n\n    why KEY\n\n--- f\n+++ f\n@@ -1,0 +2 @@\n+KEY\nKEY\n",
            &["-:3:9", "f:2:1", "-:9:1"],
        );
        // A list that looks like a diff's head.
        check(
            "--- KEY\n- KEY\n+ KEY\n@@ -1 +1 @@\n-KEY\n",
            &["-:1:5", "-:2:3", "-:3:3", "-:5:2"],
        );
    }

    #[test]
    fn a_line_that_begins_like_a_head_inside_a_hunk_is_none() {
        check(
            "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n--- KEY\n+++ KEY\n x\n+++ KEY\n",
            &["f:1:4", "-:7:5"],
        );
    }

    #[test]
    fn a_merge_has_a_mark_for_each_parent() {
        check(
            "diff --cc f\n--- a/f\n+++ b/f\n@@@ -1,3 -1,2 +1,3 @@@\n  same\n +theirs KEY\n- ours KEY\n -gone KEY\n++both KEY\n",
            &["f:2:8", "f:3:6"],
        );
    }

    #[test]
    fn quoted_names_are_read_and_never_show_a_key() {
        check(
            "--- \"a/\\303\\244.txt\"\n+++ \"b/\\303\\244.txt\"\n@@ -0,0 +1 @@\n+KEY\n",
            &["ä.txt:1:1"],
        );
        let key = PlainKey::mint(KeyKind::Account, Environment::Test).unwrap();
        let text = format!(
            "--- /dev/null\n+++ b/{0}.env\n@@ -0,0 +1 @@\n+{0}\n",
            key.expose()
        );
        let (findings, _) = scan(text.as_bytes()).unwrap();
        assert_eq!(findings.len(), 2);
        assert!(
            findings
                .iter()
                .all(|finding| !finding.to_string().contains(key.expose()))
        );
        assert!(
            findings[1]
                .to_string()
                .starts_with(&format!("{}.env:1:1: ", key.mask()))
        );
    }

    #[test]
    fn a_line_longer_than_any_piece_is_read_to_its_end() {
        let long = "x".repeat(3 * PIECE - 20);
        let column = (long.len() + 1).to_string();
        check(
            &format!("--- a/f\n+++ b/f\n@@ -0,0 +7 @@\n+{long}KEY\n"),
            &[&format!("f:7:{column}")],
        );
    }
}
