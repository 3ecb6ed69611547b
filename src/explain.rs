//! `keyward explain`: why a gateway refused a call, asked at its admin listener.
//!
//! It fails when the gateway can't be asked, or holds no refusal with this id: exit code 1. One request, at most
//! [`PATIENCE`] for each of its parts.

mod text;

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::cli::{ExplainOptions, Output};
use crate::failure::Failure;
use crate::output;

const PATIENCE: Duration = Duration::from_secs(5);
/// Many times what an answer has.
const LONGEST_ANSWER: u64 = 8 << 20;

/// `http://HOST:PORT` of an admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdminAddress(String);

impl std::str::FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let authority = text
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'));
        let is_authority = |authority: &&str| {
            authority.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && !host.contains(['/', '@', '?', '#']) && port.parse::<u16>().is_ok()
            })
        };
        match authority.filter(is_authority) {
            Some(authority) => Ok(Self(authority.to_owned())),
            None => Err("write http://HOST:PORT, such as http://127.0.0.1:9090".to_owned()),
        }
    }
}

/// The id of a call, as gateways take and make them.
pub(crate) fn request_id(text: &str) -> Result<String, String> {
    if keyward_gateway::request_id::is_well_formed(text.as_bytes()) {
        Ok(text.to_owned())
    } else {
        Err("an id is 1 to 128 of A-Z a-z 0-9 . _ -, as X-Request-Id and requestId have it".to_owned())
    }
}

/// Asks and prints.
pub(crate) fn run(options: &ExplainOptions) -> Result<(), Failure> {
    let told = ask(&options.admin, &options.id)?;
    match options.output {
        Output::Json => output::show(&format!("{told:#}\n")),
        Output::Table => output::show(&text::of(&told)),
    }
    Ok(())
}

fn ask(AdminAddress(admin): &AdminAddress, id: &str) -> anyhow::Result<Value> {
    let (status, body) =
        exchange(admin, id).with_context(|| format!("can't ask the gateway at http://{admin}"))?;
    let told: Value = serde_json::from_slice(&body)
        .with_context(|| format!("what answers at http://{admin} is no gateway's admin listener"))?;
    match (status, told["message"].as_str()) {
        (200, _) => Ok(told),
        (404, Some(message)) => bail!("{message}"),
        _ => bail!("the gateway answered with status {status}"),
    }
}

fn exchange(admin: &str, id: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    let mut stream = connect(admin)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET /explain/{id} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = end
        .and_then(|end| answer.split_at_checked(end + 4))
        .context("it does not speak HTTP")?;
    let status = head
        .strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok())
        .context("it does not speak HTTP/1.1")?;
    Ok((status, body.to_vec()))
}

/// To the first of its addresses that answers.
fn connect(admin: &str) -> anyhow::Result<TcpStream> {
    let mut failed = None;
    for address in admin.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.map_or_else(|| anyhow::anyhow!("it has no address"), Into::into))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// Asks a listener that answers so.
    fn asked(answer: &'static str) -> Result<Value, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = format!("http://{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let told = ask(&admin.parse().unwrap(), "r-1").map_err(|error| format!("{error:#}"));
        let request = server.join().unwrap();
        assert!(request.starts_with("GET /explain/r-1 HTTP/1.1\r\n"), "{request}");
        told.map_err(|message| message.replace(&admin, "http://admin"))
    }

    #[test]
    fn what_is_held_is_told_and_what_is_not_fails_with_the_gateways_words() {
        let held = "HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"refusals\": []}\n";
        assert_eq!(asked(held).unwrap(), serde_json::json!({ "refusals": [] }));
        let gone = "HTTP/1.1 404 Not Found\r\n\r\n{\"error\": \"not_found\", \"message\": \"no refusal\"}";
        assert_eq!(asked(gone).unwrap_err(), "no refusal");
    }

    #[test]
    fn what_is_no_gateway_is_told_apart_from_one_that_knows_nothing() {
        let other = "what answers at http://admin is no gateway's admin listener: ";
        for (answer, expected) in [
            ("HTTP/1.1 404 Not Found\r\n\r\nnot found\n", other),
            ("HTTP/1.1 200 OK\r\n\r\n<html>", other),
            (
                "220 smtp ready\r\n",
                "can't ask the gateway at http://admin: it does not speak HTTP",
            ),
            (
                "",
                "can't ask the gateway at http://admin: it does not speak HTTP",
            ),
            (
                "HTTP/1.1 503 Away\r\n\r\n{}",
                "the gateway answered with status 503",
            ),
        ] {
            let message = asked(answer).unwrap_err();
            assert!(message.starts_with(expected), "{message}");
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let nobody = ask(&format!("http://{free}").parse().unwrap(), "r-1").unwrap_err();
        assert!(
            nobody.to_string().starts_with("can't ask the gateway at "),
            "{nobody}"
        );
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in [
            "http://127.0.0.1:9090",
            "http://edge-1.internal:9090/",
            "http://[::1]:9090",
        ] {
            assert!(good.parse::<AdminAddress>().is_ok(), "{good}");
        }
        for bad in [
            "127.0.0.1:9090",
            "https://127.0.0.1:9090",
            "http://edge-1",
            "http://:9090",
            "http://u@h:9090",
            "http://h:9090/explain",
            "http://h:99999",
        ] {
            assert!(bad.parse::<AdminAddress>().is_err(), "{bad}");
        }
    }
}
