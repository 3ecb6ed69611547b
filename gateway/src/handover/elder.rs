//! The side that is taken over from: starts the heir, gives everything, and ends; or takes everything back.
//!
//! Nothing is given before the heir has read its configuration. From then to `Serving` this process serves on by what it knows and
//! follows no control plane; changes are not acknowledged in that time.

use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::wire::{Estate, Piece, Step, Wire, Word};
use super::{HandoverError, HeldTokens, STEP, VARIABLE};
use crate::RunningGateway;
use crate::limits::shared::NameIs;
use crate::server::Quiescence;
use crate::sync::Rein;
use crate::worker::Shared;

/// How long letting the control plane go may take: what is being written to the disk ends first.
const LETTING_GO: Duration = Duration::from_secs(10);
/// How long the end of the gateway before this one is waited for.
const ENDING: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How to start the next version of this program.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl Program {
    /// The one that runs here, with its arguments. To be asked at the start: a file that is replaced later is found by the name
    /// that it had.
    ///
    /// # Errors
    /// When the system doesn't say which file it is.
    pub fn of_this_process() -> io::Result<Self> {
        Ok(Self {
            path: std::env::current_exe()?,
            arguments: std::env::args_os().skip(1).collect(),
        })
    }

    fn start(&self) -> Result<(Child, Wire), HandoverError> {
        let begin = || {
            let (ours, theirs) = UnixStream::pair()?;
            ours.set_read_timeout(Some(STEP))?;
            ours.set_write_timeout(Some(STEP))?;
            let mut command = Command::new(&self.path);
            command
                .args(&self.arguments)
                .env(VARIABLE, "stdin")
                .stdin(Stdio::from(OwnedFd::from(theirs)));
            Ok((command.spawn()?, Wire::new(ours)))
        };
        begin().map_err(|error| HandoverError::Start {
            program: self.path.clone(),
            error,
        })
    }
}

/// The sockets as they are given.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) admin: TcpListener,
    pub(crate) proxies: Vec<TcpListener>,
    pub(crate) authz: Vec<TcpListener>,
}

/// What was let go for an heir, to be taken back when it fails.
struct Given<'g> {
    gateway: &'g RunningGateway,
    tokens: Vec<HeldTokens>,
}

impl RunningGateway {
    /// Has another program take over, and waits until it serves. When this returns, [`Self::drain`] is all that is left to
    /// do. Blocks for as long as that takes; for a thread of its own, within a tokio runtime.
    ///
    /// # Errors
    /// Why nobody took over. Then this one serves on, and nothing has changed.
    pub fn hand_over(&self, program: &Program) -> Result<(), HandoverError> {
        if !self.is_alone() {
            return Err(HandoverError::Busy);
        }
        if self.shared.ledger.standing().in_memory > 0 {
            return Err(HandoverError::Degraded);
        }
        let (mut child, wire) = program.start()?;
        let served = self.see_it_serve(&wire);
        if let Err(error) = served {
            // It must be gone before anything is written here again.
            let _ = child.kill();
            let _ = child.wait();
            self.take_back();
            return Err(error);
        }
        self.leave(wire);
        Ok(())
    }

