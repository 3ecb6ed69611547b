//! What a key costs before it is looked up: its shape with the checksum, and its keyed digest.
//!
//! "warm" is one key again and again, as a connection repeats it; "drawn" is a different one of 100 000 each
//! time, whose bytes come from memory.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use keyward_contract::{DigestKey, Environment, KeyKind, KeyShape, PlainKey};
use keyward_loadtest::random::Random;

const KEYS: usize = 100_000;

fn keys() -> Vec<String> {
    let mint = || PlainKey::mint(KeyKind::Account, Environment::Production).unwrap();
    (0..KEYS).map(|_| mint().expose().to_owned()).collect()
}

fn key_of_a_call(criterion: &mut Criterion) {
    let keys = keys();
    let digest_key = DigestKey::random().unwrap();
    let one = keys.first().unwrap().as_bytes();
    let mut random = Random::new(1);
    let mut group = criterion.benchmark_group("key");
    group.bench_function("shape, warm", |bencher| {
        bencher.iter(|| KeyShape::parse(black_box(one)))
    });
    group.bench_function("digest, warm", |bencher| {
        bencher.iter(|| digest_key.digest(black_box(one)))
    });
    group.bench_function("shape and digest, drawn", |bencher| {
        bencher.iter_batched(
            || &keys[random.below(KEYS)],
            |key| (KeyShape::parse(key.as_bytes()), digest_key.digest(key.as_bytes())),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, key_of_a_call);
criterion_main!(benches);
