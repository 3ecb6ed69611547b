//! One question a call: the strictest sharing. Calls of the same moment travel in one batch.

use keyward_buckets::{ChargeAnswer, ChargeAsk, Charged};

use super::away;
use super::legs::{Legs, Short, Source, Taken};
use super::quota::Sharing;
use super::shared::SharedLimits;
use crate::clock::Now;

pub(super) async fn take(shared: &SharedLimits, legs: &Legs<'_>, now: Now) -> Result<Taken, Short> {
    let now_ms = now.monotonic_ms();
    if let Some(outage) = shared.outage(legs.account_id()) {
        return away::take(shared, legs, now_ms, outage);
    }
    if legs.is_metered() && legs.quota().is_rebuilding(now_ms) {
        return beside_quota(shared, legs, now_ms).await;
    }
    let asked = ask(shared, legs, now_ms, legs.is_metered());
    let Some(answer) = shared
        .charge(legs.account_id(), asked.clone(), legs.quota())
        .await
    else {
        return unanswered(shared, legs, &asked);
    };
    let now_ms = shared.now_ms();
    note(shared, legs, &answer);
    if let (Some(quota), Some(asked)) = (answer.quota, &asked.quota) {
        if quota.rebuilding && !answer.charged {
            return beside_quota(shared, legs, now_ms).await;
        }
        if !answer.charged && quota.taken >= asked.limit {
            return Err(Short::Quota(legs.quota().level_now(legs.record)));
        }
    }
    verdict(legs, &answer, now_ms)
}

/// The shared quota is being made anew: the validation comes from this gateway's share of it.
async fn beside_quota(shared: &SharedLimits, legs: &Legs<'_>, now_ms: u64) -> Result<Taken, Short> {
    let sharing = Sharing::Strict(shared.sharers());
    legs.quota()
        .take_alone(legs.record, sharing)
        .map_err(Short::Quota)?;
    if legs.quota().enlist() {
        shared.ask_quota(legs.account_id(), legs.quota(), super::shared::Urgency::Soon);
    }
    let asked = ask(shared, legs, now_ms, false);
    let taken = match shared
        .charge(legs.account_id(), asked.clone(), legs.quota())
        .await
    {
        None => {
            legs.quota().give_back();
            return unanswered(shared, legs, &asked);
        }
        Some(answer) => {
            let now_ms = shared.now_ms();
            note(shared, legs, &answer);
            verdict(legs, &answer, now_ms)
        }
    };
    taken.inspect_err(|_| legs.quota().give_back())
}

fn ask(shared: &SharedLimits, legs: &Legs<'_>, now_ms: u64, with_quota: bool) -> ChargeAsk {
    let wanted = legs.wanted();
    let bucket = |leg: &super::legs::Leg<'_>| {
        leg.lease()
            .charge_ask(now_ms, leg.limits, wanted, shared.connection())
    };
    ChargeAsk {
        account: bucket(&legs.account),
        customer: legs.customer.as_ref().map(bucket),
        quota: with_quota.then(|| legs.quota().charge_ask(legs.record)),
    }
}

/// Whether it arrived is not known: what was owed is owed still.
fn unanswered(shared: &SharedLimits, legs: &Legs<'_>, asked: &ChargeAsk) -> Result<Taken, Short> {
    legs.account.lease().unanswered(&asked.account);
    if let (Some(leg), Some(asked)) = (&legs.customer, &asked.customer) {
        leg.lease().unanswered(asked);
    }
    match shared.outage(legs.account_id()) {
        Some(outage) => away::take(shared, legs, shared.now_ms(), outage),
        // It came back this very moment: as if it had never been away, but without another question.
        None => match shared.waited_in_vain(legs.account_id()) {
            Some(outage) => away::take(shared, legs, shared.now_ms(), outage),
            None => Err(Short::Tokens(
                legs.account.which,
                legs.account.lease().level(shared.now_ms(), legs.account.limits),
            )),
        },
    }
}

fn note(shared: &SharedLimits, legs: &Legs<'_>, answer: &ChargeAnswer) {
    let (now_ms, connection) = (shared.now_ms(), shared.connection());
    legs.account.lease().charged(answer.account, now_ms, connection);
    if let (Some(leg), Some(charged)) = (&legs.customer, answer.customer) {
        leg.lease().charged(charged, now_ms, connection);
    }
}

fn verdict(legs: &Legs<'_>, answer: &ChargeAnswer, now_ms: u64) -> Result<Taken, Short> {
    if answer.charged {
        return Ok(Taken {
            account: Source::Central,
            customer: legs.customer.as_ref().map(|_| Source::Central),
            is_metered: legs.is_metered(),
        });
    }
    let lacks = |charged: &Charged| charged.level < i64::try_from(legs.wanted()).unwrap_or(i64::MAX);
    let leg = match (&legs.customer, &answer.customer) {
        (Some(leg), Some(charged)) if lacks(charged) => leg,
        _ => &legs.account,
    };
    Err(Short::Tokens(leg.which, leg.lease().level(now_ms, leg.limits)))
}
