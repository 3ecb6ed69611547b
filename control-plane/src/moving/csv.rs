//! CSV as RFC 4180 has it: cells in quotes may hold commas, quotes (twice) and line breaks. Read by hand, since what
//! is read may be a key: every buffer is wiped.

use zeroize::Zeroizing;

/// Whether a record goes on in the next line: an open quote was not closed.
pub(super) fn goes_on(text: &[u8]) -> bool {
    text.iter().filter(|byte| **byte == b'"').count() % 2 == 1
}

/// The cells of a record.
///
/// # Errors
/// When a quote stands where none can, or a cell is not UTF-8.
pub(super) fn cells(record: &[u8]) -> Result<Vec<Zeroizing<String>>, &'static str> {
    let mut cells = Vec::new();
    let mut rest = record;
    loop {
        let (cell, after) = match rest.strip_prefix(b"\"") {
            Some(quoted) => in_quotes(quoted)?,
            None => plain(rest)?,
        };
        cells.push(text(cell)?);
        match after {
            [] => return Ok(cells),
            [b',', next @ ..] => rest = next,
            _ => return Err("has something after a closing quote"),
        }
    }
}

type Cell<'a> = (Zeroizing<Vec<u8>>, &'a [u8]);

fn plain(rest: &[u8]) -> Result<Cell<'_>, &'static str> {
    let end = rest.iter().position(|byte| *byte == b',').unwrap_or(rest.len());
    let (cell, after) = rest.split_at(end);
    if cell.contains(&b'"') {
        return Err("has a quote inside a cell without quotes");
    }
    Ok((Zeroizing::new(cell.to_vec()), after))
}

fn in_quotes(mut rest: &[u8]) -> Result<Cell<'_>, &'static str> {
    // As long as it can get: it never moves, and leaves no unwiped copy.
    let mut cell = Zeroizing::new(Vec::with_capacity(rest.len()));
    loop {
        let at = rest
            .iter()
            .position(|byte| *byte == b'"')
            .ok_or("has a quote that is not closed")?;
        let (before, from_quote) = rest.split_at(at);
        cell.extend_from_slice(before);
        match from_quote {
            [b'"', b'"', after @ ..] => {
                cell.push(b'"');
                rest = after;
            }
            [_, after @ ..] => return Ok((cell, after)),
            [] => return Err("has a quote that is not closed"),
        }
    }
}

fn text(cell: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>, &'static str> {
    let mut cell = cell;
    match String::from_utf8(std::mem::take(&mut *cell)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err("is not UTF-8")
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(record: &str, expected: Result<&[&str], &str>) {
        let read = cells(record.as_bytes())
            .map(|cells| cells.iter().map(|cell| cell.to_string()).collect::<Vec<_>>());
        let expected = expected.map(|cells| cells.iter().map(ToString::to_string).collect());
        assert_eq!(read, expected);
    }

    #[test]
    fn cells_are_read_as_rfc_4180_has_them() {
        check("a,b", Ok(&["a", "b"]));
        check("", Ok(&[""]));
        check(",", Ok(&["", ""]));
        check("\"a,\"\"b\"\"\nc\", d ", Ok(&["a,\"b\"\nc", " d "]));
        check("a\"b", Err("has a quote inside a cell without quotes"));
        check("\"a\"b", Err("has something after a closing quote"));
        check("\"a", Err("has a quote that is not closed"));
        assert!(cells(b"\xff").is_err());
        assert!(goes_on(b"\"a") && !goes_on(b"\"a\"\"b\""));
    }

    proptest! {
        #[test]
        fn what_the_writer_writes_is_read_back(row in proptest::collection::vec("[a-z\",\n\r ]{0,12}", 1..6)) {
            let mut writer = ::csv::WriterBuilder::new().quote_style(::csv::QuoteStyle::Always).from_writer(Vec::new());
            writer.write_record(&row).unwrap();
            let written = writer.into_inner().unwrap();
            let record = written.strip_suffix(b"\n").unwrap();
            prop_assert!(!goes_on(record));
            let read = cells(record).unwrap();
            let read: Vec<&str> = read.iter().map(|cell| cell.as_str()).collect();
            prop_assert_eq!(read, row);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = cells(&bytes);
        }
    }
}
