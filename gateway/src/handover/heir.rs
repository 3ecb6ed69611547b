//! The side that takes over: what it is given, and how it keeps the elder informed while that one still has calls.
//!
//! Until `Inherit` an elder that is gone ends the heir: a supervisor then starts what it wants. After it the heir goes on alone,
//! because nobody else would.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use keyward_contract::feed;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::wire::{Estate, Piece, Step, Wire, Word};
use super::{HeldTokens, STEP, VARIABLE};
use crate::ledger::Elder;

/// An elder that takes nothing for so long is as good as one that doesn't answer.
const STALLED: Duration = Duration::from_secs(1);

/// What an elder gave.
#[derive(Debug)]
pub struct Inheritance {
    wire: Wire,
    estate: Estate,
    replica_lock: Option<File>,
    ledger_lock: Option<File>,
    admin: Option<TcpListener>,
    proxies: Vec<TcpListener>,
    authz: Vec<TcpListener>,
    link: Arc<ElderLink>,
}

/// The talk with the elder that started this process, before anything was given.
#[derive(Debug)]
pub struct Heir(Wire);

impl Heir {
    /// `None`: nobody started this process to take over.
    ///
    /// # Errors
    /// When the environment says so and there is no socket.
    pub fn of_this_process() -> io::Result<Option<Self>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        let stream = UnixStream::from(socket);
        // Another kind of standard input has no such peer.
        stream.peer_addr()?;
        Ok(Some(Self(Wire::new(stream))))
    }

    /// The configuration is good: asks for everything.
    ///
    /// # Errors
    /// When the elder is gone.
    pub fn inherit(self) -> io::Result<Inheritance> {
        let Self(wire) = self;
        wire.stream().set_read_timeout(Some(STEP))?;
        wire.say(&Step::Prepared)?;
        let Step::Inherit(estate) = wire.hear_step()? else {
            return Err(io::Error::new(ErrorKind::InvalidData, "nothing was given"));
        };
        let pieces = wire.take(estate.pieces.len())?;
        let mut inheritance = Inheritance {
            link: Arc::new(ElderLink::new(wire.try_clone()?)),
            wire,
            replica_lock: None,
            ledger_lock: None,
            admin: None,
            proxies: Vec::new(),
            authz: Vec::new(),
            estate,
        };
        let kinds = inheritance.estate.pieces.clone();
        for (kind, piece) in kinds.into_iter().zip(pieces) {
            inheritance.sort(kind, piece);
        }
        Ok(inheritance)
    }
}

impl Inheritance {
    fn sort(&mut self, kind: Piece, piece: OwnedFd) {
        match kind {
            Piece::ReplicaLock => self.replica_lock = Some(piece.into()),
            Piece::LedgerLock => self.ledger_lock = Some(piece.into()),
            Piece::Admin => self.admin = Some(piece.into()),
            Piece::Proxy => self.proxies.push(piece.into()),
            Piece::Authz => self.authz.push(piece.into()),
        }
    }

    /// The lock of the replica's folder, where it is the same folder.
    pub(crate) fn replica_lock(&mut self, path: &Path) -> Option<File> {
        self.replica_lock
            .take()
            .filter(|_| same(&self.estate.replica_path, path))
    }

    /// The ledger's, where it is the same folder.
    pub(crate) fn ledger(&mut self, path: &Path) -> Option<Elder> {
        let lock = self
            .ledger_lock
            .take()
            .filter(|_| same(&self.estate.ledger_path, path))?;
        Some(Elder {
            lock,
            boot_epoch: self.estate.boot_epoch,
        })
    }

    /// Whether the elder had a whole key set.
    pub(crate) fn was_ready(&self) -> bool {
        self.estate.is_ready
    }

    /// The admin listener, where the address is the same.
    pub(crate) fn admin(&mut self, wanted: SocketAddr) -> Option<TcpListener> {
        self.admin.take().filter(|listener| is_at(listener, wanted))
    }

