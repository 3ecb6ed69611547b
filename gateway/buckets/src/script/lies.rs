//! Replies that no script of ours would give: none of them panics, and none gives more than was asked for.

use keyward_contract::{AccountId, Environment, UnixMillis};
use proptest::prelude::*;

use super::*;
use crate::ask::{ChargeAsk, LeaseAsk, QuotaAsk, QuotaName, QuotaSpent, Rebuild, RefundAsk};

const LIMITS: Limits = Limits { rate: 10, burst: 20 };

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![
        4 => -3i64..3_000,
        1 => any::<i64>(),
        1 => prop::sample::select(vec![i64::MIN, i64::MIN + 1, i64::MAX, 1 << 53, -1]),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        6 => number().prop_map(Value::Int),
        1 => Just(Value::Nil),
        1 => Just(Value::Okay),
        1 => any::<bool>().prop_map(Value::Boolean),
        1 => any::<f64>().prop_map(Value::Double),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::BulkString),
        1 => ".{0,20}".prop_map(Value::SimpleString),
    ];
    leaf.prop_recursive(4, 64, 12, |inner| {
        prop_oneof![
            4 => prop::collection::vec(inner.clone(), 0..12).prop_map(Value::Array),
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Set),
            1 => prop::collection::vec((inner.clone(), inner), 0..4).prop_map(Value::Map),
        ]
    })
}

/// What looks most like an answer: lists of numbers, of about the right length.
fn answer() -> impl Strategy<Value = Value> {
    let numbers = prop::collection::vec(number().prop_map(Value::Int), 0..11).prop_map(Value::Array);
    prop_oneof![3 => numbers, 1 => value()]
}

fn bucket() -> BucketName {
    BucketName {
        account: AccountId::new(),
        environment: Environment::Production,
        customer: None,
    }
}

fn lease(most: u64) -> LeaseAsk {
    LeaseAsk {
        bucket: bucket(),
        limits: LIMITS,
        holding: 0,
        returning: 0,
        debt: 0,
        least: most,
        most,
        known: None,
    }
}

fn quota(most: u64) -> QuotaAsk {
    QuotaAsk {
        quota: QuotaName {
            account: AccountId::new(),
            period_start: UnixMillis(0),
            period_end: UnixMillis(1),
        },
        limit: 10,
        spent: QuotaSpent::InAll(0),
        least: most,
        most,
        sharers: 1,
        rebuild: Rebuild::default(),
    }
}

fn asks() -> [Ask; 5] {
    let charge = |customer, quota| {
        Ask::Charge(ChargeAsk {
            account: lease(1_000),
            customer,
            quota,
        })
    };
    [
        Ask::Lease(lease(2_000)),
        Ask::Quota(quota(5)),
        charge(None, None),
        charge(Some(lease(1_000)), Some(quota(1))),
        Ask::Refund(RefundAsk {
            buckets: vec![(bucket(), LIMITS)],
            thousandths: 1_000,
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn no_reply_can_panic_or_give_more_than_was_asked_for(
        replies in prop::collection::vec(answer(), 0..7),
        whole in value(),
    ) {
        let asks = asks();
        let questions: Vec<&Ask> = asks.iter().collect();
        for reply in [Value::Array(replies), whole] {
            let answers = answers(&questions, &reply);
            prop_assert_eq!(answers.len(), questions.len());
            for (ask, answer) in asks.iter().zip(answers) {
                match (ask, answer) {
                    (Ask::Lease(ask), Ok(Answer::Lease(answer))) => prop_assert!(answer.granted <= ask.most),
                    (Ask::Quota(ask), Ok(Answer::Quota(answer))) => prop_assert!(answer.granted <= ask.most),
                    (Ask::Charge(ask), Ok(Answer::Charge(answer))) => {
                        prop_assert_eq!(ask.customer.is_some(), answer.customer.is_some());
                        prop_assert!(answer.quota.is_none_or(|answer| answer.granted <= 1));
                    }
                    (Ask::Refund(_), Ok(Answer::Refunded)) | (_, Err(_)) => {}
                    (ask, answer) => prop_assert!(false, "{ask:?} was answered {answer:?}"),
                }
            }
            let read = ReadAsk { bucket: bucket(), limits: LIMITS };
            let _ = super::answers(&[&read], &reply);
        }
    }
}
