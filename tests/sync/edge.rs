//! A gateway: a process that may be killed at any moment, a disk that stays, workers that serve calls, and the
//! gateway's own applier, staleness and quiescence.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use keyward_config::{Staleness, WhenStale};
use keyward_contract::Record;
use keyward_contract::feed::{
    GatewayHeartbeat, Goodbye, Hello, PROTOCOL, control_frame::Frame, gateway_frame as up,
};
use keyward_gateway::keys::fence::Reading;
use keyward_gateway::keys::generations::Stamp;
use keyward_gateway::server::Quiescence;
use keyward_gateway::sync::apply::{Applier, Event as Noted};
use keyward_gateway::sync::{SyncError, SyncState};
use tokio::sync::{mpsc, oneshot};

use crate::chance::Chance;
use crate::ground::{Disk, Edge, Entry, Job, Keys, Looked};
use crate::history::{Event, World};
use crate::judge::Seen;
use crate::network::{MS, Micros, SECOND, Stream};
use crate::store::{ACCOUNTS, Content, EPOCH, KEYS, Subject, is_effective, revision_of};

/// The gateway ends a stream on which nothing came for so long.
const SILENCE: Micros = 5 * SECOND;
const WELCOME: Micros = 10 * SECOND;
/// A gateway that serves on counts for so long after it was heard; what the spec says, and on purpose no constant of
/// the control plane's.
const COUNTS_FOR: Micros = 10 * SECOND;
const READ_AHEAD: usize = 8;

/// What happens in one process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Happening {
    Beat,
    Connect,
    Disk,
    Call,
    /// The next step of a worker's turn, or between two turns.
    Turn(usize),
}

pub(crate) struct Gateway {
    id: String,
    pub(crate) disk: Rc<RefCell<Disk>>,
    staleness: Staleness,
    pub(crate) process: Option<Process>,
    pub(crate) starts: u64,
    /// When any control plane last heard it.
    pub(crate) heard: Option<Micros>,
    /// It said goodbye, and was not heard since.
    has_left: bool,
    /// The greatest revision on its disk.
    reached: u64,
}

pub(crate) struct Process {
    start: u64,
    started: Micros,
    keys: Rc<Keys>,
    state: SyncState,
    workers: Vec<Worker>,
    quiescence: Quiescence,
    jobs: VecDeque<Job>,
    line: Line,
    backoff: Micros,
    is_draining: bool,
    /// What the last stream left is waited for before the next begins.
    settling: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

enum Line {
    Down,
    Opening { stream: usize, since: Micros },
    Open(Open),
}

struct Open {
    stream: usize,
    since: Micros,
    heard: Micros,
    edge: Rc<Edge>,
    frames: mpsc::Sender<Frame>,
    applier: Pin<Box<dyn Future<Output = Result<(), SyncError>>>>,
}

struct Worker {
    questions: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    turn: Option<Turn>,
    /// What it saw last, by key.
    recent: HashMap<u64, (Entry, Stamp)>,
}

/// One call, from its look-up to its hand-over: nothing else runs on its worker meanwhile.
struct Turn {
    key: u64,
    /// What it must see of its key and account.
    least: [Seen; 2],
    /// The same, by what was complete.
    least_complete: [u64; 2],
    stage: Stage,
}

enum Stage {
    Read(Reading),
    Keep(Reading, Rc<Content>),
    Decide(Entry),
    HandOver { seen: [Seen; 2], may: bool },
    Unknown,
}

impl Gateway {
    pub(crate) fn new(number: usize, staleness: Staleness) -> Self {
        Self {
            id: format!("edge-{number}"),
            disk: Rc::default(),
            staleness,
            process: None,
            starts: 0,
            heard: None,
            has_left: false,
            reached: 0,
        }
    }

    pub(crate) fn heard(&mut self, now: Micros) {
        self.heard = Some(now);
        self.has_left = false;
    }

    pub(crate) fn said_goodbye(&mut self) {
        self.has_left = true;
    }

    /// Whether a change that is complete now is complete here, too.
    pub(crate) fn counts(&self, has_stream: bool, now: Micros) -> bool {
        let was_heard = self.heard.is_some_and(|heard| now - heard < COUNTS_FOR);
        self.denies() || (!self.has_left && (has_stream || was_heard))
    }

