//! Load on a running Keyward: our own generator, oha, the scenarios and the report.
//!
//! oha sends the same headers with every request of a run, so it can't draw a key for each. It is run as
//! several processes with a key each; the spread over 100 000 keys is the work of [`generator`].

pub mod answer;
pub mod generator;
pub mod histogram;
pub mod oha;
pub mod plot;
pub mod random;
pub mod report;
pub mod requests;
pub mod scenario;
pub mod stack;

pub use generator::{Load, Outcome};
pub use histogram::Histogram;
pub use requests::{Credentials, Order, Requests};
