//! `upstreams`.

use std::collections::HashSet;

use crate::check::gateway::{client_tls, first_repeated};
use crate::check::machines;
use crate::gateway::{ClientTls, Upstream, UpstreamProtocol};
use crate::leaf::url::EndpointUrl;
use crate::leaf::word::Protocol;
use crate::report::Report;
use crate::typed;

/// Every upstream in the order of the file, so that indices are those of the list that was typed.
pub(crate) fn upstreams(typed: Vec<typed::upstream::Upstream>, report: &mut Report<'_>) -> Vec<Upstream> {
    if typed.is_empty() {
        report.missing(
            "upstreams",
            "there is none; write [[upstreams]] with name = \"api\" and endpoints = [\"http://127.0.0.1:3000\"]",
        );
    }
    let mut names = HashSet::new();
    let mut upstreams = Vec::with_capacity(typed.len());
    for (index, upstream) in typed.into_iter().enumerate() {
        let at = format!("upstreams[{index}]");
        let name = upstream.name.map(|name| name.0).unwrap_or_default();
        if name.is_empty() {
            report.missing(&format!("{at}.name"), "is missing; write one, such as \"api\"");
        } else if !names.insert(name.clone()) {
            report.wrong(
                &format!("{at}.name"),
                format!(
                    "\"{name}\" is another upstream's name; write another, or its endpoints into one list"
                ),
            );
        }
        let path = format!("{at}.endpoints");
        check_endpoints(&path, &upstream.endpoints, report);
        let tls = tls(&at, upstream.tls, &upstream.endpoints, report);
        upstreams.push(Upstream {
            name,
            protocol: protocol(&at, upstream.protocol, &upstream.endpoints, report),
            tls,
            endpoints: upstream
                .endpoints
                .into_iter()
                .map(|endpoint| endpoint.endpoint)
                .collect(),
            balance: machines::balance(&at, upstream.balance.as_ref(), report),
            health: machines::health(&at, upstream.health.as_ref(), report),
            retries: machines::retries(&at, upstream.retries.as_ref(), report),
        });
    }
    upstreams
}

fn check_endpoints(path: &str, endpoints: &[EndpointUrl], report: &mut Report<'_>) {
    if endpoints.is_empty() {
        report.missing(path, "there is none; write [\"http://127.0.0.1:3000\"]");
    }
    if let Some(twice) = first_repeated(endpoints) {
        report.wrong(path, format!("\"{twice}\" is there twice; remove one"));
    }
    if endpoints.iter().any(|endpoint| endpoint.tls) && endpoints.iter().any(|endpoint| !endpoint.tls) {
        report.wrong(
            path,
            "there are http:// and https:// addresses in one list; write all of them in one way, or two upstreams",
        );
    }
}

fn protocol(
    at: &str,
    typed: Option<Protocol>,
    endpoints: &[EndpointUrl],
    report: &mut Report<'_>,
) -> UpstreamProtocol {
    let path = format!("{at}.protocol");
    match typed {
        None | Some(Protocol::Http1) => return UpstreamProtocol::Http1,
        Some(Protocol::H2) if endpoints.iter().any(|endpoint| !endpoint.tls) => report.wrong(
            &path,
            "\"h2\" is HTTP/2 over TLS; write https:// in endpoints, or \"h2c\" for clear text",
        ),
        Some(Protocol::H2c) if endpoints.iter().any(|endpoint| endpoint.tls) => report.wrong(
            &path,
            "\"h2c\" is HTTP/2 in clear text; write http:// in endpoints, or \"h2\" for TLS",
        ),
        Some(Protocol::H2 | Protocol::H2c) => {}
    }
    UpstreamProtocol::Http2
}

/// `None` when the endpoints are in clear text.
fn tls(
    at: &str,
    typed: Option<typed::gateway::ClientTls>,
    endpoints: &[EndpointUrl],
    report: &mut Report<'_>,
) -> Option<ClientTls> {
    let path = format!("{at}.tls");
    let is_tls = endpoints.iter().any(|endpoint| endpoint.tls);
    if typed.is_some() && !is_tls && !endpoints.is_empty() {
        report.wrong(
            &path,
            "is for https addresses, and the endpoints are none; write \"https://…\" there, or remove it",
        );
    }
    let tls = typed.map(|tls| client_tls(&path, tls, report));
    is_tls.then(|| tls.unwrap_or_default())
}
