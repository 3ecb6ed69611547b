//! Looks whether every port is free before anything is started, so that one message names all that are not.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use keyward_config::StandaloneConfig;

/// Binds each address and lets go of it again. What takes a port in between is told by what then fails.
pub(crate) fn check(config: &StandaloneConfig, offset: u16) -> anyhow::Result<()> {
    let other = offset.saturating_add(100);
    let listeners = [
        ("listen.proxy", Some(config.gateway.listen.proxy)),
        ("listen.gateway_admin", Some(config.gateway.listen.admin)),
        ("listen.api", Some(config.control_plane.listen.api)),
        ("listen.sync", Some(config.control_plane.listen.sync)),
        (
            "listen.control_plane_admin",
            Some(config.control_plane.listen.admin),
        ),
        ("listen.upstream", config.upstream_listen),
    ];
    let complaints: Vec<_> = listeners
        .into_iter()
        .filter_map(|(key, address)| complaint(key, address?, other))
        .collect();
    if complaints.is_empty() {
        return Ok(());
    }
    anyhow::bail!("{}", complaints.join("\n"))
}

/// What is wrong with an address, with another offset to try.
fn complaint(key: &str, address: SocketAddr, other: u16) -> Option<String> {
    let error = TcpListener::bind(address).err()?;
    Some(match error.kind() {
        ErrorKind::AddrInUse => format!(
            "{address} ({key}) is in use; stop what listens there, or move every port with --listen-offset {other}"
        ),
        ErrorKind::PermissionDenied => {
            format!(
                "{address} ({key}): {error}; ports below 1024 need privileges, others are at --listen-offset"
            )
        }
        _ => format!("{address} ({key}): {error}"),
    })
}

/// The address at which a listener on this machine is reached.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_told_with_its_key_and_a_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(
            complaint("listen.api", address, 100).unwrap(),
            format!(
                "{address} (listen.api) is in use; stop what listens there, or move every port with --listen-offset 100"
            )
        );
    }

    #[test]
    fn a_free_port_is_no_complaint() {
        assert_eq!(complaint("listen.api", "127.0.0.1:0".parse().unwrap(), 100), None);
    }

    #[test]
    fn what_listens_everywhere_is_reached_here() {
        for (listened, reached) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("192.0.2.1:1", "192.0.2.1:1"),
        ] {
            assert_eq!(reachable(listened.parse().unwrap()), reached.parse().unwrap());
        }
    }
}
