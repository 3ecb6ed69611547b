//! Starting a control plane from its configuration, and stopping it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use keyward_config::{ControlPlaneConfig, DatabasePassword};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::domain::tier::Catalogue;
use crate::live::LiveBuckets;
use crate::oidc::Oidc;
use crate::operations::tokens::{self, Tokens, rotation};
use crate::operations::{Registry, bootstrap, catalogue};
use crate::secrets::{self, Secrets};
use crate::store::{Store, idempotency};
use crate::surfaces::limits::CallLimits;
use crate::sync::{self, Gateways, SharedToken, SyncSecrets};
use crate::telemetry::Telemetry;
use crate::{App, Shared, health, jobs, router, server};

const TIDY_EVERY: Duration = Duration::from_secs(5);

/// The control plane.
#[derive(Debug)]
pub struct ControlPlane;

/// A control plane that serves. Dropping it leaves it running until the runtime ends.
#[derive(Debug)]
pub struct RunningControlPlane {
    /// Where the REST surfaces are.
    pub api: SocketAddr,
    /// Where gateways connect.
    pub sync: SocketAddr,
    /// Where health and metrics are.
    pub admin: SocketAddr,
    app: App,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl ControlPlane {
    /// Opens the store and the secrets, puts the catalogue in force, and serves.
    ///
    /// # Errors
    /// When the store, a secret or an address can't be had.
    pub async fn start(config: ControlPlaneConfig) -> anyhow::Result<RunningControlPlane> {
        let (mut registry, _) = Self::open(&config).await?;
        idempotency::forget_abandoned(&registry.store, registry.gateways.control_plane()).await?;
        let published = catalogue::publish(&registry).await?;
        if published > 0 {
            tracing::info!(accounts = published, "the changed catalogue was put in force");
        }
        let api = bind("listen.api", config.listen.api).await?;
        if config.auth.issuer.is_none() {
            // With port 0 it is known only now.
            registry.tokens.issuer = tokens::reached_at(api.local_addr()?);
        }
        rotation::rotate(&registry).await?;
        let app = App::new(Shared {
            registry: Arc::new(registry),
            portal_limits: CallLimits::new(config.management_limits.portal),
            admin_limits: CallLimits::new(config.management_limits.others),
            company_limits: CallLimits::new(config.management_limits.others),
            token_limits: CallLimits::new(config.management_limits.others),
            documentation_url: config.documentation_url,
            telemetry: Telemetry::new()?,
        });
        let admin = bind("listen.admin", config.listen.admin).await?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let secrets = SyncSecrets {
            token: match config.sync.shared_token {
                true => secrets::shared_token(&config.secrets.gateway_token)?,
                false => SharedToken::none(),
            },
            digest_key: app.registry.digest_key.clone(),
            tls: config.sync.tls,
            clock: app.registry.clock.clone(),
        };
        let (store, gateways) = (app.registry.store.clone(), app.registry.gateways.clone());
        let (sync, streams) = sync::serve(store, gateways, secrets, config.listen.sync, stop.clone()).await?;
        let running = RunningControlPlane {
            api: api.local_addr()?,
            sync,
            admin: admin.local_addr()?,
            app: app.clone(),
            stop: stop.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(server::serve(api, router::api(&app), stop.clone()));
        tasks.spawn(async move {
            if let Err(error) = streams.await {
                tracing::error!(%error, "the sync service ended in a panic");
            }
        });
        tasks.spawn(tidy(app.clone(), stop.clone()));
        jobs::start(&app, &tasks, &stop);
        tasks.spawn(rotation::run(Arc::clone(&app.registry), stop.clone()));
        tasks.spawn(refresh_issuer(app.clone(), stop.clone()));
        // Health goes last: it says that the others drain.
        tasks.spawn(server::serve(admin, health::routes(app, stop.clone()), stop));
        tasks.close();
        Ok(running)
    }

    /// Opens the store and the secrets without serving, for programs that make one change and end.
    ///
    /// # Errors
    /// When the store or a secret can't be had.
    pub async fn open(config: &ControlPlaneConfig) -> anyhow::Result<(Registry, Secrets)> {
        let store = Store::open(&database_url(config)?)
            .await
            .with_context(|| format!("database.url: {} can't be opened", shown(&config.database_url)))?;
        let secrets = secrets::open(&config.secrets, &store).await?;
        let clock = Clock::system();
        let oidc = match config.auth.oidc.clone() {
            Some(oidc) => {
                let master_key = secrets.master_key.clone();
                Some(Oidc::open(oidc, store.clone(), master_key, clock.clone()).await?)
            }
            None => None,
        };
        let gateways = Gateways::over(&store, config.propagation_wait);
        let registry = Registry {
            store,
            master_key: secrets.master_key.clone(),
            digest_key: secrets.digest_key.clone(),
            catalogue: Catalogue::new(config.tiers.clone()),
            gateways,
            clock,
            rules: config.rules.clone(),
            leaks: config.leaks,
            usage: config.usage,
            tokens: Tokens::new(&config.auth, config.listen.api, oidc),
            live: LiveBuckets::new(config.redis.clone()),
        };
        Ok((registry, secrets))
    }
}

impl RunningControlPlane {
    /// What every call shares.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// What operations work with, for programs that run the control plane inside themselves.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.app.registry
    }

    /// Fills an empty database with what a first call needs; `None` when it isn't empty.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn bootstrap(&self) -> anyhow::Result<Option<bootstrap::Credentials>> {
        Ok(bootstrap::run(self.registry()).await?)
    }

    /// Takes no new calls, lets those in flight finish, and ends.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.wait().await;
        self.app.registry.gateways.leave().await;
    }
}

async fn refresh_issuer(app: App, stop: CancellationToken) {
    if let Some(oidc) = &app.registry.tokens.oidc {
        oidc.run(stop).await;
    }
}

async fn tidy(app: App, stop: CancellationToken) {
    while tokio::time::timeout(TIDY_EVERY, stop.cancelled()).await.is_err() {
        app.telemetry.tidy();
    }
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{key}: {address} can't be listened on"))
}

/// The address of the database with its password in it: never to be shown.
fn database_url(config: &ControlPlaneConfig) -> anyhow::Result<Zeroizing<String>> {
    let mut url = Zeroizing::new(config.database_url.clone());
    let password = match &config.database_password {
        None => return Ok(url),
        Some(DatabasePassword::Given(password)) => Zeroizing::new(password.expose().to_owned()),
        Some(DatabasePassword::File(file)) => secrets::password(file)
            .with_context(|| format!("database.password_file: {} can't be read", file.display()))?,
    };
    let separator = if url.contains('?') { '&' } else { '?' };
    url.push(separator);
    url.push_str("password=");
    for byte in password.bytes() {
        // Every byte, so that none needs to be known as special.
        url.push_str(&format!("%{byte:02X}"));
    }
    Ok(url)
}

/// An address of a database without the password in it.
fn shown(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://…@{place}"),
        _ => url.to_owned(),
    }
}
