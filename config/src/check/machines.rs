//! `upstreams.balance`, `.health` and `.retries`: which machine gets a call, and what happens when one fails.

use http::StatusCode;

use crate::check::gateway::first_repeated;
use crate::leaf::unit::{Percent, Time};
use crate::leaf::word::{Balanced, Hashed};
use crate::report::Report;
use crate::typed::upstream as typed;
use crate::upstream::{ActiveChecks, Balance, HashedBy, Health, PassiveChecks, Portion, Retries};

const AN_HOUR: Time = Time::seconds(3_600);
const A_DAY: Time = Time::seconds(86_400);

/// Which machine gets a call.
pub(crate) fn balance(at: &str, typed: Option<&typed::Balance>, report: &mut Report<'_>) -> Balance {
    let by = match typed {
        None | Some(typed::Balance::Word(Balanced::RoundRobin)) => return Balance::RoundRobin,
        Some(typed::Balance::Word(Balanced::LeastRequests)) => return Balance::LeastRequests,
        Some(typed::Balance::Hash(by)) => by,
    };
    let Some(hash) = by.hash else {
        report.missing(
            &format!("{at}.balance.hash"),
            "is missing; write \"key\", \"customer\", \"address\" or \"header\"",
        );
        return Balance::RoundRobin;
    };
    if by.header.is_some() && hash != Hashed::Header {
        report.wrong(
            &format!("{at}.balance.header"),
            format!("is for hash = \"header\", and it is \"{hash}\"; remove one of the two"),
        );
    }
    Balance::Hash(match (hash, &by.header) {
        (Hashed::Key, _) => HashedBy::Key,
        (Hashed::Customer, _) => HashedBy::Customer,
        (Hashed::Address, _) => HashedBy::Address,
        (Hashed::Header, Some(header)) => HashedBy::Header(header.0.clone()),
        (Hashed::Header, None) => {
            report.missing(
                &format!("{at}.balance.header"),
                "is missing; write the header's name, such as \"x-tenant\"",
            );
            HashedBy::Address
        }
    })
}

/// When a machine counts as unhealthy.
pub(crate) fn health(at: &str, typed: Option<&typed::Health>, report: &mut Report<'_>) -> Option<Health> {
    let typed = typed?;
    let at = format!("{at}.health");
    if typed.path.is_none() {
        refuse_settings_of_checks(&at, typed, report);
        if typed.passive.is_none() && !report.anything_cut_in(&at) {
            report.wrong(
                &at,
                "checks nothing; write path = \"/healthz\", or passive = {} to learn from calls alone",
            );
        }
    }
    Some(Health {
        active: typed
            .path
            .as_ref()
            .map(|path| active(&at, &path.0, typed, report)),
        passive: typed
            .passive
            .as_ref()
            .map(|typed| passive(&format!("{at}.passive"), typed, report)),
        panic_threshold: share(typed.panic_threshold.unwrap_or(Percent(50))),
    })
}

/// Without a path nothing is asked, and what says how would not be heeded.
fn refuse_settings_of_checks(at: &str, typed: &typed::Health, report: &mut Report<'_>) {
    for (key, is_there) in [
        ("interval", typed.interval.is_some()),
        ("timeout", typed.timeout.is_some()),
        ("healthy", typed.healthy.is_some()),
        ("unhealthy", typed.unhealthy.is_some()),
        ("expect", typed.expect.is_some()),
    ] {
        if is_there && !report.was_cut(&format!("{at}.path")) {
            report.wrong(
                &format!("{at}.{key}"),
                "is about checks that are asked for by path, and there is none; write path = \"/healthz\" too, or remove it",
            );
        }
    }
}

