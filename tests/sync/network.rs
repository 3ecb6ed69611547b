//! The network: frames of one direction arrive in their order, however late. A partition holds them back, as TCP
//! does; what was under way when a side has left is lost.

use std::collections::VecDeque;

use keyward_contract::feed::{control_frame, gateway_frame};

/// Microseconds since the history began.
pub(crate) type Micros = u64;

pub(crate) const MS: Micros = 1_000;
pub(crate) const SECOND: Micros = 1_000 * MS;

/// One direction of a stream. `None` is its end.
pub(crate) struct Pipe<F> {
    under_way: VecDeque<(Micros, Option<F>)>,
    last: Micros,
    /// Whether somebody still listens.
    pub(crate) is_read: bool,
}

impl<F> Pipe<F> {
    fn new() -> Self {
        Self {
            under_way: VecDeque::new(),
            last: 0,
            is_read: true,
        }
    }

    /// Sends; answers when it arrives.
    pub(crate) fn send(&mut self, frame: Option<F>, at: Micros) -> Micros {
        self.last = self.last.max(at);
        self.under_way.push_back((self.last, frame));
        self.last
    }

    /// What has arrived and was not taken.
    pub(crate) fn take(&mut self, now: Micros) -> Option<Option<F>> {
        let (at, _) = self.under_way.front()?;
        if *at > now {
            return None;
        }
        self.under_way.pop_front().map(|(_, frame)| frame)
    }

    /// Puts back what could not be taken.
    pub(crate) fn put_back(&mut self, frame: Option<F>) {
        self.under_way.push_front((0, frame));
    }

    /// Exchanges the next two frames, if there are two.
    pub(crate) fn swap(&mut self) {
        if self.under_way.len() > 1 {
            let (first, second) = (self.under_way[0].0, self.under_way[1].0);
            self.under_way.swap(0, 1);
            (self.under_way[0].0, self.under_way[1].0) = (first, second);
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.under_way.len()
    }
}

/// One stream of a gateway.
pub(crate) struct Stream {
    pub(crate) gateway: usize,
    pub(crate) up: Pipe<gateway_frame::Frame>,
    pub(crate) down: Pipe<control_frame::Frame>,
    /// One frame on its way down was lost, repeated or exchanged. A second one could undo what shows the first: a chunk of
    /// a snapshot lost and another of its length repeated.
    pub(crate) is_mangled: bool,
}

impl Stream {
    pub(crate) fn of(gateway: usize) -> Self {
        Self {
            gateway,
            up: Pipe::new(),
            down: Pipe::new(),
            is_mangled: false,
        }
    }
}

/// Which directions of a gateway's line pass nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Blocked {
    pub(crate) up: bool,
    pub(crate) down: bool,
}
