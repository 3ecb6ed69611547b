//! One connection to one server: how it is made, and one script call over it.
//!
//! A connection is shared by whatever asks at the same time, each call one message, answers in the same order. Making
//! one takes 2 s at most. How long an answer may take is the caller's business; after 10 s none is waited for.
//! Nothing is ever sent twice, except after a server said that it doesn't know the script.

pub(crate) mod cluster;
pub(crate) mod sentinel;

use std::collections::HashMap;
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use keyward_config::RedisConfig;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, IntoConnectionInfo, RedisConnectionInfo,
    RedisError, ServerErrorKind, Value,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::timeout;

use crate::BucketsError;
use crate::script::Script;

/// How long making a connection may take, all of it.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// After so long without an acknowledgement the other machine is gone.
const MACHINE_GONE: Duration = Duration::from_secs(5);

/// A server's host and port.
pub(crate) type Address = (String, u16);

/// Makes connections, as the configuration says.
pub(crate) struct Dialer {
    config: RedisConfig,
    /// By what name each server knows the connection that was made to it last.
    last: Mutex<HashMap<Address, ClientName>>,
}

/// A connection as its server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ClientName {
    id: String,
    address: String,
}

/// One connection. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    shared: MultiplexedConnection,
}

/// Whether the server in front is asked, or the one that a slot is moving to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Front,
    /// A node takes questions about a slot that isn't its own yet only when it hears `ASKING` before each.
    Asking,
}

impl Dialer {
    pub(crate) fn new(config: RedisConfig) -> Self {
        Self {
            config,
            last: Mutex::default(),
        }
    }

    pub(crate) fn config(&self) -> &RedisConfig {
        &self.config
    }

    /// Connects to a server, and ends the connection to it that was made before: what still waits on that one must not
    /// be answered after what is asked on this one.
    pub(crate) async fn dial(&self, address: &Address) -> Result<Connection, BucketsError> {
        let dialed = timeout(CONNECT_WITHIN, async {
            let connection = self.open(address).await?;
            self.end_earlier(address, &connection).await;
            Ok(connection)
        });
        dialed.await.unwrap_or_else(|_| Err(took_too_long(address)))
    }

    /// Connects to a server.
    pub(crate) async fn open(&self, address: &Address) -> Result<Connection, BucketsError> {
        let who = self.credentials()?.set_db(self.config.database);
        self.open_with(address, who).await
    }

    /// Connects to a server that has no databases: a sentinel.
    pub(crate) async fn open_undatabased(&self, address: &Address) -> Result<Connection, BucketsError> {
        self.open_with(address, self.credentials()?).await
    }

    /// Connects to a server without saying who one is.
    pub(crate) async fn open_anonymously(&self, address: &Address) -> Result<Connection, BucketsError> {
        self.open_with(address, RedisConnectionInfo::default()).await
    }

