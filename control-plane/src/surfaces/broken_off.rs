//! An export that can't go on: the rows before it are with the client already.

/// What the client sees of it is that the answer has no end.
#[derive(Debug, thiserror::Error)]
#[error("the export broke off")]
pub(super) struct BrokenOff;

impl BrokenOff {
    /// An export of this, for this reason.
    pub(super) fn of(what: &'static str, error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "an export of {what} broke off");
        Self
    }
}
