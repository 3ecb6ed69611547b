//! The trace that a call belongs to: the client's own where it is valid, else a new one (W3C Trace Context).

use http::HeaderValue;

use crate::upstream::request::HeadSink;

/// W3C Trace Context §3.2: version 00, or a later one that begins the same way.
pub(super) fn is_traceparent(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    let is_lower_hex = |range: std::ops::Range<usize>| {
        bytes
            .get(range)
            .is_some_and(|part| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    };
    let is_zero = |range: std::ops::Range<usize>| bytes[range].iter().all(|byte| *byte == b'0');
    let dashes = bytes.len() >= 55 && bytes[2] == b'-' && bytes[35] == b'-' && bytes[52] == b'-';
    dashes
        && is_lower_hex(0..2)
        && is_lower_hex(3..35)
        && is_lower_hex(36..52)
        && is_lower_hex(53..55)
        && !is_zero(3..35)
        && !is_zero(36..52)
        && !bytes.starts_with(b"ff")
        && (bytes.len() == 55 || (!bytes.starts_with(b"00") && bytes[55] == b'-'))
}

/// A new trace, not sampled: the gateway records no spans, the upstream may.
pub(super) fn write_traceparent(out: &mut impl HeadSink) {
    use crate::random::next;

    // Or-ing one bit keeps both ids from being all zero, which would be invalid.
    let [first, second, span] = [next(), next() | 1, next() | 1].map(hex);
    out.pieces(b"traceparent", &[b"00-", &first, &second, b"-", &span, b"-00"]);
}

fn hex(word: u64) -> [u8; 16] {
    let digit = |at: usize| (word >> (60 - 4 * at)) & 15;
    std::array::from_fn(|at| match digit(at) as u8 {
        digit @ 0..10 => b'0' + digit,
        digit => b'a' + digit - 10,
    })
}
