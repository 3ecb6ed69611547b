//! A real gateway on a prepared replica, in front of the sample upstream, spoken to over sockets.

mod answers;
mod decisions;
mod fixture;
mod forwarding;
mod framing;
mod lifecycle;
