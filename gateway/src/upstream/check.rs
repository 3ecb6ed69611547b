//! One question that the gateway asks a machine by itself, and whether the answer is good.
//!
//! A connection of its own for each, so that what is checked includes that one can be made; it is closed after the answer's head, whatever
//! follows. [`ask`] takes any stream: what is laid over the connection is its caller's business.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use http::{Method, StatusCode};
use keyward_config::ActiveChecks;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::fleet::Machine;
use super::framing::Malformed;
use super::head::{self, Question, Read};

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub enum CheckFault {
    /// No connection, or it broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// An answer against the rules.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// A status that is not expected.
    #[error("it answered {0}")]
    Status(StatusCode),
}

/// Asks a machine, within the limit of these rules.
///
/// # Errors
/// Why the machine is not well.
pub async fn check(machine: &Machine, rules: &ActiveChecks) -> Result<(), CheckFault> {
    let asked = async {
        let stream = machine.connect(rules.timeout).await?;
        ask(stream, machine.authority(), &rules.path).await
    };
    let status = timeout(rules.timeout, asked)
        .await
        .map_err(|_| CheckFault::Late(rules.timeout))??;
    let is_good = if rules.expect.is_empty() {
        status.is_success()
    } else {
        rules.expect.contains(&status)
    };
    if is_good {
        Ok(())
    } else {
        Err(CheckFault::Status(status))
    }
}

/// Asks for a path over HTTP/1.1 and reads the head of the answer.
///
/// # Errors
/// When there is no answer, or none that is HTTP.
async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    host: &str,
    path: &str,
) -> Result<StatusCode, CheckFault> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: keyward-health\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let question = Question {
        method: &Method::GET,
        upgrade: None,
    };
    let mut buffer = BytesMut::with_capacity(1_024);
    loop {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        loop {
            match head::read(&mut buffer, question)? {
                Read::Final(head) => return Ok(head.status),
                Read::Interim if !buffer.is_empty() => {}
                Read::Interim | Read::Partial => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(bytes: &'static [u8]) -> Result<StatusCode, CheckFault> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let (status, ()) = tokio::join!(ask(ours, "api:80", "/up"), async {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                theirs.read_buf(&mut request).await.unwrap();
            }
            assert!(request.starts_with(b"GET /up HTTP/1.1\r\nhost: api:80\r\n"));
            theirs.write_all(bytes).await.unwrap();
            drop(theirs);
        });
        status
    }

    #[tokio::test]
    async fn a_check_is_answered_by_the_first_final_head() {
        let interim = answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n").await;
        assert_eq!(interim.unwrap(), StatusCode::NO_CONTENT);
        assert_eq!(
            answer(b"HTTP/1.0 503 No\r\n\r\nbody").await.unwrap(),
            StatusCode::SERVICE_UNAVAILABLE
        );
    }

    #[tokio::test]
    async fn what_is_no_answer_is_no_health() {
        for bytes in [
            b"".as_slice(),
            b"HTTP/1.1 200 O",
            b"SSH-2.0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
        ] {
            assert!(answer(bytes).await.is_err(), "{bytes:?}");
        }
    }
}
