//! HTTP/2 frame by frame: what is sent, what must come back, and what the upstream may see of it.
//!
//! Each case is sent at once and byte by byte. After it a good call is made, on the same connection where that has to go on, and the
//! upstream must have seen what was expected and nothing else. The rules are those of RFC 9113 (HTTP/2), RFC 7541
//! (HPACK) and RFC 9110.

use std::io::Write;
use std::time::Duration;

use keyward_contract::KeyKind;

use crate::fixture::{Key, Keys, World};
use crate::http2_client::{Frames, PREFACE, fields, frame};
use crate::recorder::{Record, Recorder};

/// What must become of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// Stream 1 is answered so, and the connection goes on.
    Answer(u16),
    /// Stream 1 is reset, or answered 400; a server may also end the connection for it (§5.4.1).
    Refused,
    /// The connection ends.
    End,
    /// Nothing in particular; the connection goes on.
    Nothing,
}
use Expected::{Answer, End, Nothing, Refused};

const NO_ERROR: u32 = 0;

struct Place {
    world: World,
    key: Key,
    recorder: Recorder,
}

fn place() -> Place {
    let mut keys = Keys::new();
    let account = keys.account(|account| {
        account.limits = keyward_contract::Limits {
            rate: 100_000,
            burst: 200_000,
        };
    });
    let key = keys.key(KeyKind::Account, &account, |_| {});
    let recorder = Recorder::start();
    let upstream = recorder.address;
    let config = format!(
        "[[routes]]\npath = \"/\"\nupstream = \"raw\"\nrequire = \"account\"\n\
         [[upstreams]]\nname = \"raw\"\nendpoints = [\"http://{upstream}\"]\n[timeouts]\nrequest_body_idle = \"2s\"\n"
    );
    Place {
        world: World::start(&keys, &config),
        key,
        recorder,
    }
}

/// What came back on one connection.
#[derive(Debug, Default)]
struct Seen {
    answer: Option<u16>,
    reset: bool,
    ended: bool,
    goaway: Option<u32>,
    /// The good call on the same connection was answered.
    next: bool,
    pongs: Vec<Vec<u8>>,
}

/// The stream of the good call.
const NEXT: u32 = 0x101;