    pub(crate) fn denies(&self) -> bool {
        self.staleness.then == WhenStale::Deny
    }

    pub(crate) fn stream(&self) -> Option<usize> {
        match self.process.as_ref()?.line {
            Line::Down => None,
            Line::Opening { stream, .. } | Line::Open(Open { stream, .. }) => Some(stream),
        }
    }
}

impl Process {
    fn since_start(&self, now: Micros) -> Duration {
        Duration::from_micros(now - self.started)
    }

    /// The steady clock that heartbeats carry.
    fn steady_ms(&self, now: Micros) -> u64 {
        (now - self.started) / MS + 1
    }

    pub(crate) fn is_stale(&self, now: Micros) -> bool {
        self.state.is_stale(self.since_start(now))
    }
}

impl World {
    pub(crate) fn edge_starts(&mut self, gateway: usize) {
        let now = self.now;
        let edge = &mut self.edges[gateway];
        if edge.process.is_some() {
            return;
        }
        edge.starts += 1;
        let start = edge.starts;
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..2).map(|_| mpsc::unbounded_channel()).unzip();
        let worker = |questions| Worker {
            questions,
            turn: None,
            recent: HashMap::new(),
        };
        edge.process = Some(Process {
            start,
            started: now,
            keys: Rc::new(Keys::open(&edge.disk)),
            state: SyncState::new(edge.staleness, Duration::ZERO),
            workers: receivers.into_iter().map(worker).collect(),
            quiescence: Quiescence::new(senders),
            jobs: VecDeque::new(),
            line: Line::Down,
            backoff: 100 * MS,
            is_draining: false,
            settling: None,
        });
        self.trace(|| format!("gateway {gateway} starts"));
        self.soon(gateway, Happening::Connect, 5 * MS);
        self.soon(gateway, Happening::Beat, SECOND);
        self.soon(gateway, Happening::Call, 5 * MS);
    }

    /// Killed: what was on its disk is all that stays.
    pub(crate) fn edge_dies(&mut self, gateway: usize) {
        self.trace(|| format!("gateway {gateway} is killed"));
        if let Some(stream) = self.edges[gateway].stream() {
            self.streams[stream].down.is_read = false;
            self.send_up(stream, None);
        }
        self.edges[gateway].process = None;
        let later = self.now + self.chance.between(1, 6_000) * MS;
        self.at(later, Event::EdgeStarts(gateway));
    }

    /// Stops on purpose: workers first, then goodbye.
    pub(crate) fn edge_stops(&mut self, gateway: usize) {
        self.trace(|| format!("gateway {gateway} stops"));
        if let Some(process) = &mut self.edges[gateway].process {
            process.is_draining = true;
        }
        self.say_goodbye(gateway);
    }

    fn say_goodbye(&mut self, gateway: usize) {
        let Some(process) = &self.edges[gateway].process else {
            return;
        };
        let is_busy = process.workers.iter().any(|worker| worker.turn.is_some());
        if !process.is_draining || is_busy {
            return;
        }
        if let Some(stream) = self.edges[gateway].stream() {
            self.send_up(stream, Some(up::Frame::Goodbye(Goodbye {})));
        }
        self.edge_dies(gateway);
    }

    pub(crate) fn happens(&mut self, gateway: usize, start: u64, what: Happening) {
        let process = self.edges[gateway].process.as_ref();
        if process.is_none_or(|process| process.start != start) {
            return;
        }
        match what {
            Happening::Beat => self.beat(gateway),
            Happening::Connect => self.connect(gateway),
            Happening::Disk => self.disk_works(gateway),
            Happening::Call => self.call(gateway),
            Happening::Turn(worker) => self.turn(gateway, worker),
        }
    }

    fn soon(&mut self, gateway: usize, what: Happening, most: Micros) {
        let at = self.now + self.chance.below(most);
        let start = self.edges[gateway].starts;
        self.at(at, Event::Edge { gateway, start, what });
    }

    fn beat(&mut self, gateway: usize) {
        let now = self.now;
        let Some(process) = &self.edges[gateway].process else {
            return;
        };
        let steady_ms = process.steady_ms(now);
        let beats = match &process.line {
            Line::Open(open) if now - open.heard <= SILENCE => Some(open.stream),
            Line::Opening { since, .. } if now - since <= WELCOME => None,
            Line::Down => None,
            _ => {
                self.close(gateway, "silence");
                None
            }
        };
        if let Some(stream) = beats {
            self.send_heartbeat(stream, steady_ms);
        }
        let start = self.edges[gateway].starts;
        let what = Happening::Beat;
        self.at(now + SECOND, Event::Edge { gateway, start, what });
    }

