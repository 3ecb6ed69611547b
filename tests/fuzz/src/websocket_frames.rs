//! Where frames of WebSocket end: however they are cut, where an own walk over them says.

use keyward_gateway::tunnel::websocket::Frames;

/// The first byte says in how long pieces the rest comes.
pub fn check(bytes: &[u8]) {
    let [step, stream @ ..] = bytes else { return };
    let mut whole = Frames::default();
    whole.pass(stream);
    assert_eq!(whole.is_between(), is_between(stream));
    let (mut cut, mut seen) = (Frames::default(), 0);
    for piece in stream.chunks(usize::from(*step) + 1) {
        cut.pass(piece);
        seen += piece.len();
        assert_eq!(cut.is_between(), is_between(&stream[..seen]), "after {seen}");
    }
}

/// RFC 6455 §5.2.
fn is_between(mut rest: &[u8]) -> bool {
    while let [_, second, after @ ..] = rest {
        let (length, after) = match second & 0x7f {
            126 => match after {
                [a, b, after @ ..] => (u64::from(u16::from_be_bytes([*a, *b])), after),
                _ => return false,
            },
            127 => match after.split_first_chunk::<8>() {
                Some((length, after)) => (u64::from_be_bytes(*length), after),
                None => return false,
            },
            length => (u64::from(length), after),
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let taken = usize::try_from(length.saturating_add(mask)).unwrap_or(usize::MAX);
        match after.get(taken..) {
            Some(next) => rest = next,
            None => return false,
        }
    }
    rest.is_empty()
}