impl Place {
    /// Sends, and then a good call on the same connection.
    fn send(&self, bytes: &[u8], is_whole: bool, expected: Expected) -> Seen {
        let mut stream = self.world.connect();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let next = frame(1, 5, NEXT, &self.request("GET", "/next", &[]));
        let all = [bytes, &next].concat();
        let pieces = if is_whole { all.len() } else { 1 };
        for piece in all.chunks(pieces) {
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        let mut frames = Frames(stream);
        let mut seen = Seen::default();
        loop {
            let Some((kind, flags, id, payload)) = frames.next() else {
                seen.ended = true;
                return seen;
            };
            match (kind, id) {
                (1, 1) => seen.answer = Some(status(&payload)),
                (1, NEXT) => seen.next = true,
                (3, 1) => seen.reset |= payload != NO_ERROR.to_be_bytes(),
                (6, 0) if flags & 1 == 1 => seen.pongs.push(payload),
                (7, 0) => {
                    let code = payload.get(4..8).and_then(|code| code.try_into().ok());
                    seen.goaway = code.map(u32::from_be_bytes);
                }
                _ => {}
            }
            let is_decided = seen.answer.is_some() || seen.reset || matches!(expected, Nothing | End);
            if seen.next && is_decided {
                return seen;
            }
        }
    }

    /// The block of a request's head, with the key.
    fn request(&self, method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
        let mut list = vec![
            (":method", method),
            (":scheme", "http"),
            (":path", path),
            (":authority", "api.example"),
            ("x-api-key", self.key.text()),
        ];
        list.extend_from_slice(more);
        fields(&list)
    }

    /// `bytes` follow the preface and a SETTINGS frame.
    #[track_caller]
    fn check(&self, what: &str, bytes: &[u8], expected: Expected) -> Vec<Record> {
        let opening = [PREFACE, &frame(4, 0, 0, &[])].concat();
        self.check_raw(what, &[&opening, bytes].concat(), expected)
    }

    /// Answers what the upstream saw, the good calls aside.
    #[track_caller]
    fn check_raw(&self, what: &str, bytes: &[u8], expected: Expected) -> Vec<Record> {
        let mut upstream = Vec::new();
        for is_whole in [true, false] {
            let seen = self.send(bytes, is_whole, expected);
            let holds = match expected {
                Answer(status) => seen.answer == Some(status) && !seen.ended && seen.next,
                Refused => {
                    (seen.reset || seen.ended || seen.answer == Some(400))
                        && seen.answer.is_none_or(|status| status == 400)
                        && seen.next != seen.ended
                }
                End => seen.ended && !seen.next && seen.goaway != Some(NO_ERROR),
                Nothing => seen.next && !seen.ended,
            };
            assert!(
                holds,
                "{what}: expected {expected:?}, seen {seen:?} (at once: {is_whole})"
            );
            let requests = self.seen();
            let (next, other): (Vec<_>, Vec<_>) = requests
                .into_iter()
                .partition(|request| request.text().starts_with("GET /next "));
            assert_eq!(next.len(), usize::from(seen.next), "{what}");
            for request in next.iter().chain(&other) {
                well_formed(what, &request.text(), &self.key);
            }
            upstream = other;
        }
        upstream
    }

    /// What the upstream has seen since this was asked last.
    #[track_caller]
    fn seen(&self) -> Vec<Record> {
        // None is there when a request hangs at the upstream.
        self.recorder.take().unwrap()
    }

    #[track_caller]
    fn check_all(&self, cases: &[(&str, Vec<u8>, Expected)]) {
        for (what, bytes, expected) in cases {
            let upstream = self.check(what, bytes, *expected);
            let may_pass = matches!(expected, Answer(200));
            // One that was begun before the error came breaks off.
            let whole = upstream.iter().filter(|request| request.is_whole).count();
            assert_eq!(whole > 0, may_pass, "{what}: the upstream saw {upstream:?}");
        }
    }
}

/// The status in a block of an answer's head: the first field, of the static table or literal (RFC 7541 §6).
fn status(block: &[u8]) -> u16 {
    let mut decoder = block.iter().skip_while(|byte| **byte & 0xe0 == 0x20);
    match decoder.next() {
        Some(0x88) => 200,
        Some(0x89) => 204,
        Some(0x8a) => 206,
        Some(0x8b) => 304,
        Some(0x8c) => 400,
        Some(0x8d) => 404,
        Some(0x8e) => 500,
        // A literal whose name is `:status`: length, then three digits, Huffman coded in two bytes or as they are.
        Some(_) => {
            let rest: Vec<u8> = decoder.copied().collect();
            match rest.first() {
                Some(0x03) => String::from_utf8_lossy(&rest[1..4]).parse().unwrap(),
                Some(length) if length & 0x80 != 0 => digits(&rest[1..1 + usize::from(length & 0x7f)]),
                _ => panic!("no status in {block:?}"),
            }
        }
        None => panic!("an empty head"),
    }
}

/// Three digits in the Huffman code of RFC 7541, appendix B.
fn digits(bytes: &[u8]) -> u16 {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut rest, mut number) = (bits.as_str(), 0);
    for _ in 0..3 {
        let (length, digit) = match rest {
            r if r.starts_with("00000") => (5, 0),
            r if r.starts_with("00001") => (5, 1),
            r if r.starts_with("00010") => (5, 2),
            r => (6, u16::from_str_radix(&r[..6], 2).unwrap() - 0b01_1001 + 3),
        };
        number = number * 10 + digit;
        rest = &rest[length..];
    }
    number
}

