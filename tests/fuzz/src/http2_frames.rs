//! What a client may send over HTTP/2: a budget that refuses only what is over it, and lets no more pass, however the
//! bytes are cut.

use std::sync::LazyLock;
use std::time::Duration;

use keyward_config::{Bounds, GatewayConfig, Surroundings};
use keyward_gateway::server::frames::{Flood, FrameBudget, PREFACE};

const RESETS: usize = 2;
const EMPTY: usize = 3;
const CONTINUATIONS: usize = 3;
/// Seconds' worth that may come at once.
const BURST: usize = 5;

const CONFIG: &str = r#"
[bounds]
http2_resets = "2/s"
http2_empty_frames = "3/s"
http2_continuations = 3
[[upstreams]]
name = "api"
endpoints = ["http://127.0.0.1:3000"]
[[routes]]
path = "/"
"#;

/// The first byte says in how long pieces the rest comes, after the preface and all at one moment.
pub fn check(bytes: &[u8]) {
    let [step, rest @ ..] = bytes else { return };
    let stream = [PREFACE.as_slice(), rest].concat();
    let counted = Counted::of(rest);
    let begins_with_settings = matches!(rest, [_, _, _, 4, flags, ..] if flags & 1 == 0);
    for step in [stream.len(), usize::from(*step) + 1, 1] {
        match verdict(&stream, step) {
            Ok(()) => {
                assert!(begins_with_settings || rest.len() < 9);
                counted.is_within(stream.len());
            }
            // A client's first frame is SETTINGS (RFC 9113 §3.4).
            Err(Flood::NoSettings) => assert!(!begins_with_settings),
            Err(Flood::EmptyFrames) => assert!(counted.empty > EMPTY * BURST, "{counted:?}"),
            Err(Flood::Resets) => assert!(counted.resets > RESETS * BURST, "{counted:?}"),
            Err(Flood::Continuations) => assert!(counted.continuations > CONTINUATIONS, "{counted:?}"),
        }
    }
}

fn verdict(stream: &[u8], step: usize) -> Result<(), Flood> {
    static BOUNDS: LazyLock<Bounds> = LazyLock::new(|| {
        let config = GatewayConfig::from_toml(CONFIG, "gateway.toml", &Surroundings::default());
        config
            .map(|config| config.bounds)
            .unwrap_or_else(|error| panic!("{error}"))
    });
    let mut budget = FrameBudget::new(&BOUNDS, Duration::ZERO);
    stream
        .chunks(step.max(1))
        .try_for_each(|piece| budget.came(piece, Duration::ZERO))
}

#[derive(Debug, Default)]
struct Counted {
    empty: usize,
    resets: usize,
    /// Of the head that has the most.
    continuations: usize,
}

impl Counted {
    fn of(mut rest: &[u8]) -> Self {
        let (mut counted, mut run) = (Self::default(), 0);
        while let Some(([a, b, c, kind, flags, ..], after)) = rest.split_first_chunk::<9>() {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            rest = after.get(length..).unwrap_or_default();
            match kind {
                0 => counted.empty += usize::from(length < 8 && flags & 1 == 0),
                1 => run = 0,
                3 => counted.resets += 1,
                9 => {
                    run += 1;
                    counted.continuations = counted.continuations.max(run);
                    counted.empty += usize::from(flags & 4 == 0 && length == 0);
                }
                _ => counted.empty += 1,
            }
        }
        counted
    }

    /// Nothing over the budget has passed.
    fn is_within(&self, bytes: usize) {
        assert!(self.empty <= EMPTY * BURST + bytes / 256 + 1, "{self:?}");
        assert!(self.resets <= RESETS * BURST + bytes / 1_024 + 1, "{self:?}");
        assert!(self.continuations <= CONTINUATIONS, "{self:?}");
    }
}
