//! For the fuzz targets alone (`tests/fuzz`): from the bytes of a reply to the answers in it.

use crate::ask::{Answer, Ask};
use crate::error::BucketsError;
use crate::script;

/// The answers to these questions in a reply as it comes over a connection; `None` when it is no reply at all.
#[must_use]
pub fn answers(asks: &[Ask], reply: &[u8]) -> Option<Vec<Result<Answer, BucketsError>>> {
    let value = redis::parse_redis_value(reply).ok()?;
    let asks: Vec<&Ask> = asks.iter().collect();
    Some(script::answers(&asks, &value))
}
