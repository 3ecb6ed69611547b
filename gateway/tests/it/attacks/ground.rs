//! Where the cases are played: one gateway in front of the recorder, and who may call.

use keyward_contract::{KeyKind, Limits};

use super::case::{self, Case, End};
use super::client::{Answer, Client, Delivery, Fault};
use crate::fixture::{Key, Keys, World};
use crate::recorder::{Record, Recorder};

const ROUTES: &str = r#"
[[upstreams]]
name = "raw"
endpoints = ["http://{recorder}"]
[[routes]]
path = "/"
upstream = "raw"
require = "account"
[[routes]]
path = "/open"
upstream = "raw"
require = "none"
[[routes]]
path = "/both"
upstream = "raw"
[[routes]]
path = "/keep"
upstream = "raw"
require = "account"
encoded_slashes = "keep"
[[routes]]
path = "/small"
upstream = "raw"
require = "account"
max_body = 16
[[routes]]
path = "/pass"
upstream = "raw"
require = "account"
forward_credentials = true
"#;

/// What the gateway adds of itself, for a host.
const ORIGIN: &str = "x-forwarded-for: 127.0.0.1\\r\\nx-forwarded-proto: http\\r\\nx-forwarded-host: {host}\\r\\n\
                      forwarded: for=127.0.0.1;proto=http;host=\"{host}\"\\r\\n";
const GOOD: &str = "GET /good HTTP/1.1\r\nhost: api.example\r\nx-api-key: {key}\r\n\r\n";

pub(super) struct Ground {
    pub(super) world: World,
    pub(super) recorder: Recorder,
    key: Key,
    other: Key,
    customer: Key,
    /// What the upstream is told of the caller.
    identity: String,
}

impl Ground {
    pub(super) fn start() -> Self {
        Self::with("")
    }

    /// With more of a configuration.
    pub(super) fn with(more: &str) -> Self {
        let mut keys = Keys::new();
        let account = keys.account(|account| {
            account.limits = Limits {
                rate: 1_000_000,
                burst: 1_000_000,
            };
        });
        let key = keys.key(KeyKind::Account, &account, |_| {});
        let other = keys.key(KeyKind::Account, &account, |_| {});
        let customer = keys.key(KeyKind::Customer, &account, |_| {});
        let recorder = Recorder::start();
        let routes = ROUTES.replace("{recorder}", &recorder.address.to_string());
        let world = World::start(&keys, &format!("{more}\n{routes}"));
        let mut ground = Self {
            world,
            recorder,
            key,
            other,
            customer,
            identity: String::new(),
        };
        ground.good().unwrap();
        let seen = ground.recorder.take().unwrap().remove(0);
        let seen = String::from_utf8(seen.bytes).unwrap();
        let lines = seen
            .split_inclusive("\r\n")
            .filter(|line| line.starts_with("keyward-"));
        ground.identity = lines.collect();
        for told in [
            format!("keyward-account: {}\r\n", account.id),
            format!("keyward-key-id: {}\r\n", ground.key.record.id),
        ] {
            assert!(ground.identity.contains(&told), "{told} in {}", ground.identity);
        }
        ground
    }

    /// A call on a connection of its own, as a decent client makes it.
    pub(super) fn good(&self) -> Result<(), Fault> {
        let mut client = self.connect();
        client.send(&self.bytes(GOOD), Delivery::Whole);
        served(&client.answer(false)?)
    }

    /// A good call, or `None` when there is no place for it.
    pub(super) fn good_or_closed(&self) -> Option<()> {
        let mut client = self.connect();
        client.send(&self.bytes(GOOD), Delivery::Whole);
        served(&client.answer(false).ok()?).ok()
    }

    pub(super) fn connect(&self) -> Client {
        Client::connect(self.world.proxy)
    }

    /// The bytes that a text of a case stands for.
    pub(super) fn bytes(&self, text: &str) -> Vec<u8> {
        case::bytes(text, |name| self.fill(name))
    }

    fn fill(&self, name: &str) -> String {
        let (name, host) = name.split_once(':').unwrap_or((name, "api.example"));
        let expand = |text: &str| text.replace("{host}", host).replace("\\r\\n", "\r\n");
        match name {
            "key" => self.key.text().to_owned(),
            "other" => self.other.text().to_owned(),
            "customer" => self.customer.text().to_owned(),
            "customer-id" => self.customer.record.customer.unwrap().to_string(),
            "origin" => expand(ORIGIN),
            "upstream" => self.recorder.address.to_string(),
            "identity" => self.identity.clone(),
            "id" => "x-request-id: ?\r\n".into(),
            "trace" => "traceparent: ?\r\n".into(),
            "public" => format!(
                "{}via: 1.1 keyward\r\nx-request-id: ?\r\ntraceparent: ?\r\n",
                expand(ORIGIN)
            ),
            "ours" => format!("{}{}", self.fill(&format!("public:{host}")), self.identity),
            other => panic!("nothing is called {other}"),
        }
    }

