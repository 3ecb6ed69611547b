//! fjall: a log-structured merge tree.

use std::path::Path;

use anyhow::Result;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Entry, Store, Took, sorted};

/// With 8 MiB of blocks of its own.
pub struct Fjall {
    database: Database,
    keys: Keyspace,
}

impl Store for Fjall {
    fn open(folder: &Path) -> Result<Self> {
        let database = Database::builder(folder).cache_size(8 << 20).open()?;
        let keys = database.keyspace("keys", KeyspaceCreateOptions::default)?;
        Ok(Self { database, keys })
    }

    fn load(&mut self, chunks: &mut dyn Iterator<Item = Vec<Entry>>) -> Result<Took> {
        let mut took = Took::default();
        for chunk in chunks {
            took.add(|| -> Result<()> {
                let mut ingestion = self.keys.start_ingestion()?;
                for (digest, value) in sorted(chunk) {
                    ingestion.write(digest, value)?;
                }
                Ok(ingestion.finish()?)
            })?;
        }
        took.add(|| self.database.persist(PersistMode::SyncAll))?;
        Ok(took)
    }

    fn find(&mut self, digest: &[u8; 32]) -> Result<bool> {
        Ok(self
            .keys
            .get(digest)?
            .is_some_and(|value| value.len() == super::VALUE))
    }

    fn change(&mut self, entries: &[Entry]) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (digest, value) in entries {
            batch.insert(&self.keys, *digest, *value);
        }
        Ok(batch.commit()?)
    }

    fn check(&mut self) -> Result<u64> {
        let (mut keys, mut sum) = (0, 0u8);
        for entry in self.keys.iter() {
            let (digest, value) = entry.into_inner()?;
            let mut hasher = blake3::Hasher::new_keyed(&[7; 32]);
            hasher.update(&digest).update(&value);
            sum = sum.wrapping_add(hasher.finalize().as_bytes()[0]);
            keys += 1;
        }
        std::hint::black_box(sum);
        Ok(keys)
    }
}
