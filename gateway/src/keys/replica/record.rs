//! Records as they are stored: a key in about 46 bytes beside its digest, an account in its wire form.
//!
//! Reading is total: whatever the bytes are, it gives a record that a correct control plane could have sent, or
//! nothing. It costs some ten nanoseconds and one allocation, for the version.

use keyward_contract::{
    AccountId, AccountRecord, AddressList, CustomerId, Environment, KeyDigest, KeyId, KeyRecord, KeyState,
    Limits, UnixMillis, feed,
};
use prost::Message;

/// Where a record lies: a key at its digest, an account at a keyed hash of its id.
pub(super) type Place = [u8; 32];

/// The first byte of a stored key; another number is another form.
pub(super) const KEY: u8 = 1;
/// The first byte of a stored account.
pub(super) const ACCOUNT: u8 = 2;
/// No record is longer; a longer one is refused when it arrives.
pub(super) const LONGEST: usize = 1 << 20;

const PRODUCTION: u8 = 1;
const CUSTOMER: u8 = 1 << 1;
const EXPIRES: u8 = 1 << 2;
const ADDRESSES: u8 = 1 << 3;
const VERSION: u8 = 1 << 4;
const ROTATED: u8 = 1 << 5;
const LIMITS: u8 = 1 << 6;

/// Writes a key as it is stored; its digest is where it lies.
pub(super) fn encode_key(key: &KeyRecord, out: &mut Vec<u8>) {
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    let flags = flag(key.environment == Environment::Production, PRODUCTION)
        | flag(key.customer.is_some(), CUSTOMER)
        | flag(key.expires_at.is_some(), EXPIRES)
        | flag(key.allowed_ips.is_some(), ADDRESSES)
        | flag(!key.api_version.is_empty(), VERSION)
        | flag(key.rotated_at.is_some(), ROTATED)
        | flag(key.customer_limits.is_some(), LIMITS);
    let state = match key.state {
        KeyState::Active => 1,
        KeyState::Disabled => 2,
        KeyState::Revoked => 3,
        KeyState::Deleted => 4,
    };
    out.extend_from_slice(&[KEY, flags, state]);
    out.extend_from_slice(key.id.as_uuid().as_bytes());
    out.extend_from_slice(key.account.as_uuid().as_bytes());
    if let Some(customer) = &key.customer {
        out.extend_from_slice(customer.as_str().as_bytes());
    }
    for instant in [key.expires_at, key.rotated_at].into_iter().flatten() {
        out.extend_from_slice(&instant.0.to_le_bytes());
    }
    if let Some(limits) = key.customer_limits {
        put_number(out, limits.rate.into());
        put_number(out, limits.burst.into());
    }
    if !key.api_version.is_empty() {
        put_bytes(out, key.api_version.as_bytes());
    }
    for entry in key.allowed_ips.iter().flat_map(AddressList::to_strings) {
        put_bytes(out, entry.as_bytes());
    }
}

/// Reads a key that lies at this digest.
pub(super) fn decode_key(digest: KeyDigest, stored: &[u8]) -> Option<KeyRecord> {
    let mut rest = Bytes(stored);
    if rest.byte()? != KEY {
        return None;
    }
    let (flags, state) = (rest.byte()?, rest.byte()?);
    let has = |flag: u8| flags & flag != 0;
    let state = match state {
        1 => KeyState::Active,
        2 => KeyState::Disabled,
        3 => KeyState::Revoked,
        4 => KeyState::Deleted,
        _ => return None,
    };
    let mut key = KeyRecord {
        digest,
        id: KeyId::from_slice(rest.take(16)?).ok()?,
        account: AccountId::from_slice(rest.take(16)?).ok()?,
        environment: if has(PRODUCTION) {
            Environment::Production
        } else {
            Environment::Test
        },
        customer: None,
        state,
        expires_at: None,
        allowed_ips: None,
        api_version: String::new(),
        rotated_at: None,
        customer_limits: None,
    };
    if has(CUSTOMER) {
        key.customer = Some(text(rest.take(25)?)?.parse::<CustomerId>().ok()?);
    }
    if has(EXPIRES) {
        key.expires_at = Some(rest.instant()?);
    }
    if has(ROTATED) {
        key.rotated_at = Some(rest.instant()?);
    }
    if has(LIMITS) {
        key.customer_limits = Some(rest.limits()?);
    }
    if has(VERSION) {
        key.api_version = version(rest.bytes()?)?;
    }
    if has(ADDRESSES) {
        key.allowed_ips = Some(rest.addresses()?);
    }
    rest.0.is_empty().then_some(key)
}

