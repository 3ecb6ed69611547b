//! Which server is the master, by what the sentinels say, and whether it still is.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use redis::{Cmd, Value};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{Address, CONNECT_WITHIN, Connection, Dialer, text};
use crate::BucketsError;

/// How long one sentinel may take to answer.
const SENTINEL_WITHIN: Duration = Duration::from_millis(500);
/// How often the sentinels are asked whether the master still is one.
const WATCHED_EVERY: Duration = Duration::from_millis(500);

/// The sentinels of one service.
#[derive(Debug)]
pub(crate) struct Sentinels {
    dialer: Arc<Dialer>,
    service: String,
}

/// Asks the sentinels again and again. A master that froze, was replaced, and goes on would still take questions for a
/// while; nobody else would know of them.
#[derive(Debug)]
pub(crate) struct Watch {
    replaced_by: Arc<OnceLock<String>>,
    task: JoinHandle<()>,
}

impl Sentinels {
    pub(crate) fn new(dialer: Arc<Dialer>, service: String) -> Self {
        Self { dialer, service }
    }

    /// Connects to the first server that a sentinel calls the master and that calls itself so. The slowest sentinel is
    /// not waited for.
    pub(crate) async fn connect(self) -> Result<(Connection, Watch), BucketsError> {
        let found = timeout(CONNECT_WITHIN, self.find()).await;
        let (address, connection) = found.unwrap_or_else(|_| Err(self.nobody("it took too long")))?;
        let replaced_by = Arc::new(OnceLock::new());
        let task = tokio::spawn(watch(self, address, Arc::clone(&replaced_by)));
        Ok((connection, Watch { replaced_by, task }))
    }

    async fn find(&self) -> Result<(Address, Connection), BucketsError> {
        let sentinels = &self.dialer.config().hosts;
        let mut named: FuturesUnordered<_> = sentinels
            .iter()
            .map(|sentinel| timeout(SENTINEL_WITHIN, self.named_by(sentinel)))
            .collect();
        let mut tried: Vec<Address> = Vec::new();
        let mut last = self.nobody("no sentinel answers");
        while let Some(named) = named.next().await {
            match named {
                Ok(Ok((master, _))) if !tried.contains(&master) => {
                    match self.dial_master(&master).await {
                        Ok(connection) => return Ok((master, connection)),
                        Err(error) => last = error,
                    }
                    tried.push(master);
                }
                Ok(Err(error)) if tried.is_empty() => last = error,
                _ => {}
            }
        }
        Err(last)
    }

    async fn dial_master(&self, address: &Address) -> Result<Connection, BucketsError> {
        let connection = self.dialer.dial(address).await?;
        let role = connection.run(&redis::cmd("ROLE")).await;
        let role = role.map_err(|error| BucketsError::connecting(&text(address), &error))?;
        let is_master = match &role {
            Value::Array(told) => matches!(told.first(), Some(Value::BulkString(role)) if role == b"master"),
            _ => false,
        };
        if is_master {
            Ok(connection)
        } else {
            Err(BucketsError::NotServing(format!(
                "{} is not the master",
                text(address)
            )))
        }
    }

    /// Whom a sentinel calls the master, and the connection to the sentinel.
    async fn named_by(&self, sentinel: &Address) -> Result<(Address, Connection), BucketsError> {
        // Most sentinels know no password, and refuse one.
        let connection = self.dialer.open_anonymously(sentinel).await?;
        match connection.run(&self.question()).await {
            Ok(told) => Ok((self.master_in(&told)?, connection)),
            Err(error) if error.code() == Some("NOAUTH") => {
                let connection = self.dialer.open_undatabased(sentinel).await?;
                let told = connection.run(&self.question()).await;
                let told = told.map_err(|error| BucketsError::connecting(&text(sentinel), &error))?;
                Ok((self.master_in(&told)?, connection))
            }
            Err(error) => Err(BucketsError::connecting(&text(sentinel), &error)),
        }
    }

    fn question(&self) -> Cmd {
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.service);
        question
    }

    fn master_in(&self, told: &Value) -> Result<Address, BucketsError> {
        let address: Option<(String, u16)> = redis::from_redis_value_ref(told).ok().flatten();
        address.ok_or_else(|| self.nobody("the sentinels don't know it"))
    }

    fn nobody(&self, reason: &str) -> BucketsError {
        BucketsError::Unreachable {
            address: format!("the master of {}", self.service),
            reason: reason.to_owned(),
        }
    }

    async fn asked_again(
        &self,
        sentinel: &Address,
        connection: Option<Connection>,
    ) -> Result<(Address, Connection), BucketsError> {
        if let Some(connection) = connection
            && let Ok(told) = connection.run(&self.question()).await
        {
            return Ok((self.master_in(&told)?, connection));
        }
        self.named_by(sentinel).await
    }
}

impl Watch {
    /// # Errors
    /// When the sentinels have named another master.
    pub(crate) fn still_master(&self) -> Result<(), BucketsError> {
        match self.replaced_by.get() {
            None => Ok(()),
            Some(other) => Err(BucketsError::NotServing(format!("the master is {other} now"))),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends when most of the sentinels that answer call another server the master.
async fn watch(sentinels: Sentinels, master: Address, replaced_by: Arc<OnceLock<String>>) {
    let sentinels = &sentinels;
    let mut connections: HashMap<&Address, Connection> = HashMap::new();
    loop {
        sleep(WATCHED_EVERY).await;
        let mut asked = Vec::new();
        for sentinel in &sentinels.dialer.config().hosts {
            let connection = connections.remove(sentinel);
            asked.push(async move {
                let told = timeout(SENTINEL_WITHIN, sentinels.asked_again(sentinel, connection)).await;
                (sentinel, told)
            });
        }
        let mut votes = Vec::new();
        for (sentinel, told) in join_all(asked).await {
            if let Ok(Ok((named, connection))) = told {
                connections.insert(sentinel, connection);
                votes.push(named);
            }
        }
        let others: Vec<&Address> = votes.iter().filter(|named| **named != master).collect();
        if let Some(other) = others.first().filter(|_| others.len() * 2 > votes.len()) {
            let (old, new) = (text(&master), text(other));
            tracing::info!(%old, %new, "the sentinels have named another master");
            // Nobody else sets it.
            let _ = replaced_by.set(new);
            return;
        }
    }
}
