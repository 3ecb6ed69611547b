//! A reported counter, checked: what a gateway sends is refused alone when it can't be true.

use keyward_contract::{AccountId, CustomerId, Environment, KeyId, feed};
use sqlx::Row;
use sqlx::any::AnyRow;

use crate::store;

/// No hour of one counter holds more calls than this: over 300 million a second.
const MOST_CALLS: u64 = 1 << 40;
/// No other value is greater: bytes, microseconds, instants.
const MOST: u64 = 1 << 48;
/// No sum grows beyond this, whatever is reported: the database could not hold it.
pub(super) const MOST_SUM: i64 = 1 << 61;
const LONGEST_ROUTE: usize = 255;

/// Why a counter was not taken. Holds no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("usage counter: {0}")]
pub struct InvalidUsage(&'static str);

/// The checked counters of one report, and which gateway sent it.
#[derive(Clone, Debug)]
pub struct Report {
    /// The gateway's id.
    pub gateway_id: String,
    /// What it counted.
    pub counters: Vec<Reported>,
}

/// Who called what, in which hour, counted under which boot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Subject {
    pub(super) account: AccountId,
    pub(super) environment: &'static str,
    pub(super) customer: String,
    pub(super) account_key: String,
    pub(super) customer_key: String,
    pub(super) route: String,
}

/// What was counted, in the order of the columns of every table of usage: sums first, then the instants of the last
/// call accepted and refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Values(pub(super) [i64; Self::COLUMNS]);

impl Values {
    pub(super) const COLUMNS: usize = 15;
    /// So many of them are sums.
    pub(super) const SUMS: usize = 13;
    pub(super) const NAMES: [&'static str; Self::COLUMNS] = [
        "accepted",
        "rate_limited",
        "quota_refused",
        "auth_refused",
        "would_limit",
        "answers_1xx",
        "answers_2xx",
        "answers_3xx",
        "answers_4xx",
        "answers_5xx",
        "bytes_in",
        "bytes_out",
        "latency_us",
        "last_accepted_at",
        "last_refused_at",
    ];
    /// So many of them count calls.
    const CALLS: usize = 10;

    pub(super) fn accepted(&self) -> i64 {
        self.0[0]
    }

    pub(super) fn last_accepted_at(&self) -> i64 {
        self.0[13]
    }

    /// The greater of each value: of two states of one counter, the later one.
    pub(super) fn greatest(mut self, other: Self) -> Self {
        for (mine, other) in self.0.iter_mut().zip(other.0) {
            *mine = (*mine).max(other);
        }
        self
    }

    /// What was counted since an earlier state of the same counter.
    pub(super) fn since(mut self, earlier: Self) -> Self {
        for (mine, earlier) in self.0.iter_mut().zip(earlier.0).take(Self::SUMS) {
            *mine -= earlier;
        }
        self
    }

    /// What two counters counted together.
    pub(super) fn and(mut self, other: Self) -> Self {
        for (at, (mine, other)) in self.0.iter_mut().zip(other.0).enumerate() {
            *mine = if at < Self::SUMS {
                mine.saturating_add(other).min(MOST_SUM)
            } else {
                (*mine).max(other)
            };
        }
        self
    }

    /// The values that stand in a row from this column on.
    pub(super) fn of_row(row: &AnyRow, first: usize) -> store::Result<Self> {
        let mut values = Self::default();
        for (at, value) in values.0.iter_mut().enumerate() {
            *value = row.try_get(first + at)?;
        }
        Ok(values)
    }
}

/// One checked counter.
#[derive(Clone, Debug)]
pub struct Reported {
    pub(super) boot_epoch: i64,
    pub(super) subject: Subject,
    pub(super) hour: i64,
    pub(super) values: Values,
    pub(super) bucket: Option<(i64, i64)>,
}

impl Reported {
    /// Checks a received counter; `boot_epoch` is the stream's, for counters that name none.
    ///
    /// # Errors
    /// When an id is malformed or a value is beyond everything possible.
    pub fn check(wire: feed::UsageCounter, boot_epoch: u64) -> Result<Self, InvalidUsage> {
        let environment = match wire.environment() {
            feed::Environment::Test => Environment::Test,
            feed::Environment::Production => Environment::Production,
            feed::Environment::Unspecified => return Err(InvalidUsage("unknown environment")),
        };
        let boot_epoch = match wire.boot_epoch {
            0 => boot_epoch,
            named => named,
        };
        let hour = wire.hour;
        if !(0..=4_000_000).contains(&hour) {
            return Err(InvalidUsage("hour is out of range"));
        }
        if wire.route.len() > LONGEST_ROUTE || wire.route.contains('\0') {
            return Err(InvalidUsage("route is too long or holds a zero byte"));
        }
        Ok(Self {
            boot_epoch: i64::try_from(boot_epoch).map_err(|_| InvalidUsage("boot epoch is out of range"))?,
            hour,
            values: values(&wire)?,
            bucket: bucket(&wire)?,
            subject: Subject {
                account: AccountId::from_slice(&wire.account_id)
                    .map_err(|_| InvalidUsage("malformed account id"))?,
                environment: environment.as_str(),
                customer: customer(wire.customer_id)?,
                account_key: key(&wire.account_key_id)?,
                customer_key: key(&wire.customer_key_id)?,
                route: wire.route,
            },
        })
    }
}

