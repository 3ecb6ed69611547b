//! The buckets and quotas that gateways share in Redis: their names, their arithmetic, the scripts that read and
//! write them on Redis's own clock, and the connection.
//!
//! A gateway asks in batches ([`Ask`]) and gets an answer to each ([`Answer`]). How long it waits, and what holds
//! when no answer comes, is not decided here.
//!
//! - Whatever gateways take out of a bucket in a window of any length is at most its burst and what its rate brings
//!   in that time: what is in it and what gateways hold of it are together never more than the burst.
//! - What is held and not renewed for a second is lost to the bucket, and never granted twice.
//! - A quota grants no more than its limit, counting what each gateway says it took in all.
//! - A question whose outcome is unknown is never sent again by this crate.
//!
//! It needs Redis 6.2, Valkey 7.2, or newer.

mod ask;
mod connection;
mod error;
#[doc(hidden)]
pub mod fuzzing;
pub mod model;
mod name;
mod number;
mod script;
mod shared;

pub use ask::{
    Answer, Ask, BucketName, BucketState, ChargeAnswer, ChargeAsk, Charged, Known, LeaseAnswer, LeaseAsk,
    QuotaAnswer, QuotaAsk, QuotaName, QuotaSpent, Rebuild, RefundAsk,
};
pub use error::BucketsError;
pub use name::LANES;
pub use shared::{Buckets, Link};
