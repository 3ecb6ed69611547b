//! Where a machine is: the addresses of its name, asked for off the calls' way.
//!
//! The control thread asks every ten seconds or so ([`keep_current`]); the last good answer holds for as long as there is no other. A call takes the
//! addresses that are known, so that a resolver that is slow or gone delays none. Before the first answer calls wait for it, within
//! `timeouts.connect`; after a first answer that was none they fail at once. Bounded: one answer a machine, of 32 addresses at most.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// From one answer to the next question.
const REFRESH: Duration = Duration::from_secs(10);
/// The same, while there never was an answer.
const SOON: Duration = Duration::from_secs(1);
/// Addresses of one machine.
const MOST: usize = 32;

/// The addresses of one machine.
#[derive(Debug)]
pub struct Addresses {
    known: watch::Sender<Known>,
    /// Whose turn it is.
    next: AtomicUsize,
    is_name: bool,
}

#[derive(Clone, Debug)]
enum Known {
    /// There was no answer yet.
    Awaited,
    /// The first answer was none.
    None,
    /// The last good answer; never empty.
    At(Arc<[SocketAddr]>),
}

impl Addresses {
    /// Of this host, which is an address or a name.
    #[must_use]
    pub fn of(host: &str, port: u16) -> Self {
        let literal = host.parse::<IpAddr>().ok();
        let known = literal.map_or(Known::Awaited, |address| {
            Known::At([SocketAddr::new(address, port)].into())
        });
        Self {
            known: watch::Sender::new(known),
            next: AtomicUsize::new(0),
            is_name: literal.is_none(),
        }
    }

    /// Whether it has to be asked for.
    #[must_use]
    pub fn is_name(&self) -> bool {
        self.is_name
    }

    /// The last good answer.
    #[must_use]
    pub fn known(&self) -> Vec<SocketAddr> {
        match &*self.known.borrow() {
            Known::At(addresses) => addresses.to_vec(),
            Known::Awaited | Known::None => Vec::new(),
        }
    }

    /// Takes over what was known under an earlier configuration.
    pub(super) fn inherit(&self, earlier: &Self) {
        if self.is_name {
            self.known.send_replace(earlier.known.borrow().clone());
        }
    }

    /// Notes an answer; what is no answer replaces none.
    fn note(&self, answer: io::Result<Vec<SocketAddr>>) {
        let found = answer.unwrap_or_default();
        self.known.send_if_modified(|known| {
            match (&*known, found.is_empty()) {
                (_, false) => *known = Known::At(found.into()),
                (Known::Awaited, true) => *known = Known::None,
                (Known::None | Known::At(_), true) => return false,
            }
            true
        });
    }

    /// A connection to one of the addresses, which take turns; to the next when one can't be reached in its part of the
    /// time.
    ///
    /// # Errors
    /// `TimedOut` after `limit`; what the last address said; `NotFound` when the name has no address.
    pub async fn connect(&self, limit: Duration) -> io::Result<TcpStream> {
        timeout(limit, self.connect_to_any(limit)).await?
    }

    async fn connect_to_any(&self, limit: Duration) -> io::Result<TcpStream> {
        let addresses = self.answered().await?;
        let count = addresses.len().max(1);
        let first = self.next.fetch_add(1, Ordering::Relaxed) % count;
        let (before, from) = addresses.split_at_checked(first).unwrap_or((&[], &addresses));
        let part = limit / u32::try_from(count).unwrap_or(1);
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in from.iter().chain(before) {
            let connected = timeout(part, TcpStream::connect(address)).await;
            match connected.unwrap_or_else(|late| Err(late.into())) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn answered(&self) -> io::Result<Arc<[SocketAddr]>> {
        let mut known = self.known.subscribe();
        let known = known.wait_for(|known| !matches!(known, Known::Awaited)).await;
        match known.as_deref() {
            Ok(Known::At(addresses)) => Ok(Arc::clone(addresses)),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, "its name has no address")),
        }
    }
}

