//! Files by somebody who holds the key of the tags: whatever they say, nothing panics. Such a one can make the gateway
//! believe anything; it must not make it fall.

use std::fs;
use std::path::Path;

use keyward_contract::{KeyDigest, feed};

use super::super::acknowledged::Acknowledged;
use super::super::base::Trailer;
use super::super::folder;
use super::super::tag::{Kind, TagKey};
use super::super::writer::BaseWriter;
use super::{Model, Position};
use crate::keys::{KeySet, Recent};

/// Bytes that look like chance, the same at every run of a seed.
struct Noise(blake3::OutputReader);

impl Noise {
    fn new(seed: u64) -> Self {
        Self(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    fn below(&mut self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes) % bound
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let mut bytes = vec![0; self.below(most + 1) as usize];
        self.0.fill(&mut bytes);
        bytes
    }

    /// Often one that is looked for.
    fn place(&mut self, model: &Model, key: &TagKey) -> [u8; 32] {
        match self.below(4) {
            0 => key.place_of(model.account),
            _ => *model.digest(self.below(8)).as_bytes(),
        }
    }

    /// Nearly a record.
    fn value(&mut self) -> Vec<u8> {
        let mut value = self.bytes(90);
        if let Some(kind) = value.first_mut() {
            *kind %= 3;
        }
        value
    }
}

/// A replica that says what chance says, under right tags.
fn forge(folder: &Path, model: &Model, noise: &mut Noise) {
    let key = TagKey::new(&model.digest_key);
    let name = format!("{:032x}.base", noise.below(u64::MAX));
    let mut out = BaseWriter::create(&folder.join(&name), &key).unwrap();
    for _ in 0..noise.below(200) {
        out.put(&noise.place(model, &key), &noise.value()).unwrap();
    }
    let journal = [1 << 32, 0, u64::MAX, noise.below(u64::MAX)][noise.below(4) as usize];
    let position = Position {
        revision: [5, u64::MAX][noise.below(2) as usize],
        history: noise.bytes(40),
        ..Position::new("epoch", 0)
    };
    Acknowledged::open(folder, &key)
        .unwrap()
        .is_coming(&Position::new("epoch", 1), &key)
        .unwrap();
    let trailer = Trailer {
        position,
        keys: 0,
        journal,
        chain: [3; 32],
    };
    out.finish(trailer).unwrap();
    fs::write(folder.join(folder::CURRENT), name).unwrap();

    let (mut journal_file, mut chain) = (b"KEYWARDJ".to_vec(), [3; 32]);
    for _ in 0..noise.below(4) {
        let mut body = vec![9, 0, 4];
        for _ in 0..noise.below(5) {
            let (place, value) = (noise.place(model, &key), noise.value());
            super::super::record::put_entry(&mut body, &place, &value);
        }
        if noise.below(4) == 0 {
            body = noise.bytes(300);
        }
        journal_file.extend_from_slice(&(body.len() as u32).to_le_bytes());
        chain = key.tag(Kind::Frame, &[&chain, &body]);
        journal_file.extend_from_slice(&body);
        journal_file.extend_from_slice(&chain);
    }
    fs::write(folder.join(folder::journal_name(journal)), journal_file).unwrap();
}

fn use_all(model: &Model, set: &KeySet) {
    let mut recent = Recent::with_capacity(64);
    for number in 0..8 {
        let _ = set.find_digest(&model.digest(number), &mut recent);
    }
    let _ = set.find_digest(&KeyDigest::from_bytes([0xff; 32]), &mut recent);
    let _ = set.find_digest(&KeyDigest::from_bytes([0; 32]), &mut recent);
}

#[test]
fn whatever_is_under_a_right_tag_panics_nowhere() {
    let model = Model::new();
    let mut believed = 0;
    for seed in 0..300 {
        let folder = super::folder();
        drop(model.open(folder.path()));
        forge(folder.path(), &model, &mut Noise::new(seed));
        let set = model.open(folder.path());
        believed += u32::from(set.is_ready());
        use_all(&model, &set);
        // It goes on from there, merging what it believes, and a snapshot puts it right.
        set.replica
            .compaction
            .least
            .store(1, std::sync::atomic::Ordering::Relaxed);
        let next = set.position().revision.saturating_add(1);
        for revision in next..next.saturating_add(3) {
            let change = feed::Change {
                revision,
                records: vec![model.account(), model.key(1, revision)],
                ..feed::Change::default()
            };
            let _ = set.apply(vec![change]);
            use_all(&model, &set);
        }
        model.snapshot(&set, 50).unwrap();
        model.verify(&set).unwrap();
    }
    assert!(believed > 100, "only {believed} were believed");
}