fn active(at: &str, path: &str, typed: &typed::Health, report: &mut Report<'_>) -> ActiveChecks {
    let interval = typed.interval.unwrap_or(Time::seconds(5));
    let timeout = typed.timeout.unwrap_or(Time::seconds(1));
    report.within(&format!("{at}.interval"), interval, Time::ms(50)..=AN_HOUR);
    report.within(&format!("{at}.timeout"), timeout, Time::ms(1)..=AN_HOUR);
    let expect = typed.expect.as_deref();
    if expect.is_some_and(<[u64]>::is_empty) {
        report.wrong(
            &format!("{at}.expect"),
            "is empty: no answer would be good; write [200], or remove it for every 2xx",
        );
    }
    ActiveChecks {
        path: path.to_owned(),
        interval: interval.0,
        timeout: timeout.0,
        healthy: count(&format!("{at}.healthy"), typed.healthy.unwrap_or(2), 100, report),
        unhealthy: count(
            &format!("{at}.unhealthy"),
            typed.unhealthy.unwrap_or(3),
            100,
            report,
        ),
        expect: statuses(&format!("{at}.expect"), expect.unwrap_or_default(), (200, report)),
    }
}

fn passive(at: &str, typed: &typed::Passive, report: &mut Report<'_>) -> PassiveChecks {
    report.within(&format!("{at}.ejection"), typed.ejection, Time::ms(10)..=A_DAY);
    report.within(
        &format!("{at}.max_ejection"),
        typed.max_ejection,
        Time::ms(10)..=A_DAY,
    );
    if typed.max_ejection < typed.ejection {
        report.wrong(
            &format!("{at}.max_ejection"),
            format!(
                "{} is less than the {} of ejection",
                typed.max_ejection, typed.ejection
            ),
        );
    }
    PassiveChecks {
        failures: count(&format!("{at}.failures"), typed.failures, 10_000, report),
        statuses: statuses(&format!("{at}.statuses"), &typed.statuses, (400, report)),
        ejection: typed.ejection.0,
        max_ejection: typed.max_ejection.0,
        max_ejected: share(typed.max_ejected),
    }
}

/// What is tried again.
pub(crate) fn retries(at: &str, typed: Option<&typed::Retries>, report: &mut Report<'_>) -> Option<Retries> {
    let typed = typed?;
    let at = format!("{at}.retries");
    report.within(&format!("{at}.attempts"), typed.attempts, 2..=5);
    report.within(&format!("{at}.min_per_second"), typed.min_per_second, 0..=100_000);
    report.within(
        &format!("{at}.backoff"),
        typed.backoff,
        Time::ms(0)..=Time::seconds(10),
    );
    if typed.budget == Percent(0) && typed.min_per_second == 0 {
        report.wrong(
            &format!("{at}.budget"),
            "is 0%, and min_per_second is 0: nothing would be tried again; remove retries, or write budget = \"20%\"",
        );
    }
    Some(Retries {
        attempts: u32::try_from(typed.attempts).unwrap_or(2),
        statuses: statuses(&format!("{at}.statuses"), &typed.statuses, (400, report)),
        budget: share(typed.budget),
        min_per_second: u32::try_from(typed.min_per_second).unwrap_or(u32::MAX),
        backoff: typed.backoff.0,
    })
}

fn count(path: &str, count: u64, most: u64, report: &mut Report<'_>) -> u32 {
    report.within(path, count, 1..=most);
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Statuses from `least` to 599, none twice.
fn statuses(path: &str, typed: &[u64], (least, report): (u64, &mut Report<'_>)) -> Vec<StatusCode> {
    if let Some(status) = typed.iter().find(|status| !(least..=599).contains(*status)) {
        report.wrong(
            path,
            format!("{status} can't be meant here; write statuses from {least} to 599"),
        );
    }
    if let Some(twice) = first_repeated(typed) {
        report.wrong(path, format!("{twice} is there twice; remove one"));
    }
    let status = |typed: &u64| StatusCode::from_u16(u16::try_from(*typed).ok()?).ok();
    typed.iter().filter_map(status).collect()
}

fn share(typed: Percent) -> Portion {
    Portion::percent(typed.0)
}
