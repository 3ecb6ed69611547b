//! A client of the gateway whose connections the test itself opens and keeps, which no ordinary client offers.

use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// The keys that a call shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys<'a> {
    pub(crate) account: &'a str,
    pub(crate) customer: &'a str,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Heard {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(given, _)| given == name);
        found.next().map(|(_, value)| value.as_str())
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        let text = self.header(name);
        let number = text.and_then(|text| text.parse().ok());
        number.unwrap_or_else(|| panic!("{name} is {text:?}"))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The code of a refusal.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// A connection that is kept between calls.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
}

impl Wire {
    pub(crate) async fn open(gateway: SocketAddr) -> Self {
        let stream = TcpStream::connect(gateway).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let stream = BufReader::new(stream);
        Self { stream }
    }

    /// A call with both keys.
    pub(crate) async fn call(&mut self, keys: Keys<'_>) -> Heard {
        self.get("/hello", keys).await
    }

    pub(crate) async fn get(&mut self, target: &str, keys: Keys<'_>) -> Heard {
        let Keys { account, customer } = keys;
        self.send(&format!(
            "GET {target} HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer {account}\r\nX-Customer-Key: {customer}\r\n\r\n"
        ))
        .await
    }

    /// A call with an account key alone.
    pub(crate) async fn get_as_account(&mut self, target: &str, account: &str) -> Heard {
        self.send(&format!(
            "GET {target} HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer {account}\r\n\r\n"
        ))
        .await
    }

    /// Sends these bytes and reads one answer.
    pub(crate) async fn send(&mut self, request: &str) -> Heard {
        self.try_send(request)
            .await
            .unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    async fn try_send(&mut self, request: &str) -> std::io::Result<Heard> {
        self.stream.get_mut().write_all(request.as_bytes()).await?;
        let status = self.line().await?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut headers = Vec::new();
        while let Some((name, value)) = self.line().await?.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut heard = Heard {
            status: status.unwrap_or_else(|| panic!("no status line")),
            headers,
            body: String::new(),
        };
        let mut body = vec![0; usize::try_from(heard.number("content-length")).unwrap()];
        self.stream.read_exact(&mut body).await?;
        heard.body = String::from_utf8(body).unwrap();
        Ok(heard)
    }

    async fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }
}

/// One call on a connection of its own.
pub(crate) async fn call(gateway: SocketAddr, keys: Keys<'_>) -> Heard {
    Wire::open(gateway).await.call(keys).await
}
