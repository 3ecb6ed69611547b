//! Whose call it is behind trusted proxies: nothing that stands before the address that was found can change it.

use std::net::IpAddr;

use ipnet::IpNet;
use keyward_gateway::address::{TrustedProxies, client_address};

/// Trusted, in the several ways of writing it.
const BLOCKS: [&str; 3] = ["10.0.0.0/8", "::ffff:192.168.0.0/112", "2001:db8::/32"];
const PEERS: [&str; 4] = ["10.1.2.3", "::ffff:192.168.0.9", "2001:db8::1", "203.0.113.1"];

/// A byte that says who the peer is, then a value of `X-Forwarded-For` a line.
pub fn check(bytes: &[u8]) {
    let [peer, rest @ ..] = bytes else { return };
    let Ok(peer) = PEERS[usize::from(*peer) % PEERS.len()].parse::<IpAddr>() else {
        return;
    };
    let blocks: Vec<IpNet> = BLOCKS.iter().filter_map(|block| block.parse().ok()).collect();
    let trusted = TrustedProxies::new(&blocks);
    let values: Vec<&[u8]> = rest.split(|byte| *byte == b'\n').collect();
    let found = client_address(peer, values.iter().copied(), &trusted);

    assert_eq!(found, found.to_canonical());
    assert_eq!(found, reference(peer, &values, &trusted));
    if !trusted.contains(peer) {
        assert_eq!(found, peer.to_canonical());
    }
    // One value or several is all the same.
    let joined = values.join(b",".as_slice());
    assert_eq!(
        found,
        client_address(peer, [joined.as_slice()].into_iter(), &trusted)
    );
    if !trusted.contains(found) {
        for claim in ["198.51.100.1", "10.0.0.1", "nonsense", "", "::1"] {
            let claimed = [claim.as_bytes(), b",", &joined].concat();
            assert_eq!(
                found,
                client_address(peer, [claimed.as_slice()].into_iter(), &trusted)
            );
            let before = [claim.as_bytes(), &joined];
            assert_eq!(found, client_address(peer, before.into_iter(), &trusted));
        }
    }
}

/// From the right, as far as each is trusted and can be read.
fn reference(peer: IpAddr, values: &[&[u8]], trusted: &TrustedProxies) -> IpAddr {
    let entries: Vec<String> = values
        .iter()
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(|entry| String::from_utf8_lossy(entry).into_owned())
        .collect();
    let mut known = peer.to_canonical();
    for entry in entries.iter().rev() {
        if !trusted.contains(known) {
            break;
        }
        let text = entry.trim_matches([' ', '\t']);
        let is_bracketed = text.starts_with('[') && text.ends_with(']');
        let bare = if is_bracketed {
            &text[1..text.len() - 1]
        } else {
            text
        };
        let address = match bare.parse::<IpAddr>() {
            Ok(address) if !is_bracketed || address.is_ipv6() => address,
            _ if text.contains('%') => break,
            _ => match text.parse::<std::net::SocketAddr>() {
                Ok(address) => address.ip(),
                Err(_) => break,
            },
        };
        known = address.to_canonical();
    }
    known
}
