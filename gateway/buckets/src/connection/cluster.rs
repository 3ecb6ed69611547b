//! All nodes of a cluster: each question goes to the node that has its account's slot, each account's in a call of its
//! own, and a node that is away is trouble for its own questions only.
//!
//! A node that says the slot is elsewhere has done nothing; the question goes there. A question that was on its way
//! when a connection broke is never sent again, which is why the Redis client's own cluster connection isn't used: it
//! either sends such a question again or follows no slot that moves.
//!
//! The map of the slots is asked for every second and whenever it proved wrong, and lost nodes are connected to again,
//! so that a link never needs to be made anew.

mod node;
mod slots;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::FuturesUnordered;
use keyward_contract::AccountId;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::{Address, CONNECT_WITHIN, Connection, Dialer, Door, text};
use crate::BucketsError;
use crate::name;
use crate::script::{self, Asker, BATCH, Question, Script};
use node::Node;
use slots::Slots;

/// How often the map is asked for while nothing says that it is wrong.
const MAP_EVERY: Duration = Duration::from_secs(1);
/// The least time between two questions for it.
const MAP_PAUSE: Duration = Duration::from_millis(20);
const MAP_WITHIN: Duration = Duration::from_millis(500);
/// How many times a question follows a slot from one node to the next.
const REDIRECTS: usize = 8;
/// How long a question that touches several names waits while some of them have moved and some have not.
const SPLIT_FOR: Duration = Duration::from_secs(1);
const SPLIT_PAUSE: Duration = Duration::from_millis(5);

/// The connections to a cluster, mended while this lives.
#[derive(Debug)]
pub(crate) struct Cluster {
    shared: Arc<Shared>,
    refresher: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    dialer: Arc<Dialer>,
    slots: RwLock<Arc<Slots>>,
    /// Told when the map proved wrong.
    stale: Notify,
}

/// What became of one attempt at a call.
enum Attempt {
    /// The slot is on this node, from now on or (`Asking`) for names that the old node doesn't have any more.
    Elsewhere(Address, Door),
    /// Some of its names have moved and some have not.
    Split,
    Failed(BucketsError),
}

impl Cluster {
    /// Asks the configured hosts for the map, and connects to all nodes in it. One that can be connected to is enough.
    pub(crate) async fn connect(dialer: Arc<Dialer>) -> Result<Self, BucketsError> {
        let shared = Arc::new(Shared {
            dialer,
            slots: RwLock::default(),
            stale: Notify::new(),
        });
        let deadline = Instant::now() + CONNECT_WITHIN;
        let mapped = timeout(CONNECT_WITHIN, shared.ask_seeds()).await;
        mapped.unwrap_or_else(|_| Err(shared.nobody("it took too long")))?;
        let nodes = shared.slots().nodes().to_vec();
        let mut connecting: FuturesUnordered<_> = nodes.iter().map(|node| node.connection()).collect();
        let mut first = None;
        let settled = tokio::time::timeout_at(deadline, async {
            while let Some(connected) = connecting.next().await {
                first = Some(match first.take() {
                    Some(Ok(())) => Ok(()),
                    _ => connected.map(drop),
                });
            }
        });
        // One that takes longer is connected to later.
        let _ = settled.await;
        first.unwrap_or_else(|| Err(shared.nobody("no node answers")))?;
        let refresher = tokio::spawn(refresh(Arc::clone(&shared)));
        Ok(Self { shared, refresher })
    }

    pub(crate) async fn answer_each<Q: Question>(
        &self,
        asker: &Asker,
        questions: &[&Q],
    ) -> Vec<Result<Q::Answer, BucketsError>> {
        let mut accounts: HashMap<AccountId, Vec<usize>> = HashMap::new();
        for (index, question) in questions.iter().enumerate() {
            if let Some(account) = question.account() {
                accounts.entry(account).or_default().push(index);
            }
        }
        let calls = accounts.iter().flat_map(|(account, indices)| {
            let slot = name::slot(*account);
            indices.chunks(BATCH).map(move |indices| async move {
                let asked: Vec<&Q> = indices
                    .iter()
                    .filter_map(|index| questions.get(*index))
                    .copied()
                    .collect();
                (indices, self.shared.ask(asker, slot, asked).await)
            })
        });
        let mut answers: Vec<_> = questions.iter().map(|_| Err(BucketsError::Unexpected)).collect();
        for (indices, answered) in join_all(calls).await {
            for (index, answer) in indices.iter().zip(answered) {
                if let Some(place) = answers.get_mut(*index) {
                    *place = answer;
                }
            }
        }
        answers
    }

