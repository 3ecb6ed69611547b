//! Lists of addresses: written again they are the same list, and what two lists allow together is what both allow.

use std::net::IpAddr;

use keyward_contract::AddressList;

/// Two lists, an entry a line, with an empty line between them.
pub fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (one, other) = text.split_once("\n\n").unwrap_or((text, ""));
    let (Some(one), other) = (list(one), list(other)) else {
        return;
    };
    let Some(other) = other else { return };
    let tried: Vec<IpAddr> = [&one, &other].into_iter().flat_map(borders).collect();
    let both = one.in_both(&other);
    if let Some(both) = &both {
        is_canonical(both);
    }
    for address in tried {
        let allowed = one.allows(address) && other.allows(address);
        match &both {
            Some(both) => assert_eq!(both.allows(address), allowed, "{address}"),
            // No list can say it: nobody may, or there are too many blocks.
            None => assert!(
                !allowed || one.to_strings().len() * other.to_strings().len() > 100,
                "{address}"
            ),
        }
        if let (IpAddr::V4(v4), true) = (address, allowed) {
            assert!(one.allows(v4.to_ipv6_mapped().into()));
        }
    }
}

fn list(text: &str) -> Option<AddressList> {
    let entries: Vec<&str> = text.lines().collect();
    match AddressList::parse(&entries) {
        Ok(list) => {
            is_canonical(&list);
            Some(list)
        }
        Err(error) => {
            assert!(error.to_string().len() < 500);
            None
        }
    }
}

fn is_canonical(list: &AddressList) {
    let entries = list.to_strings();
    assert!((1..=100).contains(&entries.len()));
    for (at, entry) in entries.iter().enumerate() {
        assert!(!entries[..at].contains(entry), "{entry} twice");
    }
    let again = AddressList::parse(&entries);
    assert_eq!(again.as_ref(), Ok(list));
    assert_eq!(again.map(|again| again.to_strings()), Ok(entries));
}

/// The first and the last address of each block, and their neighbours.
fn borders(list: &AddressList) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    for entry in list.to_strings() {
        let block = entry
            .parse::<ipnet::IpNet>()
            .or_else(|_| entry.parse::<IpAddr>().map(ipnet::IpNet::from));
        let Ok(block) = block else {
            panic!("{entry} is no block")
        };
        // A v4-mapped address is an IPv4 address, and in no block of IPv6.
        let ends = [block.network(), block.broadcast()].into_iter();
        for address in ends.filter(|address| *address == address.to_canonical()) {
            assert!(list.allows(address), "{entry} without {address}");
            addresses.push(address);
            addresses.extend(match address {
                IpAddr::V4(v4) => [v4.to_bits().wrapping_sub(1), v4.to_bits().wrapping_add(1)]
                    .map(|bits| IpAddr::from(std::net::Ipv4Addr::from_bits(bits))),
                IpAddr::V6(v6) => [v6.to_bits().wrapping_sub(1), v6.to_bits().wrapping_add(1)]
                    .map(|bits| IpAddr::from(std::net::Ipv6Addr::from_bits(bits))),
            });
        }
    }
    addresses
}
