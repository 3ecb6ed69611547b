//! What a client still sends when its call has been answered.
//!
//! Over HTTP/2 nothing of it can be taken for another call, but a client whose stream is reset while it sends may lose the answer,
//! or take the reset for an error (RFC 9113 §8.1 allows both sides). So the rest of a body is read and thrown away, for a
//! moment and up to a bound. Over HTTP/1.1 the connection ends instead (`server/farewell.rs`).

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::watch::ConnectionState;

/// How long a client may go on sending.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many bytes of it are read.
const MOST: usize = 16 * 1024 * 1024;

/// A client's body; what is left of it when it is dropped is kept for [`read_off`].
#[derive(Debug)]
pub struct ClientBody {
    incoming: Option<Incoming>,
    state: Rc<ConnectionState>,
}

impl ClientBody {
    /// As it comes.
    #[must_use]
    pub fn new(incoming: Incoming, state: &Rc<ConnectionState>) -> Self {
        Self {
            incoming: Some(incoming),
            state: Rc::clone(state),
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.incoming {
            Some(incoming) => Pin::new(incoming).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if let Some(rest) = self.incoming.take().filter(|rest| !rest.is_end_stream()) {
            self.state.leave_unread(rest);
        }
    }
}

/// Reads the rest of the body of a stream whose call is over.
pub async fn read_off(stream: &ConnectionState) {
    let Some(mut rest) = stream.take_unread() else {
        return;
    };
    let reading = async {
        let mut bytes = 0;
        while bytes <= MOST && !stream.is_ended() {
            match poll_fn(|context| Pin::new(&mut rest).poll_frame(context)).await {
                Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) | None => return,
            }
        }
    };
    let _late = tokio::time::timeout(PATIENCE, reading).await;
}
