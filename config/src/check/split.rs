//! `routes.upstream` and `routes.split`: where a route's calls go.

use crate::gateway::{Share, Upstream};
use crate::leaf::name::Name;
use crate::report::Report;
use crate::{typed, wording};

const HEAVIEST: u64 = 1_000;
/// A gateway lays a route's turns out in advance: at most this times [`HEAVIEST`] of them.
const MOST_SHARES: usize = 32;

/// Where a route's calls go: its upstream and, when there are several, the shares of each.
pub(crate) fn targets(
    at: &str,
    typed: &typed::route::Route,
    upstreams: &[Upstream],
    report: &mut Report<'_>,
) -> (usize, Vec<Share>) {
    let Some(split) = &typed.split else {
        return (
            upstream(at, typed.upstream.as_ref(), upstreams, report),
            Vec::new(),
        );
    };
    let path = format!("{at}.split");
    if typed.upstream.is_some() {
        report.wrong(&path, "says where calls go, and upstream does too; remove one");
    }
    if split.is_empty() {
        report.missing(
            &path,
            "there is none; write [{ upstream = \"api\", weight = 9 }, { upstream = \"canary\", weight = 1 }]",
        );
    }
    if split.len() > MOST_SHARES {
        let count = split.len();
        report.wrong(&path, format!("there are {count}; write at most {MOST_SHARES}"));
    }
    let mut shares: Vec<Share> = Vec::with_capacity(split.len());
    for (index, typed) in split.iter().enumerate() {
        let at = format!("{path}[{index}]");
        let share = share(&at, typed, upstreams, report);
        if let Some(share) = share {
            if shares.iter().any(|earlier| earlier.upstream == share.upstream) {
                let name = typed.upstream.as_ref().map_or("", |name| &name.0);
                report.wrong(
                    &format!("{at}.upstream"),
                    format!("\"{name}\" is there twice; add its weights up"),
                );
            }
            shares.push(share);
        }
    }
    if !shares.is_empty() && shares.iter().all(|share| share.weight == 0) {
        report.wrong(&path, "gives no upstream any call; write a weight from 1");
    }
    let first = shares.iter().find(|share| share.weight > 0);
    (first.map_or(0, |share| share.upstream), shares)
}

fn share(
    at: &str,
    typed: &typed::route::Share,
    upstreams: &[Upstream],
    report: &mut Report<'_>,
) -> Option<Share> {
    let upstream = match &typed.upstream {
        Some(name) => position(&format!("{at}.upstream"), name, upstreams, report),
        None => {
            report.missing(
                &format!("{at}.upstream"),
                "is missing; write the name of an upstream, such as \"api\"",
            );
            None
        }
    };
    let path = format!("{at}.weight");
    let Some(weight) = typed.weight else {
        report.missing(&path, "is missing; write one, such as 1");
        return None;
    };
    report.within(&path, weight, 0..=HEAVIEST);
    Some(Share {
        upstream: upstream?,
        weight: u32::try_from(weight).unwrap_or_default(),
    })
}

/// The index of the upstream that a route names. When it names none that exists, that is in the report.
fn upstream(at: &str, typed: Option<&Name>, upstreams: &[Upstream], report: &mut Report<'_>) -> usize {
    let path = format!("{at}.upstream");
    let names: Vec<&str> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    match (typed, names.as_slice()) {
        (Some(name), _) => position(&path, name, upstreams, report).unwrap_or(0),
        (None, [] | [_]) => 0,
        (None, names) => {
            let message = format!(
                "is missing, and there are several; write {}",
                wording::either(names)
            );
            report.missing(&path, message);
            0
        }
    }
}

fn position(path: &str, name: &Name, upstreams: &[Upstream], report: &mut Report<'_>) -> Option<usize> {
    let names: Vec<&str> = upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    let found = names.iter().position(|known| *known == name.0);
    // One mistake has one message: an upstream that is wrong itself is not missed here.
    if found.is_none() && !names.is_empty() && !report.anything_cut_in("upstreams") {
        report.wrong(path, wording::not_a_word(&name.0, &names));
    }
    found
}
