//! For the fuzz targets alone (`tests/fuzz`): what an earlier start left, read without a thread, and the one thing that
//! chance would not hit on: the mark of a whole record.

use std::io;
use std::path::Path;

use keyward_contract::feed;

use super::record;
use super::recovery::{self, Part, Sums};

/// Bytes of a record.
pub const RECORD: usize = record::BYTES;
/// Where a segment's records begin.
pub const FIRST_RECORD: usize = super::segment::HEADER;

/// What the folders of all starts hold.
#[derive(Debug, PartialEq)]
pub struct Recovered {
    /// Their counters, in no order.
    pub counters: Vec<feed::UsageCounter>,
    /// Records that can't be true.
    pub damaged: u64,
}

/// Reads it in so many parts.
///
/// # Errors
/// When the folder can't be read.
pub fn recovered(root: &Path, parts: u64) -> io::Result<Recovered> {
    let (mut counters, mut damaged) = (Vec::new(), 0);
    for boot in recovery::old_boots(root, u64::MAX)? {
        let routes = recovery::routes(&boot);
        for index in 0..parts {
            let (sums, findings): (Sums, _) = recovery::read(&boot, Part { index, of: parts }, &mut || {});
            damaged += findings.damaged;
            counters.extend(sums.iter().map(|(key, tally)| {
                let route = routes.get(usize::from(key.route)).map_or("", String::as_str);
                tally.wire(key, route, boot.epoch)
            }));
        }
    }
    Ok(Recovered { counters, damaged })
}

/// Makes a record's first word what it is when all of its key is written.
pub fn seal(record: &mut [u8; RECORD], epoch: u64) {
    let mark = record::mark_of(record, epoch);
    if let Some(first) = record.first_chunk_mut() {
        *first = mark.to_ne_bytes();
    }
}