    pub(crate) async fn ping(&self) -> Result<(), BucketsError> {
        let slots = self.shared.slots();
        let pings = slots.nodes().iter().map(|node| async {
            let (connection, generation) = node.connection().await?;
            let pong = connection.run(&redis::cmd("PING")).await;
            pong.map(drop)
                .map_err(|error| self.shared.judged(&error, node, generation))
        });
        join_all(pings).await.into_iter().collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.refresher.abort();
    }
}

impl Shared {
    fn slots(&self) -> Arc<Slots> {
        Arc::clone(&self.slots.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change_slots(&self, change: impl FnOnce(&Slots) -> Slots) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        *slots = Arc::new(change(&slots));
    }

    /// Asks questions about one slot in one call. Boxed, because a call that is split asks again by itself.
    fn ask<'a, Q: Question>(
        &'a self,
        asker: &'a Asker,
        slot: u16,
        questions: Vec<&'a Q>,
    ) -> BoxFuture<'a, Vec<Result<Q::Answer, BucketsError>>> {
        async move {
            let call = Script::of_production().call(asker, &questions);
            let deadline = Instant::now() + SPLIT_FOR;
            let (mut elsewhere, mut redirects) = (None, 0);
            let error = loop {
                let failed = match self.attempt(slot, elsewhere.take(), &call).await {
                    Ok(value) => return script::answers(&questions, &value),
                    Err(failed) => failed,
                };
                match failed {
                    Attempt::Failed(error) => break error,
                    Attempt::Elsewhere(..) if redirects == REDIRECTS => break self.split(slot),
                    Attempt::Elsewhere(address, door) => {
                        redirects += 1;
                        elsewhere = Some((address, door));
                    }
                    // One by one, those with one name each have an answer at once.
                    Attempt::Split if questions.len() > 1 => {
                        let each = questions
                            .iter()
                            .map(|question| self.ask(asker, slot, vec![*question]));
                        return join_all(each).await.into_iter().flatten().collect();
                    }
                    Attempt::Split if Instant::now() > deadline => break self.split(slot),
                    Attempt::Split => {
                        redirects = 0;
                        sleep(SPLIT_PAUSE).await;
                    }
                }
            };
            questions.iter().map(|_| Err(error.clone())).collect()
        }
        .boxed()
    }

    async fn attempt(
        &self,
        slot: u16,
        elsewhere: Option<(Address, Door)>,
        call: &Cmd,
    ) -> Result<redis::Value, Attempt> {
        let (node, door) = match elsewhere {
            Some((address, door)) => (self.node_at(&address, slot, door), door),
            None => {
                let node = self.slots().of(slot).ok_or_else(|| {
                    self.stale.notify_one();
                    Attempt::Failed(unmapped(slot))
                })?;
                (node, Door::Front)
            }
        };
        let (connection, generation) = node.connection().await.map_err(|error| {
            self.stale.notify_one();
            Attempt::Failed(error)
        })?;
        let answered = connection.call(Script::of_production(), call, door).await;
        answered.map_err(|error| match error.kind() {
            ErrorKind::Server(ServerErrorKind::Moved) => self.elsewhere(&error, &node, Door::Front),
            ErrorKind::Server(ServerErrorKind::Ask) => self.elsewhere(&error, &node, Door::Asking),
            ErrorKind::Server(ServerErrorKind::TryAgain) => Attempt::Split,
            _ => Attempt::Failed(self.judged(&error, &node, generation)),
        })
    }

    /// The node that a redirect names; it has the slot from now on, unless it is only importing it.
    fn node_at(&self, address: &Address, slot: u16, door: Door) -> Arc<Node> {
        if let Some(node) = self.slots().at(address)
            && door == Door::Asking
        {
            return node;
        }
        self.change_slots(|slots| {
            slots.with_node(&self.dialer, address, (door == Door::Front).then_some(slot))
        });
        let known = self.slots().at(address);
        // It was put there above; a map that came meanwhile may have dropped it.
        known.unwrap_or_else(|| Arc::new(Node::new(Arc::clone(&self.dialer), address.clone())))
    }

    fn elsewhere(&self, error: &RedisError, node: &Node, door: Door) -> Attempt {
        if door == Door::Front {
            self.stale.notify_one();
        }
        let named = error.redirect_node().and_then(|(node, _)| {
            let (host, port) = node.rsplit_once(':')?;
            Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
        });
        match named {
            // A node that names no host means its own.
            Some((host, port)) if host.is_empty() => {
                Attempt::Elsewhere((node.address().0.clone(), port), door)
            }
            Some(address) => Attempt::Elsewhere(address, door),
            None => Attempt::Failed(BucketsError::Unexpected),
        }
    }

    /// What an error says about the node: one that answers nothing any more is connected to again.
    fn judged(&self, error: &RedisError, node: &Node, generation: u64) -> BucketsError {
        let reason = |reason: String| format!("{}: {reason}", text(node.address()));
        match BucketsError::after_sending(error) {
            BucketsError::Lost(why) => {
                node.lost(generation);
                self.stale.notify_one();
                BucketsError::NodeAway {
                    reason: reason(why),
                    sent: true,
                }
            }
            BucketsError::NotServing(why) => {
                // It wants a password by now, and reads the file again.
                if matches!(error.code(), Some("NOAUTH" | "WRONGPASS")) {
                    node.lost(generation);
                }
                self.stale.notify_one();
                BucketsError::NodeAway {
                    reason: reason(why),
                    sent: false,
                }
            }
            other => other,
        }
    }

    fn split(&self, slot: u16) -> BucketsError {
        self.stale.notify_one();
        BucketsError::NodeAway {
            reason: format!("slot {slot} is between two nodes"),
            sent: false,
        }
    }

    /// Asks all configured hosts for the map, and takes the first that is given.
    async fn ask_seeds(&self) -> Result<(), BucketsError> {
        let seeds = &self.dialer.config().hosts;
        let mut asked: FuturesUnordered<_> = seeds
            .iter()
            .map(|seed| async move {
                let connection = self.dialer.open(seed).await?;
                self.ask_map(&connection, &seed.0).await
            })
            .collect();
        let mut last = self.nobody("no host is configured");
        while let Some(asked) = asked.next().await {
            match asked {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask_map(&self, connection: &Connection, host: &str) -> Result<(), BucketsError> {
        let mut question = redis::cmd("CLUSTER");
        question.arg("SLOTS");
        let told = connection.run(&question).await;
        let told = told.map_err(|error| BucketsError::connecting(host, &error))?;
        let ranges = slots::ranges(&told, host).filter(|ranges| !ranges.is_empty());
        let ranges = ranges.ok_or_else(|| self.nobody("it has no slots"))?;
        self.change_slots(|slots| slots.mapped(&self.dialer, &ranges));
        Ok(())
    }

    /// Asks whichever node answers for the map; the configured hosts, if none does.
    async fn refresh(&self) {
        let slots = self.slots();
        let mut asked: FuturesUnordered<_> = slots
            .nodes()
            .iter()
            .filter_map(|node| {
                let connection = node.connected()?;
                Some(async move {
                    let asked = self.ask_map(&connection, &node.address().0);
                    timeout(MAP_WITHIN, asked).await.is_ok_and(|asked| asked.is_ok())
                })
            })
            .collect();
        while let Some(answered) = asked.next().await {
            if answered {
                return;
            }
        }
        let asked = timeout(CONNECT_WITHIN, self.ask_seeds()).await;
        if let Err(error) = asked.unwrap_or_else(|_| Err(self.nobody("it took too long"))) {
            tracing::debug!(%error, "no node of the Redis cluster says where its slots are");
        }
    }

    fn nobody(&self, reason: &str) -> BucketsError {
        let hosts: Vec<String> = self.dialer.config().hosts.iter().map(text).collect();
        BucketsError::Unreachable {
            address: hosts.join(","),
            reason: reason.to_owned(),
        }
    }
}

async fn refresh(shared: Arc<Shared>) {
    loop {
        // It doesn't matter which of the two it was.
        let _ = timeout(MAP_EVERY, shared.stale.notified()).await;
        shared.refresh().await;
        sleep(MAP_PAUSE).await;
    }
}

fn unmapped(slot: u16) -> BucketsError {
    BucketsError::NodeAway {
        reason: format!("no node has slot {slot}"),
        sent: false,
    }
}