/// Whatever was sent, what the upstream sees is one request of the gateway's own making.
#[track_caller]
fn well_formed(what: &str, request: &str, key: &Key) {
    let (head, body) = request
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{what}: {request:?}"));
    let mut lines = head.split("\r\n");
    let words: Vec<_> = lines.next().unwrap().split(' ').collect();
    assert_eq!((words.len(), words[2]), (3, "HTTP/1.1"), "{what}: {request:?}");
    let fields: Vec<_> = lines
        .map(|line| line.split_once(": ").unwrap_or((line, "")))
        .collect();
    let all = |name: &str| -> Vec<&str> {
        let of = fields
            .iter()
            .filter(|(known, _)| known.replace(['_', '.'], "-") == name);
        of.map(|(_, value)| *value).collect()
    };
    assert_eq!(all("host").len(), 1, "{what}: {request:?}");
    assert_eq!(
        all("keyward-account"),
        [key.record.account.to_string()],
        "{what}: {request:?}"
    );
    assert_eq!(all("x-forwarded-for"), ["127.0.0.1"], "{what}: {request:?}");
    assert_eq!(all("x-forwarded-proto"), ["http"], "{what}: {request:?}");
    assert!(
        all("via").iter().all(|via| via.ends_with("2.0 keyward")),
        "{what}: {request:?}"
    );
    for absent in [
        "x-api-key",
        "authorization",
        "connection",
        "te",
        "upgrade",
        "keep-alive",
        "proxy-connection",
        "trailer",
        "expect",
        "x-http-method-override",
        "x-original-url",
    ] {
        assert!(all(absent).is_empty(), "{what}: {absent} in {request:?}");
    }
    let framings = all("content-length").len() + all("transfer-encoding").len();
    assert!(framings <= 1, "{what}: {request:?}");
    assert_eq!(
        body.is_empty(),
        framings == 0 || all("content-length") == ["0"],
        "{what}: {request:?}"
    );
    assert!(
        !head.contains('\0') && !head.replace("\r\n", "").contains(['\r', '\n']),
        "{what}: {request:?}"
    );
}

