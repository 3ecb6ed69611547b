//! What `keyward check --kind standalone` reads.

use keyward_config::Kind;

/// See `configuration`.
pub fn check(bytes: &[u8]) {
    super::configuration::check(Kind::Standalone, bytes);
}
