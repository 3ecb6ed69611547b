//! Accepts connections and speaks HTTP/1.1 on them until told to stop.
//!
//! A connection that fails concerns nobody else. Accepting that fails (no descriptor left) is tried again
//! after a short pause.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::answer::{self, Seen};

/// Serves until `stop` holds `true` or its sender is gone, then drains for at most `drain`.
pub(crate) async fn serve(
    listener: TcpListener,
    seen: Arc<Seen>,
    mut stop: watch::Receiver<bool>,
    drain: Duration,
) {
    let mut connections = JoinSet::new();
    let told = stop.clone();
    let mut stopped = pin!(asked_to(&mut stop));
    loop {
        tokio::select! {
            () = stopped.as_mut() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(speak(stream, Arc::clone(&seen), told.clone()));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    // What is still open after that is closed by dropping its task.
    let _ = tokio::time::timeout(drain, all_ended).await;
}

async fn asked_to(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone can't ask any more: that is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn speak(stream: TcpStream, seen: Arc<Seen>, mut stop: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let seen = Arc::clone(&seen);
        async move { Ok::<_, Infallible>(answer::to(request, &seen).await) }
    });
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service)
    );
    tokio::select! {
        // A client that went away, or spoke no HTTP, is no matter of ours.
        _ = connection.as_mut() => return,
        () = asked_to(&mut stop) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}
