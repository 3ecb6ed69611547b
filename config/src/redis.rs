//! Where a Redis is, after every check. Both programs say it in the same words.

use std::path::PathBuf;

/// One Redis or Valkey: a single server, one that sentinels watch over, or a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisConfig {
    /// How the servers belong together.
    pub topology: Topology,
    /// Host names or addresses without brackets, and ports; at least one. Of a `Sentinel` topology: the sentinels'.
    pub hosts: Vec<(String, u16)>,
    /// Number of the database; 0 in a cluster.
    pub database: i64,
    /// Whether TLS is spoken, with the system's roots.
    pub tls: bool,
    /// `redis_username`.
    pub username: Option<String>,
    /// `redis_password_file`: read at every connection, so that a changed password needs no restart.
    pub password_file: Option<PathBuf>,
}

/// How the servers of a [`RedisConfig`] belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// `redis://` or `rediss://`: one server, the first of the hosts.
    Single,
    /// `redis+sentinel://…/<service>`: whichever server the sentinels call the master of this service.
    Sentinel {
        /// The service's name.
        service: String,
    },
    /// `redis+cluster://`: all nodes of a cluster; the hosts are where its map is asked for.
    Cluster,
}
