//! `upstreams`.

use std::collections::HashSet;

use crate::check::gateway::first_repeated;
use crate::check::machines;
use crate::gateway::Upstream;
use crate::leaf::url::EndpointUrl;
use crate::report::Report;
use crate::typed;

/// Every upstream in the order of the file, so that indices are those of the list that was typed.
pub(crate) fn upstreams(typed: &[typed::gateway::Upstream], report: &mut Report<'_>) -> Vec<Upstream> {
    if typed.is_empty() {
        report.missing(
            "upstreams",
            "there is none; write [[upstreams]] with name = \"api\" and endpoints = [\"http://127.0.0.1:3000\"]",
        );
    }
    let mut names = HashSet::new();
    let mut upstreams = Vec::with_capacity(typed.len());
    for (index, upstream) in typed.iter().enumerate() {
        let at = format!("upstreams[{index}]");
        let name = upstream.name.as_ref().map_or("", |name| &name.0);
        if name.is_empty() {
            report.missing(&format!("{at}.name"), "is missing; write one, such as \"api\"");
        } else if !names.insert(name) {
            report.wrong(
                &format!("{at}.name"),
                format!(
                    "\"{name}\" is another upstream's name; write another, or its endpoints into one list"
                ),
            );
        }
        check_endpoints(&format!("{at}.endpoints"), &upstream.endpoints, report);
        upstreams.push(Upstream {
            name: name.to_owned(),
            endpoints: upstream
                .endpoints
                .iter()
                .map(|endpoint| endpoint.0.clone())
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
}
