//! For the fuzz targets alone (`tests/fuzz`): reading a file to its end, without a store.

use std::io::BufReader;
use std::path::Path;

use super::Format;
use super::record;
use super::source::Source;

/// What a file held.
#[derive(Debug, PartialEq, Eq)]
pub enum Lines {
    /// Nothing that can be read as one.
    Refused(String),
    /// Its lines.
    Read {
        /// The number of each, and what it is or why it is nothing.
        lines: Vec<(u64, Result<&'static str, String>)>,
        /// How many bytes were read.
        bytes: u64,
    },
}

/// Reads a file of this name, as many bytes at a time as the buffer has.
#[must_use]
pub fn lines(file: &[u8], name: &str, buffer: usize) -> Lines {
    let reader = BufReader::with_capacity(buffer, file);
    let mut source = match Source::open(reader, Format::of(Path::new(name))) {
        Ok(source) => source,
        Err(error) => return Lines::Refused(error.to_string()),
    };
    let mut lines = Vec::new();
    loop {
        match source.next_line() {
            Ok(Some((number, fields))) => {
                let line = record::read(number, fields);
                let said = line
                    .item
                    .map_err(|invalid| format!("{} {}", invalid.field, invalid.reason));
                lines.push((number, said.map(|_| line.kind.unwrap_or_default())));
            }
            Ok(None) => break,
            Err(error) => return Lines::Refused(error.to_string()),
        }
    }
    Lines::Read {
        lines,
        bytes: source.bytes(),
    }
}
