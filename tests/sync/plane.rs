//! The control plane: its roster of gateways, its tail of the log and its echoes are the real ones; what they are
//! wired with here is a network and a clock that fail by a seed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use keyward_contract::UnixMillis;
use keyward_contract::feed::{
    Change, ControlFrame, ControlHeartbeat, Hello, PROTOCOL, SnapshotBegin, SnapshotChunk, SnapshotEnd,
    Welcome, control_frame::Frame, gateway_frame as up,
};
use keyward_control_plane::store::changes::{Place, named};
use keyward_control_plane::sync::{Echo, Ends, Entry, Link, Read, Roster, Tail, resumes_at};

use prost::Message;

use crate::history::{Event, World};
use crate::network::{MS, Micros, SECOND};
use crate::store::{EPOCH, Subject, history};

/// A stream on which nothing came for so long is over.
const SILENCE: Micros = 10 * SECOND;
/// Frames under way to one gateway.
const WINDOW: usize = 6;
const READ_AT_ONCE: usize = 3;

pub(crate) struct Plane {
    pub(crate) is_up: bool,
    pub(crate) start: u64,
    pub(crate) roster: Roster,
    tail: Tail,
    /// Up to where the log was read.
    head: u64,
    announced: u64,
    pub(crate) sessions: BTreeMap<usize, Session>,
    pub(crate) waiting: Vec<Waiting>,
}

pub(crate) struct Session {
    pub(crate) gateway: usize,
    id: String,
    number: u64,
    /// Up to where the gateway was sent the log.
    position: u64,
    needs_snapshot: bool,
    snapshot: VecDeque<Frame>,
    echo: Echo,
    heard: Micros,
    ends: Ends,
}

/// A call that changed something and waits for acknowledgements.
pub(crate) struct Waiting {
    pub(crate) subject: Subject,
    pub(crate) revision: u64,
    pub(crate) deadline: Micros,
}

impl Plane {
    pub(crate) fn start(start: u64, head: u64) -> Self {
        Self {
            is_up: true,
            start,
            roster: Roster::default(),
            tail: Tail::new(place(head)),
            head,
            announced: 0,
            sessions: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }
}

impl World {
    /// Another start: what is in the database is all that is left.
    pub(crate) fn start_plane(&mut self, start: u64) {
        self.plane = Plane::start(start, self.store.head());
        let at = (self.instant(), UnixMillis(0));
        for hello in self.store.gateways.values() {
            self.plane.roster.recall(hello, at);
        }
    }

    /// Tells that a change was committed, and begins to wait.
    pub(crate) fn announce(&mut self, subject: Subject, revision: u64, deadline: Micros) {
        let now = self.instant();
        self.plane.roster.committed(revision, now);
        self.plane.announced = revision.max(self.plane.announced);
        self.plane.waiting.push(Waiting {
            subject,
            revision,
            deadline,
        });
        self.read_log();
        self.answer_waiting();
    }

    /// What is new in the log goes into the tail and to the streams.
    pub(crate) fn read_log(&mut self) {
        let from = self.plane.head.max(self.store.compacted());
        let changes = self.store.after(from, usize::MAX).unwrap_or_default();
        for change in changes {
            self.plane.head = change.revision;
            if let Ok(read) = Read::of(change.revision, change.encode_to_vec()) {
                self.plane.tail.push(read.entry);
            }
        }
        let now = self.instant();
        self.plane.roster.committed(self.plane.head, now);
        self.plane.announced = self.plane.announced.max(self.plane.head);
        let streams: Vec<usize> = self.plane.sessions.keys().copied().collect();
        for stream in streams {
            self.pump(stream);
        }
    }

    /// Once a second.
    pub(crate) fn plane_ticks(&mut self) {
        self.read_log();
        let (roster, now) = (&self.plane.roster, self.instant());
        self.store.gateways.retain(|id, _| roster.may_count(id, now));
        let streams: Vec<usize> = self.plane.sessions.keys().copied().collect();
        for stream in streams {
            self.tell_heartbeat(stream);
            if self.now.saturating_sub(self.plane.sessions[&stream].heard) > SILENCE {
                self.end_session(stream, Link::Lost);
            }
        }
        self.answer_waiting();
    }

