//! The door: who may open a stream, and from where it goes on.
//!
//! The credential is looked at before anything else (`access`), then the first frame has five seconds to come. What is
//! refused here has cost no memory beyond its connection, and no read of the database.

use std::sync::Arc;
use std::time::Duration;

use keyward_contract::DigestKey;
use keyward_contract::feed::{GatewayFrame, Hello, gateway_frame::Frame};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::access::{Access, Refused};
use super::feed::Feed;
use super::frames::{Outbound, outbox};
use super::gateways::{Gateways, Unwelcome};
use super::incoming::Peer;
use super::intake::Intake;
use super::quota::{Boot, QuotaBook};
use super::resume::{self, spoken};
use super::session::{self, Shared};
use super::snapshot::Snapshots;
use crate::store::Store;
use crate::store::changes::{Place, named};

const FIRST_FRAME: Duration = Duration::from_secs(5);

/// What every stream uses.
pub(super) struct Service {
    pub(super) store: Store,
    pub(super) snapshots: Snapshots,
    pub(super) gateways: Gateways,
    pub(super) access: Arc<Access>,
    pub(super) digest_key: DigestKey,
    pub(super) feed: Arc<Feed>,
    pub(super) book: Arc<QuotaBook>,
    pub(super) intake: Intake,
    pub(super) shutdown: CancellationToken,
}

pub(super) struct Follow(Arc<Service>);

impl Follow {
    pub(super) fn new(service: Service) -> Self {
        Self(Arc::new(service))
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// Why it may not.
    pub(super) async fn follow(
        &self,
        request: Request<Streaming<GatewayFrame>>,
    ) -> Result<Response<Outbound>, Status> {
        let access = &self.0.access;
        let peer = request.extensions().get::<Peer>().cloned().unwrap_or_default();
        let credential = access
            .identify(&peer, request.metadata())
            .map_err(|why| refused(&why, &peer, ""))?;
        let mut inbound = request.into_inner();
        let hello = hello(&mut inbound).await?;
        check_hello(&hello)?;
        let protocol = spoken(&hello)?;
        let admitted = access
            .admit(credential, &hello.gateway_id)
            .map_err(|why| refused(&why, &peer, &hello.gateway_id))?;
        let scope = admitted.scope.name();
        let resume::Start { position, epoch } = resume::start(&self.0.feed, &hello, &scope).await?;
        let admitting = self.0.gateways.admit(&hello, position);
        let membership = admitting.await.map_err(|why| unwelcome(why, &hello))?;
        tell(&hello, &peer, position);
        tokio::spawn({
            let (access, admitted) = (Arc::clone(access), admitted.clone());
            async move { access.note_use(&admitted).await }
        });
        let (out, frames) = outbox();
        let shared = Shared::holding(position);
        shared.hear_oldest_boot(hello.oldest_boot_epoch);
        let session = session::Session {
            service: Arc::clone(&self.0),
            boot: Boot {
                gateway_id: hello.gateway_id,
                epoch: hello.boot_epoch,
            },
            wants_digest_key: hello.wants_digest_key,
            admitted,
            protocol,
            epoch,
            begins_at: Place {
                revision: position,
                history: named(Some(&hello.history)),
            },
            membership,
            out,
            shared,
        };
        tokio::spawn(session.run(inbound));
        Ok(Response::new(frames))
    }
}

fn unwelcome(why: Unwelcome, hello: &Hello) -> Status {
    match why {
        Unwelcome::Taken => {
            tracing::warn!(
                gateway = hello.gateway_id,
                address = hello.address,
                "a second gateway with a live gateway's id was refused"
            );
            Status::already_exists("a live gateway has this id")
        }
        Unwelcome::TooMany => Status::resource_exhausted("too many gateways"),
        Unwelcome::Unknown => Status::unavailable("the database can't be asked who has this id"),
    }
}

fn tell(hello: &Hello, peer: &Peer, position: u64) {
    tracing::info!(
        gateway = hello.gateway_id,
        address = hello.address,
        position,
        "a gateway is connected"
    );
    if hello.wants_digest_key && peer.is_overheard() {
        tracing::warn!(
            gateway = hello.gateway_id,
            peer = ?peer.address,
            "the digest key goes to this gateway in clear text: give it the key's file, or an https address"
        );
    }
}

fn refused(why: &Refused, peer: &Peer, gateway: &str) -> Status {
    metrics::counter!("keyward_sync_refused_streams_total", "reason" => why.reason()).increment(1);
    // Wrong tokens are anybody's; the others say something of a gateway of ours.
    if !gateway.is_empty() {
        tracing::warn!(gateway, peer = ?peer.address, reason = why.reason(), "a gateway was refused");
    }
    why.status()
}

async fn hello(inbound: &mut Streaming<GatewayFrame>) -> Result<Hello, Status> {
    let first = tokio::time::timeout(FIRST_FRAME, inbound.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no Hello within 5 s"))??;
    match first.and_then(|frame| frame.frame) {
        Some(Frame::Hello(hello)) => Ok(hello),
        _ => Err(Status::invalid_argument("the first frame is no Hello")),
    }
}

fn check_hello(hello: &Hello) -> Result<(), Status> {
    // It is written into headers and logs as it is.
    let is_name = |text: &str, bytes: std::ops::RangeInclusive<usize>| {
        bytes.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let has_separator = hello.gateway_id.contains([',', ';', '=', '"']);
    let fits = is_name(&hello.gateway_id, 1..=128)
        && !has_separator
        && is_name(&hello.version, 0..=64)
        && is_name(&hello.address, 0..=256)
        && is_name(&hello.feed_epoch, 0..=64)
        && i64::try_from(hello.boot_epoch).is_ok();
    if fits {
        Ok(())
    } else {
        Err(Status::invalid_argument("a field of the Hello is malformed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_is_taken_only_when_its_words_can_stand_in_a_header() {
        let hello = |id: &str| Hello {
            gateway_id: id.into(),
            ..Hello::default()
        };
        assert!(check_hello(&hello("edge-1.example")).is_ok());
        for id in ["", "a,b", "a;b", "a b", "a\nb", "é", &"x".repeat(129)] {
            assert_eq!(
                check_hello(&hello(id)).unwrap_err().code(),
                tonic::Code::InvalidArgument,
                "{id}"
            );
        }
    }
}
