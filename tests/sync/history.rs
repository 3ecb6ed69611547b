//! One history: events in their order, each at its time, all of it by one seed.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use keyward_contract::feed::{control_frame, gateway_frame};
use keyward_control_plane::sync::Link;

use crate::chance::Chance;
use crate::edge::{Gateway, Happening, staleness};
use crate::judge::{Broken, Judge};
use crate::network::{Blocked, MS, Micros, SECOND, Stream};
use crate::plane::Plane;
use crate::store::{Store, Subject};

/// How long everything is left alone at the end: whoever has not caught up by then never will.
const QUIET: Micros = 40 * SECOND;
/// Steps of a failed history that are shown.
const SHOWN: usize = 80;

/// What may go wrong in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Partition,
    Kill,
    Stop,
    RestartControlPlane,
    Pause,
    Compact,
    Reset,
    SlowDisk,
    /// Frames are lost, repeated or exchanged on their way down: the gateway must notice.
    Mangle,
}

pub(crate) const FAULTS: [Fault; 9] = [
    Fault::Partition,
    Fault::Kill,
    Fault::Stop,
    Fault::RestartControlPlane,
    Fault::Pause,
    Fault::Compact,
    Fault::Reset,
    Fault::SlowDisk,
    Fault::Mangle,
];

/// A history that can be played again.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) gateways: usize,
    pub(crate) seconds: u64,
    pub(crate) faults: Vec<Fault>,
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0xA5A5);
        let faults = FAULTS.into_iter().filter(|_| !chance.once_in(3)).collect();
        Self {
            seed,
            gateways: chance.between(1, 3) as usize,
            seconds: chance.between(10, 40),
            faults,
        }
    }
}

/// How a history went.
pub(crate) struct Outcome {
    pub(crate) broken: Option<Broken>,
    pub(crate) trace: Vec<String>,
    pub(crate) completed: u64,
    pub(crate) partial: u64,
    pub(crate) forwarded: u64,
    pub(crate) refused: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Up(usize),
    Down(usize),
    Edge {
        gateway: usize,
        start: u64,
        what: Happening,
    },
    EdgeStarts(usize),
    PlaneTicks {
        start: u64,
    },
    PlaneStarts,
    Announce {
        start: u64,
        subject: Subject,
        revision: u64,
        wait: Micros,
    },
    AnswerWaiting,
    Write,
    Fault,
    Heal(usize),
}

pub(crate) struct World {
    pub(crate) now: Micros,
    pub(crate) origin: Instant,
    pub(crate) chance: Chance,
    pub(crate) store: Store,
    pub(crate) plane: Plane,
    pub(crate) edges: Vec<Gateway>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) judge: Judge,
    pub(crate) looks_again: bool,
    /// A step on a disk takes so long at most.
    pub(crate) slow_disk: Micros,
    plan: Plan,
    blocked: Vec<Blocked>,
    /// Until when each gateway, and last the control plane, is stopped.
    paused: Vec<Micros>,
    queue: BinaryHeap<Reverse<(Micros, u64, Queued)>>,
    queued: u64,
    pub(crate) is_quiet: bool,
    mangles: bool,
    trace: Option<RefCell<Vec<String>>>,
}

/// Ordered by time and number alone.
struct Queued(Event);

