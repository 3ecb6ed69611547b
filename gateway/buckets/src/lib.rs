//! The buckets and quotas that gateways share in Redis: their names, their arithmetic, the scripts that read and
//! write them on Redis's own clock, and the connection.
//!
//! A gateway asks in batches ([`Ask`]) and gets an answer to each ([`Answer`]). How long it waits, and what holds
//! when no answer comes, is not decided here.

mod ask;
mod shim;
pub use shim::*;

pub use ask::{
    Answer, Ask, BucketName, ChargeAnswer, ChargeAsk, Charged, Known, LeaseAnswer, LeaseAsk, QuotaAnswer,
    QuotaAsk, QuotaName, QuotaSpent, Rebuild, RefundAsk,
};
