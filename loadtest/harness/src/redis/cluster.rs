//! Three masters that share the slots, and slots that move between them.

use anyhow::Context;

use super::RedisServer;
use crate::{READY_WITHIN, eventually, free_port};

const SLOTS: u16 = 16_384;
const MASTERS: u16 = 3;

/// Three masters without replicas, every slot on one of them.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
    ids: Vec<String>,
}

/// A slot on its way: its old node sends on for keys that it no longer has, its new one takes them.
#[derive(Debug)]
#[must_use = "a slot that never arrives stays split"]
pub struct SlotMove<'a> {
    cluster: &'a RedisCluster,
    slot: u16,
    from: usize,
    to: usize,
}

impl RedisCluster {
    /// Starts them and waits until all of them know every slot's place.
    ///
    /// # Errors
    /// When Redis is missing, older than 7.0, or doesn't start.
    pub async fn start() -> anyhow::Result<Self> {
        let mut nodes = Vec::new();
        let mut buses = Vec::new();
        for _ in 0..MASTERS {
            // By itself it would take its port plus 10000, which nobody has reserved.
            let bus = free_port()?.to_string();
            let arguments = ["--cluster-enabled", "yes", "--cluster-port", &bus];
            // A node that is frozen for a moment is not to be voted out.
            let patience = [
                "--cluster-node-timeout",
                "15000",
                "--cluster-require-full-coverage",
                "no",
            ];
            let arguments = [&arguments[..], &patience[..]].concat();
            nodes.push(RedisServer::start_on(free_port()?, &arguments).await?);
            buses.push(bus);
        }
        let ids = nodes.iter().map(|node| node.command(&["CLUSTER", "MYID"]));
        let ids = ids.collect::<anyhow::Result<_>>()?;
        let cluster = Self { nodes, ids };
        cluster.join(&buses)?;
        cluster.ready().await?;
        Ok(cluster)
    }

    fn join(&self, buses: &[String]) -> anyhow::Result<()> {
        let share = SLOTS / MASTERS;
        for (node, number) in self.nodes.iter().zip(0..) {
            let first = share * number;
            let end = if number + 1 == MASTERS {
                SLOTS
            } else {
                first + share
            };
            let (first, last) = (first.to_string(), (end - 1).to_string());
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &first, &last])?;
            // Epochs of their own, given before they meet, or they would first have to quarrel over them.
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()])?;
        }
        let first = self.first()?;
        for (other, bus) in self.nodes.iter().zip(buses).skip(1) {
            first.command(&["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string(), bus])?;
        }
        Ok(())
    }

    async fn ready(&self) -> anyhow::Result<()> {
        eventually(READY_WITHIN, || async {
            for node in &self.nodes {
                let told = node.command(&["CLUSTER", "INFO"])?;
                for wanted in [
                    "cluster_state:ok",
                    "cluster_slots_ok:16384",
                    "cluster_known_nodes:3",
                ] {
                    anyhow::ensure!(told.contains(wanted), "not {wanted}: {told}");
                }
            }
            Ok(())
        })
        .await
        .context("the cluster is not ready")
    }

    /// `redis+cluster://h:p,h:p,h:p`.
    #[must_use]
    pub fn url(&self) -> String {
        let addresses: Vec<String> = self.nodes.iter().map(RedisServer::address).collect();
        format!("redis+cluster://{}", addresses.join(","))
    }

    /// Its nodes, all of them masters.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// Stops or starts one of them.
    pub fn node_mut(&mut self, index: usize) -> Option<&mut RedisServer> {
        self.nodes.get_mut(index)
    }

    /// The slot of a key.
    ///
    /// # Errors
    /// When the cluster doesn't answer.
    pub fn slot_of(&self, key: &str) -> anyhow::Result<u16> {
        Ok(self.first()?.command(&["CLUSTER", "KEYSLOT", key])?.parse()?)
    }

    /// Which of [`Self::nodes`] has this slot, as that node says itself.
    ///
    /// # Errors
    /// When no node says so.
    pub fn node_of(&self, slot: u16) -> anyhow::Result<usize> {
        for (index, node) in self.nodes.iter().enumerate() {
            let told = node.command(&["CLUSTER", "NODES"])?;
            let own = told.lines().find(|line| line.contains("myself"));
            // After eight other fields come its slots: `7`, `0-5460`, and `[7->-…]` for one that is leaving.
            let mut slots = own.into_iter().flat_map(|line| line.split(' ').skip(8));
            if slots.any(|range| holds(range, slot)) {
                return Ok(index);
            }
        }
        anyhow::bail!("nobody has slot {slot}")
    }

    /// Moves a slot and its keys to the next node.
    ///
    /// # Errors
    /// When a node says no.
    pub fn move_slot(&self, slot: u16) -> anyhow::Result<()> {
        let moving = self.begin_move(slot)?;
        moving.migrate_keys()?;
        moving.finish()
    }

    /// Opens a slot at both ends, and leaves its keys where they are.
    ///
    /// # Errors
    /// When a node says no.
    pub fn begin_move(&self, slot: u16) -> anyhow::Result<SlotMove<'_>> {
        let from = self.node_of(slot)?;
        let to = (from + 1) % self.nodes.len();
        let number = slot.to_string();
        self.nodes[to].command(&["CLUSTER", "SETSLOT", &number, "IMPORTING", &self.ids[from]])?;
        self.nodes[from].command(&["CLUSTER", "SETSLOT", &number, "MIGRATING", &self.ids[to]])?;
        Ok(SlotMove {
            cluster: self,
            slot,
            from,
            to,
        })
    }

    fn first(&self) -> anyhow::Result<&RedisServer> {
        self.nodes.first().context("a cluster without nodes")
    }
}

impl SlotMove<'_> {
    /// Moves the keys that are in the slot now, one after the other.
    ///
    /// # Errors
    /// When a node says no.
    pub fn migrate_keys(&self) -> anyhow::Result<()> {
        let (from, to) = (&self.cluster.nodes[self.from], &self.cluster.nodes[self.to]);
        let port = to.port().to_string();
        loop {
            let keys = from.command(&["CLUSTER", "GETKEYSINSLOT", &self.slot.to_string(), "10"])?;
            if keys.is_empty() {
                return Ok(());
            }
            for key in keys.lines() {
                from.command(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"])?;
            }
        }
    }

    /// Gives the slot to its new node, and tells all of them.
    ///
    /// # Errors
    /// When a node says no, as the old one does while it still has keys.
    pub fn finish(self) -> anyhow::Result<()> {
        let number = self.slot.to_string();
        let owner = &self.cluster.ids[self.to];
        let last = (0..self.cluster.nodes.len()).filter(|index| *index != self.to);
        for index in std::iter::once(self.to).chain(last) {
            self.cluster.nodes[index].command(&["CLUSTER", "SETSLOT", &number, "NODE", owner])?;
        }
        Ok(())
    }
}

fn holds(range: &str, slot: u16) -> bool {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) => (first..=last).contains(&slot),
        _ => false,
    }
}
