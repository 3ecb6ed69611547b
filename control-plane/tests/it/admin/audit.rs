//! The audit trail: reading it, handing it out, and showing that it is as it was written.

mod export;
mod list;
mod verify;
