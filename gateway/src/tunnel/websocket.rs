//! As much of WebSocket (RFC 6455) as it takes to end one with a word: where frames end, and what a Close is.

use arrayvec::ArrayVec;

/// The longest head of a frame (§5.2).
const LONGEST_HEAD: usize = 14;

/// Where in a stream of frames one direction stands.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    head: ArrayVec<u8, LONGEST_HEAD>,
    /// Of the payload.
    left: u64,
}

impl Frames {
    /// So many bytes go by.
    pub fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= here as u64;
                bytes = bytes.get(here..).unwrap_or_default();
                continue;
            }
            let [next, rest @ ..] = bytes else { return };
            // It never has more than it takes: it is emptied as soon as it is whole.
            let _ = self.head.try_push(*next);
            bytes = rest;
            if let Some(payload) = payload(&self.head) {
                self.left = payload;
                self.head.clear();
            }
        }
    }

    /// Whether the next byte begins a frame.
    #[must_use]
    pub fn is_between(&self) -> bool {
        self.head.is_empty() && self.left == 0
    }
}

/// The length of the payload, once the head is whole.
fn payload(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    if head.len() < 2 + extended + mask {
        return None;
    }
    let number = head.get(2..2 + extended)?;
    Some(match extended {
        0 => u64::from(second & 0x7f),
        _ => number.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    })
}

/// Why a gateway ends one (§7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The key has lost its rights.
    Policy,
    /// The gateway stops.
    GoingAway,
}

impl Close {
    fn code_and_reason(self) -> (u16, &'static str) {
        match self {
            Self::Policy => (1008, "the key is no longer valid"),
            Self::GoingAway => (1001, "the gateway is stopping"),
        }
    }

    /// The frame for the client; with a mask, as a client sends it, for the upstream.
    #[must_use]
    pub fn frame(self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let (code, reason) = self.code_and_reason();
        let payload = [&code.to_be_bytes(), reason.as_bytes()].concat();
        // Both are short: a control frame has 125 bytes at most.
        let mut frame = vec![0x88, payload.len() as u8];
        match mask {
            None => frame.extend(payload),
            Some(mask) => {
                frame[1] |= 0x80;
                frame.extend(mask);
                frame.extend(
                    payload
                        .iter()
                        .zip(mask.iter().cycle())
                        .map(|(byte, mask)| byte ^ mask),
                );
            }
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(length: usize, is_masked: bool) -> Vec<u8> {
        let bit = if is_masked { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match length {
            0..126 => frame.push(length as u8 | bit),
            126..65_536 => {
                frame.push(126 | bit);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(127 | bit);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(vec![0x81; if is_masked { 4 } else { 0 } + length]);
        frame
    }

    proptest! {
        #[test]
        fn it_is_known_where_frames_end_however_they_are_cut(
            lengths in proptest::collection::vec((prop_oneof![0..130usize, 65_530..65_540usize], any::<bool>()), 1..8),
            cuts in proptest::collection::vec(1..4_000usize, 1..40),
        ) {
            let (mut bytes, mut ends) = (Vec::new(), vec![0]);
            for (length, is_masked) in lengths {
                bytes.extend(frame(length, is_masked));
                ends.push(bytes.len());
            }
            let (mut frames, mut at, mut cuts) = (Frames::default(), 0, cuts.iter().cycle());
            while at < bytes.len() {
                let to = bytes.len().min(at + cuts.next().unwrap());
                frames.pass(&bytes[at..to]);
                at = to;
                prop_assert_eq!(frames.is_between(), ends.contains(&at), "at {}", at);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            Frames::default().pass(&bytes);
        }
    }

    #[test]
    fn a_close_is_one_frame_with_code_and_reason() {
        let plain = Close::Policy.frame(None);
        assert_eq!(plain[..4], [0x88, 28, 0x03, 0xf0]);
        assert_eq!(&plain[4..], b"the key is no longer valid");
        let masked = Close::GoingAway.frame(Some([1, 2, 3, 4]));
        assert_eq!((masked[0], masked[1]), (0x88, 0x80 | 25));
        assert_eq!([masked[6] ^ 1, masked[7] ^ 2], 1001u16.to_be_bytes());
        for frame in [plain, masked] {
            let mut frames = Frames::default();
            frames.pass(&frame);
            assert!(frames.is_between());
        }
    }
}