fn setting(number: u16, value: u32) -> Vec<u8> {
    [&number.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// A stream with a head, and what follows.
fn after(first: Vec<u8>, more: &[Vec<u8>]) -> Vec<u8> {
    [first, more.concat()].concat()
}

#[test]
fn how_a_connection_begins() {
    let place = place();
    let settings = frame(4, 0, 0, &[]);
    for (what, bytes) in [
        ("another preface", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec()),
        (
            "a preface of HTTP/3",
            b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n".to_vec(),
        ),
        ("frames without a preface", settings.clone()),
    ] {
        let mut stream = place.world.connect();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        let _reset = std::io::Read::read_to_end(&mut stream, &mut rest);
        let text = String::from_utf8_lossy(&rest);
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 505"),
            "{what}: {text}"
        );
        assert!(place.seen().is_empty(), "{what}");
    }
    // §3.4: the first frame is SETTINGS.
    let ping = [PREFACE, &frame(6, 0, 0, &[0; 8])].concat();
    place.check_raw("PING before SETTINGS", &ping, End);
    let early = [PREFACE, &frame(1, 5, 1, &place.request("GET", "/", &[]))].concat();
    place.check_raw("a call before SETTINGS", &early, End);
    let acknowledged = [PREFACE, &frame(4, 1, 0, &[])].concat();
    place.check_raw("an acknowledgement before SETTINGS", &acknowledged, End);
}

#[test]
fn settings_are_what_they_may_be() {
    let place = place();
    place.check_all(&[
        ("§6.5 on a stream", frame(4, 0, 1, &[]), End),
        ("§6.5 no multiple of six", frame(4, 0, 0, &[0, 4, 0]), End),
        (
            "§6.5 an acknowledgement that says something",
            frame(4, 1, 0, &setting(4, 1)),
            End,
        ),
        ("§6.5.2 ENABLE_PUSH of two", frame(4, 0, 0, &setting(2, 2)), End),
        (
            "§6.5.2 a window that is too large",
            frame(4, 0, 0, &setting(4, 1 << 31)),
            End,
        ),
        (
            "§6.5.2 frames that are too small",
            frame(4, 0, 0, &setting(5, 16_383)),
            End,
        ),
        (
            "§6.5.2 frames that are too large",
            frame(4, 0, 0, &setting(5, 1 << 24)),
            End,
        ),
        (
            "§6.5.2 a setting that nobody knows",
            frame(4, 0, 0, &setting(0xff, 7)),
            Nothing,
        ),
        ("§6.5 flags that nobody knows", frame(4, 0xfe, 0, &[]), Nothing),
        (
            "§6.5.3 several in one, the last counts",
            frame(4, 0, 0, &[setting(4, 1), setting(4, 65_535)].concat()),
            Nothing,
        ),
    ]);
}

#[test]
fn frames_are_where_they_may_be() {
    let place = place();
    let head = || frame(1, 4, 1, &place.request("POST", "/", &[]));
    let large = vec![0; 16_385];
    place.check_all(&[
        ("§4.2 a frame that is too long", frame(0x77, 0, 0, &large), End),
        (
            "§4.2 a body's frame that is too long",
            after(head(), &[frame(0, 0, 1, &large)]),
            End,
        ),
        (
            "§4.2 a head's frame that is too long",
            frame(1, 5, 1, &large),
            End,
        ),
        (
            "§5.5 a frame that nobody knows",
            frame(0x77, 0xff, 1, b"what"),
            Nothing,
        ),
        (
            "§5.5 one within a head",
            after(
                frame(1, 1, 1, &place.request("GET", "/", &[])),
                &[frame(0x77, 0, 1, &[])],
            ),
            End,
        ),
        (
            "§6.10 another stream within a head",
            after(
                frame(1, 1, 1, &place.request("GET", "/", &[])),
                &[frame(9, 4, 3, &[])],
            ),
            End,
        ),
        (
            "§6.10 a PING within a head",
            after(
                frame(1, 1, 1, &place.request("GET", "/", &[])),
                &[frame(6, 0, 0, &[0; 8])],
            ),
            End,
        ),
        ("§5.1 a body of a stream that is idle", frame(0, 0, 1, b"x"), End),
        ("§5.1 RST_STREAM of one", frame(3, 0, 1, &[0; 4]), End),
        ("§5.1 WINDOW_UPDATE of one", frame(8, 0, 1, &[0, 0, 0, 1]), End),
        ("§6.10 CONTINUATION of nothing", frame(9, 4, 1, &[]), End),
        (
            "§5.1.1 a stream with an even number",
            frame(1, 5, 2, &place.request("GET", "/", &[])),
            End,
        ),
        (
            "§6.2 a head on the connection",
            frame(1, 5, 0, &place.request("GET", "/", &[])),
            End,
        ),
        ("§6.1 a body on the connection", frame(0, 0, 0, b"x"), End),
        ("§6.4 RST_STREAM on the connection", frame(3, 0, 0, &[0; 4]), End),
        (
            "§6.4 RST_STREAM of another length",
            after(head(), &[frame(3, 0, 1, &[0; 3])]),
            End,
        ),
        ("§6.7 PING of another length", frame(6, 0, 0, &[0; 7]), End),
        ("§6.7 PING on a stream", frame(6, 0, 1, &[0; 8]), End),
        ("§6.7 an answer to no PING", frame(6, 1, 0, &[9; 8]), Nothing),
        ("§6.8 GOAWAY on a stream", frame(7, 0, 1, &[0; 8]), End),
        (
            "§6.6 PUSH_PROMISE of a client",
            after(head(), &[frame(5, 4, 1, &[0, 0, 0, 2])]),
            End,
        ),
        ("§6.9 an update of nothing", frame(8, 0, 0, &[0; 4]), End),
        ("§6.9 an update of another length", frame(8, 0, 0, &[0; 3]), End),
        (
            "§6.9.1 a window that overflows",
            frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            End,
        ),
        (
            "§6.9 an update of nothing on a stream",
            after(head(), &[frame(8, 0, 1, &[0; 4])]),
            Refused,
        ),
        (
            "§6.9.1 a stream's window that overflows",
            after(head(), &[frame(8, 0, 1, &[0x7f, 0xff, 0xff, 0xff])]),
            Refused,
        ),
        (
            "§6.1 padding that is longer than the frame",
            after(head(), &[frame(0, 8, 1, &[9, b'x'])]),
            End,
        ),
        (
            "§6.2 padding that is longer than the head",
            frame(1, 0xd, 1, &[200, 0x82]),
            End,
        ),
        (
            "§6.3 PRIORITY of another length",
            frame(2, 0, 1, &[0; 4]),
            Refused,
        ),
    ]);
    let pongs = place
        .send(
            &[PREFACE, &frame(4, 0, 0, &[]), &frame(6, 0, 0, b"12345678")].concat(),
            true,
            Nothing,
        )
        .pongs;
    assert_eq!(pongs, [b"12345678".to_vec()]);
    place.seen();
}

#[test]
fn streams_come_in_their_order() {
    let place = place();
    let head = |stream, flags| frame(1, flags, stream, &place.request("POST", "/", &[]));
    place.check_all(&[
        (
            "§5.1.1 a smaller number after a larger one",
            after(head(5, 4), &[head(3, 4)]),
            End,
        ),
        (
            "§8.1 a second head that is not the end",
            after(head(1, 4), &[head(1, 4)]),
            Refused,
        ),
    ]);
    // What comes after the end of a request (§5.1), or stands in its trailers (§8.1, which the library passes over), may end the
    // stream or the connection. It never is a part of a request.
    let evil = place.request("GET", "/evil", &[]);
    for (what, late) in [
        (
            "a head after the end",
            after(head(1, 5), &[frame(1, 5, 1, &evil)]),
        ),
        (
            "a body after the end",
            after(head(1, 5), &[frame(0, 1, 1, b"/evil")]),
        ),
        (
            "a path in the trailers",
            after(head(1, 4), &[frame(1, 5, 1, &fields(&[(":path", "/evil")]))]),
        ),
    ] {
        for is_whole in [true, false] {
            place.send(
                &[PREFACE, &frame(4, 0, 0, &[]), &late].concat(),
                is_whole,
                Nothing,
            );
            let seen = place.seen();
            assert!(
                seen.iter().all(|request| !request.text().contains("/evil")),
                "{what}: {seen:?}"
            );
        }
    }
}

#[test]
fn compression_is_what_it_may_be() {
    let place = place();
    place.check_all(&[
        (
            "RFC 7541 §2.3.3 an index that is none",
            frame(1, 5, 1, &[0xff, 0x7f]),
            End,
        ),
        ("RFC 7541 §6.1 index zero", frame(1, 5, 1, &[0x80]), End),
        (
            "RFC 7541 §6.3 a table larger than allowed",
            frame(1, 5, 1, &[0x3f, 0xff, 0xff, 0x7f]),
            End,
        ),
        (
            "RFC 7541 §5.2 a text that is cut off",
            frame(1, 5, 1, &[0x10, 0x05, b'a']),
            End,
        ),
        (
            "RFC 7541 §5.2 padding of the Huffman code",
            frame(1, 5, 1, &[0x10, 0x81, 0x00, 0x00]),
            End,
        ),
        (
            "RFC 7541 §5.1 a number without end",
            frame(1, 5, 1, &[&[0xff; 12][..], &[1]].concat()),
            End,
        ),
    ]);
}

#[test]
fn a_head_is_a_request() {
    let place = place();
    let key = place.key.text();
    let of = |list: &[(&str, &str)]| {
        let mut all = list.to_vec();
        all.push(("x-api-key", key));
        frame(1, 5, 1, &fields(&all))
    };
    let (method, scheme, path, authority) = (
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "api.example"),
    );
    let with = |more: (&str, &str)| of(&[method, scheme, path, authority, more]);
    place.check_all(&[
        ("a whole one", of(&[method, scheme, path, authority]), Answer(200)),
        (
            "§8.3 a pseudo-header after a field",
            of(&[method, scheme, path, ("x-a", "b"), authority]),
            Refused,
        ),
        ("§8.3 one that nobody knows", with((":what", "x")), Refused),
        ("§8.3 one of answers", with((":status", "200")), Refused),
        (
            "§8.3.1 two methods",
            of(&[method, method, scheme, path, authority]),
            Refused,
        ),
        (
            "§8.3.1 two paths",
            of(&[method, scheme, path, (":path", "/evil"), authority]),
            Refused,
        ),
        (
            "§8.3.1 two schemes",
            of(&[method, scheme, scheme, path, authority]),
            Refused,
        ),
        (
            "§8.3.1 two authorities",
            of(&[method, scheme, path, authority, (":authority", "evil.example")]),
            Refused,
        ),
        ("§8.3.1 no method", of(&[scheme, path, authority]), Refused),
        ("§8.3.1 no scheme", of(&[method, path, authority]), Refused),
        ("§8.3.1 no path", of(&[method, scheme, authority]), Refused),
        (
            "§8.3.1 an empty path",
            of(&[method, scheme, (":path", ""), authority]),
            Refused,
        ),
        ("§8.2.1 a name in capitals", with(("X-A", "b")), Refused),
        ("§8.2.1 a name with a space", with(("x a", "b")), Refused),
        ("§8.2.1 an empty name", with(("", "b")), Refused),
        (
            "§8.2.1 a value with a line end",
            with(("x-a", "b\r\nx-evil: 1")),
            Refused,
        ),
        (
            "§8.2.1 a value with a bare LF",
            with(("x-a", "b\nx-evil: 1")),
            Refused,
        ),
        ("§8.2.1 a value with NUL", with(("x-a", "b\0c")), Refused),
        ("§8.2.2 Connection", with(("connection", "x-api-key")), Refused),
        ("§8.2.2 Keep-Alive", with(("keep-alive", "1")), Refused),
        (
            "§8.2.2 Proxy-Connection",
            with(("proxy-connection", "close")),
            Refused,
        ),
        (
            "§8.2.2 Transfer-Encoding",
            with(("transfer-encoding", "chunked")),
            Refused,
        ),
        ("§8.2.2 Upgrade", with(("upgrade", "websocket")), Refused),
        (
            "§8.2.2 TE with anything but trailers",
            with(("te", "gzip")),
            Refused,
        ),
        ("§8.2.2 TE: trailers", with(("te", "trailers")), Answer(200)),
        (
            "§8.1.1 a length and no body",
            with(("content-length", "5")),
            Refused,
        ),
        (
            "§8.3.1 a path that is no path",
            of(&[method, scheme, (":path", "evil"), authority]),
            Refused,
        ),
        (
            "§8.3.1 a path with a space",
            of(&[method, scheme, (":path", "/a HTTP/1.1"), authority]),
            Refused,
        ),
        (
            "§8.3.1 a path with a line end",
            of(&[method, scheme, (":path", "/\r\nx-evil: 1"), authority]),
            Refused,
        ),
        (
            "§8.3.1 an authority with a line end",
            of(&[method, scheme, path, (":authority", "a\r\nx-evil: 1")]),
            Refused,
        ),
        (
            "§8.3.1 a method that is no token",
            of(&[(":method", "GET /evil"), scheme, path, authority]),
            Refused,
        ),
    ]);
}

