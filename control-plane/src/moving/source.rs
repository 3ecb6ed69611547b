//! The lines of a file, one at a time, each at most 64 KiB: as JSON objects, whatever the file's format.

use std::io::{self, BufRead};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Format;
use super::column;
use super::csv;
use crate::domain::refusal::InvalidField;
use crate::surfaces::strict_json;

/// The most bytes of a line.
pub(super) const LONGEST_LINE: usize = 64 * 1024;

/// The fields of a line, or why it has none.
pub(super) type Fields = Result<Map<String, Value>, InvalidField>;

/// A file that is read line by line.
pub(super) struct Source<R> {
    reader: R,
    columns: Option<Vec<String>>,
    buffer: Zeroizing<Vec<u8>>,
    hash: Sha256,
    lines: u64,
    bytes: u64,
}

/// How a line was read.
enum Read {
    Whole,
    TooLong,
    Nothing,
}

impl<R: BufRead> Source<R> {
    /// Begins to read; of CSV, reads the header.
    ///
    /// # Errors
    /// When it can't be read; [`io::ErrorKind::InvalidData`] when the header is none.
    pub(super) fn open(reader: R, format: Format) -> io::Result<Self> {
        let mut source = Self {
            reader,
            columns: None,
            // As long as it can get: it never moves, and leaves no unwiped copy.
            buffer: Zeroizing::new(Vec::with_capacity(LONGEST_LINE + 2)),
            hash: Sha256::new(),
            lines: 0,
            bytes: 0,
        };
        if format == Format::Csv {
            source.columns = Some(source.header()?);
        }
        Ok(source)
    }

    fn header(&mut self) -> io::Result<Vec<String>> {
        let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let broken = || invalid("line 1 must be a CSV header, such as kind,ref,customer,key".to_owned());
        match self.read_line()? {
            Read::Whole => {}
            Read::TooLong | Read::Nothing => return Err(broken()),
        }
        let text = self.buffer.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.buffer);
        let mut columns: Vec<String> = Vec::new();
        for cell in csv::cells(text).map_err(|_| broken())? {
            let name = cell.trim().to_owned();
            if !column::is_known(&name) {
                // What stands there may be a key, when the header is missing.
                let nth = columns.len() + 1;
                return Err(invalid(format!(
                    "line 1: column {nth} has no name that is known here: docs/importing.md lists them"
                )));
            }
            if columns.contains(&name) {
                return Err(invalid(format!("line 1: the column {name} occurs twice")));
            }
            columns.push(name);
        }
        if columns.iter().any(|name| name == "kind") {
            Ok(columns)
        } else {
            Err(invalid("line 1: there is no column kind".to_owned()))
        }
    }

    /// The next line that is not empty, with its number; `None` at the end.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn next_line(&mut self) -> io::Result<Option<(u64, Fields)>> {
        loop {
            let read = self.read_line()?;
            let first = self.lines;
            let fields = match read {
                Read::Nothing => return Ok(None),
                Read::TooLong => Err(InvalidField::new("line", "is longer than 64 KiB")),
                Read::Whole if self.buffer.trim_ascii().is_empty() => continue,
                Read::Whole => match &self.columns {
                    None => object(&self.buffer),
                    Some(_) => {
                        let whole = self.join()?;
                        match (whole, &self.columns) {
                            (true, Some(columns)) => row(columns, &self.buffer),
                            _ => Err(InvalidField::new("line", "has a quote that is not closed")),
                        }
                    }
                },
            };
            self.buffer.iter_mut().for_each(|byte| *byte = 0);
            return Ok(Some((first, fields)));
        }
    }

    /// Takes lines until the record's quotes are closed. Answers whether they are.
    fn join(&mut self) -> io::Result<bool> {
        let mut open = csv::goes_on(&self.buffer);
        while open {
            if self.buffer.len() >= LONGEST_LINE {
                return Ok(false);
            }
            self.buffer.push(b'\n');
            let from = self.buffer.len();
            match self.append_line()? {
                Read::Whole => {}
                Read::TooLong | Read::Nothing => return Ok(false),
            }
            open ^= csv::goes_on(self.buffer.get(from..).unwrap_or_default());
        }
        Ok(true)
    }

    fn read_line(&mut self) -> io::Result<Read> {
        self.buffer.clear();
        self.append_line()
    }

    /// Takes one line to its end, and keeps as much of it as a line may have.
    fn append_line(&mut self) -> io::Result<Read> {
        let mut read = Read::Nothing;
        loop {
            let bytes = match self.reader.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if bytes.is_empty() {
                if !matches!(read, Read::Nothing) {
                    self.lines += 1;
                }
                return Ok(read);
            }
            let end = memchr_newline(bytes);
            let piece = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
            if matches!(read, Read::Nothing) {
                read = Read::Whole;
            }
            if self.buffer.len() + piece.len() > LONGEST_LINE {
                read = Read::TooLong;
            } else if matches!(read, Read::Whole) {
                self.buffer.extend_from_slice(piece);
            }
            let consumed = piece.len() + usize::from(end.is_some());
            self.hash.update(bytes.get(..consumed).unwrap_or_default());
            self.bytes += consumed as u64;
            self.reader.consume(consumed);
            if end.is_some() {
                self.lines += 1;
                if self.buffer.last() == Some(&b'\r') {
                    self.buffer.pop();
                }
                return Ok(read);
            }
        }
    }

    /// Goes on to a place behind; answers whether the file reaches so far.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn skip_to(&mut self, place: u64) -> io::Result<bool> {
        while self.bytes < place {
            match self.read_line()? {
                Read::Nothing => return Ok(false),
                Read::Whole | Read::TooLong => {}
            }
        }
        Ok(self.bytes == place)
    }

    /// How many lines were read.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// How many bytes were read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// SHA-256 over them, in hex.
    pub(super) fn hash(&self) -> String {
        hex::encode(self.hash.clone().finalize())
    }
}

