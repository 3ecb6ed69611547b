//! redb: a B-tree with copied pages.

use std::path::Path;

use anyhow::Result;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Entry, Store, Took, sorted};

const KEYS: TableDefinition<'static, [u8; 32], &[u8]> = TableDefinition::new("keys");

/// With 8 MiB of pages of its own, as the replica had it.
#[derive(Debug)]
pub struct Redb(Database);

impl Redb {
    fn put(&self, entries: &[Entry], durability: Durability) -> Result<()> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(durability)?;
        {
            let mut table = transaction.open_table(KEYS)?;
            for (digest, value) in entries {
                table.insert(digest, value.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }
}

impl Store for Redb {
    fn open(folder: &Path) -> Result<Self> {
        let database = Database::builder()
            .set_cache_size(8 << 20)
            .create(folder.join("keys.redb"))?;
        Ok(Self(database))
    }

    fn load(&mut self, chunks: &mut dyn Iterator<Item = Vec<Entry>>) -> Result<Took> {
        let mut took = Took::default();
        for chunk in chunks {
            took.add(|| self.put(&sorted(chunk), Durability::None))?;
        }
        took.add(|| self.put(&[], Durability::Immediate))?;
        Ok(took)
    }

    fn find(&mut self, digest: &[u8; 32]) -> Result<bool> {
        let table = self.0.begin_read()?.open_table(KEYS)?;
        Ok(table
            .get(digest)?
            .is_some_and(|value| value.value().len() == super::VALUE))
    }

    fn change(&mut self, entries: &[Entry]) -> Result<()> {
        self.put(entries, Durability::Immediate)
    }

    fn check(&mut self) -> Result<u64> {
        let (mut keys, mut sum) = (0, 0u8);
        for entry in self.0.begin_read()?.open_table(KEYS)?.iter()? {
            let (digest, value) = entry?;
            let mut hasher = blake3::Hasher::new_keyed(&[7; 32]);
            hasher.update(&digest.value()).update(value.value());
            sum = sum.wrapping_add(hasher.finalize().as_bytes()[0]);
            keys += 1;
        }
        std::hint::black_box(sum);
        Ok(keys)
    }
}