    fn send_heartbeat(&mut self, stream: usize, steady_ms: u64) {
        let heartbeat = GatewayHeartbeat {
            steady_ms,
            ..GatewayHeartbeat::default()
        };
        self.send_up(stream, Some(up::Frame::Heartbeat(heartbeat)));
    }

    fn connect(&mut self, gateway: usize) {
        let edge = &self.edges[gateway];
        let Some(process) = &edge.process else { return };
        if !matches!(process.line, Line::Down) || process.is_draining {
            return;
        }
        if !self.is_settled(gateway) {
            return self.soon(gateway, Happening::Connect, 10 * MS);
        }
        let edge = &self.edges[gateway];
        let Some(process) = &edge.process else { return };
        let position = process.keys.position();
        let bound = edge.staleness.max.unwrap_or_default();
        let hello = Hello {
            gateway_id: edge.id.clone(),
            protocol: PROTOCOL,
            revision: position.revision,
            feed_epoch: position.feed_epoch,
            oldest_protocol: PROTOCOL,
            boot_epoch: edge.starts,
            max_staleness_ms: bound.as_millis() as u64,
            denies_when_stale: edge.denies(),
            history: position.history,
            ..Hello::default()
        };
        let (stream, since) = (self.streams.len(), self.now);
        self.streams.push(Stream::of(gateway));
        if let Some(process) = &mut self.edges[gateway].process {
            process.line = Line::Opening { stream, since };
        }
        self.send_up(stream, Some(up::Frame::Hello(hello)));
    }

    /// As the follower does: what the last stream had begun on the disk ends first, and then no worker acts any more on
    /// what was before it.
    fn is_settled(&mut self, gateway: usize) -> bool {
        let Some(process) = &mut self.edges[gateway].process else {
            return false;
        };
        if !process.jobs.is_empty() {
            return false;
        }
        let quiescence = process.quiescence.clone();
        let settling = process
            .settling
            .get_or_insert_with(|| Box::pin(async move { quiescence.passed().await }));
        let polled = settling.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_ready() {
            process.settling = None;
        }
        self.ask_idle_workers(gateway);
        polled.is_ready()
    }

    fn ask_idle_workers(&mut self, gateway: usize) {
        let Some(process) = &self.edges[gateway].process else {
            return;
        };
        let asked: Vec<usize> = (0..process.workers.len())
            .filter(|worker| {
                let worker = &process.workers[*worker];
                worker.turn.is_none() && !worker.questions.is_empty()
            })
            .collect();
        for worker in asked {
            self.soon(gateway, Happening::Turn(worker), MS);
        }
    }

    pub(crate) fn close(&mut self, gateway: usize, why: &str) {
        let now = self.now;
        let Some(process) = &mut self.edges[gateway].process else {
            return;
        };
        let (stream, since) = match std::mem::replace(&mut process.line, Line::Down) {
            Line::Down => return,
            Line::Opening { stream, .. } => (stream, now),
            Line::Open(open) => (open.stream, open.since),
        };
        if now - since >= 10 * SECOND {
            process.backoff = 100 * MS;
        }
        let backoff = process.backoff;
        process.backoff = (backoff * 2).min(5 * SECOND);
        self.streams[stream].down.is_read = false;
        self.send_up(stream, None);
        self.trace(|| format!("gateway {gateway} leaves stream {stream}: {why}"));
        self.soon(gateway, Happening::Connect, backoff + 1);
    }