#[test]
fn a_request_is_judged_as_over_http_1() {
    let place = place();
    let of = |method: &str, path: &str, authority: &str, more: &[(&str, &str)]| {
        let mut list = vec![(":method", method), (":scheme", "http"), (":path", path)];
        if !authority.is_empty() {
            list.push((":authority", authority));
        }
        list.push(("x-api-key", place.key.text()));
        list.extend_from_slice(more);
        frame(1, 5, 1, &fields(&list))
    };
    let here = "api.example";
    place.check_all(&[
        ("userinfo", of("GET", "/", "user@api.example", &[]), Answer(400)),
        (
            "a path in the authority",
            of("GET", "/", "api.example/x", &[]),
            Refused,
        ),
        (
            "another Host",
            of("GET", "/", here, &[("host", "evil.example")]),
            Answer(400),
        ),
        (
            "two Hosts",
            of("GET", "/", here, &[("host", here), ("host", here)]),
            Answer(400),
        ),
        ("neither authority nor Host", of("GET", "/", "", &[]), Answer(400)),
        ("Host alone", of("GET", "/", "", &[("host", here)]), Answer(200)),
        (
            "the same Host",
            of("GET", "/", here, &[("host", here)]),
            Answer(200),
        ),
        ("an asterisk", of("GET", "*", here, &[]), Answer(400)),
        (
            "OPTIONS of the server",
            of("OPTIONS", "*", here, &[]),
            Answer(204),
        ),
        (
            "an absolute path",
            of("GET", "http://evil.example/", here, &[]),
            Refused,
        ),
        ("TRACE", of("TRACE", "/", here, &[]), Answer(405)),
        (
            "a path above the root",
            of("GET", "/a/../../b", here, &[]),
            Answer(400),
        ),
        ("an encoded slash", of("GET", "/a%2fb", here, &[]), Answer(400)),
        ("encoded NUL", of("GET", "/a%00", here, &[]), Answer(400)),
        ("a backslash", of("GET", "/a\\b", here, &[]), Answer(400)),
        (
            "overlong UTF-8",
            of("GET", "/%c0%ae%c0%ae/", here, &[]),
            Answer(400),
        ),
        ("half an escape", of("GET", "/%2", here, &[]), Answer(400)),
        (
            "two keys",
            of("GET", "/", here, &[("authorization", "Bearer another")]),
            Answer(400),
        ),
        (
            "the key twice",
            of("GET", "/", here, &[("x-api-key", "another")]),
            Answer(400),
        ),
        (
            "two lengths",
            of(
                "GET",
                "/",
                here,
                &[("content-length", "0"), ("content-length", "0")],
            ),
            Answer(400),
        ),
        (
            "a length with a sign",
            of("GET", "/", here, &[("content-length", "+0")]),
            Refused,
        ),
    ]);
}

