//! What is asked of the shared buckets, and what they answer. Tokens are counted in thousandths.

use keyward_contract::{AccountId, CustomerId, Environment, Limits, UnixMillis};

/// Which bucket. All buckets and quotas of one account lie in one hash slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BucketName {
    /// Whose.
    pub account: AccountId,
    /// In which environment.
    pub environment: Environment,
    /// The end customer's; `None`: the account's own.
    pub customer: Option<CustomerId>,
}

/// Which quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QuotaName {
    /// Whose.
    pub account: AccountId,
    /// The first instant of the contract year.
    pub period_start: UnixMillis,
    /// The first instant after it: some time later its name vanishes.
    pub period_end: UnixMillis,
}

/// One question of a batch.
#[expect(
    clippy::large_enum_variant,
    reason = "the charge of a call is no place for one more allocation, and batches are short-lived"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Tokens ahead of need.
    Lease(LeaseAsk),
    /// Validations ahead of need.
    Quota(QuotaAsk),
    /// One call's tokens, from all of its buckets or from none.
    Charge(ChargeAsk),
    /// One call's tokens back: it never reached an upstream.
    Refund(RefundAsk),
}

impl Ask {
    /// Whose it is; `None` for a refund of nothing.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        match self {
            Self::Lease(ask) => Some(ask.bucket.account),
            Self::Quota(ask) => Some(ask.quota.account),
            Self::Charge(ask) => Some(ask.account.bucket.account),
            Self::Refund(ask) => ask.buckets.first().map(|(bucket, _)| bucket.account),
        }
    }
}

/// What a gateway knew of a bucket when it last heard of it, carried forward to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// [`LeaseAnswer::born`] of then. 0 is no bucket's: `level` then binds in any case, as is right after a connection
    /// to another server, which may have an older copy.
    pub born: u64,
    /// What must be in it now, in thousandths, if nobody took anything since. Below zero: it owes.
    pub level: i64,
}

/// Asks for tokens of one bucket, and says what became of the earlier ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseAsk {
    /// Which bucket.
    pub bucket: BucketName,
    /// Its rate and burst, as this gateway knows them.
    pub limits: Limits,
    /// Thousandths that this gateway still holds and may spend. If the bucket let go of them already, it takes them
    /// once more.
    pub holding: u64,
    /// Thousandths that it hands back. They count as far as the bucket still knows them as held, beside `holding`.
    pub returning: u64,
    /// Thousandths that it spent without having taken them, while the bucket could not be reached.
    pub debt: u64,
    /// Nothing is granted unless so many thousandths are there.
    pub least: u64,
    /// Thousandths that it would like; 0: none.
    pub most: u64,
    /// What it knew before: a bucket that began anew since then (flushed, or an older copy after a failover)
    /// holds at most so much.
    pub known: Option<Known>,
}

/// The answer to a [`LeaseAsk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseAnswer {
    /// Thousandths granted: whole tokens.
    pub granted: u64,
    /// Thousandths left in the bucket.
    pub level: i64,
    /// Thousandths that other gateways hold, at most.
    pub held_elsewhere: u64,
    /// When this bucket began, in microseconds on the server's clock: another value is another bucket.
    pub born: u64,
}

/// How much of a quota this gateway has taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaSpent {
    /// In all its starts together: validations spent in this period, and those it holds.
    InAll(u64),
    /// So many more (or fewer) than it said before: what its earlier starts spent is not known yet.
    Since(i64),
}

/// What a quota is made of when it is not there: the control plane's count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuild {
    /// Counted by all gateways that are not in `gateways`, nor the one that asks.
    pub others: u64,
    /// Counted by other gateways, by their ids. Who is among them and counted more will say so.
    pub gateways: Vec<(String, u64)>,
}

/// Asks for validations of a quota, and says what was spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaAsk {
    /// Which quota.
    pub quota: QuotaName,
    /// Validations in this period, grants included.
    pub limit: u64,
    /// What this gateway took so far, without what it asks for now.
    pub spent: QuotaSpent,
    /// Validations that it needs at once; fewer are not granted.
    pub least: u64,
    /// Validations that it would like; 0: none. Near the end fewer are granted, down to `least`, so that no
    /// gateway sits on what another could use.
    pub most: u64,
    /// How many gateways share it, about.
    pub sharers: u32,
    /// What to make it of when it isn't there.
    pub rebuild: Rebuild,
}

/// The answer to a [`QuotaAsk`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaAnswer {
    /// Validations granted.
    pub granted: u64,
    /// Taken by all gateways together, this grant included.
    pub taken: u64,
    /// Whether it was made anew less than a second ago: until every gateway has said what it spent, nothing is granted.
    pub rebuilding: bool,
}

/// Charges one call: the account's bucket, its end customer's, and the quota, or none of them. All are one account's.
///
/// Of the leases, `most` is the cost; nothing of it is held. `holding`, `returning`, `debt` and `known` count also when
/// the call is refused, and so does what the quota's gateway spent. While another charge of this gateway is on its way,
/// [`QuotaSpent::InAll`] would take that one back: say [`QuotaSpent::Since`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChargeAsk {
    /// The account's bucket.
    pub account: LeaseAsk,
    /// The end customer's.
    pub customer: Option<LeaseAsk>,
    /// The quota: `least` and `most` are 1.
    pub quota: Option<QuotaAsk>,
}

/// One bucket after a charge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charged {
    /// Thousandths left in the bucket.
    pub level: i64,
    /// Thousandths that gateways hold of it.
    pub held: u64,
    /// As [`LeaseAnswer::born`].
    pub born: u64,
}

/// The answer to a [`ChargeAsk`]: whether it was charged is the same for all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChargeAnswer {
    /// Whether the call was charged.
    pub charged: bool,
    /// The account's bucket afterwards.
    pub account: Charged,
    /// The end customer's bucket afterwards.
    pub customer: Option<Charged>,
    /// The quota afterwards.
    pub quota: Option<QuotaAnswer>,
}

/// Gives back what a charge took of buckets. What it took of a quota is given back by saying so with the next
/// [`QuotaAsk`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefundAsk {
    /// The buckets, each with its limits; all are one account's.
    pub buckets: Vec<(BucketName, Limits)>,
    /// Thousandths for each of them.
    pub thousandths: u64,
}

/// One answer of a batch, of the kind of its question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Ask::Lease`].
    Lease(LeaseAnswer),
    /// To [`Ask::Quota`].
    Quota(QuotaAnswer),
    /// To [`Ask::Charge`].
    Charge(ChargeAnswer),
    /// To [`Ask::Refund`].
    Refunded,
}

/// What is in a bucket, for whoever only looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BucketState {
    /// Thousandths in it; below zero, it owes.
    pub level: i64,
    /// Thousandths that gateways hold of it.
    pub held: u64,
}
