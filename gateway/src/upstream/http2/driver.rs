//! What keeps a connection going: opening it, the task that reads and writes, and noticing that its peer is dead or that
//! nobody needs it.
//!
//! A connection is taken into use once the peer has answered a PING: its settings have come then, and what speaks no HTTP/2
//! is found out before a call is handed to it. Later a PING is sent only while calls are under way and nothing has come for a
//! while; going on in silence it is sent seldom, because servers of gRPC close connections that ping more often than
//! every five minutes.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::{CONNECTION_WINDOW, MAX_STREAMS, Multiplexed, SEND_BUFFER, STREAM_WINDOW};
use crate::upstream::head::MAX_HEAD;
use crate::upstream::pool::{EndpointPool, Unreachable};

/// Silence after which the peer is asked whether it lives.
const SILENCE: Duration = Duration::from_secs(10);
/// How long it has for the answer.
const PONG: Duration = Duration::from_secs(5);
/// How long it is not asked again while it goes on in silence.
const NOT_AGAIN: Duration = Duration::from_secs(6 * 60);
/// How long a connection without calls is kept.
const IDLE: Duration = Duration::from_secs(60);
/// How long saying goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Opens a connection and sets its task going.
pub(super) async fn connect(
    endpoint: &Rc<EndpointPool>,
    limit: Duration,
) -> Result<Rc<Multiplexed>, Unreachable> {
    let deadline = Instant::now() + limit;
    let wire = endpoint.wire(limit).await?;
    let greeting = greet(wire);
    let greeted = tokio::time::timeout_at(deadline, greeting).await;
    let (multiplexed, driver) = greeted.unwrap_or(Err(Unreachable::Late))?;
    tokio::task::spawn_local(driver.run());
    Ok(multiplexed)
}

async fn greet<T>(wire: T) -> Result<(Rc<Multiplexed>, Driver<T>), Unreachable>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let heard = Rc::<Cell<bool>>::default();
    let wire = Heard {
        wire,
        heard: Rc::clone(&heard),
    };
    let not_http2 = |error: h2::Error| Unreachable::NotHttp2(error.to_string());
    let handshake = Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD as u32)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_max_send_streams(MAX_STREAMS)
        .handshake::<_, Bytes>(wire)
        .await;
    let (sender, mut connection) = handshake.map_err(not_http2)?;
    let Some(mut pings) = connection.ping_pong() else {
        return Err(Unreachable::NotHttp2("it can't be pinged".to_owned()));
    };
    tokio::select! {
        ended = &mut connection => {
            let error = ended.err().map_or("it ended".to_owned(), |error| error.to_string());
            return Err(Unreachable::NotHttp2(error));
        }
        pong = pings.ping(Ping::opaque()) => pong.map(drop).map_err(not_http2)?,
    }
    let multiplexed = Rc::new(Multiplexed {
        sender: std::cell::RefCell::new(Some(sender)),
        streams: Cell::default(),
        idle_since: Cell::new(Instant::now()),
    });
    let driver = Driver {
        connection,
        pings,
        heard,
        multiplexed: Rc::clone(&multiplexed),
    };
    Ok((multiplexed, driver))
}

/// Reads and writes for one connection.
struct Driver<T> {
    connection: Connection<Heard<T>, Bytes>,
    pings: PingPong,
    heard: Rc<Cell<bool>>,
    multiplexed: Rc<Multiplexed>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    async fn run(mut self) {
        let ended = {
            let life = watch(&mut self.pings, &self.heard, &self.multiplexed);
            tokio::select! {
                ended = &mut self.connection => Some(ended),
                dead = life => if dead { Some(Ok(())) } else { None },
            }
        };
        self.multiplexed.retire();
        match ended {
            Some(Ok(())) => {}
            Some(Err(error)) => tracing::debug!(%error, "a connection to an upstream ended"),
            // Nobody can hand it a call any more, so it says goodbye and ends.
            None => {
                let _ = tokio::time::timeout(GOODBYE, self.connection).await;
            }
        }
    }
}

