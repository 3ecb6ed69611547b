//! Which address a call comes from.
//!
//! The peer's own, unless the peer is a proxy that the configuration trusts: then the right-most
//! `X-Forwarded-For` entry that no trusted proxy wrote about another trusted proxy. A malformed entry ends the
//! walk at the last address that is known; nothing a client writes can widen trust. A v4-mapped IPv6 address is
//! the IPv4 address that it maps, in the peer, in the header and in the list of proxies.
//!
//! Cost: no allocation; nothing at all is read for a peer that is not trusted.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

/// The peers whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Box<[IpNet]>);

impl TrustedProxies {
    /// Prepares `trusted_proxies`: a block of v4-mapped addresses is the IPv4 block.
    #[must_use]
    pub fn new(blocks: &[IpNet]) -> Self {
        Self(blocks.iter().copied().map(unmapped).collect())
    }

    /// Whether this address is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|block| block.contains(&address))
    }
}

fn unmapped(block: IpNet) -> IpNet {
    let IpNet::V6(v6) = block else { return block };
    let mapped = v6.prefix_len().checked_sub(96).zip(v6.network().to_ipv4_mapped());
    mapped
        .and_then(|(length, base)| Ipv4Net::new(base, length).ok())
        .map_or(block, IpNet::V4)
}

/// The address that a call comes from: canonical, so v4-mapped addresses are IPv4.
///
/// `forwarded_for` gives the values of every `X-Forwarded-For` field in the order in which they stand in the
/// request.
pub fn client_address<'v>(
    peer: IpAddr,
    forwarded_for: impl DoubleEndedIterator<Item = &'v [u8]>,
    trusted: &TrustedProxies,
) -> IpAddr {
    if trusted.contains(peer) {
        behind(peer, forwarded_for, trusted)
    } else {
        peer.to_canonical()
    }
}

/// The same, where the peer is known to be a proxy of ours by the way in which it came.
pub fn behind<'v>(
    proxy: IpAddr,
    forwarded_for: impl DoubleEndedIterator<Item = &'v [u8]>,
    trusted: &TrustedProxies,
) -> IpAddr {
    let mut known = proxy.to_canonical();
    let entries = forwarded_for
        .rev()
        .flat_map(|value| value.rsplit(|&byte| byte == b','));
    for entry in entries {
        let Some(address) = entry_address(entry) else {
            return known;
        };
        known = address;
        if !trusted.contains(known) {
            return known;
        }
    }
    known
}

/// Reads `192.0.2.1`, `192.0.2.1:1234`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn entry_address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let address = match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => IpAddr::V6(inside.parse::<Ipv6Addr>().ok()?),
        None => match text.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => without_scope(text)?.ip(),
        },
    };
    Some(address.to_canonical())
}