    /// The proxy's listeners, all of them, where the address is the same.
    pub(crate) fn proxies(&mut self, wanted: SocketAddr) -> Vec<TcpListener> {
        let mut proxies = std::mem::take(&mut self.proxies);
        proxies.retain(|listener| is_at(listener, wanted));
        proxies
    }

    /// The listeners for validations, where the address is the same.
    pub(crate) fn authz(&mut self, wanted: SocketAddr) -> Vec<TcpListener> {
        let mut authz = std::mem::take(&mut self.authz);
        authz.retain(|listener| is_at(listener, wanted));
        authz
    }

    /// The elder, from now on.
    pub(crate) fn link(&self) -> &Arc<ElderLink> {
        &self.link
    }

    /// Everything is open: asks for what the elder's buckets hold. Nothing when it is gone.
    pub(crate) fn opened(&self) -> Vec<HeldTokens> {
        let asked = self.wire.say(&Step::Opened).and_then(|()| self.wire.hear_step());
        match asked {
            Ok(Step::Levels(held)) => held,
            _ => Vec::new(),
        }
    }

    /// Calls are accepted. `left` is called when the elder accepts none any more, and `ended` when its process is gone.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn serving(
        self,
        left: impl FnOnce() + Send + 'static,
        ended: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let Self { wire, link, .. } = self;
        let talk = move || {
            let told = wire
                .say(&Step::Serving)
                .and_then(|()| wire.expect(&Step::Leaving));
            let _ = told.and_then(|()| wire.stream().set_read_timeout(None));
            left();
            // It says nothing but this; whatever else comes is its end.
            while let Ok(Word::Step(Step::IsQuiet)) = wire.hear() {
                link.heard();
            }
            link.end();
            ended();
        };
        std::thread::Builder::new()
            .name("keyward-elder".into())
            .spawn(talk)?;
        Ok(())
    }
}

fn same(given: &Path, wanted: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    real(given) == real(wanted)
}

/// Port 0 is any port.
fn is_at(listener: &TcpListener, wanted: SocketAddr) -> bool {
    let address = listener.local_addr();
    address.is_ok_and(|address| {
        address.ip() == wanted.ip() && (wanted.port() == 0 || address.port() == wanted.port())
    })
}

/// The gateway before this one, while it has calls.
#[derive(Debug)]
pub struct ElderLink {
    wire: Wire,
    asked: Mutex<VecDeque<oneshot::Sender<()>>>,
    has_ended: AtomicBool,
}

impl ElderLink {
    fn new(wire: Wire) -> Self {
        Self {
            wire,
            asked: Mutex::default(),
            has_ended: AtomicBool::new(false),
        }
    }

    /// Whether its process is gone.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Tells it of changes, before they are in force here.
    pub fn tell(&self, changes: &[feed::Change]) {
        self.say(|wire| changes.iter().try_for_each(|change| wire.say_change(change)));
    }

    /// Has it let nobody in any more, and end soon.
    pub fn shut(&self) {
        self.say(|wire| wire.say(&Step::Shut));
    }

    /// Resolves when none of its calls goes by anything but what it was told, or it has ended. Until then nothing that takes
    /// rights away may be acknowledged: one that is silent may yet wake up and forward a call.
    pub async fn quiet(&self) {
        if self.has_ended() {
            return;
        }
        let (answer, answered) = oneshot::channel();
        self.asked.lock().push_back(answer);
        self.say(|wire| wire.say(&Step::Quiet));
        // Ended between the two looks: nobody would answer.
        if self.has_ended() {
            self.asked.lock().clear();
        }
        let _ = answered.await;
    }

    /// What can't be said in a second is lost, and with it the talk: an elder that misses a word must not answer later ones.
    fn say(&self, words: impl FnOnce(&Wire) -> io::Result<()>) {
        if self.has_ended() {
            return;
        }
        let _ = self.wire.stream().set_write_timeout(Some(STALLED));
        if words(&self.wire).is_err() {
            let _ = self.wire.stream().shutdown(std::net::Shutdown::Write);
        }
    }

    fn heard(&self) {
        if let Some(answer) = self.asked.lock().pop_front() {
            let _ = answer.send(());
        }
    }

    fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
        self.asked.lock().clear();
    }
}
