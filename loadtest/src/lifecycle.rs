//! A gateway that is reloaded and upgraded again and again while calls come at a steady pace and WebSockets are open.
//!
//! Every call must be accepted. A WebSocket lives through reloads, and hears a Close (1001) when its gateway is taken over from;
//! its client then opens another. At the end many connections make one call each and stay: what each of them costs is the growth
//! of the gateway's resident memory.

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use keyward_harness::ProcessUsage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::paced::{Lane, Pace, Paced};
use crate::requests::{Credentials, Order, Requests};
use crate::stack::{Size, Stack};

/// More than any of it takes; the load is stopped before.
const LONGEST: Duration = Duration::from_secs(3_600);
/// How long a gateway may drain.
const DRAIN: &str = "[drain]\ntimeout = \"2s\"\n[bounds]\nconnections = 20000\n";
const DRAINED: Duration = Duration::from_secs(30);
/// A frame with the text `here`, as a server sends it and, masked with zeroes, as a client does.
const SAID: [u8; 6] = [0x81, 4, b'h', b'e', b'r', b'e'];
const SAYS: [u8; 10] = [0x81, 0x84, 0, 0, 0, 0, b'h', b'e', b'r', b'e'];
/// The code of a Close: going away.
const GOING_AWAY: u16 = 1001;
const ANSWERED: Duration = Duration::from_secs(10);

/// What is done.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Calls a second, all the while.
    pub per_second: u32,
    /// Connections that they come on.
    pub connections: usize,
    /// Reloads.
    pub reloads: usize,
    /// Upgrades.
    pub upgrades: usize,
    /// WebSockets that are open all the while.
    pub sockets: usize,
    /// Idle keep-alive connections whose memory is measured.
    pub idle: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Report {
    plan: Plan,
    calls: u64,
    failed: Vec<String>,
    bytes_a_connection: Option<u64>,
}

impl Report {
    /// Calls that were sent.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Resident memory that an idle keep-alive connection costs, in bytes; `None` when none was opened.
    #[must_use]
    pub fn bytes_a_connection(&self) -> Option<u64> {
        self.bytes_a_connection
    }

    /// Whether nothing was lost.
    ///
    /// # Errors
    /// What was.
    pub fn verdict(&self) -> anyhow::Result<()> {
        let some: Vec<_> = self.failed.iter().take(5).collect();
        ensure!(
            self.failed.is_empty(),
            "{} of {} calls failed: {some:?}",
            self.failed.len(),
            self.calls
        );
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan {
            reloads,
            upgrades,
            sockets,
            idle,
            per_second,
            ..
        } = self.plan;
        writeln!(
            f,
            "{reloads} reloads and {upgrades} upgrades under {per_second} calls/s"
        )?;
        writeln!(f, "calls: {}, failed: {}", self.calls, self.failed.len())?;
        write!(
            f,
            "WebSockets: {sockets}, all lived through reloads and were told at upgrades"
        )?;
        if let Some(bytes) = self.bytes_a_connection {
            write!(f, "\nidle connections: {idle}, {bytes} bytes each")?;
        }
        Ok(())
    }
}

/// Does it all.
///
/// # Errors
/// When a program fails, or a WebSocket is lost. Failed calls are in the report.
pub async fn run(plan: Plan) -> anyhow::Result<Report> {
    let echo = echo().await?;
    let routes = format!(
        "[[routes]]\npath = \"/\"\nupstream = \"api\"\n[[routes]]\npath = \"/socket\"\nupstream = \"echo\"\n\
         [[upstreams]]\nname = \"echo\"\nendpoints = [\"http://{echo}\"]\n"
    );
    let size = Size {
        accounts: 4,
        customers_per_account: 4,
    };
    let mut stack = Stack::start_with(size, |setup| setup.routes(&routes).configured(DRAIN)).await?;
    let target = stack.gateway.address();
    let load = Paced {
        lanes: vec![Lane {
            target,
            pace: Pace::steady(plan.per_second),
            connections: NonZeroUsize::new(plan.connections).context("no connections")?,
        }],
        callers: Arc::new(Requests::render(
            "/plain",
            Order::Random,
            stack.valid.iter().cloned(),
        )),
        duration: LONGEST,
    };
    let caller = stack.valid.first().context("no caller")?.clone();
    let mut sockets = open_sockets(target, &caller, plan.sockets).await?;
    let load = load.start().await?;
    reload(&stack, plan, &mut sockets).await?;
    for upgrade in 0..plan.upgrades {
        stack.gateway.begin_upgrade()?;
        stack.gateway.upgraded().await?;
        for socket in &mut sockets {
            hear_goodbye(socket)
                .await
                .with_context(|| format!("at upgrade {upgrade}"))?;
        }
        sockets = open_sockets(target, &caller, plan.sockets).await?;
        stack.gateway.is_alone(DRAINED).await?;
    }
    let heard = load.stop().await?;
    let failed = heard.calls.iter().filter(|call| !call.accepted());
    let failed: Vec<String> = failed.map(|call| format!("{call:?}")).collect();
    let bytes_a_connection = match plan.idle {
        0 => None,
        many => Some(idle(&stack, &caller, many).await?),
    };
    Ok(Report {
        plan,
        calls: heard.calls.len() as u64,
        failed,
        bytes_a_connection,
    })
}

