//! The catalogue of tiers: the built-in one with the operator's laid over it.

use std::collections::HashSet;

use keyward_contract::{Fallback, LimitMode};

use crate::check::control_plane::LARGEST_LIMIT;
use crate::control_plane::Tier;
use crate::report::Report;
use crate::typed;

/// The largest whole number that every JSON reader keeps exact.
const LARGEST_COUNT: u64 = (1 << 53) - 1;
/// Key, name, USD a year, validations a year, rate, burst, availability.
type Row = (&'static str, &'static str, u64, u64, u32, u32, &'static str);

const BUILT_IN: [Row; 5] = [
    ("starter", "Starter", 100_000, 2_000_000, 50, 100, "99.9%"),
    ("growth", "Growth", 250_000, 10_000_000, 100, 200, "99.95%"),
    ("scale", "Scale", 500_000, 30_000_000, 200, 400, "99.95%"),
    (
        "enterprise",
        "Enterprise",
        1_000_000,
        80_000_000,
        500,
        1000,
        "99.99%",
    ),
    ("custom", "Custom", 2_000_000, 200_000_000, 1000, 2000, "99.99%"),
];

/// The built-in tiers as changed, then the new ones in the order of the file.
pub(crate) fn catalogue(typed: &[typed::control_plane::Tier], report: &mut Report<'_>) -> Vec<Tier> {
    let mut tiers: Vec<Tier> = BUILT_IN.iter().map(built_in).collect();
    let mut seen = HashSet::new();
    for (index, typed) in typed.iter().enumerate() {
        let at = format!("tiers[{index}]");
        let Some(key) = &typed.key else {
            report.missing(&format!("{at}.key"), "is missing; write one, such as \"growth\"");
            continue;
        };
        if !seen.insert(&key.0) {
            report.wrong(
                &format!("{at}.key"),
                format!("\"{key}\" is there twice; write it as one"),
            );
            continue;
        }
        check_numbers(&at, typed, report);
        if let Some(tier) = tiers.iter_mut().find(|tier| tier.key == key.0) {
            change(tier, typed);
        } else {
            tiers.extend(added(&at, &key.0, typed, report));
        }
    }
    tiers
}

fn built_in((key, name, annual_price, annual_limit, rate_limit, burst_limit, sla): &Row) -> Tier {
    Tier {
        key: (*key).to_owned(),
        name: (*name).to_owned(),
        annual_price: *annual_price,
        annual_limit: *annual_limit,
        rate_limit: *rate_limit,
        burst_limit: *burst_limit,
        sla: (*sla).to_owned(),
        mode: LimitMode::Enforce,
        fallback: None,
        negotiable: *key == "custom",
    }
}

fn check_numbers(at: &str, typed: &typed::control_plane::Tier, report: &mut Report<'_>) {
    let numbers = [
        ("annual_price", typed.annual_price, 0, LARGEST_COUNT),
        ("annual_limit", typed.annual_limit, 1, LARGEST_COUNT),
        (
            "rate_limit",
            typed.rate_limit.map(|rate| u64::from(rate.0)),
            1,
            LARGEST_LIMIT,
        ),
        ("burst_limit", typed.burst_limit, 1, LARGEST_LIMIT),
    ];
    for (key, number, least, most) in numbers {
        if let Some(number) = number {
            report.within(&format!("{at}.{key}"), number, least..=most);
        }
    }
}

fn burst(typed: u64) -> u32 {
    u32::try_from(typed).unwrap_or(u32::MAX)
}

fn mode(typed: &typed::control_plane::Tier) -> Option<LimitMode> {
    typed.mode.map(Into::into)
}

fn fallback(typed: &typed::control_plane::Tier) -> Option<Fallback> {
    typed.fallback.map(Into::into)
}

fn change(tier: &mut Tier, typed: &typed::control_plane::Tier) {
    if let Some(name) = &typed.name {
        tier.name.clone_from(&name.0);
    }
    if let Some(sla) = &typed.sla {
        tier.sla.clone_from(&sla.0);
    }
    tier.annual_price = typed.annual_price.unwrap_or(tier.annual_price);
    tier.annual_limit = typed.annual_limit.unwrap_or(tier.annual_limit);
    tier.rate_limit = typed.rate_limit.map_or(tier.rate_limit, |rate| rate.0);
    tier.burst_limit = typed.burst_limit.map_or(tier.burst_limit, burst);
    tier.mode = mode(typed).unwrap_or(tier.mode);
    tier.fallback = fallback(typed).or(tier.fallback);
}

fn added(at: &str, key: &str, typed: &typed::control_plane::Tier, report: &mut Report<'_>) -> Option<Tier> {
    let tier = (|| {
        Some(Tier {
            key: key.to_owned(),
            name: typed.name.as_ref()?.0.clone(),
            annual_price: typed.annual_price?,
            annual_limit: typed.annual_limit?,
            rate_limit: typed.rate_limit?.0,
            burst_limit: burst(typed.burst_limit?),
            sla: typed.sla.as_ref()?.0.clone(),
            mode: mode(typed).unwrap_or_default(),
            fallback: fallback(typed),
            negotiable: false,
        })
    })();
    if tier.is_none() {
        let lacking = [
            ("name", typed.name.is_none()),
            ("annual_price", typed.annual_price.is_none()),
            ("annual_limit", typed.annual_limit.is_none()),
            ("rate_limit", typed.rate_limit.is_none()),
            ("burst_limit", typed.burst_limit.is_none()),
            ("sla", typed.sla.is_none()),
        ];
        let lacking: Vec<_> = lacking
            .iter()
            .filter(|(name, lacks)| *lacks && !report.was_cut(&format!("{at}.{name}")))
            .map(|(name, _)| *name)
            .collect();
        if !lacking.is_empty() {
            let built_in: Vec<_> = BUILT_IN.iter().map(|row| row.0).collect();
            report.wrong(
                at,
                format!(
                    "\"{key}\" is a new tier, which needs {} too; the built-in ones are {}",
                    lacking.join(", "),
                    built_in.join(", ")
                ),
            );
        }
    }
    tier
}
