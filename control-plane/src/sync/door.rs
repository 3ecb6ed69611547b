//! The one method of the sync service as HTTP: the path, and how messages are read and written.
//!
//! What the generated server does, but that frames may be encoded already (`frames`): a change then costs each stream
//! a copy of its bytes.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::{Request, Response};
use keyward_contract::feed::{GatewayFrame, sync_server};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Status, Streaming};

use super::follow::Follow;
use super::frames::{Frames, Outbound, Outgoing};

/// The largest frame that a gateway may send: a full usage report is about half of it.
pub(super) const LARGEST_FRAME: usize = 2 * 1024 * 1024;
const FOLLOW: &str = "/keyward.sync.v1.Sync/Follow";

/// The service. Cheap to clone.
#[derive(Clone)]
pub(super) struct Door(Arc<Follow>);

impl Door {
    pub(super) fn to(follow: Follow) -> Self {
        Self(Arc::new(follow))
    }
}

impl NamedService for Door {
    const NAME: &'static str = sync_server::SERVICE_NAME;
}

impl tower::Service<Request<Body>> for Door {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let door = self.clone();
        Box::pin(async move {
            if request.uri().path() != FOLLOW {
                return Ok(Status::unimplemented("there is one method: Follow").into_http());
            }
            let mut grpc = Grpc::new(Frames).max_decoding_message_size(LARGEST_FRAME);
            Ok(grpc.streaming(door, request).await)
        })
    }
}

impl StreamingService<GatewayFrame> for Door {
    type Response = Outgoing;
    type ResponseStream = Outbound;
    type Future = BoxFuture<'static, Result<tonic::Response<Outbound>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<GatewayFrame>>) -> Self::Future {
        let follow = Arc::clone(&self.0);
        Box::pin(async move { follow.follow(request).await })
    }
}
