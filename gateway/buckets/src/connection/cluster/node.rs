//! One node of a cluster, and the task that keeps a connection to it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::super::{Address, Connection, Dialer, text};
use crate::BucketsError;

/// The pause after an attempt that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// Where a node is, and the connection to it while there is one.
#[derive(Debug)]
pub(super) struct Node {
    address: Address,
    state: watch::Receiver<State>,
    lost: mpsc::UnboundedSender<u64>,
    task: JoinHandle<()>,
}

#[derive(Clone, Debug)]
enum State {
    /// For the first time.
    Connecting,
    /// Each connection has a number, so that nobody ends a new one for an old one's error.
    Connected(Connection, u64),
    Away(String),
}

impl Node {
    pub(super) fn new(dialer: Arc<Dialer>, address: Address) -> Self {
        let (states, state) = watch::channel(State::Connecting);
        let (lost, losses) = mpsc::unbounded_channel();
        Self {
            task: tokio::spawn(keep_connected(dialer, address.clone(), states, losses)),
            address,
            state,
            lost,
        }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// The connection and its number. Waits for the first one only; a node that was lost is away until it is back.
    pub(super) async fn connection(&self) -> Result<(Connection, u64), BucketsError> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, State::Connecting)).await;
        let reason = match settled.as_deref() {
            Ok(State::Connected(connection, generation)) => return Ok((connection.clone(), *generation)),
            Ok(State::Away(reason)) => reason.clone(),
            Ok(State::Connecting) | Err(_) => "it is not connected".to_owned(),
        };
        Err(BucketsError::NodeAway {
            reason: format!("{}: {reason}", text(&self.address)),
            sent: false,
        })
    }

    /// The connection, if there is one now.
    pub(super) fn connected(&self) -> Option<Connection> {
        match &*self.state.borrow() {
            State::Connected(connection, _) => Some(connection.clone()),
            State::Connecting | State::Away(_) => None,
        }
    }

    /// Says that the connection with this number is of no use any more.
    pub(super) fn lost(&self, generation: u64) {
        // The task ends with this value only.
        let _ = self.lost.send(generation);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep_connected(
    dialer: Arc<Dialer>,
    address: Address,
    states: watch::Sender<State>,
    mut losses: mpsc::UnboundedReceiver<u64>,
) {
    let mut generation = 0;
    loop {
        match dialer.dial(&address).await {
            Ok(connection) => {
                generation += 1;
                states.send_replace(State::Connected(connection, generation));
                while let Some(lost) = losses.recv().await {
                    if lost == generation {
                        break;
                    }
                }
                states.send_replace(State::Away("the connection is lost".to_owned()));
            }
            Err(error) => {
                states.send_replace(State::Away(error.to_string()));
                sleep(PAUSE).await;
            }
        }
    }
}
