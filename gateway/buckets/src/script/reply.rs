//! What the script answers: for each question a list of whole numbers.
//!
//! A server that was told to lie, or another script under our name, may answer anything: more than was asked for is no
//! answer.

use redis::Value;

use crate::ask::{Answer, Ask, ChargeAnswer, ChargeAsk, Charged, LeaseAnswer, QuotaAnswer, QuotaAsk};

/// The numbers of one answer; `None`: it is none.
pub(super) fn numbers(value: &Value) -> Option<Vec<i64>> {
    let Value::Array(values) = value else {
        return None;
    };
    values
        .iter()
        .map(|value| match value {
            Value::Int(number) => Some(*number),
            _ => None,
        })
        .collect()
}

/// The answer to this question; `None`: these are not its numbers.
pub(super) fn answer(ask: &Ask, numbers: &[i64]) -> Option<Answer> {
    match (ask, numbers) {
        (Ask::Lease(ask), &[granted, level, elsewhere, born]) => Some(Answer::Lease(LeaseAnswer {
            granted: at_most(granted, ask.most)?,
            level,
            held_elsewhere: elsewhere.unsigned_abs(),
            born: born.unsigned_abs(),
        })),
        (Ask::Quota(ask), numbers) => quota(ask, numbers).map(Answer::Quota),
        (Ask::Charge(ask), [charged, rest @ ..]) => charge(ask, *charged == 1, rest).map(Answer::Charge),
        (Ask::Refund(_), []) => Some(Answer::Refunded),
        _ => None,
    }
}

fn charge(ask: &ChargeAsk, charged: bool, rest: &[i64]) -> Option<ChargeAnswer> {
    let (account, mut rest) = bucket(rest)?;
    let mut customer = None;
    if ask.customer.is_some() {
        let (first, others) = bucket(rest)?;
        (customer, rest) = (Some(first), others);
    }
    let quota = match &ask.quota {
        Some(ask) => Some(quota(ask, rest)?),
        None => None,
    };
    Some(ChargeAnswer {
        charged,
        account,
        customer,
        quota,
    })
}

fn bucket(numbers: &[i64]) -> Option<(Charged, &[i64])> {
    let [level, held, born, rest @ ..] = numbers else {
        return None;
    };
    let charged = Charged {
        level: *level,
        held: held.unsigned_abs(),
        born: born.unsigned_abs(),
    };
    Some((charged, rest))
}

fn quota(ask: &QuotaAsk, numbers: &[i64]) -> Option<QuotaAnswer> {
    let &[granted, taken, rebuilding] = numbers else {
        return None;
    };
    Some(QuotaAnswer {
        granted: at_most(granted, ask.most)?,
        taken: taken.unsigned_abs(),
        rebuilding: rebuilding == 1,
    })
}

/// What was granted of so much.
fn at_most(granted: i64, most: u64) -> Option<u64> {
    u64::try_from(granted).ok().filter(|granted| *granted <= most)
}
