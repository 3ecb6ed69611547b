//! What gateways and control planes hold: [`Buckets`], and its [`Link`] while there is one.

use std::sync::Arc;

use futures_util::future::join_all;
use keyward_config::{RedisConfig, Topology};
use keyward_contract::{AccountId, Limits};

use crate::ask::{Answer, Ask, BucketName, BucketState};
use crate::connection::cluster::Cluster;
use crate::connection::sentinel::{Sentinels, Watch};
use crate::connection::{Connection, Dialer, Door};
use crate::script::{self, Asker, BATCH, Question, ReadAsk, Script};
use crate::{BucketsError, name};

/// Buckets and quotas in Redis, and in whose name they are asked.
#[derive(Clone, Debug)]
pub struct Buckets {
    dialer: Arc<Dialer>,
    asker: Arc<Asker>,
}

/// A connection to the server, or to all nodes of a cluster. Cheap to clone; whoever asks at the same time shares it.
///
/// It has no patience of its own: how long to wait for an answer is the caller's business. An answer that nobody waits
/// for any more is lost, and what was asked may still happen.
#[derive(Clone, Debug)]
pub struct Link {
    asker: Arc<Asker>,
    reach: Reach,
}

#[derive(Clone, Debug)]
enum Reach {
    One(Connection),
    Watched(Connection, Arc<Watch>),
    Cluster(Arc<Cluster>),
}

impl Buckets {
    /// Connects to nothing yet. The gateway's id names what it holds and what it took.
    #[must_use]
    pub fn new(config: RedisConfig, gateway_id: String) -> Self {
        Self {
            dialer: Arc::new(Dialer::new(config)),
            asker: Arc::new(Asker {
                holder: gateway_id.clone(),
                gateway: gateway_id,
            }),
        }
    }

    /// What this start of the gateway holds of buckets is held apart from what another start of it holds: while one takes
    /// over from the other both serve, and neither may take the other's for its own.
    #[must_use]
    pub fn held_by_start(self, start: u64) -> Self {
        let gateway = self.asker.gateway.clone();
        let holder = format!("{gateway}/{start}");
        Self {
            asker: Arc::new(Asker { gateway, holder }),
            ..self
        }
    }

    /// Connects, within about 2 s. One link at a time: what waits on the one before is not answered any more.
    ///
    /// With sentinels the master is asked for anew. Of a cluster one node must answer; the others may follow.
    ///
    /// # Errors
    /// When no server answers, none of them is the master, or the password can't be read or is wrong.
    pub async fn connect(&self) -> Result<Link, BucketsError> {
        let reach = match &self.dialer.config().topology {
            Topology::Single => {
                let address = self.dialer.config().hosts.first().cloned().unwrap_or_default();
                Reach::One(self.dialer.dial(&address).await?)
            }
            Topology::Sentinel { service } => {
                let sentinels = Sentinels::new(Arc::clone(&self.dialer), service.clone());
                let (connection, watch) = sentinels.connect().await?;
                Reach::Watched(connection, Arc::new(watch))
            }
            Topology::Cluster => Reach::Cluster(Arc::new(Cluster::connect(Arc::clone(&self.dialer)).await?)),
        };
        Ok(Link {
            asker: Arc::clone(&self.asker),
            reach,
        })
    }

    /// Which of [`crate::LANES`] parts of the servers an account's buckets are on, so that a part that is away need not
    /// stop the others: contiguous ranges of a cluster's slots; lane 0 where there is one server.
    #[must_use]
    pub fn lane(&self, account: AccountId) -> usize {
        match self.dialer.config().topology {
            Topology::Single | Topology::Sentinel { .. } => 0,
            Topology::Cluster => name::lane_of_slot(name::slot(account)),
        }
    }
}

impl Link {
    /// Asks all of it, and answers in the order of the questions.
    ///
    /// Questions about one account are answered in their order, as long as they are no more than a hundred.
    ///
    /// # Errors
    /// The first of the questions' errors. Others may have been answered.
    pub async fn ask(&self, asks: &[Ask]) -> Result<Vec<Answer>, BucketsError> {
        self.ask_each(asks).await.into_iter().collect()
    }

    /// Asks all of it; each question has an answer or an error of its own. Of a cluster, a node that is away is trouble
    /// for the questions that lie on it, not for the others.
    pub async fn ask_each(&self, asks: &[Ask]) -> Vec<Result<Answer, BucketsError>> {
        let wanted: Vec<&Ask> = asks.iter().filter(|ask| ask.account().is_some()).collect();
        let mut answers = self.answer_each(&wanted).await.into_iter();
        // What is nobody's is a refund of nothing.
        asks.iter()
            .map(|ask| match ask.account() {
                Some(_) => answers.next().unwrap_or(Err(BucketsError::Unexpected)),
                None => Ok(Answer::Refunded),
            })
            .collect()
    }

    /// What is in these buckets now, in their order; `None`: it isn't there, and therefore full. Changes nothing.
    ///
    /// # Errors
    /// When one of them could not be read.
    pub async fn read(
        &self,
        buckets: &[(BucketName, Limits)],
    ) -> Result<Vec<Option<BucketState>>, BucketsError> {
        let asks: Vec<ReadAsk> = buckets
            .iter()
            .map(|(bucket, limits)| ReadAsk {
                bucket: *bucket,
                limits: *limits,
            })
            .collect();
        let asks: Vec<&ReadAsk> = asks.iter().collect();
        self.answer_each(&asks).await.into_iter().collect()
    }

    /// Whether the server answers; of a cluster, every node that has slots.
    ///
    /// # Errors
    /// When it doesn't.
    pub async fn ping(&self) -> Result<(), BucketsError> {
        match &self.reach {
            Reach::One(connection) => ping(connection).await,
            Reach::Watched(connection, watch) => {
                watch.still_master()?;
                ping(connection).await
            }
            Reach::Cluster(cluster) => cluster.ping().await,
        }
    }

    async fn answer_each<Q: Question>(&self, questions: &[&Q]) -> Vec<Result<Q::Answer, BucketsError>> {
        let connection = match &self.reach {
            Reach::One(connection) => connection,
            Reach::Watched(connection, watch) => {
                if let Err(error) = watch.still_master() {
                    return vec![Err(error); questions.len()];
                }
                connection
            }
            Reach::Cluster(cluster) => return cluster.answer_each(&self.asker, questions).await,
        };
        let batches = questions
            .chunks(BATCH)
            .map(|batch| self.one_batch(connection, batch));
        join_all(batches).await.into_iter().flatten().collect()
    }

    async fn one_batch<Q: Question>(
        &self,
        connection: &Connection,
        questions: &[&Q],
    ) -> Vec<Result<Q::Answer, BucketsError>> {
        let script = Script::of_production();
        let call = script.call(&self.asker, questions);
        match connection.call(script, &call, Door::Front).await {
            Ok(value) => script::answers(questions, &value),
            Err(error) => vec![Err(BucketsError::after_sending(&error)); questions.len()],
        }
    }
}

async fn ping(connection: &Connection) -> Result<(), BucketsError> {
    let pong = connection.run(&redis::cmd("PING")).await;
    pong.map(drop)
        .map_err(|error| BucketsError::after_sending(&error))
}
