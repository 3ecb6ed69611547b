//! Load on a running Keyward: our own generators, oha, the scenarios and the report; and what the answers are held to.
//!
//! oha sends the same headers with every request of a run, so it can't draw a key for each. It is run as
//! several processes with a key each; the spread over 100 000 keys is the work of [`generator`].

pub mod answer;
pub mod generator;
pub mod histogram;
pub mod law;
pub mod lifecycle;
pub mod oha;
pub mod paced;
pub mod plot;
pub mod random;
#[cfg(feature = "seed")]
pub mod replicas;
pub mod report;
pub mod requests;
pub mod scenario;
pub mod stack;
pub mod tally;

pub use generator::{Load, Outcome};
pub use histogram::Histogram;
pub use law::Law;
pub use paced::{Lane, Pace, Paced};
pub use requests::{Credentials, Order, Requests};
pub use tally::Tally;
