//! What `keyward check --kind control-plane` reads.

use keyward_config::Kind;

/// See `configuration`.
pub fn check(bytes: &[u8]) {
    super::configuration::check(Kind::ControlPlane, bytes);
}
