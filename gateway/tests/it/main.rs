//! A real gateway on a prepared replica, in front of the sample upstream, spoken to over sockets.

#![expect(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod accounting;
mod answers;
mod attacks;
mod authz;
mod bad_answers;
mod cors;
mod cut;
mod decisions;
mod explain;
mod fixture;
mod forwarding;
mod framing;
mod grpc;
mod handover;
mod header_rules;
mod http2;
mod http2_cases;
mod http2_client;
mod http2_floods;
mod http2_service;
mod identity;
mod killed;
mod lifecycle;
mod limits;
mod me;
mod proxy_protocol;
mod recorder;
mod reload;
mod reload_tls;
mod scripted;
mod services;
mod split;
mod tls;
mod trailers;
mod upgrades;
mod upstream_balance;
mod upstream_clients;
mod upstream_faults;
mod upstream_health;
mod upstream_http2;
mod upstream_retries;
mod upstream_tls;
