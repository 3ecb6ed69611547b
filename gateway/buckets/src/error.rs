//! Why no answer came, what to do about it, and whether something may have happened nevertheless.

use std::path::PathBuf;

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// Why a question has no answer. Never holds a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BucketsError {
    /// No connection could be made.
    #[error("no connection to Redis at {address}: {reason}")]
    Unreachable {
        /// Where it was tried.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// `redis_password_file` can't be read.
    #[error("could not read {}: {reason}", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        reason: String,
    },
    /// The connection broke, or 10 s went by. The questions on it may have been answered or not.
    #[error("the connection to Redis is lost: {0}")]
    Lost(String),
    /// The server takes no questions: it is a replica by now, still loads its data, wants a password. Nothing was done.
    #[error("this Redis takes no questions: {0}")]
    NotServing(String),
    /// A node of the cluster is away. The link mends itself: it goes on asking it, and where its slots are.
    #[error("a node of the Redis cluster is away: {reason}")]
    NodeAway {
        /// What went wrong.
        reason: String,
        /// Whether the question was on its way already, so that it may have been answered or not.
        sent: bool,
    },
    /// The server said no to this question.
    #[error("Redis refused: {0}")]
    Refused(String),
    /// The answer is none to this question.
    #[error("Redis answered something else than was asked")]
    Unexpected,
}

impl BucketsError {
    /// Whether this link is of no use any more, and another one is to be made. Never of a cluster's link: that one
    /// mends itself.
    #[must_use]
    pub fn is_connection_lost(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Password { .. } | Self::Lost(_) | Self::NotServing(_) => true,
            Self::NodeAway { .. } | Self::Refused(_) | Self::Unexpected => false,
        }
    }

    /// Whether it is certain that the question changed nothing.
    #[must_use]
    pub fn nothing_happened(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Password { .. } | Self::NotServing(_) => true,
            Self::NodeAway { sent, .. } => !sent,
            // A server says no by a word of its own before it does anything; a failed script has no such word.
            Self::Refused(reason) => !reason.starts_with("ERR") && !reason.starts_with("NOPERM"),
            Self::Lost(_) | Self::Unexpected => false,
        }
    }

    /// What a server answered, or what became of the connection, after a question was sent.
    pub(crate) fn after_sending(error: &RedisError) -> Self {
        let reason = describe(error);
        match error.kind() {
            ErrorKind::Server(
                ServerErrorKind::ReadOnly
                | ServerErrorKind::BusyLoading
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::TryAgain,
            ) => Self::NotServing(reason),
            ErrorKind::Server(_) => Self::Refused(reason),
            ErrorKind::Extension => match error.code() {
                // Too few replicas: the others may have a new master already.
                Some("NOAUTH" | "WRONGPASS" | "NOREPLICAS" | "UNBLOCKED") => Self::NotServing(reason),
                _ => Self::Refused(reason),
            },
            _ => Self::Lost(reason),
        }
    }

    /// Why no connection was made.
    pub(crate) fn connecting(address: &str, error: &RedisError) -> Self {
        Self::Unreachable {
            address: address.to_owned(),
            reason: describe(error),
        }
    }
}

/// A server's answer as it wrote it, or the error's own words.
fn describe(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn an_error_says_whether_to_connect_again_and_whether_something_may_have_happened() {
        let server = |code: &str| redis::make_extension_error(code.to_owned(), Some("text".to_owned()));
        let check = |error: &RedisError, lost: bool, nothing: bool| {
            let error = BucketsError::after_sending(error);
            assert_eq!(
                (error.is_connection_lost(), error.nothing_happened()),
                (lost, nothing),
                "{error:?}"
            );
        };
        for code in ["NOAUTH", "WRONGPASS", "NOREPLICAS"] {
            check(&server(code), true, true);
        }
        for code in ["OOM", "MISCONF", "BUSY"] {
            check(&server(code), false, true);
        }
        for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::TimedOut] {
            check(&io::Error::from(kind).into(), true, false);
        }
    }
}
