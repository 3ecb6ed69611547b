//! One counter of one worker, as it lies in a segment: 256 bytes, a key that never changes and values that grow.
//!
//! The first word says that the key is whole, and holds its checksum. It is written last, so a record is there or
//! it isn't. Values have no checksum: each is one word, and a word is written whole.

use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use keyward_contract::{AccountId, CustomerId, Environment, KeyId, feed};

use super::counter::CounterKey;
use super::mapped::Words;

/// Words of a record.
pub(super) const WORDS: usize = 32;
/// Bytes of a record. Never across two pages, nor two sectors of a disk.
pub(super) const BYTES: usize = WORDS * 8;

/// The upper half of the first word of a record that is there.
const WHOLE: u64 = u32::from_le_bytes(*b"KWR1") as u64;
/// Words of the key; they begin after the first word.
const KEY_WORDS: usize = 12;
const FIRST_VALUE: usize = 15;
const VALUES: usize = WORDS - FIRST_VALUE;

/// A value's place in its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Value {
    WouldLimit = FIRST_VALUE,
    // From here on two cache lines.
    Accepted = 16,
    LastAccepted,
    BucketMillitokens,
    BucketAt,
    /// The first of five.
    Answers,
    BytesIn = 25,
    BytesOut,
    Latency,
    RateLimited,
    QuotaRefused,
    AuthRefused,
    LastRefused,
}

/// A record in use.
#[derive(Debug)]
pub(super) struct Record {
    words: Words<WORDS>,
    /// `None` when it is in memory alone.
    pub(super) place: Option<Place>,
}

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// The number of its segment.
    pub(super) segment: u64,
    /// Which of its records it is.
    pub(super) index: u64,
}

impl Record {
    /// Writes the key into an empty record, and the values that it begins with.
    pub(super) fn begin(words: Words<WORDS>, place: Option<Place>, key: &CounterKey, epoch: u64) -> Self {
        let written = key_words(key);
        for (place, word) in words.iter().skip(1).zip(written) {
            place.store(word, Ordering::Relaxed);
        }
        compiler_fence(Ordering::SeqCst);
        words[0].store(mark(&written, epoch), Ordering::Release);
        words.touch();
        Self { words, place }
    }

    /// One that is lost with the process.
    pub(super) fn in_memory(key: &CounterKey, epoch: u64) -> Self {
        Self::begin(Words::in_memory(), None, key, epoch)
    }

    fn word(&self, value: Value) -> &AtomicU64 {
        &self.words[value as usize]
    }

    pub(super) fn value(&self, value: Value) -> u64 {
        self.word(value).load(Ordering::Relaxed)
    }

    /// Only the record's worker writes it: no other write can come between.
    pub(super) fn set(&self, value: Value, to: u64) {
        self.word(value).store(to, Ordering::Relaxed);
    }

    pub(super) fn add(&self, value: Value, more: u64) {
        self.set(value, self.value(value).wrapping_add(more));
    }

    pub(super) fn raise(&self, value: Value, to: u64) {
        if self.value(value) < to {
            self.set(value, to);
        }
    }