/// Writes an account as it is stored.
pub(super) fn encode_account(account: &AccountRecord, out: &mut Vec<u8>) {
    out.push(ACCOUNT);
    out.extend_from_slice(&feed::Account::from(account).encode_to_vec());
}

/// Reads an account.
pub(super) fn decode_account(stored: &[u8]) -> Option<AccountRecord> {
    let (&kind, wire) = stored.split_first()?;
    if kind != ACCOUNT {
        return None;
    }
    feed::Account::decode(wire).ok()?.try_into().ok()
}

/// Writes a number in as many bytes as it needs, seven bits in each.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Writes bytes with their length before them.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Bytes that are read from the front; `None` where there are not enough.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'b>(pub(super) &'b [u8]);

impl<'b> Bytes<'b> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn bytes(&mut self) -> Option<&'b [u8]> {
        let count = usize::try_from(self.number()?).ok()?;
        self.take(count)
    }

    /// A place, and what is stored there.
    pub(super) fn entry(&mut self) -> Option<(Place, &'b [u8])> {
        Some((self.array()?, self.bytes()?))
    }

    fn instant(&mut self) -> Option<UnixMillis> {
        self.array().map(|bytes| UnixMillis(i64::from_le_bytes(bytes)))
    }

    fn limits(&mut self) -> Option<Limits> {
        let limits = Limits {
            rate: u32::try_from(self.number()?).ok()?,
            burst: u32::try_from(self.number()?).ok()?,
        };
        (limits.rate > 0 && limits.burst > 0).then_some(limits)
    }

    fn addresses(&mut self) -> Option<AddressList> {
        let mut entries = Vec::new();
        while !self.0.is_empty() {
            entries.push(text(self.bytes()?)?);
        }
        AddressList::parse(&entries).ok()
    }
}

/// Writes a record at its place; the form in which blocks and changes hold it.
pub(super) fn put_entry(out: &mut Vec<u8>, place: &Place, value: &[u8]) {
    out.extend_from_slice(place);
    put_bytes(out, value);
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn version(bytes: &[u8]) -> Option<String> {
    let is_version = (1..=32).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    is_version.then(|| text(bytes).map(str::to_owned)).flatten()
}

#[cfg(test)]
mod tests {
    use keyward_contract::Record;
    use proptest::prelude::*;

    use super::*;

    fn key(seed: u64) -> KeyRecord {
        let bit = |at: u32| seed >> at & 1 == 1;
        KeyRecord {
            digest: KeyDigest::from_bytes([7; 32]),
            id: KeyId::new(),
            account: AccountId::new(),
            environment: if bit(0) {
                Environment::Test
            } else {
                Environment::Production
            },
            customer: bit(1).then(|| "clx8f2k9h0001qr5tgvwxyz12".parse().unwrap()),
            state: [
                KeyState::Active,
                KeyState::Disabled,
                KeyState::Revoked,
                KeyState::Deleted,
            ][(seed >> 8) as usize % 4],
            expires_at: bit(2).then_some(UnixMillis(seed as i64)),
            allowed_ips: bit(3).then(|| AddressList::parse(&["192.0.2.0/24", "2001:db8::1"]).unwrap()),
            api_version: if bit(4) {
                "2026-11-01".into()
            } else {
                String::new()
            },
            rotated_at: bit(5).then_some(UnixMillis(-1)),
            customer_limits: bit(6).then_some(Limits {
                rate: seed as u32 | 1,
                burst: u32::MAX,
            }),
        }
    }

    proptest! {
        #[test]
        fn a_key_is_read_as_it_was_written(seed in any::<u64>()) {
            let key = key(seed);
            let mut stored = Vec::new();
            encode_key(&key, &mut stored);
            prop_assert_eq!(decode_key(key.digest, &stored), Some(key));
        }

        /// What is read is always a record that would have been accepted over the stream.
        #[test]
        fn no_bytes_panic_and_none_make_a_record_that_can_t_be_true(
            seed in any::<u64>(), at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<prop::sample::Index>(),
        ) {
            let mut stored = Vec::new();
            encode_key(&key(seed), &mut stored);
            let at = at.index(stored.len());
            stored[at] = to;
            for bytes in [&stored[..], &stored[..cut.index(stored.len())]] {
                if let Some(key) = decode_key(KeyDigest::from_bytes([7; 32]), bytes) {
                    let key = Record::Key(key);
                    prop_assert_eq!(Record::try_from(feed::Record::from(&key)), Ok(key));
                }
                let _ = decode_account(bytes);
            }
        }

        #[test]
        fn numbers_are_read_as_they_were_written(number in any::<u64>(), noise in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut out = Vec::new();
            put_number(&mut out, number);
            prop_assert_eq!(Bytes(&out).number(), Some(number));
            let _ = Bytes(&noise).number();
        }
    }
}
