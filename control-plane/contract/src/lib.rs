//! What the gateway and the control plane say to each other.
//!
//! Keys and their digests, ids, limits, the records that travel and the messages that carry them. This crate
//! does no I/O, reads no clock and holds no state: both sides depend on it, and it depends on neither.

pub mod address;
pub mod digest;
pub mod feed;
pub mod find;
pub mod id;
pub mod key;
pub mod period;
pub mod protocol;
pub mod record;

pub use address::{AddressBlock, AddressList, InvalidAddressList};
pub use digest::{DigestKey, KeyDigest};
pub use id::{AccountId, CustomerId, EnvironmentId, KeyId, MalformedId, UserId};
pub use key::{Environment, KeyKind, KeyMask, KeyShape, MalformedKey, PlainKey};
pub use period::{QuotaPeriod, UnixMillis};
pub use protocol::Protocols;
pub use record::{
    AccountRecord, AccountStatus, Contract, Fallback, Grant, InvalidRecord, KeyRecord, KeyState, LimitMode,
    Limits, Record,
};
