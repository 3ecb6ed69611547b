//! What a client may send over HTTP/2 beyond what it asks: a budget of frames for each connection.
//!
//! The library answers every SETTINGS and PING, takes DATA frames of one byte and heads in any number of pieces. Here
//! the headers of frames (RFC 9113 §4.1) are read as they go by, and counted: frames that carry next to nothing, calls that
//! are taken back, and the pieces of a head. A client that carries much may send more of the first two. Costs a few
//! instructions a frame; holds a few words a connection.

use std::time::Duration;

use keyward_config::Bounds;

/// The connection preface (RFC 9113 §3.4).
pub const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADER_LENGTH: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A DATA frame of fewer bytes carries next to nothing.
const LITTLE: u32 = 8;
/// Seconds' worth that may come at once.
const BURST_SECONDS: u64 = 5;
/// Bytes, either way, that allow one more frame.
const BYTES_PER_FRAME: u64 = 256;
/// A frame, in the unit of the buckets.
const FRAME: u64 = 1_000;

/// Too much of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// Frames that carry next to nothing.
    EmptyFrames,
    /// Calls that were taken back.
    Resets,
    /// Pieces of one head.
    Continuations,
    /// Of nothing, but it does not begin as it must (RFC 9113 §3.4).
    NoSettings,
}

/// The frames that a client has sent, as far as they are bounded.
#[derive(Debug)]
pub struct FrameBudget {
    preface_left: usize,
    has_settings: bool,
    header: [u8; HEADER_LENGTH],
    header_length: usize,
    payload_left: u32,
    continuations: u32,
    most_continuations: u32,
    empty: Bucket,
    resets: Bucket,
}

/// Thousandths of a frame that may still come, and when that was true.
#[derive(Debug)]
struct Bucket {
    rate: u64,
    level: u64,
    filled: Duration,
}

impl Bucket {
    fn new(rate: u32, now: Duration) -> Self {
        let rate = u64::from(rate);
        Self {
            rate,
            level: rate * BURST_SECONDS * FRAME,
            filled: now,
        }
    }

    fn add(&mut self, more: u64) {
        let most = self.rate * BURST_SECONDS * FRAME;
        self.level = self.level.saturating_add(more).min(most);
    }

    fn fill(&mut self, now: Duration) {
        let since = now.saturating_sub(self.filled);
        self.filled = self.filled.max(now);
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.add(millis.saturating_mul(self.rate));
    }

    fn take(&mut self) -> bool {
        match self.level.checked_sub(FRAME) {
            Some(left) => {
                self.level = left;
                true
            }
            None => false,
        }
    }
}

impl FrameBudget {
    /// Of a connection whose preface is still to come; `now` is monotonic.
    #[must_use]
    pub fn new(bounds: &Bounds, now: Duration) -> Self {
        Self {
            preface_left: PREFACE.len(),
            has_settings: false,
            header: [0; HEADER_LENGTH],
            header_length: 0,
            payload_left: 0,
            continuations: 0,
            most_continuations: bounds.http2_continuations,
            empty: Bucket::new(bounds.http2_empty_frames, now),
            resets: Bucket::new(bounds.http2_resets, now),
        }
    }

    /// These bytes came.
    ///
    /// # Errors
    /// When they are too much of something: the connection is to end.
    pub fn came(&mut self, bytes: &[u8], now: Duration) -> Result<(), Flood> {
        self.empty.fill(now);
        self.resets.fill(now);
        self.carried(bytes.len());
        let mut rest = bytes
            .get(self.preface_left.min(bytes.len())..)
            .unwrap_or_default();
        self.preface_left -= bytes.len() - rest.len();
        while !rest.is_empty() {
            let payload = usize::try_from(self.payload_left).unwrap_or(usize::MAX);
            if payload > 0 {
                let (passed, after) = rest.split_at(payload.min(rest.len()));
                self.payload_left -= u32::try_from(passed.len()).unwrap_or(u32::MAX);
                rest = after;
                continue;
            }
            let wanted = HEADER_LENGTH - self.header_length;
            let (piece, after) = rest.split_at(wanted.min(rest.len()));
            if let Some(place) = self
                .header
                .get_mut(self.header_length..self.header_length + piece.len())
            {
                place.copy_from_slice(piece);
            }
            self.header_length += piece.len();
            rest = after;
            if self.header_length == HEADER_LENGTH {
                self.header_length = 0;
                self.frame()?;
            }
        }
        Ok(())
    }

    /// These bytes went out: who takes much may say much about it (WINDOW_UPDATE).
    pub fn carried(&mut self, bytes: usize) {
        let frames = (bytes as u64).saturating_mul(FRAME) / BYTES_PER_FRAME;
        self.empty.add(frames);
        self.resets.add(frames / 4);
    }