/// Resolves when the connection is to end: `true` when its peer is dead, `false` when nobody needs it.
async fn watch(pings: &mut PingPong, heard: &Cell<bool>, multiplexed: &Multiplexed) -> bool {
    let mut asked: Option<Instant> = None;
    loop {
        tokio::time::sleep(SILENCE).await;
        let now = Instant::now();
        if heard.take() {
            asked = None;
            continue;
        }
        if multiplexed.streams.get() == 0 {
            if now.duration_since(multiplexed.idle_since.get()) >= IDLE {
                return false;
            }
            continue;
        }
        if asked.is_some_and(|asked| now.duration_since(asked) < NOT_AGAIN) {
            continue;
        }
        asked = Some(now);
        let pong = tokio::time::timeout(PONG, pings.ping(Ping::opaque())).await;
        if !matches!(pong, Ok(Ok(_))) {
            return true;
        }
        // The answer itself breaks no silence.
        heard.set(false);
    }
}

/// Notes that something has come.
struct Heard<T> {
    wire: T,
    heard: Rc<Cell<bool>>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.wire).poll_read(context, buffer));
        if buffer.filled().len() > before {
            self.heard.set(true);
        }
        Poll::Ready(read)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::LocalSet;

    use super::*;

    /// A server at the other end; it falls silent when the flag is set.
    fn serve(wire: tokio::io::DuplexStream, is_dead: Rc<Cell<bool>>) {
        tokio::task::spawn_local(async move {
            let mut connection = h2::server::handshake(wire).await.unwrap();
            let mut calls = Vec::new();
            loop {
                let call = std::future::poll_fn(|context| match is_dead.get() {
                    true => Poll::Pending,
                    false => connection.poll_accept(context),
                });
                match call.await {
                    Some(Ok(call)) => calls.push(call),
                    _ => return,
                }
            }
        });
    }

    async fn connected(is_dead: &Rc<Cell<bool>>) -> Rc<Multiplexed> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        serve(theirs, Rc::clone(is_dead));
        let (multiplexed, driver) = greet(ours).await.unwrap();
        tokio::task::spawn_local(driver.run());
        multiplexed
    }

    fn call(multiplexed: &Rc<Multiplexed>) -> (super::super::Place, h2::client::ResponseFuture) {
        let mut place = multiplexed.place().unwrap();
        let (answer, _) = place.sender.send_request(http::Request::new(()), true).unwrap();
        (place, answer)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_dead_is_noticed_while_calls_wait_and_a_slow_one_is_left_in_peace() {
        let living = async {
            let is_dead = Rc::default();
            let multiplexed = connected(&is_dead).await;
            let (_place, mut answer) = call(&multiplexed);
            tokio::time::sleep(SILENCE * 20).await;
            assert!(multiplexed.is_open());
            is_dead.set(true);
            // It was asked not long ago.
            tokio::time::sleep(NOT_AGAIN + SILENCE + PONG).await;
            assert!(!multiplexed.is_open());
            assert!((&mut answer).await.unwrap_err().is_io());
        };
        let dying = async {
            let is_dead = Rc::default();
            let multiplexed = connected(&is_dead).await;
            let (_place, answer) = call(&multiplexed);
            tokio::time::sleep(SILENCE / 2).await;
            is_dead.set(true);
            tokio::time::sleep(2 * SILENCE + PONG).await;
            assert!(!multiplexed.is_open());
            assert!(answer.await.unwrap_err().is_io());
        };
        LocalSet::new()
            .run_until(async { tokio::join!(living, dying) })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_nobody_needs_is_closed_and_one_with_a_call_is_not() {
        let all = async {
            let is_dead = Rc::default();
            let (idle, busy) = (connected(&is_dead).await, connected(&is_dead).await);
            let (_place, _answer) = call(&busy);
            tokio::time::sleep(IDLE / 2).await;
            assert!(idle.is_open());
            tokio::time::sleep(IDLE + 2 * SILENCE).await;
            assert!(!idle.is_open());
            assert!(busy.is_open());
        };
        LocalSet::new().run_until(all).await;
    }
}
