//! Where in the change log a key set stands.

/// Up to where a replica follows the change log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The history that the revision belongs to; empty when nothing is held.
    pub feed_epoch: String,
    /// The last revision in force; 0 when nothing is held.
    pub revision: u64,
    /// What the control plane calls the history up to that revision; empty when it said nothing.
    pub history: Vec<u8>,
    /// Under which scope it was sent: which accounts and environments this gateway gets.
    pub scope: String,
}

impl Position {
    /// This revision of this history, under the scope of everything.
    #[must_use]
    pub fn new(feed_epoch: &str, revision: u64) -> Self {
        Self {
            feed_epoch: feed_epoch.to_owned(),
            revision,
            ..Self::default()
        }
    }
}
