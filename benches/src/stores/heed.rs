//! LMDB by heed: a B-tree in a mapped file.

use std::path::Path;

use anyhow::Result;
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, WithoutTls};

use super::{Entry, Store, Took, sorted};

/// With a map of 16 GiB. It is left open: a phase is a process of its own.
pub struct Heed {
    env: &'static Env<WithoutTls>,
    keys: Database<'static, Bytes, Bytes>,
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
        let env: &'static Env<WithoutTls> = Box::leak(Box::new(env));
        let keys = env
            .create_databases_and_commit(env.write_txn()?, |databases, transaction| {
                databases
                    .create_database(transaction, Some("keys"))
                    .map(CommitOrAbort::<_, ()>::Commit)
            })?
            .unwrap_commit();
        Ok(Self { env, keys })
    }

    fn load(&mut self, chunks: &mut dyn Iterator<Item = Vec<Entry>>) -> Result<Took> {
        let mut took = Took::default();
        for chunk in chunks {
            took.add(|| self.put(&sorted(chunk)))?;
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
