//! A real gateway on a prepared replica, in front of the sample upstream, spoken to over sockets.

#![expect(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod accounting;
mod answers;
mod attacks;
mod cut;
mod decisions;
mod fixture;
mod forwarding;
mod framing;
mod killed;
mod lifecycle;
mod limits;
mod me;
mod upgrades;
