//! The world of these tests: accounts and keys in every state, one gateway, one upstream.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keyward_config::GatewayConfig;
use keyward_contract::{
    AccountId, AccountRecord, AccountStatus, AddressList, Contract, CustomerId, DigestKey, Environment,
    EnvironmentId, KeyId, KeyKind, KeyRecord, KeyState, Limits, PlainKey, Record, UnixMillis, feed,
};
use keyward_gateway::keys::{KeySet, Position};
use keyward_gateway::telemetry::TierSlot;
use keyward_gateway::{Gateway, RunningGateway};
use serde_json::Value;

/// A key of the fixture, with what was sent to the gateway about it.
pub(crate) struct Key {
    pub(crate) plain: PlainKey,
    pub(crate) record: KeyRecord,
}

impl Key {
    pub(crate) fn text(&self) -> &str {
        self.plain.expose()
    }
}

/// Makes the records of a key set.
pub(crate) struct Keys {
    digest_key: DigestKey,
    records: Vec<Record>,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self {
            digest_key: DigestKey::random().unwrap(),
            records: Vec::new(),
        }
    }

    pub(crate) fn account(&mut self, change: impl FnOnce(&mut AccountRecord)) -> AccountRecord {
        let mut account = AccountRecord {
            id: AccountId::new(),
            status: AccountStatus::Active,
            tier: "growth".into(),
            limits: Limits {
                rate: 100,
                burst: 200,
            },
            annual_limit: 10_000_000,
            contract: Contract::default(),
            test_environment: EnvironmentId::random().unwrap(),
            production_environment: EnvironmentId::random().unwrap(),
            limit_mode: keyward_contract::LimitMode::Enforce,
            fallback: None,
            grants: Vec::new(),
        };
        change(&mut account);
        self.records.push(Record::Account(account.clone()));
        account
    }

    pub(crate) fn key(
        &mut self,
        kind: KeyKind,
        account: &AccountRecord,
        change: impl FnOnce(&mut KeyRecord),
    ) -> Key {
        let mut record = KeyRecord {
            digest: self.digest_key.digest(b"to be replaced"),
            id: KeyId::new(),
            account: account.id,
            environment: Environment::Production,
            customer: None,
            state: KeyState::Active,
            expires_at: None,
            allowed_ips: None,
            api_version: "2026-11-01".into(),
            rotated_at: None,
            customer_limits: None,
        };
        if kind == KeyKind::Customer {
            record.customer = Some(CustomerId::mint(UnixMillis(1_768_819_200_000)).unwrap());
        }
        change(&mut record);
        let plain = PlainKey::mint(kind, record.environment).unwrap();
        record.digest = self.digest_key.digest(plain.expose().as_bytes());
        self.records.push(Record::Key(record.clone()));
        Key { plain, record }
    }

    pub(crate) fn write(&self, folder: &Path) {
        let set = KeySet::open(folder, 1_000, Box::new(|_| TierSlot::NONE)).unwrap();
        set.adopt_digest_key(self.digest_key.clone()).unwrap();
        let mut writer = set.begin_snapshot(Position::new("epoch", 1)).unwrap();
        assert!(
            writer
                .add(self.records.iter().map(feed::Record::from).collect())
                .unwrap()
                .is_empty()
        );
        writer.finish().unwrap();
    }
}

pub(crate) fn allowed(list: &[&str]) -> Option<AddressList> {
    Some(AddressList::parse(list).unwrap())
}

/// A gateway with its upstream, on a runtime of its own.
pub(crate) struct World {
    pub(crate) gateway: Option<RunningGateway>,
    pub(crate) upstream: Option<keyward_upstream::Running>,
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) proxy: SocketAddr,
    pub(crate) authz: SocketAddr,
    folder: Arc<tempfile::TempDir>,
}

impl World {
    /// Starts everything. `more` is added to the configuration; `{upstream}` in it is the upstream's address.
    pub(crate) fn start(keys: &Keys, more: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let upstream = runtime
            .block_on(keyward_upstream::Upstream::start("127.0.0.1:0".parse().unwrap()))
            .unwrap();
        let folder = Arc::new(tempfile::tempdir().unwrap());
        keys.write(&folder.path().join("replica"));
        std::fs::write(folder.path().join("token"), "token").unwrap();
        let mut world = Self {
            gateway: None,
            upstream: Some(upstream),
            runtime,
            proxy: ([127, 0, 0, 1], 0).into(),
            authz: ([127, 0, 0, 1], 0).into(),
            folder,
        };
        world.open(more);
        world
    }