    async fn open_with(
        &self,
        address: &Address,
        who: RedisConnectionInfo,
    ) -> Result<Connection, BucketsError> {
        let failed = |error: RedisError| BucketsError::connecting(&text(address), &error);
        let (host, port) = address.clone();
        let address = if self.config.tls {
            choose_tls_provider();
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let info = address.into_connection_info().map_err(failed)?;
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        #[cfg(target_os = "linux")]
        let tcp = tcp.set_user_timeout(MACHINE_GONE);
        let info = info.set_tcp_settings(tcp).set_redis_settings(who);
        let client = Client::open(info).map_err(failed)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN));
        let shared = client.get_multiplexed_async_connection_with_config(&config);
        Ok(Connection {
            shared: shared.await.map_err(failed)?,
        })
    }

    /// Read at every connection, so that a changed password needs no restart.
    fn credentials(&self) -> Result<RedisConnectionInfo, BucketsError> {
        let mut who = RedisConnectionInfo::default().set_lib_name("keyward", env!("CARGO_PKG_VERSION"));
        if let Some(username) = &self.config.username {
            who = who.set_username(username);
        }
        if let Some(path) = &self.config.password_file {
            let read = std::fs::read_to_string(path).map(SecretString::from);
            let password = read.map_err(|error| BucketsError::Password {
                path: path.clone(),
                reason: error.to_string(),
            })?;
            who = who.set_password(password.expose_secret().trim_end_matches(['\r', '\n']));
        }
        Ok(who)
    }

    /// A server that doesn't let us is left alone: then only a machine that froze with questions before it may
    /// answer them late.
    async fn end_earlier(&self, address: &Address, connection: &Connection) {
        let mut who = redis::cmd("CLIENT");
        who.arg("INFO");
        let named = connection
            .run(&who)
            .await
            .ok()
            .as_ref()
            .and_then(ClientName::read);
        let earlier = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            match named {
                Some(named) => last.insert(address.clone(), named),
                None => last.remove(address),
            }
        };
        if let Some(earlier) = earlier {
            // Both: after a restart of the server the number may be somebody else's.
            let mut kill = redis::cmd("CLIENT");
            kill.arg("KILL")
                .arg("ID")
                .arg(&earlier.id)
                .arg("ADDR")
                .arg(&earlier.address);
            if let Err(error) = connection.run(&kill).await {
                tracing::debug!(%error, "could not end an earlier connection to Redis");
            }
        }
    }
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl ClientName {
    /// Out of `id=3 addr=127.0.0.1:50000 laddr=…`.
    fn read(told: &Value) -> Option<Self> {
        let told: String = redis::from_redis_value_ref(told).ok()?;
        let field = |name: &str| {
            let field = told.split([' ', '\n']).find_map(|field| field.strip_prefix(name));
            field.map(str::to_owned)
        };
        Some(Self {
            id: field("id=")?,
            address: field("addr=")?,
        })
    }
}

impl Connection {
    /// Runs one command.
    pub(crate) async fn run(&self, command: &Cmd) -> Result<Value, RedisError> {
        self.shared
            .clone()
            .send_packed_command(command)
            .await?
            .extract_error()
    }

    /// Calls the script. Answers in it that are errors of one question are left in it.
    pub(crate) async fn call(&self, script: &Script, call: &Cmd, door: Door) -> Result<Value, RedisError> {
        match self.send(call, door).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.run(&script.load()).await?;
                self.send(call, door).await
            }
            answered => answered,
        }
    }

    async fn send(&self, call: &Cmd, door: Door) -> Result<Value, RedisError> {
        match door {
            Door::Front => self.run(call).await,
            Door::Asking => {
                let mut both = redis::pipe();
                both.cmd("ASKING").add_command(call.clone());
                let answers = self.shared.clone().send_packed_commands(&both, 0, 2).await?;
                let answer = answers.into_iter().nth(1).unwrap_or(Value::Nil);
                answer.extract_error()
            }
        }
    }
}

/// `host:port`, for people.
pub(crate) fn text((host, port): &Address) -> String {
    format!("{host}:{port}")
}

pub(crate) fn took_too_long(address: &Address) -> BucketsError {
    BucketsError::Unreachable {
        address: text(address),
        reason: format!("it took longer than {CONNECT_WITHIN:?}"),
    }
}

/// The Redis client asks the process which cryptography it uses.
fn choose_tls_provider() {
    static CHOSEN: Once = Once::new();
    CHOSEN.call_once(|| {
        // Somebody else may have chosen already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_named_by_what_its_server_says() {
        let told =
            Value::BulkString(b"id=12 addr=10.0.0.7:50000 laddr=10.0.0.1:6379 fd=8 name= age=0\n".into());
        let named = ClientName {
            id: "12".to_owned(),
            address: "10.0.0.7:50000".to_owned(),
        };
        assert_eq!(ClientName::read(&told), Some(named));
        assert_eq!(ClientName::read(&Value::Okay), None);
    }
}
