//! What people and scripts read. A reader that has gone is no failure of ours: `keyward check x | head -1`.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes a line to standard output.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Writes text to standard output as it is, at once.
pub(crate) fn show(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes each line of a complaint to standard error, under the program's name.
pub(crate) fn complain(complaint: &impl Display) {
    let mut out = io::stderr().lock();
    for line in complaint.to_string().lines() {
        let _ = writeln!(out, "keyward: {line}");
    }
}
