//! Our words and rules. Does no I/O, knows no HTTP and no SQL; the clock is always an argument.

pub mod account;
pub mod admin;
pub mod api_version;
pub mod bucket;
pub mod claims;
pub mod customer;
pub mod gateway;
pub mod grant;
pub mod key;
pub mod left;
pub mod moment;
pub mod refusal;
pub mod seal;
pub mod series;
pub mod text;
pub mod tier;
pub mod token;
pub mod user;
pub mod user_key;
pub mod webhook;

pub use account::{Account, Environments, Metadata};
pub use admin::{AdminKey, Role};
pub use customer::EndCustomer;
pub use key::{ApiKey, Origin};
pub use refusal::{Conflict, InvalidField, Missing, Refusal};
pub use seal::MasterKey;
pub use text::Name;
pub use tier::{Catalogue, Overrides, Terms};
pub use user::{Permissions, User};
