//! LMDB by heed: a B-tree in a mapped file.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use heed::types::Bytes;
use heed::{Database, Env, EnvOpenOptions, WithoutTls};

use super::{Entry, Store, sorted};

/// With a map of 16 GiB.
#[derive(Debug)]
pub struct Heed {
    env: Env<WithoutTls>,
    keys: Database<Bytes, Bytes>,
}

impl Heed {
    fn put(&self, entries: &[Entry]) -> Result<()> {
        let mut transaction = self.env.write_txn()?;
        for (digest, value) in entries {
            self.keys.put(&mut transaction, digest, value)?;
        }
        transaction.commit()?;
        Ok(())
    }
}

impl Store for Heed {
    #[expect(
        unsafe_code,
        reason = "the file is mapped: whoever writes it can do anything to this process"
    )]
    fn open(folder: &Path) -> Result<Self> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(16 << 30).max_dbs(1);
        // SAFETY: nobody else uses the file.
        let env = unsafe { options.open(folder)? };
        let mut transaction = env.write_txn()?;
        let keys = env.create_database(&mut transaction, Some("keys"))?;
        transaction.commit()?;
        Ok(Self { env, keys })
    }

    fn load(&mut self, chunks: &mut dyn Iterator<Item = Vec<Entry>>) -> Result<Duration> {
        let mut took = Duration::ZERO;
        for chunk in chunks {
            let began = Instant::now();
            self.put(&sorted(chunk))?;
            took += began.elapsed();
        }
        Ok(took)
    }

    fn find(&mut self, digest: &[u8; 32]) -> Result<bool> {
        let transaction = self.env.read_txn()?;
        Ok(self
            .keys
            .get(&transaction, digest)?
            .is_some_and(|value| value.len() == super::VALUE))
    }

    fn change(&mut self, entries: &[Entry]) -> Result<()> {
        self.put(entries)
    }

    fn check(&mut self) -> Result<u64> {
        let transaction = self.env.read_txn()?;
        let (mut keys, mut sum) = (0, 0u8);
        for entry in self.keys.iter(&transaction)? {
            let (digest, value) = entry?;
            let mut hasher = blake3::Hasher::new_keyed(&[7; 32]);
            hasher.update(digest).update(value);
            sum = sum.wrapping_add(hasher.finalize().as_bytes()[0]);
            keys += 1;
        }
        std::hint::black_box(sum);
        Ok(keys)
    }
}