/// Asks for the addresses of a name again and again.
pub async fn keep_current(host: &str, port: u16, addresses: &Addresses) {
    loop {
        let answer = tokio::net::lookup_host((host, port)).await;
        if let Err(error) = &answer {
            tracing::warn!(%error, host, "an upstream's name can't be resolved; what was known of it holds");
        }
        addresses.note(answer.map(|found| distinct(found).take(MOST).collect()));
        let pause = if addresses.known().is_empty() {
            SOON
        } else {
            REFRESH
        };
        sleep(super::tend::about(pause)).await;
    }
}

/// Each once, in order; a resolver names an address once for every kind of socket.
fn distinct(found: impl Iterator<Item = SocketAddr>) -> impl Iterator<Item = SocketAddr> {
    let mut seen = Vec::new();
    found.filter(move |address| {
        let is_new = !seen.contains(address);
        if is_new {
            seen.push(*address);
        }
        is_new
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    fn refused() -> SocketAddr {
        listen().1
    }

    #[tokio::test]
    async fn addresses_take_turns_and_one_that_refuses_is_passed_over() {
        let addresses = Addresses::of("api.internal", 80);
        let ((_a, first), (_b, second)) = (listen(), listen());
        addresses.note(Ok(vec![first, refused(), second]));
        let mut reached = Vec::new();
        for _ in 0..3 {
            reached.push(addresses.connect(LIMIT).await.unwrap().peer_addr().unwrap());
        }
        assert_eq!(reached, [first, second, second]);
    }

    #[tokio::test]
    async fn the_last_good_answer_holds_when_the_resolver_fails() {
        let addresses = Addresses::of("api.internal", 80);
        let (_listener, at) = listen();
        addresses.note(Ok(vec![at]));
        addresses.note(Err(io::ErrorKind::Other.into()));
        addresses.note(Ok(Vec::new()));
        assert_eq!(addresses.known(), [at]);
        assert!(addresses.connect(LIMIT).await.is_ok());
    }

    #[tokio::test]
    async fn a_call_that_comes_before_the_first_answer_waits_for_it() {
        let addresses = Addresses::of("api.internal", 80);
        let (_listener, at) = listen();
        let (connected, ()) = tokio::join!(addresses.connect(LIMIT), async {
            tokio::task::yield_now().await;
            addresses.note(Ok(vec![at]));
        });
        assert_eq!(connected.unwrap().peer_addr().unwrap(), at);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_the_limit_for_a_resolver_that_says_nothing() {
        let late = Addresses::of("api.internal", 80).connect(LIMIT).await;
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_name_without_an_address_fails_at_once_and_recovers() {
        let addresses = Addresses::of("api.internal", 80);
        addresses.note(Err(io::ErrorKind::Other.into()));
        let none = addresses.connect(LIMIT).await;
        assert_eq!(none.unwrap_err().kind(), io::ErrorKind::NotFound);
        let (_listener, at) = listen();
        addresses.note(Ok(vec![at]));
        assert!(addresses.connect(LIMIT).await.is_ok());
    }

    #[tokio::test]
    async fn names_are_resolved() {
        let (_listener, at) = listen();
        let addresses = Addresses::of("localhost", at.port());
        assert!(addresses.is_name() && addresses.known().is_empty());
        tokio::select! {
            () = keep_current("localhost", at.port(), &addresses) => {}
            connected = addresses.connect(LIMIT) => assert_eq!(connected.unwrap().peer_addr().unwrap(), at),
        }
        assert!(!Addresses::of("::1", 1).is_name());
    }

    #[test]
    fn an_address_that_is_named_twice_is_one() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let found = [at(1), at(2), at(1)];
        assert_eq!(distinct(found.into_iter()).collect::<Vec<_>>(), [at(1), at(2)]);
    }
}
