//! How buckets and quotas are named in Redis, and which of a cluster's slots they lie in.
//!
//! What stands in braces alone decides over the slot: all names of one account lie in one, so that one script call
//! may touch them together.

use std::fmt::Write as _;

use keyward_contract::{AccountId, Environment};

use crate::ask::{BucketName, QuotaName};

/// How many lanes [`crate::Buckets::lane`] tells apart.
pub const LANES: usize = 16;

const SLOTS: u16 = 16_384;

impl BucketName {
    /// The bucket's name in Redis: `keyward:{<account>}:p`, and `:<customer>` after it for an end customer's.
    #[must_use]
    pub fn key(&self) -> String {
        let mut key = tagged(self.account);
        key.push_str(match self.environment {
            Environment::Production => ":p",
            Environment::Test => ":t",
        });
        if let Some(customer) = &self.customer {
            key.push(':');
            key.push_str(customer.as_str());
        }
        key
    }
}

impl QuotaName {
    /// The quota's name in Redis: `keyward:{<account>}:q:<milliseconds>`.
    #[must_use]
    pub fn key(&self) -> String {
        let mut key = tagged(self.account);
        // Writing to a text never fails.
        let _ = write!(key, ":q:{}", self.period_start.0);
        key
    }
}

fn tagged(account: AccountId) -> String {
    // The longest: 46 characters, `:p:`, and an end customer's 25.
    let mut key = String::with_capacity(80);
    let _ = write!(key, "keyward:{{{account}}}");
    key
}

/// The slot that all of an account's names lie in.
pub(crate) fn slot(account: AccountId) -> u16 {
    crc16(account.to_string().as_bytes()) % SLOTS
}

/// Which of [`LANES`] contiguous ranges a slot lies in.
pub(crate) fn lane_of_slot(slot: u16) -> usize {
    usize::from(slot) * LANES / usize::from(SLOTS)
}

/// CRC-16/XMODEM, which Redis hashes tags with.
fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    for byte in bytes {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x1021;
            }
        }
    }
    crc
}

#[cfg(test)]
mod tests {
    use keyward_contract::UnixMillis;

    use super::*;

    const ACCOUNT: &str = "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d7e";

    #[test]
    fn names_say_whose_and_in_which_environment() {
        let account = ACCOUNT.parse().unwrap();
        let check = |environment, customer: Option<&str>, expected: &str| {
            let name = BucketName {
                account,
                environment,
                customer: customer.map(|id| id.parse().unwrap()),
            };
            assert_eq!(name.key(), format!("keyward:{{{ACCOUNT}}}{expected}"));
        };
        check(Environment::Production, None, ":p");
        check(Environment::Test, None, ":t");
        check(
            Environment::Production,
            Some("clx8f2k9h0001qr5tgvwxyz12"),
            ":p:clx8f2k9h0001qr5tgvwxyz12",
        );
        let quota = QuotaName {
            account,
            period_start: UnixMillis(1_767_225_600_000),
            period_end: UnixMillis(1_798_761_600_000),
        };
        assert_eq!(quota.key(), format!("keyward:{{{ACCOUNT}}}:q:1767225600000"));
    }

    #[test]
    fn the_checksum_is_the_one_of_the_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn lanes_are_contiguous_and_all_of_them_are_used() {
        let lanes: Vec<usize> = (0..SLOTS).map(lane_of_slot).collect();
        assert!(lanes.is_sorted());
        assert_eq!((lanes.first(), lanes.last()), (Some(&0), Some(&(LANES - 1))));
        assert_eq!(lanes.iter().filter(|lane| **lane == 5).count(), 1024);
    }
}
