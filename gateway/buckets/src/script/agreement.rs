//! The scripts and the model, side by side: the same questions at the same moments to both, on a real server whose
//! scripts read the time that the test sets, and the same answers and the same state from both.

use std::collections::BTreeMap;

use keyward_contract::{AccountId, Environment, Limits, UnixMillis};
use keyward_harness::RedisServer;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis::{Connection, Value};

use super::{Asker, ReadAsk, Script, answers};
use crate::ask::{
    Ask, BucketName, ChargeAsk, Known, LeaseAsk, QuotaAsk, QuotaName, QuotaSpent, Rebuild, RefundAsk,
};
use crate::model::Model;

/// Reads the test's time, and notes when a name is to vanish instead of letting it: the server's own clock plays no part.
const CLOCK: &str = r"
local server = redis
local redis = { error_reply = server.error_reply, call = function(command, name, ...)
  if command == 'PEXPIRE' or command == 'PEXPIREAT' then
    return server.call('SET', 'expire:' .. name, (...))
  end
  return server.call(command, name, ...)
end }
local now_us = tonumber(server.call('GET', 'now'))
";

const GATEWAYS: [&str; 3] = ["one", "two", "three"];
const START_US: u64 = 1_800_000_000_000_000;

/// One question, or something that happens to the server, and how much time passed before it.
#[derive(Clone, Debug)]
struct Step {
    after_us: i64,
    gateway: usize,
    deed: Deed,
}

#[derive(Clone, Debug)]
enum Deed {
    Lease(LeasePlan),
    Charge(LeasePlan, Option<LeasePlan>, Option<QuotaPlan>),
    Quota(QuotaPlan),
    Refund(u64, u32),
    Read,
    Flush,
}

/// A lease whose bucket and limits are chosen among few, so that gateways meet.
#[derive(Clone, Debug)]
struct LeasePlan {
    customer: bool,
    limits: Limits,
    amounts: [u64; 5],
    known: Option<(bool, i64)>,
}

#[derive(Clone, Debug)]
struct QuotaPlan {
    limit: u64,
    spent: QuotaSpent,
    least: u64,
    most: u64,
    sharers: u32,
    others: u64,
    listed: Vec<(usize, u64)>,
}

fn limits() -> impl Strategy<Value = Limits> {
    let usual = prop::sample::select(vec![(1, 3), (7, 5), (100, 200), (100, 50), (1000, 2000)]);
    let any = (1..=u32::MAX, 0..=u32::MAX);
    prop_oneof![9 => usual, 1 => any].prop_map(|(rate, burst)| Limits { rate, burst })
}

fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0), 6 => 0..300_000u64, 3 => (0..300u64).prop_map(|whole| whole * 1000), 1 => any::<u64>()]
}

fn lease_plan() -> impl Strategy<Value = LeasePlan> {
    let known = prop::option::weighted(0.3, (any::<bool>(), -300_000..300_000i64));
    (any::<bool>(), limits(), prop::array::uniform5(amount()), known).prop_map(
        |(customer, limits, amounts, known)| LeasePlan {
            customer,
            limits,
            amounts,
            known,
        },
    )
}