    /// Takes a frame; gives it back when there is no room for it now.
    pub(crate) fn edge_hears(&mut self, gateway: usize, frame: Option<Frame>) -> Option<Option<Frame>> {
        let now = self.now;
        let Some(process) = &mut self.edges[gateway].process else {
            return None;
        };
        let Some(frame) = frame else {
            self.close(gateway, "the control plane closed it");
            return None;
        };
        match (&mut process.line, frame) {
            (Line::Down, _) => {}
            (Line::Opening { stream, .. }, Frame::Welcome(welcome)) if welcome.feed_epoch == EPOCH => {
                let stream = *stream;
                let (frames, sorted) = mpsc::channel(READ_AHEAD);
                let edge = Rc::new(Edge {
                    keys: Rc::clone(&process.keys),
                    quiescence: process.quiescence.clone(),
                    begun: RefCell::default(),
                    said: RefCell::default(),
                    noted: RefCell::default(),
                });
                let ground = Rc::clone(&edge);
                process.line = Line::Open(Open {
                    stream,
                    since: now,
                    heard: now,
                    edge,
                    frames,
                    applier: Box::pin(async move { Applier::new(&*ground).run(sorted).await }),
                });
                let steady_ms = process.steady_ms(now);
                self.send_heartbeat(stream, steady_ms);
            }
            (Line::Opening { .. }, _) => self.close(gateway, "no Welcome"),
            (Line::Open(_), Frame::Welcome(_)) => self.close(gateway, "a second Welcome"),
            (Line::Open(open), frame) => {
                open.heard = now;
                if let Err(mpsc::error::TrySendError::Full(frame)) = open.frames.try_send(frame) {
                    return Some(Some(frame));
                }
                self.poll(gateway);
            }
        }
        None
    }

    /// Lets the applier go as far as it can.
    fn poll(&mut self, gateway: usize) {
        let now = self.now;
        let Some(process) = &mut self.edges[gateway].process else {
            return;
        };
        let steady_ms = process.steady_ms(now);
        let Line::Open(open) = &mut process.line else {
            return;
        };
        let polled = open
            .applier
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        let (stream, edge) = (open.stream, Rc::clone(&open.edge));
        let was_idle = process.jobs.is_empty();
        process.jobs.extend(edge.begun.take());
        let has_work = was_idle && !process.jobs.is_empty();
        for noted in edge.noted.take() {
            if let Noted::Fresh { steady_ms: sent, .. } = noted {
                process.state.heard_by(sent, steady_ms);
            }
        }
        if has_work {
            let slow = self.slow_disk;
            self.soon(gateway, Happening::Disk, slow);
        }
        self.ask_idle_workers(gateway);
        for frame in edge.said.take() {
            self.send_up(stream, Some(frame));
        }
        if let Poll::Ready(Err(error)) = polled {
            self.close(gateway, &error.to_string());
        }
    }

    fn disk_works(&mut self, gateway: usize) {
        let Some(process) = &mut self.edges[gateway].process else {
            return;
        };
        if process.jobs.front_mut().is_some_and(Job::step) {
            process.jobs.pop_front();
        }
        if !process.jobs.is_empty() {
            let slow = self.slow_disk;
            self.soon(gateway, Happening::Disk, slow);
        }
        self.check_disk(gateway);
        self.poll(gateway);
        self.deliver_to(gateway);
    }

    fn check_disk(&mut self, gateway: usize) {
        let edge = &mut self.edges[gateway];
        let disk = edge.disk.borrow();
        let revision = disk.position.revision;
        if revision < edge.reached {
            let reached = edge.reached;
            self.judge.fail(format!(
                "gateway {gateway} went back from {reached} to {revision}"
            ));
        } else if revision != edge.reached && !self.store.was(revision, &disk.content) {
            self.judge.fail(format!(
                "gateway {gateway} holds at {revision} what the log does not say"
            ));
        }
        edge.reached = revision;
    }

    fn call(&mut self, gateway: usize) {
        let pause = self.chance.one_of(&[5, 20, 80, 300]) * MS;
        self.soon(gateway, Happening::Call, pause);
        let Some(process) = &self.edges[gateway].process else {
            return;
        };
        let position = process.keys.position();
        let free = process.workers.iter().position(|worker| worker.turn.is_none());
        // Not ready before the first snapshot; told to stop, it takes no call.
        let Some(worker) = free.filter(|_| position.revision > 0 && !process.is_draining) else {
            return;
        };
        let key = self.chance.below(KEYS);
        let subjects = [Subject::Key(key), Subject::Account(key % ACCOUNTS)];
        let least = subjects.map(|subject| Seen {
            subject,
            revision: self.store.revision_of(subject, position.revision),
        });
        let least_complete = subjects.map(|subject| self.judge.must_know(gateway, subject));
        let Some(process) = &mut self.edges[gateway].process else {
            return;
        };
        let recent = process.workers[worker].recent.get(&key);
        let recent = recent.filter(|(_, stamp)| process.keys.is_current(key, *stamp));
        let stage = match recent {
            Some((entry, _)) => Stage::Decide(entry.clone()),
            None => stage(process.keys.look(key)),
        };
        process.workers[worker].turn = Some(Turn {
            key,
            least,
            least_complete,
            stage,
        });
        self.turn_goes_on(gateway, worker);
    }