    /// A frame's header is whole.
    fn frame(&mut self) -> Result<(), Flood> {
        let [a, b, c, kind, flags, ..] = self.header;
        self.payload_left = u32::from_be_bytes([0, a, b, c]);
        if !self.has_settings && (kind != SETTINGS || flags & ACK != 0) {
            return Err(Flood::NoSettings);
        }
        self.has_settings = true;
        let is_in_budget = match kind {
            DATA => self.payload_left >= LITTLE || flags & END_STREAM != 0 || self.empty.take(),
            HEADERS => {
                self.continuations = 0;
                true
            }
            CONTINUATION => {
                self.continuations = self.continuations.saturating_add(1);
                if self.continuations > self.most_continuations {
                    return Err(Flood::Continuations);
                }
                flags & END_HEADERS != 0 || self.payload_left > 0 || self.empty.take()
            }
            RST_STREAM => {
                if !self.resets.take() {
                    return Err(Flood::Resets);
                }
                true
            }
            // SETTINGS, PING, WINDOW_UPDATE, PRIORITY, GOAWAY, and kinds that nobody knows.
            _ => self.empty.take(),
        };
        if is_in_budget {
            Ok(())
        } else {
            Err(Flood::EmptyFrames)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ZERO: Duration = Duration::ZERO;

    fn budget() -> FrameBudget {
        let least = "[bounds]\nhttp2_resets = 10\nhttp2_empty_frames = 20\nhttp2_continuations = 3\n\
             [[upstreams]]\nname = \"a\"\nendpoints = [\"http://127.0.0.1:1\"]\n[[routes]]\npath = \"/\"\n";
        let surroundings = keyward_config::Surroundings::default();
        let config = keyward_config::GatewayConfig::from_toml(least, "test", &surroundings).unwrap();
        let mut budget = FrameBudget::new(&config.bounds, ZERO);
        budget.came(&PREFACE, ZERO).unwrap();
        budget.came(&frame(SETTINGS, 0, 0), ZERO).unwrap();
        budget
    }

    fn frame(kind: u8, flags: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.resize(HEADER_LENGTH + usize::from(length), 0xff);
        frame
    }

    /// How many of these pass before it is too much.
    fn passed(budget: &mut FrameBudget, frame: &[u8], now: Duration) -> (usize, Option<Flood>) {
        for count in 0..10_000 {
            if let Err(flood) = budget.came(frame, now) {
                // What it did not look at any more: the rest of the frame.
                budget.payload_left = 0;
                return (count, Some(flood));
            }
        }
        (10_000, None)
    }

    #[test]
    fn frames_that_carry_nothing_are_bounded_and_come_back_with_time() {
        for (kind, length) in [(4, 0), (6, 8), (8, 4), (2, 5), (DATA, 1), (DATA, 0), (0x77, 0)] {
            let mut budget = budget();
            let (count, flood) = passed(&mut budget, &frame(kind, 0, length), ZERO);
            assert!((100..110).contains(&count), "{kind}: {count}");
            assert_eq!(flood, Some(Flood::EmptyFrames), "{kind}");
            let (count, _) = passed(&mut budget, &frame(kind, 0, length), Duration::from_secs(1));
            assert!((20..24).contains(&count), "{kind}: {count}");
        }
    }

    #[test]
    fn frames_that_carry_something_are_not() {
        for frame in [
            frame(DATA, 0, 200),
            frame(DATA, END_STREAM, 0),
            frame(HEADERS, 5, 30),
        ] {
            assert_eq!(passed(&mut budget(), &frame, ZERO).1, None);
        }
    }

    #[test]
    fn calls_taken_back_are_bounded() {
        let (count, flood) = passed(&mut budget(), &frame(RST_STREAM, 0, 4), ZERO);
        assert!((50..55).contains(&count), "{count}");
        assert_eq!(flood, Some(Flood::Resets));
    }

    #[test]
    fn a_head_in_too_many_pieces_is_too_much() {
        let mut budget = budget();
        for _ in 0..5 {
            budget.came(&frame(HEADERS, 0, 10), ZERO).unwrap();
            for _ in 0..3 {
                budget.came(&frame(CONTINUATION, 0, 10), ZERO).unwrap();
            }
        }
        assert_eq!(
            budget.came(&frame(CONTINUATION, 0, 10), ZERO),
            Err(Flood::Continuations)
        );
    }

    #[test]
    fn who_takes_much_may_say_much() {
        let mut budget = budget();
        for _ in 0..10_000 {
            budget.carried(32 * 1024);
            budget.came(&frame(8, 0, 4), ZERO).unwrap();
        }
    }

    proptest! {
        /// It makes no difference how the bytes are cut.
        #[test]
        fn pieces_count_as_the_whole(
            frames in prop::collection::vec((0..12u8, 0..6u8, 0..40u8), 0..200),
            cuts in prop::collection::vec(1..50usize, 1..40),
        ) {
            let whole: Vec<u8> = frames.iter().flat_map(|(kind, flags, length)| frame(*kind, *flags, *length)).collect();
            let at_once = budget().came(&whole, ZERO);
            let mut piecewise = budget();
            let (mut rest, mut outcome) = (whole.as_slice(), Ok(()));
            for cut in cuts.iter().cycle() {
                if rest.is_empty() || outcome.is_err() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                outcome = piecewise.came(piece, ZERO);
                rest = after;
            }
            // What the bytes themselves allow comes piece by piece: a cut stream has a little less at first.
            prop_assert!(outcome.is_ok() || at_once.is_err() || whole.len() as u64 >= BYTES_PER_FRAME);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..4_000)) {
            let _ = budget().came(&bytes, Duration::from_secs(1));
        }
    }
}