    /// Whether nobody else has these folders open. One that is just ending is waited for.
    fn is_alone(&self) -> bool {
        let deadline = Instant::now() + ENDING;
        while self.elder.as_ref().is_some_and(|elder| !elder.has_ended()) {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        !self.is_handed_over()
    }

    fn see_it_serve(&self, wire: &Wire) -> Result<(), HandoverError> {
        let failed = |at| move |error| HandoverError::Failed { at, error };
        wire.expect(&Step::Prepared)
            .map_err(failed("reading its configuration"))?;
        self.let_go().map_err(failed("letting the control plane go"))?;
        self.give(wire).map_err(failed("giving it the sockets"))?;
        wire.expect(&Step::Opened)
            .map_err(failed("opening its folders"))?;
        let mut given = Given {
            gateway: self,
            tokens: Vec::new(),
        };
        given.tokens = self.shared.give_tokens();
        wire.say(&Step::Levels(given.tokens.clone()))
            .and_then(|()| wire.expect(&Step::Serving))
            .map_err(failed("beginning to serve"))?;
        // They are the heir's for good.
        given.tokens.clear();
        Ok(())
    }

    /// Follows no more, and writes nothing to the replica any more. Leased tokens it keeps: the heir leases its own.
    fn let_go(&self) -> io::Result<()> {
        self.reins.want(Rein::Let);
        let held = async { tokio::time::timeout(LETTING_GO, self.reins.holds(Rein::Let)).await };
        tokio::runtime::Handle::current()
            .block_on(held)
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        self.share_quotas(NameIs::Shared);
        Ok(())
    }

    fn give(&self, wire: &Wire) -> io::Result<()> {
        let (shared, rules) = (&self.shared, self.shared.rules());
        let locks = (shared.keys.give_away()?, shared.ledger.share_lock()?);
        let sockets = self.sockets.lock();
        let Some(sockets) = &*sockets else {
            return Err(io::Error::other("it is stopping"));
        };
        let mut kinds = vec![Piece::ReplicaLock, Piece::LedgerLock, Piece::Admin];
        let mut pieces = vec![locks.0.as_fd(), locks.1.as_fd(), sockets.admin.as_fd()];
        for proxy in &sockets.proxies {
            kinds.push(Piece::Proxy);
            pieces.push(proxy.as_fd());
        }
        for authz in &sockets.authz {
            kinds.push(Piece::Authz);
            pieces.push(authz.as_fd());
        }
        wire.say(&Step::Inherit(Estate {
            boot_epoch: shared.ledger.boot_epoch(),
            replica_path: rules.config.replica_path.clone(),
            ledger_path: rules.config.ledger_path.clone(),
            is_ready: shared.keys.is_ready(),
            pieces: kinds,
        }))?;
        wire.give(&pieces)
    }

    /// As if nothing had been.
    fn take_back(&self) {
        self.shared.keys.take_back();
        self.share_quotas(NameIs::Ours);
        self.reins.want(Rein::Follow);
    }

    fn share_quotas(&self, name: NameIs) {
        if let Some(limits) = self.shared.limiter.shared() {
            limits.share_name(name);
        }
    }

    /// Accepts nothing any more, and from now on hears of changes from the heir.
    fn leave(&self, wire: Wire) {
        self.shared.parting.hand_over();
        self.stop_admin.cancel();
        self.stop_workers.cancel();
        self.sockets.lock().take();
        // Closed by the end of this process and by nothing before: the heir reads our usage then.
        let wire: &'static Wire = Box::leak(Box::new(wire));
        let (shared, quiescence) = (Arc::clone(&self.shared), self.quiescence.clone());
        let listen = move || listen(&shared, &quiescence, wire);
        let started = std::thread::Builder::new()
            .name("keyward-heir".into())
            .spawn(listen);
        if let Err(error) = started {
            tracing::error!(%error, "no thread to hear of changes by: nobody is let in any more");
            shut(&self.shared);
        }
    }
}

impl Drop for Given<'_> {
    fn drop(&mut self) {
        let shared = &self.gateway.shared;
        shared
            .keys
            .take_tokens_back(&self.tokens, shared.clock.now().monotonic_ms());
    }
}

impl Shared {
    /// Where buckets are shared, what is held here goes back to them when this one ends.
    fn give_tokens(&self) -> Vec<HeldTokens> {
        match self.limiter.shared() {
            Some(_) => Vec::new(),
            None => self.keys.give_tokens(self.clock.now().monotonic_ms()),
        }
    }
}

fn shut(shared: &Shared) {
    shared.keys.shut();
    let grace = shared.rules().config.drain.revoked;
    shared.parting.hurry(shared.clock.now().monotonic + grace);
}

/// Puts in force what the heir says, until one of the two ends.
fn listen(shared: &Shared, quiescence: &Quiescence, wire: &Wire) {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let talk = || -> io::Result<()> {
        let runtime = runtime?;
        wire.stream().set_read_timeout(None)?;
        wire.say(&Step::Leaving)?;
        loop {
            match wire.hear()? {
                Word::Change(change) => {
                    if let Err(error) = shared.keys.apply(vec![change]) {
                        tracing::error!(%error, "a change can't be put in force; nobody is let in any more");
                        shut(shared);
                    }
                }
                Word::Step(Step::Shut) => shut(shared),
                Word::Step(Step::Quiet) => {
                    runtime.block_on(quiescence.passed());
                    wire.say(&Step::IsQuiet)?;
                }
                Word::Step(_) => return Err(io::Error::other("a step out of place")),
            }
        }
    };
    if let Err(error) = talk() {
        tracing::warn!(%error, "the gateway that took over says nothing any more; calls in flight end without it");
        // Nobody tells us of revocations any more.
        shut(shared);
    }
}
