//! Address lists: which client addresses a key may be used from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// How many entries a list may have.
pub const MAX_ADDRESS_BLOCKS: usize = 100;

/// One IPv4 or IPv6 address or CIDR block, in canonical form (RFC 4632 §3.1, RFC 5952). A v4-mapped IPv6
/// address is the IPv4 address that it maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressBlock(IpNet);

impl AddressBlock {
    /// Whether the address lies in this block.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for AddressBlock {
    type Err = InvalidAddressList;

    fn from_str(text: &str) -> Result<Self, InvalidAddressList> {
        let invalid = |reason| InvalidAddressList::Entry {
            entry: text.chars().take(64).collect(),
            reason,
        };
        let block = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address.to_canonical()),
            Err(_) => text
                .parse::<IpNet>()
                .map_err(|_| invalid("is no IPv4 or IPv6 address or CIDR block"))?,
        };
        if block.trunc() != block {
            return Err(invalid("has host bits set"));
        }
        Ok(Self(unmapped(block)))
    }
}

/// `::ffff:192.0.2.0/120` is `192.0.2.0/24`.
fn unmapped(block: IpNet) -> IpNet {
    match block {
        IpNet::V6(v6) if v6.prefix_len() >= 96 => match v6.addr().to_ipv4_mapped() {
            Some(v4) => ipnet::Ipv4Net::new(v4, v6.prefix_len() - 96).map_or(block, IpNet::V4),
            None => block,
        },
        other => other,
    }
}

impl fmt::Display for AddressBlock {
    /// A single address is written without its prefix length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            self.0.addr().fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

/// A key's `allowed_ips`: 1 to 100 blocks without duplicates, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressList(Box<[AddressBlock]>);

impl AddressList {
    /// Reads a list as it was typed or sent.
    ///
    /// # Errors
    /// When it is empty, too long, or an entry is malformed; the error names the entry.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, InvalidAddressList> {
        if entries.is_empty() {
            return Err(InvalidAddressList::Empty);
        }
        let mut blocks = Vec::with_capacity(entries.len().min(MAX_ADDRESS_BLOCKS));
        for entry in entries {
            let block = entry.as_ref().parse()?;
            if !blocks.contains(&block) {
                blocks.push(block);
            }
            if blocks.len() > MAX_ADDRESS_BLOCKS {
                return Err(InvalidAddressList::TooMany);
            }
        }
        Ok(Self(blocks.into_boxed_slice()))
    }

    /// Whether a client at this address may use the key.
    #[must_use]
    pub fn allows(&self, address: IpAddr) -> bool {
        self.0.iter().any(|block| block.contains(address))
    }

    /// The blocks of addresses that both lists allow; `None` when there are none, or so many that no list can say
    /// them.
    #[must_use]
    pub fn in_both(&self, other: &Self) -> Option<Self> {
        let mut blocks = Vec::new();
        for one in &self.0 {
            for other in &other.0 {
                // Two blocks overlap only when one lies in the other.
                let smaller = match (one.0.contains(&other.0), other.0.contains(&one.0)) {
                    (true, _) => *other,
                    (false, true) => *one,
                    (false, false) => continue,
                };
                if !blocks.contains(&smaller) {
                    blocks.push(smaller);
                }
            }
        }
        let can_be_said = (1..=MAX_ADDRESS_BLOCKS).contains(&blocks.len());
        can_be_said.then(|| Self(blocks.into_boxed_slice()))
    }

    /// The entries in canonical form.
    #[must_use]
    pub fn to_strings(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

/// Why a list of addresses can't be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddressList {
    /// An empty list would lock everybody out; null means unrestricted.
    #[error("an empty list allows nobody: name at least one address, or send null for no restriction")]
    Empty,
    /// More than 100 different entries.
    #[error("at most 100 entries")]
    TooMany,
    /// One entry is malformed.
    #[error("`{entry}` {reason}")]
    Entry {
        /// The entry as it was sent, cut to 64 characters.
        entry: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(entries: &[&str], canonical: Result<&[&str], &str>) {
        let read = AddressList::parse(entries)
            .map(|list| list.to_strings())
            .map_err(|error| error.to_string());
        let wanted = canonical
            .map(|list| list.iter().map(ToString::to_string).collect())
            .map_err(str::to_owned);
        assert_eq!(read, wanted);
    }

    #[test]
    fn lists_are_stored_in_canonical_form_without_duplicates() {
        check(&["192.0.2.1", "192.0.2.1/32"], Ok(&["192.0.2.1"]));
        check(
            &["2001:DB8:0:0::1", "2001:db8::/32"],
            Ok(&["2001:db8::1", "2001:db8::/32"]),
        );
        check(&["::ffff:192.0.2.7"], Ok(&["192.0.2.7"]));
        check(&["::ffff:192.0.2.0/120"], Ok(&["192.0.2.0/24"]));
    }

    #[test]
    fn a_bad_entry_is_named() {
        check(
            &["192.0.2.0/24", "192.0.2.9/24"],
            Err("`192.0.2.9/24` has host bits set"),
        );
        check(
            &["nonsense"],
            Err("`nonsense` is no IPv4 or IPv6 address or CIDR block"),
        );
        check(
            &["192.0.2.0/33"],
            Err("`192.0.2.0/33` is no IPv4 or IPv6 address or CIDR block"),
        );
        check(
            &[],
            Err("an empty list allows nobody: name at least one address, or send null for no restriction"),
        );
    }

    #[test]
    fn a_v4_mapped_client_is_the_v4_client() {
        let list = AddressList::parse(&["203.0.113.0/24"]).unwrap();
        assert!(list.allows("203.0.113.9".parse().unwrap()));
        assert!(list.allows("::ffff:203.0.113.9".parse().unwrap()));
        assert!(!list.allows("203.0.114.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn canonical_form_reads_back_as_itself(bits in any::<u128>(), length in 0u8..=128) {
            let block = ipnet::Ipv6Net::new(bits.into(), length).unwrap().trunc();
            let once = AddressList::parse(&[block.to_string()]).unwrap();
            prop_assert_eq!(AddressList::parse(&once.to_strings()).unwrap(), once);
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,60}") {
            let _ = AddressList::parse(&[text]);
        }
    }
}