impl PartialEq for Queued {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

/// Plays a history. `origin` is any instant: time goes on from there.
pub(crate) fn play(plan: &Plan, is_traced: bool) -> Outcome {
    let mut world = World::new(plan.clone(), is_traced);
    world.run(plan.seconds * SECOND);
    world.calm_down();
    let end = world.now + QUIET / 2;
    world.run(end);
    world.check_end();
    let trace = world.trace.map(RefCell::into_inner).unwrap_or_default();
    let shown = trace.len().saturating_sub(SHOWN);
    Outcome {
        trace: trace[shown..].to_vec(),
        completed: world.judge.completed,
        partial: world.judge.partial,
        forwarded: world.judge.forwarded,
        refused: world.judge.refused,
        broken: world.judge.broken,
    }
}

impl World {
    fn new(plan: Plan, is_traced: bool) -> Self {
        let mut chance = Chance::new(plan.seed);
        let edges = (0..plan.gateways)
            .map(|number| Gateway::new(number, staleness(&mut chance)))
            .collect();
        let store = Store::new();
        let mut world = Self {
            now: 0,
            origin: Instant::now(),
            plane: Plane::start(1, store.head()),
            store,
            edges,
            streams: Vec::new(),
            judge: Judge::default(),
            looks_again: false,
            slow_disk: 5 * MS,
            blocked: vec![Blocked::default(); plan.gateways],
            paused: vec![0; plan.gateways + 1],
            queue: BinaryHeap::new(),
            queued: 0,
            is_quiet: false,
            mangles: plan.faults.contains(&Fault::Mangle) && chance.once_in(2),
            trace: is_traced.then(RefCell::default),
            chance,
            plan,
        };
        for gateway in 0..world.edges.len() {
            world.at(0, Event::EdgeStarts(gateway));
        }
        world.at(1, Event::PlaneTicks { start: 1 });
        world.at(SECOND, Event::Write);
        world.at(2 * SECOND, Event::Fault);
        world
    }

    pub(crate) fn instant(&self) -> Instant {
        self.origin + Duration::from_micros(self.now)
    }

    pub(crate) fn at(&mut self, time: Micros, event: Event) {
        self.queued += 1;
        self.queue
            .push(Reverse((time.max(self.now), self.queued, Queued(event))));
    }

    pub(crate) fn trace(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let seconds = self.now as f64 / SECOND as f64;
            trace.borrow_mut().push(format!("{seconds:10.4} {}", line()));
        }
    }

    fn run(&mut self, end: Micros) {
        while let Some(Reverse((time, _, _))) = self.queue.peek() {
            if *time > end || self.judge.broken.is_some() {
                break;
            }
            let Some(Reverse((time, _, Queued(event)))) = self.queue.pop() else {
                break;
            };
            self.now = time;
            match self.paused_for(event) {
                Some(until) => self.at(until, event),
                None => self.happen(event),
            }
        }
        self.now = self.now.max(end);
    }

