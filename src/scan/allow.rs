//! Keys that are known and not to be reported, such as those of examples: a file of masks.

use std::collections::HashSet;
use std::path::Path;

use crate::failure::Failure;

/// The masks that are not reported.
#[derive(Debug, Default)]
pub(super) struct Allowed(HashSet<String>);

impl Allowed {
    /// Reads a file of masks, one a line.
    pub(super) fn read(file: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::Configuration(format!("--allow: {}: {error}", file.display())))?;
        let mut masks = HashSet::new();
        for (index, line) in text.lines().enumerate() {
            let mask = line.split('#').next().unwrap_or_default().trim();
            if mask.is_empty() {
                continue;
            }
            // A whole key here would be one more leak, and no mask ever matches it.
            if !mask.contains('…') {
                let place = format!("--allow: {}:{}", file.display(), index + 1);
                return Err(Failure::Configuration(format!(
                    "{place}: is no mask; write it as the scan shows it, such as pk_live_4f…9aZ"
                )));
            }
            masks.insert(mask.to_owned());
        }
        Ok(Self(masks))
    }

    pub(super) fn allows(&self, mask: &str) -> bool {
        self.0.contains(mask)
    }
}
