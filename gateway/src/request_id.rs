//! The id of a call: the client's own, or a new one. It names the call on both sides, in the access log, and when its
//! refusal is looked up.

use http::{HeaderMap, HeaderValue};

use crate::onward::X_REQUEST_ID;

/// Bytes that an id has at most.
pub const LONGEST: usize = 128;

/// Whether a text can be the id of a call.
#[must_use]
pub fn is_well_formed(id: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=LONGEST).contains(&id.len()) && id.iter().all(is_plain)
}

/// The client's own id when it is well-formed, else a new UUIDv7.
#[must_use]
pub fn of(headers: &HeaderMap, unix_ms: i64) -> HeaderValue {
    let mut sent = headers.get_all(X_REQUEST_ID).iter();
    if let (Some(id), None) = (sent.next(), sent.next())
        && is_well_formed(id.as_bytes())
    {
        return id.clone();
    }
    let [a, b] = [crate::random::next(), crate::random::next()];
    let mut random = [0; 10];
    random[..8].copy_from_slice(&a.to_le_bytes());
    random[8..].copy_from_slice(&b.to_le_bytes()[..2]);
    let millis = u64::try_from(unix_ms).unwrap_or_default();
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    let mut text = uuid::Uuid::encode_buffer();
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut text)).unwrap_or(HeaderValue::from_static("-"))
}
