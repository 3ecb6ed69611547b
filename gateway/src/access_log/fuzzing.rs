//! For the fuzz targets alone (`tests/fuzz`): a line of the access log as it is written.

use super::Entry;

/// The line of this call, newline included.
///
/// # Errors
/// When it can't be said in JSON.
pub fn line(entry: &Entry) -> Result<Vec<u8>, serde_json::Error> {
    let mut line = Vec::new();
    entry.write(&mut line)?;
    Ok(line)
}