    pub(crate) fn plane_hears(&mut self, stream: usize, frame: Option<up::Frame>) {
        let is_known = self.plane.sessions.contains_key(&stream);
        match frame {
            Some(up::Frame::Hello(hello)) if !is_known => self.welcome(stream, &hello),
            _ if !is_known => {}
            None => self.end_session(stream, Link::Lost),
            Some(frame) => self.hear(stream, frame),
        }
        self.answer_waiting();
    }

    fn welcome(&mut self, stream: usize, hello: &Hello) {
        let now = self.instant();
        let history = self.store.history(hello.revision);
        let position = resumes_at(hello, (EPOCH, ""), (self.store.head(), named(history)));
        if let Err(unwelcome) = self.plane.roster.check(hello, now) {
            self.trace(|| format!("{} is not welcome: {unwelcome:?}", hello.gateway_id));
            self.send_down(stream, None);
            return;
        }
        self.store
            .gateways
            .insert(hello.gateway_id.clone(), hello.clone());
        let number = self.plane.roster.next_session();
        let ends = self.plane.roster.join(hello, position, number, now);
        let gateway = self.streams[stream].gateway;
        self.trace(|| format!("{} joins at {position}", hello.gateway_id));
        let session = Session {
            gateway,
            id: hello.gateway_id.clone(),
            number,
            position,
            needs_snapshot: position == 0,
            snapshot: VecDeque::new(),
            echo: Echo::default(),
            heard: self.now,
            ends,
        };
        self.plane.sessions.insert(stream, session);
        self.heard_of(gateway);
        let replaced: Vec<usize> = self
            .plane
            .sessions
            .iter()
            .filter(|(_, session)| session.ends.replaced.is_cancelled())
            .map(|(stream, _)| *stream)
            .collect();
        for stream in replaced {
            self.end_session(stream, Link::Lost);
        }
        let welcome = Welcome {
            protocol: PROTOCOL,
            feed_epoch: EPOCH.into(),
            revision: self.plane.head,
            ..Welcome::default()
        };
        self.send_down(stream, Some(Frame::Welcome(welcome)));
        self.pump(stream);
    }

    fn hear(&mut self, stream: usize, frame: up::Frame) {
        let now = self.instant();
        let at = (now, UnixMillis((self.now / MS) as i64));
        let plane = &mut self.plane;
        let Some(session) = plane.sessions.get_mut(&stream) else {
            return;
        };
        session.heard = self.now;
        match frame {
            up::Frame::Acknowledge(acknowledge) => {
                let revision = acknowledge.revision;
                if revision > session.position {
                    let (id, sent) = (session.id.clone(), session.position);
                    self.judge
                        .fail(format!("{id} acknowledged {revision}, sent was {sent}"));
                    return;
                }
                plane.roster.acknowledge(&session.id, session.number, revision);
                self.trace(|| format!("stream {stream} acknowledged {revision}"));
            }
            up::Frame::Heartbeat(heartbeat) => {
                plane.roster.heard(&session.id, session.number, at);
                session.echo.heard(heartbeat.steady_ms, now);
                session.echo.recorded(now);
                let gateway = session.gateway;
                self.heard_of(gateway);
                self.tell_heartbeat(stream);
            }
            up::Frame::Goodbye(_) => {
                let gateway = session.gateway;
                self.edges[gateway].said_goodbye();
                self.end_session(stream, Link::Stopped);
            }
            up::Frame::Refusal(refusal) => {
                plane.roster.refuse(&session.id, session.number, refusal.revision);
            }
            _ => {}
        }
    }

    fn tell_heartbeat(&mut self, stream: usize) {
        let plane = &self.plane;
        let Some(session) = plane.sessions.get(&stream) else {
            return;
        };
        let heartbeat = ControlHeartbeat {
            echo_ms: session.echo.told(),
            revision: plane.announced.max(plane.head),
            ..ControlHeartbeat::default()
        };
        self.send_down(stream, Some(Frame::Heartbeat(heartbeat)));
    }