    /// An answer of this class, 0 for 1xx.
    pub(super) fn add_answer(&self, class: usize) {
        if class < 5
            && let Some(place) = self.words.get(Value::Answers as usize + class)
        {
            place.store(place.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// What was written is to reach the disk.
    pub(super) fn touch(&self) {
        self.words.touch();
    }

    /// The values as they are now.
    pub(super) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for (value, word) in tally.0.iter_mut().zip(self.words.iter().skip(FIRST_VALUE)) {
            *value = word.load(Ordering::Relaxed);
        }
        tally
    }

    /// Takes over the values of another.
    pub(super) fn take(&self, tally: &Tally) {
        for (value, word) in tally.0.iter().zip(self.words.iter().skip(FIRST_VALUE)) {
            word.store(*value, Ordering::Relaxed);
        }
        self.words.touch();
    }
}

/// The values of one or several records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally([u64; VALUES]);

impl Tally {
    pub(super) fn of(&self, value: Value) -> u64 {
        self.0
            .get(value as usize - FIRST_VALUE)
            .copied()
            .unwrap_or_default()
    }

    fn place(&mut self, value: Value) -> Option<&mut u64> {
        self.0.get_mut(value as usize - FIRST_VALUE)
    }

    /// Makes it at least this.
    pub(super) fn raise(&mut self, value: Value, to: u64) {
        if let Some(place) = self.place(value) {
            *place = (*place).max(to);
        }
    }

    /// Counts are added, instants are the last, and the bucket is the one that was seen last.
    pub(super) fn join(&mut self, other: &Self) {
        let mut joined = *self;
        for (sum, more) in joined.0.iter_mut().zip(other.0) {
            *sum = sum.saturating_add(more);
        }
        for last in [Value::LastAccepted, Value::LastRefused] {
            let at = self.of(last).max(other.of(last));
            joined.place(last).into_iter().for_each(|place| *place = at);
        }
        let latest = if other.of(Value::BucketAt) > self.of(Value::BucketAt) {
            *other
        } else {
            *self
        };
        for seen in [Value::BucketAt, Value::BucketMillitokens] {
            joined
                .place(seen)
                .into_iter()
                .for_each(|place| *place = latest.of(seen));
        }
        *self = joined;
    }

    /// Whether every value could be true: the control plane keeps them as signed numbers.
    fn is_possible(&self) -> bool {
        self.0.iter().all(|value| i64::try_from(*value).is_ok())
    }

    /// As it is reported.
    pub(super) fn wire(&self, key: &CounterKey, route: &str, epoch: u64) -> feed::UsageCounter {
        let id = |key: Option<KeyId>| key.map(|id| id.as_uuid().as_bytes().to_vec()).unwrap_or_default();
        let instant = |value| i64::try_from(self.of(value)).unwrap_or(i64::MAX);
        let answers = Value::Answers as usize - FIRST_VALUE;
        feed::UsageCounter {
            account_id: key.account.as_uuid().as_bytes().to_vec(),
            environment: feed::Environment::from(key.environment).into(),
            customer_id: key.customer.map(|id| id.to_string()).unwrap_or_default(),
            account_key_id: id(key.account_key),
            customer_key_id: id(key.customer_key),
            route: route.to_owned(),
            hour: key.hour,
            accepted: self.of(Value::Accepted),
            rate_limited: self.of(Value::RateLimited),
            quota_refused: self.of(Value::QuotaRefused),
            auth_refused: self.of(Value::AuthRefused),
            answers: self.0.get(answers..answers + 5).unwrap_or_default().to_vec(),
            bytes_in: self.of(Value::BytesIn),
            bytes_out: self.of(Value::BytesOut),
            latency_us: self.of(Value::Latency),
            last_accepted_at_ms: instant(Value::LastAccepted),
            last_refused_at_ms: instant(Value::LastRefused),
            bucket_millitokens: self.of(Value::BucketMillitokens),
            bucket_at_ms: instant(Value::BucketAt),
            boot_epoch: epoch,
            would_limit: self.of(Value::WouldLimit),
        }
    }
}

/// A record on the disk can't be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

/// Reads a record of the start with this epoch; `None` when nothing was counted in it.
///
/// # Errors
/// When it can't be true.
pub(super) fn read(bytes: &[u8; BYTES], epoch: u64) -> Result<Option<(CounterKey, Tally)>, Damaged> {
    let words = words_of(bytes);
    let mut values = [0; VALUES];
    values.copy_from_slice(&words[FIRST_VALUE..]);
    let key = key_in(&words);
    let tally = Tally(values);
    if words[0] == 0 && tally == Tally::default() {
        // Also a key that was being written.
        return Ok(None);
    }
    if words[0] != mark(&key, epoch) || !tally.is_possible() {
        return Err(Damaged);
    }
    key_of(&key).map(|key| Some((key, tally))).ok_or(Damaged)
}

fn words_of(bytes: &[u8; BYTES]) -> [u64; WORDS] {
    let mut words = [0u64; WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    words
}

fn key_in(words: &[u64; WORDS]) -> [u64; KEY_WORDS] {
    let mut key = [0; KEY_WORDS];
    key.copy_from_slice(&words[1..=KEY_WORDS]);
    key
}

/// What the first word of this record is when its key is whole.
pub(super) fn mark_of(bytes: &[u8; BYTES], epoch: u64) -> u64 {
    mark(&key_in(&words_of(bytes)), epoch)
}

/// The first word of a whole record: the checksum says also which start it belongs to.
fn mark(key: &[u64; KEY_WORDS], epoch: u64) -> u64 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&epoch.to_le_bytes());
    for word in key {
        sum.update(&word.to_le_bytes());
    }
    WHOLE << 32 | u64::from(sum.finalize())
}

const HAS_ACCOUNT_KEY: u64 = 1 << 32;
const HAS_CUSTOMER_KEY: u64 = 1 << 33;
const HAS_CUSTOMER: u64 = 1 << 34;
const PRODUCTION: u64 = 1 << 35;

fn key_words(key: &CounterKey) -> [u64; KEY_WORDS] {
    let id = |id: Option<KeyId>| id.map_or([0; 16], |id| *id.as_uuid().as_bytes());
    let mut bytes = [0u8; 80];
    let mut rest = bytes.as_mut_slice();
    let mut write = |piece: &[u8]| {
        let (place, left) = std::mem::take(&mut rest).split_at_mut(piece.len());
        place.copy_from_slice(piece);
        rest = left;
    };
    write(key.account.as_uuid().as_bytes());
    write(&id(key.account_key));
    write(&id(key.customer_key));
    write(key.customer.as_ref().map_or("", CustomerId::as_str).as_bytes());
    let flag = |is_set: bool, flag: u64| if is_set { flag } else { 0 };
    let mut words = [0; KEY_WORDS];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words[10] = u64::from(key.route)
        | flag(key.account_key.is_some(), HAS_ACCOUNT_KEY)
        | flag(key.customer_key.is_some(), HAS_CUSTOMER_KEY)
        | flag(key.customer.is_some(), HAS_CUSTOMER)
        | flag(key.environment == Environment::Production, PRODUCTION);
    words[11] = key.hour.cast_unsigned();
    words
}

fn key_of(words: &[u64; KEY_WORDS]) -> Option<CounterKey> {
    let mut bytes = [0u8; 80];
    for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    let flags = words[10];
    let id = |flag, from: usize| match flags & flag {
        0 => Some(None),
        _ => KeyId::from_slice(bytes.get(from..from + 16)?).ok().map(Some),
    };
    let customer = match flags & HAS_CUSTOMER {
        0 => None,
        _ => Some(std::str::from_utf8(&bytes[48..73]).ok()?.parse().ok()?),
    };
    Some(CounterKey {
        account: AccountId::from_slice(&bytes[..16]).ok()?,
        environment: if flags & PRODUCTION == 0 {
            Environment::Test
        } else {
            Environment::Production
        },
        customer,
        account_key: id(HAS_ACCOUNT_KEY, 16)?,
        customer_key: id(HAS_CUSTOMER_KEY, 32)?,
        route: u16::try_from(flags & 0xFFFF).ok()?,
        hour: words[11].cast_signed(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> impl Strategy<Value = CounterKey> {
        let id = || any::<Option<u128>>().prop_map(|id| id.map(|id| KeyId::from(uuid::Uuid::from_u128(id))));
        let customer = proptest::option::of("c[0-9a-z]{24}");
        (
            any::<u128>(),
            any::<bool>(),
            customer,
            id(),
            id(),
            any::<u16>(),
            any::<i64>(),
        )
            .prop_map(
                |(account, is_production, customer, account_key, customer_key, route, hour)| CounterKey {
                    account: AccountId::from(uuid::Uuid::from_u128(account)),
                    environment: Environment::ALL[usize::from(is_production)],
                    customer: customer.map(|id| id.parse().unwrap()),
                    account_key,
                    customer_key,
                    route,
                    hour,
                },
            )
    }

    fn bytes(record: &Record) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(record.words.iter()) {
            *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        }
        bytes
    }

    proptest! {
        #[test]
        fn a_record_reads_back(key in keys(), epoch in any::<u64>(), accepted in 0..u64::MAX / 2) {
            let record = Record::in_memory(&key, epoch);
            record.add(Value::Accepted, accepted);
            let found = read(&bytes(&record), epoch);
            let found = found.map(|found| found.map(|(key, tally)| (key, tally.of(Value::Accepted))));
            prop_assert_eq!(found, Ok(Some((key, accepted))));
            prop_assert_eq!(read(&bytes(&record), epoch ^ 1), Err(Damaged));
        }

        /// No flipped bit makes a call that was counted for one count for another.
        #[test]
        fn a_flipped_bit_of_a_key_is_seen(key in keys(), bit in 0..(1 + KEY_WORDS) * 64) {
            let record = Record::in_memory(&key, 7);
            record.add(Value::Accepted, 1);
            let mut bytes = bytes(&record);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(read(&bytes, 7), Err(Damaged));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), BYTES), epoch in any::<u64>()) {
            let _ = read(&bytes.try_into().unwrap(), epoch);
        }
    }
}