    /// Starts the gateway; again, when it was drained.
    pub(crate) fn open(&mut self, more: &str) {
        let gateway = Gateway::start(self.configuration(more)).unwrap();
        self.proxy = gateway.proxy_address();
        self.authz = gateway.authz_address().unwrap();
        self.gateway = Some(gateway);
    }

    /// The configuration, checked.
    pub(crate) fn configuration(&self, more: &str) -> GatewayConfig {
        let surroundings = keyward_config::Surroundings::default();
        GatewayConfig::from_toml(&self.text(more), "test.toml", &surroundings)
            .unwrap_or_else(|e| panic!("{e}"))
    }

    /// The configuration as it is written.
    pub(crate) fn text(&self, more: &str) -> String {
        let upstream = self.upstream.as_ref().unwrap().address().to_string();
        let folder = self.folder.path().display();
        let routes = if more.contains("[[routes]]") {
            ""
        } else {
            "[[routes]]\npath = \"/\"\nupstream = \"api\""
        };
        let listen = "[listen]\nproxy = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nauthz = \"127.0.0.1:0\"\n";
        // What more is said of a table stands in that table.
        let (more, listen) = match more.contains("[listen]\n") {
            true => (more.replace("[listen]\n", listen), ""),
            false => (more.to_owned(), listen),
        };
        let text = format!(
            r#"
            workers = 2
            {more}
            {routes}
            {listen}
            [control_plane]
            urls = ["http://127.0.0.1:9"]
            token_file = "{folder}/token"
            [replica]
            path = "{folder}/replica"
            [ledger]
            path = "{folder}/ledger"
            [[upstreams]]
            name = "api"
            endpoints = ["http://{upstream}"]
            [[upstreams]]
            name = "nobody"
            endpoints = ["http://127.0.0.1:9"]
            [[upstreams]]
            name = "half"
            endpoints = ["http://127.0.0.1:9", "http://{upstream}"]
            "#
        );
        text.replace("{folder}", &folder.to_string())
    }

    /// Where this world keeps its files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn drain(&mut self) {
        let gateway = self.gateway.take().unwrap();
        self.runtime.block_on(gateway.drain());
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.proxy).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// One call on a connection of its own.
    pub(crate) fn call(&self, request: &str) -> Answer {
        self.send(request.as_bytes())
    }

    /// Sends bytes and reads one answer.
    pub(crate) fn send(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        read_answer(&mut stream)
    }

    /// Everything that comes until the connection ends.
    pub(crate) fn head_alone(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        all
    }

    /// `GET target` at the gateway's admin listener.
    pub(crate) fn admin(&self, target: &str) -> Answer {
        let admin = self.gateway.as_ref().unwrap().admin_address();
        let mut stream = TcpStream::connect(admin).unwrap();
        stream.write_all(get(target, &[]).as_bytes()).unwrap();
        read_answer(&mut stream)
    }

    /// How many calls the upstream has seen, asked past the gateway.
    pub(crate) fn upstream_calls(&self) -> u64 {
        let mut stream = TcpStream::connect(self.upstream.as_ref().unwrap().address()).unwrap();
        stream.write_all(get("/count", &[]).as_bytes()).unwrap();
        read_answer(&mut stream).json()["count"].as_u64().unwrap()
    }

    /// `GET target` with these header lines.
    pub(crate) fn get(&self, target: &str, headers: &[(&str, &str)]) -> Answer {
        self.call(&get(target, headers))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.gateway.is_some() {
            self.drain();
        }
    }
}

pub(crate) fn get(target: &str, headers: &[(&str, &str)]) -> String {
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!("GET {target} HTTP/1.1\r\nhost: api.example\r\n{lines}\r\n")
}

/// An answer as it came over the wire.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// What the upstream says that it received under this header name.
    pub(crate) fn upstream_saw(&self, name: &str) -> Option<String> {
        let values = &self.json()["headers"][name];
        values.as_array().map(|values| {
            values
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(" | ")
        })
    }
}

/// Reads one answer: head, then a body of its Content-Length, or chunks, or until the end.
pub(crate) fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(0) => panic!(
                "the connection ended within a head: {:?}",
                String::from_utf8_lossy(&head)
            ),
            Ok(_) => head.push(byte[0]),
            Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&head)),
        }
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").unwrap_or((line, "")))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let header = |name: &str| {
        headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
    };
    let mut body = Vec::new();
    if let Some(length) = header("content-length") {
        body.resize(length.parse().unwrap(), 0);
        stream.read_exact(&mut body).unwrap();
    } else if header("transfer-encoding").is_some() {
        body = read_chunks(stream);
    }
    Answer {
        status,
        headers,
        body,
    }
}

fn read_chunks(stream: &mut TcpStream) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\r\n") {
            stream.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        let size = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        stream.read_exact(&mut chunk).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&chunk[..size]);
    }
}
