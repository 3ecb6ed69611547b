//! The script that answers a batch of questions, its arguments, and its answers.
//!
//! One call of it carries up to [`BATCH`] questions. A server that doesn't know the script says so before anything
//! is done, so that sending the call once more after loading it counts nothing twice.

#[cfg(test)]
mod agreement;
mod arguments;
#[cfg(test)]
mod lies;
mod reply;

use std::sync::LazyLock;

use keyward_contract::{AccountId, Limits};
use redis::{Cmd, Value};

use crate::ask::{Answer, Ask, BucketName};
use crate::{BucketState, BucketsError};
use arguments::Arguments;

/// How many questions travel in one call: a server does nothing else meanwhile, for about a millisecond.
pub(crate) const BATCH: usize = 100;

const CLOCK: &str = include_str!("script/clock.lua");
const REST: [&str; 3] = [
    include_str!("script/bucket.lua"),
    include_str!("script/quota.lua"),
    include_str!("script/asks.lua"),
];

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::with_clock(CLOCK));

/// The script's text and the name that a server knows it by.
pub(crate) struct Script {
    text: String,
    sha: String,
}

impl Script {
    /// The one that runs on the server's clock.
    pub(crate) fn of_production() -> &'static Self {
        &SCRIPT
    }

    fn with_clock(clock: &str) -> Self {
        let text = [clock, REST[0], REST[1], REST[2]].join("\n");
        let sha = redis::Script::new(&text).get_hash().to_owned();
        Self { text, sha }
    }

    /// The call that asks these questions.
    pub(crate) fn call<Q: Question>(&self, asker: &Asker, questions: &[&Q]) -> Cmd {
        let keys: Vec<Vec<String>> = questions.iter().map(|question| question.keys()).collect();
        let mut command = redis::cmd("EVALSHA");
        command.arg(&self.sha);
        command.arg(keys.iter().map(Vec::len).sum::<usize>());
        for key in keys.iter().flatten() {
            command.arg(key);
        }
        command.arg(format!("g:{}", asker.gateway));
        command.arg(format!("g:{}", asker.holder));
        for (question, keys) in questions.iter().zip(&keys) {
            let mut arguments = Arguments::default();
            question.write(&mut arguments);
            command.arg(question.kind() as u8).arg(keys.len());
            arguments.append_to(&mut command);
        }
        command
    }

    /// The command that makes a server know it.
    pub(crate) fn load(&self) -> Cmd {
        let mut command = redis::cmd("SCRIPT");
        command.arg("LOAD").arg(&self.text);
        command
    }
}

/// In whose name the script is asked.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    /// Names what was taken of quotas: by all starts of a gateway together.
    pub(crate) gateway: String,
    /// Names what is held of buckets: by one process.
    pub(crate) holder: String,
}

/// Which of the script's functions answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Lease = 1,
    Quota = 2,
    Charge = 3,
    Refund = 4,
    Read = 5,
}

/// Something the script answers.
pub(crate) trait Question: Sync {
    type Answer: Clone + Send;

    fn kind(&self) -> Kind;
    /// Whose names it touches; `None`: nobody's, and there is nothing to ask.
    fn account(&self) -> Option<AccountId>;
    /// In the order in which the script takes them.
    fn keys(&self) -> Vec<String>;
    fn write(&self, arguments: &mut Arguments);
    /// Reads what the script answered; `None`: that is no answer to this.
    fn answer(&self, value: &Value) -> Option<Self::Answer>;
}

impl Question for Ask {
    type Answer = Answer;

    fn kind(&self) -> Kind {
        match self {
            Self::Lease(_) => Kind::Lease,
            Self::Quota(_) => Kind::Quota,
            Self::Charge(_) => Kind::Charge,
            Self::Refund(_) => Kind::Refund,
        }
    }

    fn account(&self) -> Option<AccountId> {
        Ask::account(self)
    }

    fn keys(&self) -> Vec<String> {
        match self {
            Self::Lease(ask) => vec![ask.bucket.key()],
            Self::Quota(ask) => vec![ask.quota.key()],
            Self::Charge(ask) => {
                let customer = ask.customer.as_ref().map(|ask| ask.bucket.key());
                let quota = ask.quota.as_ref().map(|ask| ask.quota.key());
                std::iter::once(ask.account.bucket.key())
                    .chain(customer)
                    .chain(quota)
                    .collect()
            }
            Self::Refund(ask) => ask.buckets.iter().map(|(bucket, _)| bucket.key()).collect(),
        }
    }

    fn write(&self, arguments: &mut Arguments) {
        match self {
            Self::Lease(ask) => arguments.lease(ask),
            Self::Quota(ask) => arguments.quota(ask),
            Self::Charge(ask) => arguments.charge(ask),
            Self::Refund(ask) => arguments.refund(ask),
        }
    }

    fn answer(&self, value: &Value) -> Option<Answer> {
        reply::answer(self, &reply::numbers(value)?)
    }
}

/// Asks what is in a bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadAsk {
    pub(crate) bucket: BucketName,
    pub(crate) limits: Limits,
}

impl Question for ReadAsk {
    type Answer = Option<BucketState>;

    fn kind(&self) -> Kind {
        Kind::Read
    }

    fn account(&self) -> Option<AccountId> {
        Some(self.bucket.account)
    }

    fn keys(&self) -> Vec<String> {
        vec![self.bucket.key()]
    }

    fn write(&self, arguments: &mut Arguments) {
        arguments.limits(self.limits);
    }

    fn answer(&self, value: &Value) -> Option<Self::Answer> {
        match reply::numbers(value)?[..] {
            [] => Some(None),
            [level, held] => Some(Some(BucketState {
                level,
                held: held.unsigned_abs(),
            })),
            _ => None,
        }
    }
}

/// The answers to these questions, one for each.
pub(crate) fn answers<Q: Question>(questions: &[&Q], value: &Value) -> Vec<Result<Q::Answer, BucketsError>> {
    let values = match value {
        Value::Array(values) => values.as_slice(),
        _ => &[],
    };
    let answer = |(index, question): (usize, &&Q)| match values.get(index) {
        // The script answers so where somebody else's key stands under our name.
        Some(Value::BulkString(reason)) => Err(BucketsError::Refused(
            String::from_utf8_lossy(reason).into_owned(),
        )),
        Some(value) => question.answer(value).ok_or(BucketsError::Unexpected),
        None => Err(BucketsError::Unexpected),
    };
    questions.iter().enumerate().map(answer).collect()
}
