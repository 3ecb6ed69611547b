//! Who may be a gateway: by the token that all share, by a token of its own, or by a certificate that names it.
//!
//! Everything is decided in memory, so that no flood of wrong tokens reaches the database: `known` keeps what the database
//! says, read again when it changes; files (the shared token, certificates, revocations) are read again when they change.
//! What let a stream in is asked again whenever one of these moves, and once a second: a stream whose credential has gone
//! ends then ([`Access::lost`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use keyward_contract::{DigestKey, KeyDigest, KeyKind, KeyShape};
use keyward_tls::{Reloading, ServerTls, names_gateway};
use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataMap;

use super::incoming::Peer;
use super::scope::Scope;
use crate::clock::Clock;
use crate::store::{self, Purpose, Store, gateway_access};

mod known;
mod refused;
mod shared_token;

use known::Known;
pub(super) use refused::Refused;
pub use shared_token::SharedToken;

/// How often what can't be heard of is looked at: files, changes by other programs, and what time does.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often a certificate is looked at that lets a stream in, although nothing that it depends on has changed.
const CERTIFICATE_EVERY: Duration = Duration::from_secs(60);
/// How often a token's last use is written down.
const TOUCH_EVERY_MS: i64 = 60_000;

/// What gateways are let in by.
#[derive(Debug)]
pub(super) struct Access {
    store: Store,
    digest_key: DigestKey,
    clock: Clock,
    shared: SharedToken,
    tls: Option<Arc<Reloading<ServerTls>>>,
    known: watch::Sender<Arc<Known>>,
}