/// Each takes a route away that the one before brought.
async fn reload(stack: &Stack, plan: Plan, sockets: &mut [TcpStream]) -> anyhow::Result<()> {
    for number in 0..plan.reloads {
        let mark = "# changes from here";
        let route = format!("{mark}\n[[routes]]\npath = \"/route-{number}\"\nupstream = \"api\"\n");
        let change = |text: String| {
            let kept = text.split(mark).next().unwrap_or_default().to_owned();
            format!("{kept}{route}")
        };
        stack.gateway.reload(change).await?;
        for socket in &mut *sockets {
            socket.write_all(&SAYS).await?;
            hear(socket, &SAID)
                .await
                .with_context(|| format!("at reload {number}"))?;
        }
    }
    Ok(())
}

/// What each of so many idle connections costs.
async fn idle(stack: &Stack, caller: &Credentials, many: usize) -> anyhow::Result<u64> {
    let resident = || ProcessUsage::of(stack.gateway.pid()).map(|usage| usage.resident_bytes);
    let before = resident()?;
    let mut open = Vec::with_capacity(many);
    for _ in 0..many {
        let mut stream = TcpStream::connect(stack.gateway.address()).await?;
        stream.write_all(head("/plain", "", caller).as_bytes()).await?;
        until(&mut stream, b"Hello, world!").await?;
        open.push(stream);
    }
    // A connection gives its buffers back when it has been idle for a second: measured until that shows, or has not.
    let mut least = resident()?;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        least = least.min(resident()?);
    }
    Ok(least.saturating_sub(before) / many as u64)
}

fn head(path: &str, more: &str, caller: &Credentials) -> String {
    let key = |key: &Option<String>| key.clone().unwrap_or_default();
    format!(
        "GET {path} HTTP/1.1\r\nHost: api.example.com\r\nX-Api-Key: {}\r\nX-Customer-Key: {}\r\n{more}\r\n",
        key(&caller.account_key),
        key(&caller.customer_key)
    )
}

async fn open_sockets(
    target: SocketAddr,
    caller: &Credentials,
    many: usize,
) -> anyhow::Result<Vec<TcpStream>> {
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut sockets = Vec::new();
    for _ in 0..many {
        let mut stream = TcpStream::connect(target).await?;
        stream.set_nodelay(true)?;
        stream
            .write_all(head("/socket", upgrade, caller).as_bytes())
            .await?;
        let answer = until(&mut stream, b"\r\n\r\n").await?;
        ensure!(
            answer.starts_with(b"HTTP/1.1 101 "),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        stream.write_all(&SAYS).await?;
        hear(&mut stream, &SAID).await?;
        sockets.push(stream);
    }
    Ok(sockets)
}

/// Reads until this has come.
async fn until(stream: &mut TcpStream, end: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut came = Vec::new();
    let reading = async {
        while !came.ends_with(end) {
            ensure!(stream.read_buf(&mut came).await? > 0, "the connection ended");
        }
        Ok(())
    };
    tokio::time::timeout(ANSWERED, reading).await??;
    Ok(came)
}

async fn hear(socket: &mut TcpStream, frame: &[u8]) -> anyhow::Result<()> {
    let mut came = vec![0; frame.len()];
    tokio::time::timeout(ANSWERED, socket.read_exact(&mut came))
        .await?
        .context("a WebSocket was lost")?;
    ensure!(came == frame, "{came:?} instead of {frame:?}");
    Ok(())
}

/// A Close, whose reason is of no matter.
async fn hear_goodbye(socket: &mut TcpStream) -> anyhow::Result<()> {
    let mut came = [0; 4];
    tokio::time::timeout(ANSWERED, socket.read_exact(&mut came))
        .await?
        .context("a WebSocket was lost without a word")?;
    let [kind, _, high, low] = came;
    let is_told = kind == 0x88 && u16::from_be_bytes([high, low]) == GOING_AWAY;
    ensure!(is_told, "{came:?} is no Close that says: going away");
    Ok(())
}

/// A server whose WebSockets say back what they hear.
async fn echo() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    Ok(address)
}

async fn serve(mut stream: TcpStream) -> anyhow::Result<()> {
    until(&mut stream, b"\r\n\r\n").await?;
    let accepted = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    stream.write_all(accepted.as_bytes()).await?;
    let mut frame = [0; SAYS.len()];
    while stream.read_exact(&mut frame).await.is_ok() && frame == SAYS {
        stream.write_all(&SAID).await?;
    }
    Ok(())
}