    fn turn_goes_on(&mut self, gateway: usize, worker: usize) {
        // Mostly at once; now and then the kernel has something better to do.
        let pause = self.chance.one_of(&[1, 1, 1, 1, 10, 400]) * MS;
        self.soon(gateway, Happening::Turn(worker), pause);
    }

    fn turn(&mut self, gateway: usize, worker: usize) {
        let now = self.now;
        let Some(process) = &mut self.edges[gateway].process else {
            return;
        };
        let is_stale = process.is_stale(now);
        let keys = Rc::clone(&process.keys);
        let at = &mut process.workers[worker];
        let Some(mut turn) = at.turn.take() else {
            return self.round(gateway, worker);
        };
        turn.stage = match turn.stage {
            Stage::Read(reading) => Stage::Keep(reading, keys.view()),
            Stage::Keep(reading, view) => {
                let kept = keys.keep(turn.key, reading, &view);
                if let Looked::Found(entry, stamp) = &kept {
                    at.recent.insert(turn.key, (entry.clone(), *stamp));
                }
                stage(kept)
            }
            Stage::Decide(entry) => decide(&entry, &turn.least),
            Stage::HandOver { seen, may } => {
                self.ends(gateway, &turn, seen, may && !is_stale, is_stale);
                return self.round(gateway, worker);
            }
            Stage::Unknown => {
                let seen = turn.least.map(|least| Seen { revision: 0, ..least });
                // Of the account nothing is seen.
                let seen = [seen[0], turn.least[1]];
                self.ends(gateway, &turn, seen, false, is_stale);
                return self.round(gateway, worker);
            }
        };
        at.turn = Some(turn);
        self.turn_goes_on(gateway, worker);
    }

    fn ends(&mut self, gateway: usize, turn: &Turn, seen: [Seen; 2], forwards: bool, is_stale: bool) {
        for (seen, least) in seen.iter().zip(&turn.least) {
            self.judge.saw(gateway, *seen, least.revision);
        }
        if forwards {
            self.judge.forwards(gateway, &seen);
        } else {
            self.judge.refused += 1;
        }
        // A gateway that refuses everything need not know.
        if !is_stale && seen[0].revision > 0 {
            for (seen, least) in seen.iter().zip(turn.least_complete) {
                self.judge.saw(gateway, *seen, least);
            }
        } else if !is_stale {
            self.judge.saw(gateway, seen[0], turn.least_complete[0]);
        }
    }

    /// Between two turns a worker says that it came round.
    fn round(&mut self, gateway: usize, worker: usize) {
        let Some(process) = &mut self.edges[gateway].process else {
            return;
        };
        while let Ok(answer) = process.workers[worker].questions.try_recv() {
            let _ = answer.send(());
        }
        self.poll(gateway);
        self.deliver_to(gateway);
        self.say_goodbye(gateway);
    }
}

fn stage(looked: Looked) -> Stage {
    match looked {
        Looked::Found(entry, _) => Stage::Decide(entry),
        Looked::Unknown => Stage::Unknown,
        Looked::OnDisk(reading) => Stage::Read(reading),
    }
}

fn decide(entry: &Entry, least: &[Seen; 2]) -> Stage {
    let account: Record = entry.account.borrow().clone();
    let seen = |subject, record| Seen {
        subject,
        revision: revision_of(record),
    };
    Stage::HandOver {
        seen: [
            seen(least[0].subject, &entry.key),
            seen(least[1].subject, &account),
        ],
        may: is_effective(&entry.key) && is_effective(&account),
    }
}

/// How a gateway of this history is configured.
pub(crate) fn staleness(chance: &mut Chance) -> Staleness {
    let (max, then) = match chance.below(4) {
        0 => (None, WhenStale::Serve),
        1 => (Some(3), WhenStale::Serve),
        2 => (Some(3), WhenStale::Deny),
        _ => (Some(14), WhenStale::Deny),
    };
    Staleness {
        max: max.map(Duration::from_secs),
        then,
    }
}
