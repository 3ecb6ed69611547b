//! How a case is written.
//!
//! ```text
//! === what is tried
//! # where the rule stands
//! > GET / HTTP/1.1             bytes of the client; the end of the line is CR LF
//! > host: api.example\n\       with a `\` at its end the line has no end of its own
//! >
//! < 200                        an answer: status, and the code of a refusal
//! ! stays                      the connection afterwards: `stays`, `closes` or `either`; and options
//! ^ GET / HTTP/1.1             what the upstream sees, line by line, the body decoded
//! ^ {ours}                     what the gateway adds
//! ^
//! ^---                         before each further request
//! ```
//!
//! Escapes: `\r \n \t \\ \xHH`; `{a*100}` is a hundred times `a`; `{key}` and such are the ground's. Options:
//! `half-close` (the client ends its side), `partial` (the upstream may see a beginning of the last request, never all of
//! it), `silent` (no answer says that the connection closes), `head` (answers have no body), `maybe-interim` (a
//! client that does not wait may get no 100), `kept-only`, `whole-only`.

use crate::attacks::client::Delivery;

/// One case.
#[derive(Debug, Default)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) bytes: String,
    pub(super) answers: Vec<Expected>,
    pub(super) end: End,
    options: Vec<String>,
    /// Requests that the upstream sees, before what stands in braces is filled in.
    pub(super) upstream: Vec<String>,
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum End {
    #[default]
    Closes,
    Stays,
    /// It depends on what has come by then; nothing more is answered in any case.
    Either,
}

/// An answer: its status, and the code of a refusal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) status: u16,
    pub(super) code: Option<String>,
}

impl Case {
    pub(super) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|known| known == option)
    }

    pub(super) fn is_for(&self, delivery: Delivery) -> bool {
        let is_second = matches!(delivery, Delivery::Kept | Delivery::Pipelined);
        (is_second || !self.has("kept-only")) && (delivery == Delivery::Whole || !self.has("whole-only"))
    }
}

/// The cases of a file.
pub(super) fn read(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(name) = line.strip_prefix("=== ") {
            let name = name.to_owned();
            cases.push(Case {
                name,
                ..Case::default()
            });
            continue;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let case = cases
            .last_mut()
            .unwrap_or_else(|| panic!("line {number} is before any case"));
        match line.split_at(1) {
            ("<", rest) => {
                let mut words = rest.split_whitespace();
                case.answers.push(Expected {
                    status: words.next().unwrap().parse().unwrap(),
                    code: words.next().map(str::to_owned),
                });
            }
            ("!", rest) => {
                let mut words = rest.split_whitespace().map(str::to_owned);
                case.end = match words.next().as_deref() {
                    Some("closes") => End::Closes,
                    Some("stays") => End::Stays,
                    Some("either") => End::Either,
                    other => panic!("{other:?} in {}", case.name),
                };
                case.options.extend(words);
            }
            (">", rest) => case.bytes.push_str(&with_end(rest)),
            ("^", "---") => case.upstream.push(String::new()),
            ("^", rest) => {
                if case.upstream.is_empty() {
                    case.upstream.push(String::new());
                }
                case.upstream.last_mut().unwrap().push_str(&with_end(rest));
            }
            _ => panic!("line {number} means nothing: {line}"),
        }
    }
    cases
}

/// A line with its end, still with escapes.
fn with_end(line: &str) -> String {
    let line = line.strip_prefix(' ').unwrap_or(line);
    match line.strip_suffix('\\') {
        Some(line) if !line.ends_with('\\') => line.to_owned(),
        _ => format!("{line}\\r\\n"),
    }
}

/// The bytes that a text stands for; `fill` knows what stands in braces.
pub(super) fn bytes(text: &str, fill: impl Fn(&str) -> String) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '{']) {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at..];
        if let Some(braced) = rest.strip_prefix('{') {
            let (name, after) = braced.split_once('}').unwrap();
            match name.rsplit_once('*') {
                Some((what, times)) => {
                    let what = bytes(what, &fill as &dyn Fn(&str) -> String);
                    out.extend(what.repeat(times.parse().unwrap()));
                }
                None => out.extend(fill(name).into_bytes()),
            }
            rest = after;
            continue;
        }
        let (escape, length) = match &rest[1..2] {
            "r" => (b'\r', 2),
            "n" => (b'\n', 2),
            "t" => (b'\t', 2),
            "x" => (u8::from_str_radix(&rest[2..4], 16).unwrap(), 4),
            "\\" => (b'\\', 2),
            "{" => (b'{', 2),
            other => panic!("no escape: {other}"),
        };
        out.push(escape);
        rest = &rest[length..];
    }
    out.extend_from_slice(rest.as_bytes());
    out
}