fn quota_plan() -> impl Strategy<Value = QuotaPlan> {
    let spent = prop_oneof![
        4 => (0..60u64).prop_map(QuotaSpent::InAll),
        3 => (-30..30i64).prop_map(QuotaSpent::Since),
        1 => any::<u64>().prop_map(QuotaSpent::InAll),
    ];
    let listed = prop::collection::vec((0..4usize, 0..20u64), 0..3);
    let amounts = (0..100u64, 0..3u64, 0..20u64, 0..4u32, 0..20u64);
    (amounts, spent, listed).prop_map(
        |((limit, least, most, sharers, others), spent, listed)| QuotaPlan {
            limit,
            spent,
            least,
            most,
            sharers,
            others,
            listed,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let deed = prop_oneof![
        10 => lease_plan().prop_map(Deed::Lease),
        4 => (lease_plan(), prop::option::of(lease_plan()), prop::option::of(quota_plan()))
            .prop_map(|(account, customer, quota)| Deed::Charge(account, customer, quota)),
        5 => quota_plan().prop_map(Deed::Quota),
        1 => (amount(), 0..3u32).prop_map(|(amount, which)| Deed::Refund(amount, which)),
        2 => Just(Deed::Read),
        1 => prop::bool::weighted(0.2).prop_map(|flush| if flush { Deed::Flush } else { Deed::Read }),
    ];
    let after_us = prop_oneof![
        4 => 0..2_000i64,
        6 => 0..900_000i64,
        3 => 900_000..1_100_000i64,
        2 => 0..10_000_000i64,
        1 => -5_000_000..0i64,
    ];
    (after_us, 0..GATEWAYS.len(), deed).prop_map(|(after_us, gateway, deed)| Step {
        after_us,
        gateway,
        deed,
    })
}

/// One account's buckets and quota, on the server and in the model.
struct Both<'a> {
    connection: &'a mut Connection,
    script: &'a Script,
    model: Model,
    account: AccountId,
    born: u64,
    now_us: u64,
}

impl Both<'_> {
    fn bucket(&self, customer: bool) -> BucketName {
        BucketName {
            account: self.account,
            environment: Environment::Production,
            customer: customer.then(|| "clx8f2k9h0001qr5tgvwxyz12".parse().unwrap()),
        }
    }

    fn lease(&self, plan: &LeasePlan) -> LeaseAsk {
        let [holding, returning, debt, least, most] = plan.amounts;
        LeaseAsk {
            bucket: self.bucket(plan.customer),
            limits: plan.limits,
            holding,
            returning,
            debt: debt / 4,
            least: least / 4,
            most,
            known: plan.known.map(|(same, level)| Known {
                born: if same { self.born } else { 0 },
                level,
            }),
        }
    }

    fn quota(&self, plan: &QuotaPlan) -> QuotaAsk {
        let name = |index: usize| (*GATEWAYS.get(index).unwrap_or(&"gone")).to_owned();
        // A gateway is listed once.
        let listed: BTreeMap<String, u64> = plan
            .listed
            .iter()
            .map(|(index, count)| (name(*index), *count))
            .collect();
        QuotaAsk {
            quota: QuotaName {
                account: self.account,
                period_start: UnixMillis(0),
                period_end: UnixMillis(2_000_000_000_000),
            },
            limit: plan.limit,
            spent: plan.spent,
            least: plan.least,
            most: plan.most,
            sharers: plan.sharers,
            rebuild: Rebuild {
                others: plan.others,
                gateways: listed.into_iter().collect(),
            },
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        self.now_us = self.now_us.saturating_add_signed(step.after_us);
        redis::cmd("SET")
            .arg("now")
            .arg(self.now_us)
            .exec(self.connection)
            .unwrap();
        self.forget_full_buckets();
        let gateway = GATEWAYS[step.gateway];
        let ask = match &step.deed {
            Deed::Lease(plan) => Ask::Lease(self.lease(plan)),
            Deed::Quota(plan) => Ask::Quota(self.quota(plan)),
            Deed::Charge(account, customer, quota) => {
                let at = |plan: &LeasePlan, customer| {
                    self.lease(&LeasePlan {
                        customer,
                        ..plan.clone()
                    })
                };
                Ask::Charge(ChargeAsk {
                    account: at(account, false),
                    customer: customer.as_ref().map(|plan| at(plan, true)),
                    quota: quota.as_ref().map(|plan| self.quota(plan)),
                })
            }
            Deed::Refund(thousandths, which) => {
                let limits = Limits { rate: 7, burst: 50 };
                let buckets = [false, true].map(|customer| (self.bucket(customer), limits));
                let buckets = match which {
                    0 => buckets[..1].to_vec(),
                    1 => buckets[1..].to_vec(),
                    _ => buckets.to_vec(),
                };
                Ask::Refund(RefundAsk {
                    buckets,
                    thousandths: *thousandths,
                })
            }
            Deed::Read => return self.same_state(),
            Deed::Flush => {
                redis::cmd("FLUSHALL").exec(self.connection).unwrap();
                self.model.flush();
                return Ok(());
            }
        };
        let value = self.run(gateway, &[&ask]);
        let real = answers(&[&ask], &value).remove(0);
        let modelled = self.model.answer(self.now_us, gateway, &ask);
        prop_assert_eq!(real, Ok(modelled), "{:?}", ask);
        if let crate::Answer::Lease(lease) = modelled {
            self.born = lease.born;
        }
        self.same_state()
    }

    fn run<Q: super::Question>(&mut self, gateway: &str, questions: &[&Q]) -> Value {
        let asker = Asker {
            gateway: gateway.to_owned(),
            holder: format!("{gateway}/1"),
        };
        let call = self.script.call(&asker, questions);
        call.query(self.connection).unwrap()
    }

    /// The server would have forgotten them by itself.
    fn forget_full_buckets(&mut self) {
        for customer in [false, true] {
            let name = self.bucket(customer);
            if self
                .model
                .bucket(&name)
                .is_some_and(|bucket| bucket.expires < (self.now_us / 1000) as i64)
            {
                redis::cmd("DEL").arg(name.key()).exec(self.connection).unwrap();
                self.model.forget(&name);
            }
        }
    }

    /// Every field, when the names vanish, and what a reader sees.
    fn same_state(&mut self) -> Result<(), TestCaseError> {
        let limits = Limits { rate: 7, burst: 50 };
        for customer in [false, true] {
            let name = self.bucket(customer);
            let read = ReadAsk { bucket: name, limits };
            let value = self.run("reader", &[&read]);
            let seen = answers(&[&read], &value).remove(0).unwrap();
            prop_assert_eq!(seen, self.model.read(self.now_us, &name, limits));
            let real = self.hash(&name.key());
            let modelled = self.model.bucket(&name).map(|bucket| {
                let mut fields = fields(&[
                    ("m", bucket.level),
                    ("t", bucket.last),
                    ("b", bucket.born),
                    ("h", bucket.held),
                    ("s", bucket.sweep),
                ]);
                for (gateway, (amount, ends)) in &bucket.holders {
                    fields.insert(format!("g:{gateway}/1"), format!("{amount} {ends}"));
                }
                fields
            });
            prop_assert_eq!(real, modelled.unwrap_or_default());
            if let Some(bucket) = self.model.bucket(&name) {
                let key = format!("expire:{}", name.key());
                let noted: Option<i64> = redis::cmd("GET").arg(key).query(self.connection).unwrap();
                prop_assert_eq!(noted, Some(bucket.kept));
            }
        }
        let name = self.quota(&QuotaPlan::default()).quota;
        let real = self.hash(&name.key());
        let modelled = self.model.quota(&name).map(|quota| {
            let mut fields = fields(&[("e", quota.made), ("b", quota.base), ("s", quota.sum)]);
            for (gateway, taken) in &quota.taken {
                fields.insert(format!("g:{gateway}"), taken.to_string());
            }
            fields
        });
        prop_assert_eq!(real, modelled.unwrap_or_default());
        Ok(())
    }

    fn hash(&mut self, key: &str) -> BTreeMap<String, String> {
        redis::cmd("HGETALL").arg(key).query(self.connection).unwrap()
    }
}

impl Default for QuotaPlan {
    fn default() -> Self {
        Self {
            limit: 0,
            spent: QuotaSpent::Since(0),
            least: 0,
            most: 0,
            sharers: 1,
            others: 0,
            listed: Vec::new(),
        }
    }
}

fn fields(numbers: &[(&str, i64)]) -> BTreeMap<String, String> {
    let text = |(name, number): &(&str, i64)| ((*name).to_owned(), number.to_string());
    numbers.iter().map(text).collect()
}

#[test]
fn the_scripts_and_the_model_answer_alike_and_leave_the_same_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(RedisServer::start()).unwrap();
    let mut connection = redis::Client::open(server.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let script = Script::with_clock(CLOCK);
    script.load().exec(&mut connection).unwrap();
    let config = Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    };
    let connection = std::cell::RefCell::new(&mut connection);
    let steps = prop::collection::vec(step(), 1..40);
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        let mut connection = connection.borrow_mut();
        let mut both = Both {
            connection: &mut connection,
            script: &script,
            model: Model::default(),
            account: AccountId::new(),
            born: 0,
            now_us: START_US,
        };
        steps.iter().try_for_each(|step| both.take(step))
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}