    pub(super) fn run(&self, case: &Case, delivery: Delivery) -> Result<(), Fault> {
        let mut client = self.connect();
        let mut goods = 0;
        let mut bytes = self.bytes(&case.bytes);
        match delivery {
            Delivery::Whole | Delivery::Lines | Delivery::Bytes => {}
            Delivery::Kept => {
                client.send(&self.bytes(GOOD), Delivery::Whole);
                served(&client.answer(false)?)?;
                goods += 1;
            }
            Delivery::Pipelined => {
                bytes = [self.bytes(GOOD), bytes].concat();
                goods += 1;
            }
        }
        client.send(&bytes, delivery);
        if case.has("half-close") {
            client.half_close();
        }
        if delivery == Delivery::Pipelined {
            served(&client.answer(false)?)?;
        }
        self.answers(case, &mut client)?;
        match case.end {
            End::Closes => client.ends()?,
            End::Stays => {
                client.send(&self.bytes(GOOD), Delivery::Whole);
                served(&client.answer(false)?)?;
                goods += 1;
            }
            End::Either => {
                client.half_close();
                client.ends()?;
            }
        }
        drop(client);
        self.good()?;
        let seen = self
            .recorder
            .take()
            .ok_or_else(|| Fault("a request hangs at the upstream".into()))?;
        self.compare(case, seen, goods + 1)
    }

    /// Forgets what a case that failed has left.
    pub(super) fn clean(&self) {
        let _ = self.good();
        let _ = self.recorder.take();
    }

    fn answers(&self, case: &Case, client: &mut Client) -> Result<(), Fault> {
        for (index, expected) in case.answers.iter().enumerate() {
            let mut answer = client.answer(case.has("head"))?;
            if answer.status == 100 && case.has("maybe-interim") {
                answer = client.answer(false)?;
            }
            let is_last = index + 1 == case.answers.len();
            let said = (answer.status, answer.code().filter(|_| answer.status >= 400));
            if said.0 != expected.status || said.1 != expected.code {
                return Err(Fault(format!(
                    "answered {said:?}, expected {expected:?}: {:?}",
                    answer.head
                )));
            }
            if answer.status < 200 {
                continue;
            }
            if answer.all("x-request-id").count() != 1 || answer.all("via").count() != 1 {
                return Err(Fault(format!("no id or no Via: {:?}", answer.head)));
            }
            let says_close = answer.all("connection").any(|value| value == "close");
            let must_say = case.end == End::Closes && is_last;
            if must_say != says_close && !case.has("silent") && case.end != End::Either {
                return Err(Fault(format!(
                    "closing: {must_say}, said {says_close}: {:?}",
                    answer.head
                )));
            }
        }
        Ok(())
    }

    fn compare(&self, case: &Case, seen: Vec<Record>, goods: usize) -> Result<(), Fault> {
        let good = self.bytes("GET /good HTTP/1.1\\r\\nhost: api.example\\r\\n{ours}\\r\\n");
        let mut expected: Vec<Vec<u8>> = case.upstream.iter().map(|text| self.bytes(text)).collect();
        let mut whole: Vec<Vec<u8>> = Vec::new();
        let mut broken: Vec<Vec<u8>> = Vec::new();
        for record in seen {
            let bytes = normal(&record.bytes);
            if record.is_whole {
                whole.push(bytes)
            } else {
                broken.push(bytes)
            }
        }
        let good_ones = whole.iter().filter(|bytes| **bytes == good).count();
        whole.retain(|bytes| *bytes != good);
        let partial = case.has("partial").then(|| expected.pop().unwrap());
        let is_beginning =
            |bytes: &Vec<u8>| partial.as_ref().is_some_and(|partial| partial.starts_with(bytes));
        if good_ones == goods && whole == expected && broken.len() <= 1 && broken.iter().all(is_beginning) {
            return Ok(());
        }
        let ours = String::from_utf8(self.bytes("{ours}")).unwrap();
        let text = |one: &Vec<u8>| {
            let text = String::from_utf8_lossy(one).replace(&ours, "{ours}");
            text.chars().take(600).collect::<String>()
        };
        let text = |all: &[Vec<u8>]| all.iter().map(text).collect::<Vec<_>>();
        Err(Fault(format!(
            "the upstream saw {good_ones} of {goods} good calls,\n   {:#?}\n   expected {:#?}\n   broken off {:#?}",
            text(&whole),
            text(&expected),
            text(&broken),
        )))
    }
}

fn served(answer: &Answer) -> Result<(), Fault> {
    if answer.status == 200 && answer.body == b"ok" {
        return Ok(());
    }
    Err(Fault(format!("a good call was answered {answer:?}")))
}

/// With `?` for what is new each time.
fn normal(bytes: &[u8]) -> Vec<u8> {
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap_or(bytes.len());
    let (head, rest) = bytes.split_at(end);
    let is_hex = |text: &[u8]| text.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-');
    let mut out = Vec::new();
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        let text = line.trim_ascii_end();
        let made = [(&b"x-request-id: "[..], 36), (b"traceparent: ", 55)]
            .into_iter()
            .find(|(name, length)| {
                text.strip_prefix(*name)
                    .is_some_and(|value| value.len() == *length && is_hex(value))
            });
        match made {
            Some((name, _)) => {
                out.extend_from_slice(name);
                out.push(b'?');
                out.extend_from_slice(&line[text.len()..]);
            }
            None => out.extend_from_slice(line),
        }
    }
    out.extend_from_slice(rest);
    out
}
