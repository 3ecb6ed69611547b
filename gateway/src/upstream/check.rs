//! One question that the gateway asks a machine by itself, and whether the answer is good.
//!
//! A connection of its own for each, so that what is checked includes that one can be made; it is closed after the answer's head, whatever
//! follows. It is asked in the upstream's protocol, over TLS where that is spoken.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use http::header::USER_AGENT;
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};
use keyward_config::{ActiveChecks, UpstreamProtocol};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::fleet::Machine;
use super::framing::Malformed;
use super::head::{self, Question, Read};
use super::pool::Unreachable;

const AGENT: HeaderValue = HeaderValue::from_static("keyward-health");

/// Why a check failed.
#[derive(Debug, thiserror::Error)]
pub enum CheckFault {
    /// No connection.
    #[error("{0}")]
    Unreachable(#[from] Unreachable),
    /// It broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is no HTTP/2.
    #[error("{0}")]
    Http2(#[from] h2::Error),
    /// It can't be asked.
    #[error("{0}")]
    Unaskable(#[from] http::Error),
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
        let wire = machine.wire(rules.timeout).await?;
        match machine.protocol() {
            UpstreamProtocol::Http1 => ask(wire, machine.authority(), &rules.path).await,
            UpstreamProtocol::Http2 => {
                let uri = Uri::builder()
                    .scheme(machine.scheme())
                    .authority(machine.authority())
                    .path_and_query(rules.path.as_str())
                    .build()?;
                ask_http2(wire, uri).await
            }
        }
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

/// Asks over HTTP/2.
///
/// # Errors
/// When there is no answer, or none that is HTTP/2.
async fn ask_http2<S: AsyncRead + AsyncWrite + Unpin>(stream: S, uri: Uri) -> Result<StatusCode, CheckFault> {
    let (mut sender, connection) = h2::client::handshake(stream).await?;
    let mut request = Request::new(());
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().insert(USER_AGENT, AGENT);
    let asked = async {
        sender = sender.ready().await?;
        let (answer, _) = sender.send_request(request, true)?;
        Ok(answer.await?.status())
    };
    // The connection goes on until the answer is there, and ends with this.
    tokio::select! {
        status = asked => status,
        ended = connection => Err(match ended {
            Ok(()) => io::Error::from(io::ErrorKind::UnexpectedEof).into(),
            Err(error) => error.into(),
        }),
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

    #[tokio::test]
    async fn a_check_over_http_2_is_answered_by_the_status() {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let uri = "http://api:80/up".parse().unwrap();
        let (status, asked) = tokio::join!(ask_http2(ours, uri), async {
            let mut connection = h2::server::handshake(theirs).await.unwrap();
            let (request, mut respond) = connection.accept().await.unwrap().unwrap();
            let mut answer = http::Response::new(());
            *answer.status_mut() = StatusCode::IM_A_TEAPOT;
            respond.send_response(answer, true).unwrap();
            while let Some(Ok(_)) = connection.accept().await {}
            request.uri().to_string()
        });
        assert_eq!(status.unwrap(), StatusCode::IM_A_TEAPOT);
        assert_eq!(asked, "http://api:80/up");
    }

    #[tokio::test]
    async fn what_speaks_no_http_2_is_no_health() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let uri = "http://api:80/up".parse().unwrap();
        let (status, ()) = tokio::join!(ask_http2(ours, uri), async {
            theirs.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            drop(theirs);
        });
        assert!(status.is_err());
    }
}
