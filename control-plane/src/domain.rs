//! Our words and rules. Does no I/O, knows no HTTP and no SQL; the clock is always an argument.

pub mod account;
pub mod key;
