//! What a Redis says: for every question an answer or an error, and never more than was asked for.

use keyward_buckets::fuzzing::answers;
use keyward_buckets::{
    Answer, Ask, BucketName, ChargeAsk, LeaseAsk, QuotaAsk, QuotaName, QuotaSpent, Rebuild, RefundAsk,
};
use keyward_contract::{AccountId, Environment, Limits, UnixMillis};

const MOST: u64 = 5_000;
const LIMITS: Limits = Limits { rate: 10, burst: 20 };

/// A reply as it comes over the connection, to one batch of every kind of question.
pub fn check(bytes: &[u8]) {
    let asks = asks();
    let Some(answers) = answers(&asks, bytes) else {
        return;
    };
    assert_eq!(answers.len(), asks.len());
    for (ask, answer) in asks.iter().zip(answers) {
        match (ask, answer) {
            (_, Err(error)) => assert!(!error.to_string().is_empty()),
            (Ask::Lease(_), Ok(Answer::Lease(answer))) => assert!(answer.granted <= MOST),
            (Ask::Quota(_), Ok(Answer::Quota(answer))) => assert!(answer.granted <= MOST),
            (Ask::Charge(ask), Ok(Answer::Charge(answer))) => {
                assert_eq!(ask.customer.is_some(), answer.customer.is_some());
                assert_eq!(ask.quota.is_some(), answer.quota.is_some());
                assert!(answer.quota.is_none_or(|quota| quota.granted <= MOST));
            }
            (Ask::Refund(_), Ok(Answer::Refunded)) => {}
            (ask, answer) => panic!("{answer:?} to {ask:?}"),
        }
    }
}

fn asks() -> Vec<Ask> {
    let Ok(account) = AccountId::from_slice(&[7; 16]) else {
        return Vec::new();
    };
    let bucket = BucketName {
        account,
        environment: Environment::Production,
        customer: None,
    };
    let lease = LeaseAsk {
        bucket,
        limits: LIMITS,
        holding: 0,
        returning: 0,
        debt: 0,
        least: 1_000,
        most: MOST,
        known: None,
    };
    let quota = QuotaAsk {
        quota: QuotaName {
            account,
            period_start: UnixMillis(0),
            period_end: UnixMillis(1),
        },
        limit: 100,
        spent: QuotaSpent::Since(0),
        least: 1,
        most: MOST,
        sharers: 1,
        rebuild: Rebuild::default(),
    };
    let charge = |customer, quota| ChargeAsk {
        account: lease.clone(),
        customer,
        quota,
    };
    vec![
        Ask::Lease(lease.clone()),
        Ask::Quota(quota.clone()),
        Ask::Charge(charge(None, None)),
        Ask::Charge(charge(Some(lease.clone()), Some(quota))),
        Ask::Refund(RefundAsk {
            buckets: vec![(bucket, LIMITS)],
            thousandths: 1_000,
        }),
    ]
}