    /// Who is stopped does nothing before it goes on.
    fn paused_for(&self, event: Event) -> Option<Micros> {
        let plane = self.edges.len();
        let who = match event {
            Event::Up(_) | Event::PlaneTicks { .. } | Event::Announce { .. } | Event::AnswerWaiting => plane,
            Event::Down(stream) => self.streams[stream].gateway,
            Event::Edge { gateway, .. } => gateway,
            Event::EdgeStarts(_) | Event::PlaneStarts | Event::Write | Event::Fault | Event::Heal(_) => {
                return None;
            }
        };
        Some(self.paused[who]).filter(|until| self.now < *until)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Up(stream) => self.deliver_up(stream),
            Event::Down(stream) => self.deliver_down(stream),
            Event::Edge { gateway, start, what } => self.happens(gateway, start, what),
            Event::EdgeStarts(gateway) => self.edge_starts(gateway),
            Event::PlaneTicks { start } if start == self.plane.start && self.plane.is_up => {
                self.plane_ticks();
                let later = self.now + SECOND;
                self.at(later, Event::PlaneTicks { start });
            }
            Event::PlaneTicks { .. } => {}
            Event::PlaneStarts => self.plane_starts(),
            Event::Announce {
                start,
                subject,
                revision,
                wait,
            } if start == self.plane.start && self.plane.is_up => {
                let deadline = self.now + wait;
                self.announce(subject, revision, deadline);
            }
            Event::Announce { .. } => {}
            Event::AnswerWaiting => {
                self.looks_again = false;
                self.answer_waiting();
            }
            Event::Write => self.write(),
            Event::Fault => self.fault(),
            Event::Heal(gateway) => self.heal(gateway),
        }
    }

    /// An operator changes something, mostly by this control plane.
    fn write(&mut self) {
        if self.is_quiet {
            return;
        }
        let pause = self.chance.one_of(&[10, 100, 500, 3_000]) * MS;
        let later = self.now + self.chance.below(pause) + 1;
        self.at(later, Event::Write);
        if self.plane.is_up && self.now >= self.paused[self.edges.len()] {
            let wait = self.chance.one_of(&[100, 1_000, 20_000]) * MS;
            self.commit(wait);
        }
    }

    fn commit(&mut self, wait: Micros) {
        let (subject, effective) = self.store.any_change(&mut self.chance);
        let revision = self.store.commit(subject, effective);
        self.trace(|| format!("revision {revision}: {subject:?}, effective: {effective}"));
        // Now and then somebody else commits, and nobody tells this control plane.
        if self.is_quiet || !self.chance.once_in(10) {
            let (at, start) = (self.now + self.chance.below(3 * MS), self.plane.start);
            self.at(
                at,
                Event::Announce {
                    start,
                    subject,
                    revision,
                    wait,
                },
            );
        }
    }

    pub(crate) fn send_up(&mut self, stream: usize, frame: Option<gateway_frame::Frame>) {
        let at = self.now + self.latency();
        let at = self.streams[stream].up.send(frame, at);
        self.at(at, Event::Up(stream));
    }

    pub(crate) fn send_down(&mut self, stream: usize, frame: Option<control_frame::Frame>) {
        let at = self.now + self.latency();
        let at = self.streams[stream].down.send(frame, at);
        self.at(at, Event::Down(stream));
    }

    fn latency(&mut self) -> Micros {
        let most = self.chance.one_of(&[MS, MS, MS, 20 * MS]);
        self.chance.below(most)
    }

    fn deliver_up(&mut self, stream: usize) {
        let at = &mut self.streams[stream];
        if self.blocked[at.gateway].up {
            return;
        }
        let Some(frame) = at.up.take(self.now) else { return };
        if self.plane.is_up && at.up.is_read {
            self.plane_hears(stream, frame);
        } else if !self.plane.is_up && frame.is_some() {
            // Nobody is there: the connection is refused, or reset.
            self.send_down(stream, None);
        }
    }

    fn deliver_down(&mut self, stream: usize) {
        let (now, gateway) = (self.now, self.streams[stream].gateway);
        if self.blocked[gateway].down {
            return;
        }
        let may_mangle = self.mangles && !self.is_quiet && !self.streams[stream].is_mangled;
        let mangling = (may_mangle && self.chance.once_in(30)).then(|| self.chance.below(3));
        let at = &mut self.streams[stream];
        at.is_mangled |= mangling.is_some();
        if mangling == Some(0) {
            at.down.swap();
        }
        let Some(frame) = at.down.take(now) else { return };
        if at.down.is_read && self.edges[gateway].stream() == Some(stream) {
            if mangling == Some(1) && frame.is_some() {
                at.down.put_back(frame.clone());
                self.at(now, Event::Down(stream));
            }
            let is_lost = mangling == Some(2) && frame.is_some();
            if !is_lost && let Some(frame) = self.edge_hears(gateway, frame) {
                // No room: tried again when the applier has gone on.
                self.streams[stream].down.put_back(frame);
                return;
            }
        }
        if self.plane.is_up {
            self.pump(stream);
        }
    }

    /// What has arrived at a gateway and had no room.
    pub(crate) fn deliver_to(&mut self, gateway: usize) {
        if let Some(stream) = self.edges[gateway].stream() {
            for _ in 0..self.streams[stream].down.waiting() {
                let now = self.now;
                self.at(now, Event::Down(stream));
            }
        }
    }

    fn fault(&mut self) {
        if self.is_quiet {
            return;
        }
        let pause = self.chance.one_of(&[200, 1_000, 5_000]) * MS;
        let later = self.now + self.chance.below(pause) + 1;
        self.at(later, Event::Fault);
        if self.plan.faults.is_empty() {
            return;
        }
        let fault = self.plan.faults[self.chance.below(self.plan.faults.len() as u64) as usize];
        let gateway = self.chance.below(self.edges.len() as u64) as usize;
        self.cause(fault, gateway);
    }

    fn cause(&mut self, fault: Fault, gateway: usize) {
        match fault {
            Fault::Partition => {
                let which = self.chance.below(4);
                self.blocked[gateway] = Blocked {
                    up: which != 0,
                    down: which != 1,
                };
                let longest = self.chance.one_of(&[200, 3_000, 8_000, 25_000]) * MS;
                let until = self.now + self.chance.below(longest);
                self.trace(|| {
                    format!(
                        "the line of gateway {gateway} is cut: {:?}",
                        self.blocked[gateway]
                    )
                });
                self.at(until, Event::Heal(gateway));
            }
            Fault::Kill if self.edges[gateway].process.is_some() => self.edge_dies(gateway),
            Fault::Stop if self.edges[gateway].process.is_some() => self.edge_stops(gateway),
            Fault::RestartControlPlane if self.plane.is_up && self.chance.once_in(3) => self.plane_dies(),
            Fault::Pause => {
                let who = self.chance.below(self.paused.len() as u64) as usize;
                let longest = self.chance.one_of(&[100, 2_000, 15_000]) * MS;
                self.paused[who] = self.now + self.chance.below(longest);
                self.trace(|| format!("{who} is stopped until {}", self.paused[who]));
            }
            Fault::Compact => {
                let keep = self.chance.below(8) as usize;
                self.store.compact(keep);
            }
            Fault::Reset => {
                if let Some(stream) = self.edges[gateway].stream() {
                    self.close(gateway, "reset");
                    self.end_session(stream, Link::Lost);
                }
            }
            Fault::SlowDisk => self.slow_disk = self.chance.one_of(&[1, 5, 100, 900]) * MS,
            Fault::Kill | Fault::Stop | Fault::RestartControlPlane | Fault::Mangle => {}
        }
    }

    fn plane_dies(&mut self) {
        self.trace(|| "the control plane is killed".to_owned());
        let streams: Vec<usize> = self.plane.sessions.keys().copied().collect();
        self.plane.is_up = false;
        self.plane.sessions.clear();
        self.plane.waiting.clear();
        for stream in streams {
            self.streams[stream].up.is_read = false;
            self.send_down(stream, None);
        }
        let later = self.now + self.chance.one_of(&[50, 500, 5_000, 14_000]) * MS;
        self.at(later, Event::PlaneStarts);
    }

    fn plane_starts(&mut self) {
        if self.plane.is_up {
            return;
        }
        let start = self.plane.start + 1;
        self.trace(|| "the control plane starts".to_owned());
        self.start_plane(start);
        let now = self.now;
        self.at(now, Event::PlaneTicks { start });
    }

    pub(crate) fn heard_of(&mut self, gateway: usize) {
        let now = self.now;
        self.edges[gateway].heard(now);
    }

    fn heal(&mut self, gateway: usize) {
        self.blocked[gateway] = Blocked::default();
        self.trace(|| format!("the line of gateway {gateway} is whole"));
        for stream in 0..self.streams.len() {
            if self.streams[stream].gateway == gateway {
                let now = self.now;
                for _ in 0..self.streams[stream].up.waiting() {
                    self.at(now, Event::Up(stream));
                }
                for _ in 0..self.streams[stream].down.waiting() {
                    self.at(now, Event::Down(stream));
                }
            }
        }
    }

    /// No more faults: everybody comes back.
    fn calm_down(&mut self) {
        self.trace(|| "all faults end".to_owned());
        self.is_quiet = true;
        self.slow_disk = 5 * MS;
        self.paused.fill(0);
        for gateway in 0..self.edges.len() {
            self.heal(gateway);
        }
        self.plane_starts();
        // Once everybody is back, a change must be complete everywhere.
        let now = self.now;
        self.run(now + QUIET / 2);
        self.commit(20 * SECOND);
    }

    fn check_end(&mut self) {
        if self.judge.broken.is_some() {
            return;
        }
        let (head, now) = (self.store.head(), self.now);
        for (number, edge) in self.edges.iter().enumerate() {
            let revision = edge.disk.borrow().position.revision;
            let is_stale = edge.process.as_ref().is_none_or(|process| process.is_stale(now));
            if revision != head || is_stale {
                self.judge.broken = Some(Broken(format!(
                    "after {}s of quiet gateway {number} is at {revision} of {head}, stale: {is_stale}",
                    QUIET / SECOND
                )));
                return;
            }
        }
        let bound = (0..self.edges.len()).all(|gateway| {
            let subjects = self.store.subjects_at(head);
            subjects
                .iter()
                .all(|subject| self.judge.must_know(gateway, *subject) == head)
        });
        if !bound {
            self.judge.broken = Some(Broken("the last change was not complete everywhere".to_owned()));
        }
    }
}