fn memchr_newline(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

fn object(text: &[u8]) -> Fields {
    match strict_json::parse(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(InvalidField::new("line", "must be a JSON object")),
        // The place inside the line is all that its reason adds.
        Err(reason) => Err(InvalidField::new("line", reason)),
    }
}

fn row(columns: &[String], record: &[u8]) -> Fields {
    let cells = csv::cells(record).map_err(|reason| InvalidField::new("line", reason))?;
    if cells.len() != columns.len() {
        let reason = format!("has {} cells, and the header {}", cells.len(), columns.len());
        return Err(InvalidField::new("line", reason));
    }
    let mut object = Map::new();
    for (name, mut cell) in columns.iter().zip(cells) {
        if !cell.is_empty() {
            object.insert(name.clone(), column::value(name, std::mem::take(&mut *cell)));
        }
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], format: Format) -> Vec<(u64, Result<Value, String>)> {
        let mut source = Source::open(io::BufReader::with_capacity(7, text), format).unwrap();
        let mut lines = Vec::new();
        while let Some((number, fields)) = source.next_line().unwrap() {
            let fields = fields
                .map(Value::Object)
                .map_err(|invalid| invalid.reason.into_owned());
            lines.push((number, fields));
        }
        assert_eq!(source.bytes(), text.len() as u64);
        lines
    }

    #[test]
    fn a_line_that_is_too_long_or_broken_costs_itself_alone() {
        let long = format!(
            "{{\"a\":1}}\n\n{{\"b\":\"{}\"}}\nnonsense\n[1]\n{{\"c\":2}}",
            "x".repeat(LONGEST_LINE)
        );
        let lines = read(long.as_bytes(), Format::Jsonl);
        let numbers: Vec<u64> = lines.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 3, 4, 5, 6]);
        assert_eq!(lines[1].1, Err("is longer than 64 KiB".to_owned()));
        assert!(lines[2].1.is_err() && lines[3].1.is_err());
        assert_eq!(lines[4].1, Ok(serde_json::json!({"c": 2})));
    }

    #[test]
    fn a_record_of_csv_may_have_several_lines() {
        let text =
            b"\xef\xbb\xbfkind,name,user_key_limit\r\ncustomer,\"a\nb\",7\r\ncustomer,c\r\ncustomer,,\n";
        let text: Vec<u8> = String::from_utf8_lossy(text)
            .replace("user_key_limit", "test_user_key_limit")
            .into_bytes();
        let lines = read(&text, Format::Csv);
        assert_eq!(
            lines,
            [
                (
                    2,
                    Ok(serde_json::json!({"kind": "customer", "name": "a\nb", "test_user_key_limit": 7}))
                ),
                (4, Err("has 2 cells, and the header 3".to_owned())),
                (5, Ok(serde_json::json!({"kind": "customer"}))),
            ]
        );
    }

    #[test]
    fn a_header_must_name_what_is_known() {
        for header in ["", "name\n", "kind,nonsense\n", "kind,kind\n", "pk_live_x,kind\n"] {
            let opened = Source::open(header.as_bytes(), Format::Csv);
            let Err(error) = opened.map(|_| ()) else {
                panic!("{header} was taken");
            };
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert!(!error.to_string().contains("pk_live"), "{error}");
        }
    }

    #[test]
    fn skipping_is_reading_without_looking() {
        let text = b"{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n";
        let mut read = Source::open(text.as_slice(), Format::Jsonl).unwrap();
        read.next_line().unwrap();
        read.next_line().unwrap();
        let mut skipped = Source::open(text.as_slice(), Format::Jsonl).unwrap();
        assert!(skipped.skip_to(read.bytes()).unwrap());
        assert_eq!(skipped.hash(), read.hash());
        assert_eq!(skipped.next_line().unwrap().unwrap().0, 3);
        assert!(!skipped.skip_to(1_000).unwrap());
    }
}