#[test]
fn a_body_is_one_requests_alone() {
    let place = place();
    let post = |more: &[(&str, &str)]| frame(1, 4, 1, &place.request("POST", "/", more));
    let evil = b"0\r\n\r\nGET /evil HTTP/1.1\r\nhost: a\r\nx-api-key: b\r\n\r\n";
    let seen = place.check(
        "a body without a length",
        &after(post(&[]), &[frame(0, 1, 1, evil)]),
        Answer(200),
    );
    let body = format!(
        "{:x}\r\n{}\r\n0\r\n\r\n",
        evil.len(),
        String::from_utf8_lossy(evil)
    );
    assert!(
        seen.len() == 1 && seen[0].text().ends_with(&format!("\r\n\r\n{body}")),
        "{seen:?}"
    );
    let length = evil.len().to_string();
    let sized = post(&[("content-length", &length)]);
    let seen = place.check(
        "a body of its length",
        &after(sized.clone(), &[frame(0, 1, 1, evil)]),
        Answer(200),
    );
    assert!(
        seen.len() == 1
            && seen[0]
                .text()
                .contains(&format!("\r\ncontent-length: {length}\r\n")),
        "{seen:?}"
    );
    // §8.1.1: what is longer or shorter than it says never becomes a whole request.
    for (what, body) in [("a longer body", &b"xxxxxx"[..]), ("a shorter body", b"xxxx")] {
        let bytes = after(post(&[("content-length", "5")]), &[frame(0, 1, 1, body)]);
        let seen = place.check(what, &bytes, Refused);
        assert!(seen.iter().all(|request| !request.is_whole), "{what}: {seen:?}");
    }
    // Trailers are dropped, whatever they are.
    for trailer in [
        "keyward-account",
        "x-api-key",
        "content-length",
        "host",
        "x-forwarded-for",
        "grpc-status",
    ] {
        let end = frame(1, 5, 1, &fields(&[(trailer, "7")]));
        let bytes = after(post(&[]), &[frame(0, 0, 1, b"body"), end]);
        let seen = place.check(trailer, &bytes, Answer(200));
        assert!(
            seen.len() == 1 && seen[0].text().ends_with("4\r\nbody\r\n0\r\n\r\n"),
            "{seen:?}"
        );
    }
    // Of gRPC's those that it defines go on.
    let late = fields(&[("keyward-account", "7"), ("grpc-status", "0"), ("x-a", "b")]);
    let grpc = post(&[("content-type", "application/grpc")]);
    let bytes = after(grpc, &[frame(0, 0, 1, b"body"), frame(1, 5, 1, &late)]);
    let seen = place.check("trailers of gRPC", &bytes, Answer(200));
    assert!(
        seen.len() == 1
            && seen[0]
                .text()
                .ends_with("4\r\nbody\r\n0\r\ngrpc-status: 0\r\n\r\n"),
        "{seen:?}"
    );
    // Padding is no body (§6.1), nor is an empty frame.
    let padded = frame(0, 8, 1, b"\x03bodyxxx");
    let bytes = after(post(&[]), &[padded, frame(0, 0, 1, &[]), frame(0, 1, 1, &[])]);
    let seen = place.check("padding", &bytes, Answer(200));
    assert!(
        seen[0].text().ends_with("\r\n\r\n4\r\nbody\r\n0\r\n\r\n"),
        "{seen:?}"
    );
}