/// An address with a port. A scope (`[fe80::1%2]:80`) means nothing on another machine: refused.
fn without_scope(text: &str) -> Option<SocketAddr> {
    if text.contains('%') {
        None
    } else {
        text.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trusted() -> TrustedProxies {
        let blocks = ["10.0.0.0/8", "2001:db8:f::/48", "::ffff:172.16.0.0/108"];
        TrustedProxies::new(&blocks.map(|block| block.parse().unwrap()))
    }

    #[track_caller]
    fn check(peer: &str, forwarded_for: &[&str], expected: &str) {
        let values = forwarded_for.iter().map(|value| value.as_bytes());
        let found = client_address(peer.parse().unwrap(), values, &trusted());
        assert_eq!(
            found,
            expected.parse::<IpAddr>().unwrap(),
            "{peer} {forwarded_for:?}"
        );
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_says() {
        check("203.0.113.9", &["192.0.2.1"], "203.0.113.9");
        check("203.0.113.9", &["10.0.0.1, 10.0.0.2"], "203.0.113.9");
        check("::ffff:203.0.113.9", &["192.0.2.1"], "203.0.113.9");
    }

    #[test]
    fn behind_a_trusted_proxy_the_right_most_untrusted_entry_counts() {
        check("10.1.1.1", &["192.0.2.1"], "192.0.2.1");
        check("10.1.1.1", &["198.51.100.7, 192.0.2.1"], "192.0.2.1");
        check("10.1.1.1", &["198.51.100.7, 192.0.2.1, 10.0.0.3"], "192.0.2.1");
        check(
            "10.1.1.1",
            &["198.51.100.7,192.0.2.1", "10.0.0.3,\t10.0.0.4"],
            "192.0.2.1",
        );
        check("2001:db8:f::1", &["2001:db8::7"], "2001:db8::7");
    }

    #[test]
    fn behind_trusted_proxies_alone_the_furthest_counts() {
        check("10.1.1.1", &[], "10.1.1.1");
        check("10.1.1.1", &["10.0.0.9, 10.0.0.3"], "10.0.0.9");
    }

    #[test]
    fn a_malformed_entry_ends_the_walk_at_the_last_known_address() {
        for bad in [
            "unknown",
            "_hidden",
            "",
            "192.0.2.1.5",
            "192.0.2.01",
            "fe80::1%eth0",
            "[fe80::1%2]:80",
            "a b",
            "1.2.3.4:99999",
            "[1.2.3.4]",
            "for=192.0.2.1",
        ] {
            check("10.1.1.1", &[bad], "10.1.1.1");
            check("10.1.1.1", &[&format!("192.0.2.1, {bad}, 10.0.0.3")], "10.0.0.3");
        }
        let value: &[u8] = b"192.0.2.1, \xff\xfe";
        assert_eq!(
            client_address("10.1.1.1".parse().unwrap(), [value].into_iter(), &trusted()),
            "10.1.1.1".parse::<IpAddr>().unwrap()
        );
    }

    #[test]
    fn entries_may_carry_ports_and_brackets() {
        check("10.1.1.1", &["192.0.2.1:1234"], "192.0.2.1");
        check("10.1.1.1", &["[2001:db8::1]:80"], "2001:db8::1");
        check("10.1.1.1", &["[2001:db8::1]"], "2001:db8::1");
        check("10.1.1.1", &["192.0.2.1, 10.0.0.3:8080"], "192.0.2.1");
    }

    #[test]
    fn a_v4_mapped_address_is_the_v4_address_everywhere() {
        check("::ffff:10.1.1.1", &["192.0.2.1"], "192.0.2.1");
        check("10.1.1.1", &["192.0.2.1, ::ffff:10.0.0.3"], "192.0.2.1");
        check("10.1.1.1", &["::ffff:192.0.2.1"], "192.0.2.1");
        check("172.16.5.5", &["[::ffff:192.0.2.1]:80"], "192.0.2.1");
    }

    #[test]
    fn a_block_of_every_ipv6_address_trusts_no_ipv4_peer() {
        let all_v6 = TrustedProxies::new(&["::/0".parse().unwrap()]);
        assert!(!all_v6.contains("::ffff:192.0.2.1".parse().unwrap()));
        assert!(all_v6.contains("2001:db8::1".parse().unwrap()));
    }

    fn entry() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(|octets| IpAddr::from(octets).to_string()),
            any::<[u8; 3]>().prop_map(|[a, b, c]| format!("10.{a}.{b}.{c}")),
            any::<[u8; 3]>().prop_map(|[a, b, c]| format!("::ffff:10.{a}.{b}.{c}")),
            any::<u128>().prop_map(|bits| format!("[{}]:80", Ipv6Addr::from(bits))),
            "[a-z0-9:.,%\\[\\]]{0,12}",
        ]
    }

    proptest! {
        /// The law that makes the walk safe: what stands left of the first untrusted entry can't be heard.
        #[test]
        fn nothing_a_client_prepends_changes_its_address(
            prepended in "[^\r\n]{0,40}", client in any::<[u8; 4]>(), proxies in prop::collection::vec(any::<[u8; 3]>(), 0..4)
        ) {
            let client = IpAddr::from(client);
            prop_assume!(!trusted().contains(client));
            let mut value = format!("{prepended},{client}");
            for [a, b, c] in proxies {
                value.push_str(&format!(", 10.{a}.{b}.{c}"));
            }
            let found = client_address("10.0.0.1".parse().unwrap(), [value.as_bytes()].into_iter(), &trusted());
            prop_assert_eq!(found, client);
        }

        #[test]
        fn how_entries_are_spread_over_fields_does_not_matter(
            entries in prop::collection::vec(entry(), 1..6), cut in any::<prop::sample::Index>()
        ) {
            let cut = cut.index(entries.len());
            let peer = "10.0.0.1".parse().unwrap();
            let joined = entries.join(",");
            let (left, right) = (entries[..cut].join(","), entries[cut..].join(","));
            let together = client_address(peer, [joined.as_bytes()].into_iter(), &trusted());
            let apart = match cut {
                0 => client_address(peer, [right.as_bytes()].into_iter(), &trusted()),
                _ => client_address(peer, [left.as_bytes(), right.as_bytes()].into_iter(), &trusted()),
            };
            prop_assert_eq!(together, apart);
        }
    }
}
