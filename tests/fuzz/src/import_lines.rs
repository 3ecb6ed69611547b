//! Files that are imported, as JSON lines and as CSV: read the same however they come, to their end, and a key in a
//! line is in no message about it.

use keyward_contract::find;
use keyward_control_plane::moving::fuzzing::{Lines, lines};

/// A file.
pub fn check(bytes: &[u8]) {
    for file in ["import.jsonl", "import.csv"] {
        let whole = lines(bytes, file, 64 * 1024);
        assert_eq!(whole, lines(bytes, file, 3), "{file}");
        match whole {
            Lines::Refused(reason) => holds_no_key(&reason),
            Lines::Read { lines, bytes: read } => {
                assert_eq!(read, bytes.len() as u64);
                let last = bytes.split(|byte| *byte == b'\n').count() as u64;
                let mut before = 0;
                for (number, outcome) in lines {
                    assert!(before < number && number <= last, "line {number} of {last}");
                    before = number;
                    if let Err(message) = outcome {
                        holds_no_key(&message);
                    }
                }
            }
        }
    }
}

fn holds_no_key(message: &str) {
    assert!(!message.is_empty() && find::keys_in(message.as_bytes()).is_empty());
}