/// What a gateway has shown.
#[derive(Clone, Debug)]
pub(super) enum Credential {
    /// The shared token, by its SHA-256.
    Shared([u8; 32]),
    /// A token of its own.
    Token(KeyDigest),
    /// A certificate, with what leads to its root, that was good in the handshake.
    Certificate(Arc<[CertificateDer<'static>]>),
}

/// A gateway that was let in, and by what.
#[derive(Clone, Debug)]
pub(super) struct Admitted {
    gateway_id: String,
    credential: Credential,
    /// What it is sent.
    pub(super) scope: Scope,
}

impl Access {
    pub(super) async fn open(
        store: Store,
        digest_key: DigestKey,
        clock: Clock,
        files: (SharedToken, Option<Arc<Reloading<ServerTls>>>),
    ) -> store::Result<Self> {
        let changes = store.signals().gateway_access_changes();
        let known = Known::read(&store).await?;
        store.signals().gateway_access_is_known(changes);
        Ok(Self {
            store,
            digest_key,
            clock,
            shared: files.0,
            tls: files.1,
            known: watch::Sender::new(Arc::new(known)),
        })
    }

    /// What a gateway shows, if it can be somebody's: looked at before anything of it is read. A certificate stands for
    /// itself, whatever token comes with it.
    pub(super) fn identify(&self, peer: &Peer, metadata: &MetadataMap) -> Result<Credential, Refused> {
        if let Some(certificates) = &peer.certificates {
            return Ok(Credential::Certificate(Arc::clone(certificates)));
        }
        let shown = metadata
            .get("authorization")
            .map(|value| value.as_bytes())
            .and_then(|value| value.strip_prefix(b"Bearer "))
            .unwrap_or_default();
        if shown.is_empty() {
            return Err(Refused::Nothing);
        }
        if KeyShape::parse(shown).is_ok_and(|shape| shape.kind == KeyKind::Gateway) {
            // Keyed: how long it takes to find says nothing of what is stored.
            let digest = self.digest_key.digest(shown);
            let known = self.known.borrow();
            return match known.token(digest) {
                Some(_) => Ok(Credential::Token(digest)),
                None => Err(Refused::Token),
            };
        }
        let shown = SharedToken::digest(shown);
        if self.shared.is(&shown) {
            Ok(Credential::Shared(shown))
        } else {
            Err(Refused::Token)
        }
    }

    /// Lets the gateway of this id in.
    pub(super) fn admit(&self, credential: Credential, gateway_id: &str) -> Result<Admitted, Refused> {
        if let Credential::Certificate(chain) = &credential {
            self.takes(chain)?;
        }
        let scope = self.check(&credential, gateway_id)?;
        Ok(Admitted {
            gateway_id: gateway_id.to_owned(),
            credential,
            scope,
        })
    }

    /// Ends when a gateway that was let in would no longer be, or is to be sent something else: says why.
    pub(super) async fn lost(&self, admitted: &Admitted) -> Refused {
        let mut moved = self.known.subscribe();
        let mut trusted: Option<(Arc<ServerTls>, Instant)> = None;
        loop {
            moved.borrow_and_update();
            if let Err(refused) = self.still_admits(admitted, &mut trusted) {
                return refused;
            }
            let _ = tokio::time::timeout(LOOK_EVERY, moved.changed()).await;
        }
    }

    fn still_admits(
        &self,
        admitted: &Admitted,
        trusted: &mut Option<(Arc<ServerTls>, Instant)>,
    ) -> Result<(), Refused> {
        if self.check(&admitted.credential, &admitted.gateway_id)? != admitted.scope {
            return Err(Refused::Scope);
        }
        let (Credential::Certificate(chain), Some(tls)) = (&admitted.credential, &self.tls) else {
            return Ok(());
        };
        let current = tls.current();
        let is_known = trusted
            .as_ref()
            .is_some_and(|(before, at)| Arc::ptr_eq(before, &current) && at.elapsed() < CERTIFICATE_EVERY);
        if !is_known {
            self.takes(chain)?;
            *trusted = Some((current, Instant::now()));
        }
        Ok(())
    }

    fn takes(&self, chain: &[CertificateDer<'static>]) -> Result<(), Refused> {
        let tls = self.tls.as_ref().ok_or(Refused::Nothing)?;
        tls.current()
            .takes(chain, UnixTime::now())
            .map_err(|why| Refused::Certificate(why.to_string()))
    }

    /// Whether this credential is this gateway's and both are good; what the gateway is to be sent.
    fn check(&self, credential: &Credential, gateway_id: &str) -> Result<Scope, Refused> {
        let known = self.known.borrow();
        match credential {
            Credential::Shared(digest) if self.shared.is(digest) => {}
            Credential::Shared(_) => return Err(Refused::Token),
            Credential::Token(digest) => {
                let token = known.token(*digest).ok_or(Refused::Token)?;
                if token.has_expired(self.clock.now()) {
                    return Err(Refused::Expired);
                }
                if token.gateway.as_str() != gateway_id {
                    return Err(Refused::OthersToken);
                }
            }
            Credential::Certificate(chain) => {
                let names = |certificate| names_gateway(certificate, gateway_id);
                if !chain.first().is_some_and(names) {
                    return Err(Refused::OthersCertificate);
                }
            }
        }
        if known.is_blocked(gateway_id) {
            return Err(Refused::Blocked);
        }
        Ok(known.scope(gateway_id))
    }

    /// Writes down that a token was used, at most once a minute. Failing to is noted in the log alone.
    pub(super) async fn note_use(&self, admitted: &Admitted) {
        let Credential::Token(digest) = &admitted.credential else {
            return;
        };
        let now = self.clock.now();
        let noted = async {
            let mut tx = self.store.begin(Purpose::Other).await?;
            let token = gateway_access::load_token_by_digest(&mut tx, *digest).await?;
            let is_due = |last: keyward_contract::UnixMillis| now.0 - last.0 >= TOUCH_EVERY_MS;
            if let Some(token) = token.filter(|token| token.last_used_at.is_none_or(is_due)) {
                gateway_access::touch_token(&mut tx, token.id, now).await?;
                tx.commit().await?;
            }
            Ok::<_, store::StoreError>(())
        };
        if let Err(error) = noted.await {
            tracing::warn!(%error, "the last use of a gateway's token was not written down");
        }
    }

    /// Follows the database and the files until `shutdown`.
    pub(super) async fn follow(self: Arc<Self>, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.follow_store() => {}
            () = self.follow_files() => {}
        }
    }

    async fn follow_store(&self) {
        let mut is_away = false;
        loop {
            let _ = tokio::time::timeout(LOOK_EVERY, self.store.signals().gateway_access()).await;
            let changes = self.store.signals().gateway_access_changes();
            match self.read_on().await {
                Ok(()) => {
                    is_away = false;
                    self.store.signals().gateway_access_is_known(changes);
                }
                Err(error) if !is_away => {
                    is_away = true;
                    tracing::warn!(%error, "who may be a gateway can't be read; what was known before holds");
                }
                Err(_) => {}
            }
        }
    }

    async fn read_on(&self) -> store::Result<()> {
        let version = gateway_access::version(self.store.readers()).await?;
        if version != self.known.borrow().version() {
            let known = Known::read(&self.store).await?;
            self.known.send_replace(Arc::new(known));
        }
        Ok(())
    }

    async fn follow_files(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let access = Arc::clone(self);
            let looked = tokio::task::spawn_blocking(move || access.look_at_files()).await;
            if looked.unwrap_or_default() {
                // What let streams in is asked again.
                self.known.send_modify(|_| {});
            }
        }
    }

    /// Whether any has changed.
    fn look_at_files(&self) -> bool {
        let token = match self.shared.look() {
            Ok(is_new) => is_new,
            Err(error) => {
                tracing::error!(%error, "the changed gateway token is not taken; the one before holds");
                false
            }
        };
        if token {
            tracing::info!("the gateway token has changed");
        }
        let tls = match self.tls.as_ref().map(|tls| tls.look()) {
            Some(Ok(Some(_))) => {
                tracing::info!("the certificates of the sync listener have changed");
                true
            }
            Some(Err(error)) => {
                tracing::error!(%error, "changed certificates are not taken; those before hold");
                false
            }
            None | Some(Ok(None)) => false,
        };
        token || tls
    }
}