#[test]
fn nothing_is_forged_and_nothing_of_ours_is_taken_away() {
    let place = place();
    for (name, value) in [
        ("keyward-account", "forged"),
        ("keyward_account", "forged"),
        ("keyward.account", "forged"),
        ("keyward-key-id", "forged"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("x_forwarded_for", "192.0.2.1"),
        ("forwarded", "for=192.0.2.1"),
        ("x-real-ip", "192.0.2.1"),
        ("transfer_encoding", "chunked"),
        ("content_length", "5"),
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/evil"),
        ("x_api_key", "forged"),
        ("expect", "100-continue"),
        ("trailer", "x-api-key"),
        ("http2-settings", "x"),
    ] {
        let bytes = frame(1, 5, 1, &place.request("GET", "/", &[(name, value)]));
        let seen = place.check(name, &bytes, Answer(200));
        assert_eq!(seen.len(), 1, "{name}");
        let head = seen[0].text().to_ascii_lowercase();
        assert!(
            !head.contains("forged") && !head.contains("192.0.2.1") && !head.contains("/evil"),
            "{name}: {head}"
        );
        let folded = name.replace(['_', '.'], "-");
        let is_ours = [
            "keyward-account",
            "keyward-key-id",
            "x-forwarded-for",
            "x-forwarded-proto",
            "forwarded",
        ]
        .contains(&folded.as_str());
        assert_eq!(
            head.contains(&format!("\r\n{name}:")),
            is_ours && folded == name,
            "{name}: {head}"
        );
    }
    let seen = place.check(
        "Via goes on",
        &frame(1, 5, 1, &place.request("GET", "/", &[("via", "1.1 other")])),
        Answer(200),
    );
    assert!(
        seen[0].text().contains("\r\nvia: 1.1 other, 2.0 keyward\r\n"),
        "{seen:?}"
    );
    let seen = place.check(
        "HEAD",
        &frame(1, 5, 1, &place.request("HEAD", "/", &[])),
        Answer(200),
    );
    assert!(seen[0].text().starts_with("HEAD / HTTP/1.1\r\n"), "{seen:?}");
}
