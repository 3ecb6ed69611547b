//! One connection of a paced load: takes the next call of its lane, waits until it is due, sends it and reads the
//! answer. A connection that fails is opened again for the next call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Answer, Call, Limit, Shared};
use crate::answer::AnswerHead;

pub(super) async fn open(target: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(super) struct Connection {
    shared: Arc<Shared>,
    lane: usize,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    calls: Vec<Call>,
}

impl Connection {
    pub(super) fn new(shared: Arc<Shared>, lane: usize, stream: TcpStream) -> Self {
        Self {
            shared,
            lane,
            stream: Some(stream),
            buffer: Vec::with_capacity(16 * 1024),
            calls: Vec::new(),
        }
    }

    pub(super) async fn drive(mut self) -> Vec<Call> {
        let shared = Arc::clone(&self.shared);
        let plan = &shared.plan;
        let (Some(lane), Some(next)) = (plan.lanes.get(self.lane), shared.next.get(self.lane)) else {
            return self.calls;
        };
        let callers = plan.callers.len() as u64;
        let begin = callers * self.lane as u64 / (plan.lanes.len() as u64).max(1);
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let due = lane.pace.due(number).filter(|due| *due < plan.duration);
            let Some(mut due) = due else { break };
            let now = shared.started.elapsed();
            if now < due {
                tokio::time::sleep_until((shared.started + due).into()).await;
            }
            if shared.stopped.load(Ordering::Relaxed) {
                break;
            }
            let sent = shared.started.elapsed();
            if now < due {
                due = sent;
            }
            let Some(caller) = (begin + number).checked_rem(callers) else {
                break;
            };
            let caller = usize::try_from(caller).unwrap_or_default();
            let Some(request) = plan.callers.at(caller) else {
                break;
            };
            shared.sent.fetch_add(1, Ordering::Relaxed);
            let answer = self.call(lane.target, request).await;
            self.calls.push(Call {
                lane: self.lane,
                caller,
                due,
                sent,
                ended: shared.started.elapsed(),
                answer,
            });
        }
        self.calls
    }

    async fn call(&mut self, target: SocketAddr, request: &[u8]) -> Answer {
        let stream = match self.stream.take() {
            Some(stream) => Ok(stream),
            None => open(target).await,
        };
        let Ok(mut stream) = stream else {
            return Answer::Nothing;
        };
        match exchange(&mut stream, &mut self.buffer, request).await {
            Ok(head) => {
                if !head.closes {
                    self.stream = Some(stream);
                }
                meaning(head.status, &self.buffer)
            }
            Err(_) => Answer::Nothing,
        }
    }
}

/// Sends a request and reads the whole answer into `buffer`.
async fn exchange(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    request: &[u8],
) -> std::io::Result<AnswerHead> {
    let broken = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    stream.write_all(request).await?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        match AnswerHead::read(buffer).map_err(|_| broken())? {
            Some(head) if buffer.len() == head.length => return Ok(head),
            Some(head) if buffer.len() > head.length => return Err(broken()),
            _ => {}
        }
    }
}

fn meaning(status: u16, answer: &[u8]) -> Answer {
    let says = |text: &str| memmem::find(answer, text.as_bytes()).is_some();
    match status {
        200..300 => Answer::Accepted,
        429 if says("\"limit\":\"account\"") => Answer::Limited(Limit::Account),
        429 if says("\"limit\":\"customer\"") => Answer::Limited(Limit::Customer),
        429 if says("\"limit\":\"route\"") => Answer::Limited(Limit::Route),
        429 => Answer::Limited(Limit::Unsaid),
        403 if says("\"QUOTA_EXCEEDED\"") => Answer::QuotaExceeded,
        other => Answer::Status(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_which_limit_it_was() {
        let body = |limit: &str| format!("{{\"error\":{{\"details\":{{\"limit\":\"{limit}\"}}}}}}");
        for (status, text, expected) in [
            (200, String::new(), Answer::Accepted),
            (429, body("account"), Answer::Limited(Limit::Account)),
            (429, body("customer"), Answer::Limited(Limit::Customer)),
            (429, body("route"), Answer::Limited(Limit::Route)),
            (429, String::new(), Answer::Limited(Limit::Unsaid)),
            (
                403,
                "{\"code\":\"QUOTA_EXCEEDED\"}".to_owned(),
                Answer::QuotaExceeded,
            ),
            (403, String::new(), Answer::Status(403)),
            (503, String::new(), Answer::Status(503)),
        ] {
            assert_eq!(meaning(status, text.as_bytes()), expected, "{status} {text}");
        }
    }
}