fn values(wire: &feed::UsageCounter) -> Result<Values, InvalidUsage> {
    let [a1, a2, a3, a4, a5] = match wire.answers.as_slice() {
        [] => [0; 5],
        [a1, a2, a3, a4, a5] => [*a1, *a2, *a3, *a4, *a5],
        _ => return Err(InvalidUsage("answers are not five")),
    };
    let instant = |at: i64| u64::try_from(at).map_err(|_| InvalidUsage("negative instant"));
    let wide = [
        wire.accepted,
        wire.rate_limited,
        wire.quota_refused,
        wire.auth_refused,
        wire.would_limit,
        a1,
        a2,
        a3,
        a4,
        a5,
        wire.bytes_in,
        wire.bytes_out,
        wire.latency_us,
        instant(wire.last_accepted_at_ms)?,
        instant(wire.last_refused_at_ms)?,
    ];
    let mut values = Values::default();
    for (at, (value, wide)) in values.0.iter_mut().zip(wide).enumerate() {
        let most = if at < Values::CALLS { MOST_CALLS } else { MOST };
        *value = i64::try_from(wide)
            .ok()
            .filter(|_| wide <= most)
            .ok_or(InvalidUsage("a value is too great"))?;
    }
    Ok(values)
}

/// Millitokens and instant, where the counter carries a bucket.
fn bucket(wire: &feed::UsageCounter) -> Result<Option<(i64, i64)>, InvalidUsage> {
    if wire.bucket_at_ms == 0 {
        return Ok(None);
    }
    let at = u64::try_from(wire.bucket_at_ms).unwrap_or(u64::MAX);
    match i64::try_from(wire.bucket_millitokens) {
        Ok(millitokens) if at <= MOST => Ok(Some((millitokens, wire.bucket_at_ms))),
        _ => Err(InvalidUsage("a bucket is out of range")),
    }
}

fn customer(id: String) -> Result<String, InvalidUsage> {
    match id.as_str() {
        "" => Ok(id),
        text if text.parse::<CustomerId>().is_ok() => Ok(id),
        _ => Err(InvalidUsage("malformed customer id")),
    }
}

fn key(bytes: &[u8]) -> Result<String, InvalidUsage> {
    if bytes.is_empty() {
        return Ok(String::new());
    }
    KeyId::from_slice(bytes)
        .map(|id| id.to_string())
        .map_err(|_| InvalidUsage("malformed key id"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn sample() -> feed::UsageCounter {
        feed::UsageCounter {
            account_id: AccountId::new().as_uuid().as_bytes().to_vec(),
            environment: feed::Environment::Production.into(),
            hour: 490_000,
            accepted: 3,
            answers: vec![0, 3, 0, 0, 0],
            ..feed::UsageCounter::default()
        }
    }

    #[test]
    fn a_counter_that_cannot_be_true_is_refused() {
        let refused = |spoil: fn(&mut feed::UsageCounter)| {
            let mut wire = sample();
            spoil(&mut wire);
            Reported::check(wire, 1).unwrap_err().0
        };
        assert!(Reported::check(sample(), 1).is_ok());
        assert_eq!(refused(|c| c.accepted = u64::MAX), "a value is too great");
        assert_eq!(refused(|c| c.answers = vec![1]), "answers are not five");
        assert_eq!(refused(|c| c.hour = -1), "hour is out of range");
        assert_eq!(refused(|c| c.account_id.clear()), "malformed account id");
        assert_eq!(refused(|c| c.customer_id = "x".into()), "malformed customer id");
        assert_eq!(refused(|c| c.account_key_id = vec![1]), "malformed key id");
        assert_eq!(refused(|c| c.environment = 0), "unknown environment");
        assert_eq!(refused(|c| c.last_accepted_at_ms = -1), "negative instant");
        assert_eq!(
            refused(|c| c.route = "r".repeat(256)),
            "route is too long or holds a zero byte"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_counter_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(wire) = feed::UsageCounter::decode(bytes.as_slice()) {
                let _ = Reported::check(wire, 1);
            }
        }
    }
}
