//! The sync protocol as a whole, both sides of it: played under every fault by a seed ([`simulation`]), and fed with what
//! no peer would send ([`mutated`]).

mod chance;
mod edge;
mod ground;
mod history;
mod judge;
mod mutated;
mod network;
mod plane;
mod simulation;
mod store;
mod wire;
