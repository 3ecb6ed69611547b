//! Stage two: from what was typed to what it means. Here stand the checks that need more than one setting.

use std::net::SocketAddr;

use crate::report::Report;

pub(crate) mod control_plane;
pub(crate) mod cors;
pub(crate) mod gateway;
pub(crate) mod headers;
pub(crate) mod identity;
pub(crate) mod limiter;
pub(crate) mod routes;
pub(crate) mod split;
pub(crate) mod standalone;
pub(crate) mod tiers;
pub(crate) mod upstreams;

/// Notes listeners that would take each other's port.
pub(crate) fn listeners(listeners: &[(&str, SocketAddr)], report: &mut Report<'_>) {
    for (index, (path, address)) in listeners.iter().enumerate() {
        let before = listeners.iter().take(index);
        if let Some((other, _)) = before.into_iter().find(|(_, other)| collide(*other, *address)) {
            report.wrong(path, format!("{address} is also {other}; give each its own port"));
        }
    }
}

fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    // Port 0 is any free port.
    a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}