    /// Sends what the gateway lacks, as far as it takes it.
    pub(crate) fn pump(&mut self, stream: usize) {
        while self.streams[stream].down.waiting() < WINDOW {
            let Some(session) = self.plane.sessions.get_mut(&stream) else {
                return;
            };
            if let Some(frame) = session.snapshot.pop_front() {
                if let Frame::SnapshotEnd(end) = &frame {
                    session.position = end.revision;
                }
                self.send_down(stream, Some(frame));
                continue;
            }
            if std::mem::take(&mut session.needs_snapshot) {
                session.snapshot = snapshot(self.store.head(), self.store.snapshot());
                continue;
            }
            let position = session.position;
            if position >= self.plane.head {
                return;
            }
            let entries = self.plane.tail.after(position, READ_AT_ONCE);
            let changes: Option<Vec<Change>> = match entries {
                Some(entries) => Some(entries.iter().filter_map(change).collect()),
                None => self
                    .store
                    .after(position, READ_AT_ONCE)
                    .map(|changes| changes.iter().map(|change| change.as_ref().clone()).collect()),
            };
            let Some(changes) = changes.filter(|changes| !changes.is_empty()) else {
                session.needs_snapshot = true;
                continue;
            };
            for change in changes {
                if let Some(session) = self.plane.sessions.get_mut(&stream) {
                    session.position = change.revision;
                }
                self.send_down(stream, Some(Frame::Change(change)));
            }
        }
    }

    pub(crate) fn end_session(&mut self, stream: usize, link: Link) {
        let now = self.instant();
        if let Some(session) = self.plane.sessions.remove(&stream) {
            self.trace(|| {
                format!(
                    "the control plane ends stream {stream} of {}: {link:?}",
                    session.id
                )
            });
            self.plane.roster.leave(&session.id, session.number, link, now);
            self.streams[stream].up.is_read = false;
            self.send_down(stream, None);
        }
    }

    /// Answers the calls that need not wait any more.
    pub(crate) fn answer_waiting(&mut self) {
        let now = self.instant();
        let mut waiting = std::mem::take(&mut self.plane.waiting);
        waiting.retain(|call| {
            let deadline = self.origin + Duration::from_micros(call.deadline);
            let standing = self.plane.roster.standing(call.revision, now);
            let Some(propagation) = standing.verdict(deadline, now) else {
                return true;
            };
            self.trace(|| format!("revision {} is {propagation}", call.revision));
            if propagation.missing.is_empty() {
                self.complete(call);
            } else {
                self.judge.partial += 1;
            }
            false
        });
        self.plane.waiting.extend(waiting);
        if !self.plane.waiting.is_empty() && !self.looks_again {
            self.looks_again = true;
            let later = self.now + 40 * MS;
            self.at(later, Event::AnswerWaiting);
        }
    }

    /// A change is complete: from now on every gateway that counts goes by it.
    fn complete(&mut self, call: &Waiting) {
        self.judge.completed += 1;
        for gateway in 0..self.edges.len() {
            let has_stream = self
                .plane
                .sessions
                .values()
                .any(|session| session.gateway == gateway);
            if self.edges[gateway].counts(has_stream, self.now) {
                self.judge.binds(gateway, call.subject, call.revision);
            }
        }
    }
}

/// The base of a tail that begins here.
fn place(revision: u64) -> Place {
    Place {
        revision,
        history: None,
    }
}

/// What a gateway is sent of an entry of the tail.
fn change(entry: &Entry) -> Option<Change> {
    let frame = ControlFrame::decode(entry.frame()).ok()?.frame?;
    match frame {
        Frame::Change(change) => Some(change),
        _ => None,
    }
}

fn snapshot(revision: u64, records: Vec<keyward_contract::feed::Record>) -> VecDeque<Frame> {
    let begin = Frame::SnapshotBegin(SnapshotBegin {
        revision,
        records: records.len() as u64,
        history: history(revision),
        ..SnapshotBegin::default()
    });
    let chunks = records.chunks(3).map(|records| {
        Frame::SnapshotChunk(SnapshotChunk {
            records: records.to_vec(),
        })
    });
    let end = Frame::SnapshotEnd(SnapshotEnd {
        revision,
        records: records.len() as u64,
    });
    std::iter::once(begin).chain(chunks).chain([end]).collect()
}
