//! Moving in: accounts, users, end customers and keys that were made elsewhere, in batches of lines.
//!
//! A batch is one change: all of its good lines or none. What a line asks for is checked against the database before
//! anything of it is written, so that a bad line is left out alone. What is there already, by its reference, its id or
//! its digest, is left as it is: an import repeated changes nothing. How far a file was taken is noted in the
//! transaction of its lines, so that a killed run goes on where it stopped.

pub mod item;
mod place;
mod seen;

pub use crate::store::imports::Progress;
pub use item::{Common, Item, KeySecret, NewAccount, NewApiKey, NewEndCustomer, NewUser};
pub use seen::Seen;

use std::collections::BTreeMap;

use keyward_contract::find::redact;
use serde_json::json;

use super::change::{Change, Entry};
use super::{Actor, Error, Registry, Result};
use crate::domain::refusal::{InvalidField, Refusal};
use crate::store::{Purpose, StoreError, imports};
use place::Desk;

/// The most lines of a batch: an account is two records, and a gateway takes a thousand in one frame.
pub const BATCH: usize = 500;
/// What the fingerprint of a digest key is the digest of.
const FINGERPRINTED: &str = "keyward export: fingerprint of the digest key";

/// A line of a file.
#[derive(Debug)]
pub struct Line {
    /// Its number, from 1.
    pub number: u64,
    /// What it says it is.
    pub kind: Option<&'static str>,
    /// The name that its source gave to it.
    pub reference: Option<String>,
    /// What it asks for, or what is wrong with it.
    pub item: std::result::Result<Item, InvalidField>,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was made; or would be, in a dry run.
    Created,
    /// It was there already, and is as it was.
    Exists,
    /// It was left out.
    Failed,
}

/// What became of a line, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its number.
    pub line: u64,
    /// What it says it is.
    pub kind: Option<&'static str>,
    /// The name that its source gave to it.
    pub reference: Option<String>,
    /// What became of it.
    pub status: Status,
    /// Our own id.
    pub id: Option<String>,
    /// The field that is wrong.
    pub field: Option<String>,
    /// What is wrong, for people.
    pub message: Option<String>,
}

/// One run through a file.
#[derive(Debug)]
pub struct Run {
    actor: Actor,
    /// What a dry run would have made; `None` when it is none.
    rehearsal: Option<Seen>,
    /// Whether the file's digests were made under another key.
    foreign_digests: bool,
}

impl Run {
    /// A run that makes what it reads.
    #[must_use]
    pub fn real() -> Self {
        Self {
            actor: Actor::system("import"),
            rehearsal: None,
            foreign_digests: false,
        }
    }

    /// A run that only says what it would make. It remembers each new line, some 200 bytes.
    #[must_use]
    pub fn rehearsal() -> Self {
        Self {
            rehearsal: Some(Seen::default()),
            ..Self::real()
        }
    }

    /// Looks at what a file says of its own digests.
    ///
    /// # Errors
    /// When they were made under another digest key: keys of this file can't be taken by digest.
    pub fn check_head(
        &mut self,
        registry: &Registry,
        digest_key: Option<&str>,
    ) -> std::result::Result<(), InvalidField> {
        match digest_key {
            Some(theirs) if theirs != fingerprint(registry) => {
                self.foreign_digests = true;
                Err(InvalidField::new(
                    "digest_key",
                    "is another than this installation's: start this one with the digest key file of that one, \
                     or its digests mean nothing here",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Takes a batch of lines, and notes how far the file was taken.
    ///
    /// # Errors
    /// When the database fails: then nothing of the batch was done.
    pub async fn take(
        &mut self,
        registry: &Registry,
        lines: Vec<Line>,
        progress: Option<&Progress>,
    ) -> Result<Vec<Outcome>> {
        if self.rehearsal.is_some() {
            return self.rehearse(registry, lines).await;
        }
        let actor = self.actor.clone();
        let mut change = Change::begin(registry, &actor).await?;
        let mut seen = Seen::default();
        let mut desk = Desk {
            registry,
            now: change.now,
            tx: &mut change.tx,
            seen: &mut seen,
            writes: place::Writes::Made,
            foreign_digests: self.foreign_digests,
            records: Vec::new(),
        };
        let mut outcomes = Vec::with_capacity(lines.len());
        for line in lines {
            outcomes.push(self.one(&mut desk, line).await?);
        }
        let records = std::mem::take(&mut desk.records);
        if outcomes.iter().all(|outcome| outcome.status != Status::Created) {
            drop(change);
            if let Some(progress) = progress {
                note(registry, progress).await?;
            }
            return Ok(outcomes);
        }
        if let Some(progress) = progress {
            let now = change.now;
            imports::save_progress(&mut change.tx, progress, now).await?;
        }
        change.commit(entry(&outcomes, progress), &records).await?;
        Ok(outcomes)
    }

    async fn rehearse(&mut self, registry: &Registry, lines: Vec<Line>) -> Result<Vec<Outcome>> {
        let mut tx = registry.store.begin_reading().await?;
        let mut seen = self.rehearsal.take().unwrap_or_default();
        let mut desk = Desk {
            registry,
            now: registry.clock.now(),
            tx: &mut tx,
            seen: &mut seen,
            writes: place::Writes::Imagined,
            foreign_digests: self.foreign_digests,
            records: Vec::new(),
        };
        let mut outcomes = Vec::with_capacity(lines.len());
        for line in lines {
            let mut outcome = self.one(&mut desk, line).await?;
            // What would be made has no id yet.
            outcome.id = outcome.id.filter(|_| outcome.status == Status::Exists);
            outcomes.push(outcome);
        }
        self.rehearsal = Some(seen);
        Ok(outcomes)
    }

    async fn one(&mut self, desk: &mut Desk<'_>, line: Line) -> Result<Outcome> {
        let Line {
            number,
            kind,
            reference,
            item,
        } = line;
        let placed = match item {
            Err(invalid) => Err(invalid.into()),
            Ok(Item::Head { digest_key }) => {
                let checked = self.check_head(desk.registry, digest_key.as_deref());
                desk.foreign_digests = self.foreign_digests;
                checked.map(|()| (Status::Exists, None)).map_err(Error::from)
            }
            Ok(item) => desk.place(item, reference.as_deref()).await,
        };
        let (status, id, refusal) = match placed {
            Ok((status, id)) => (status, id, None),
            Err(Error::Refused(refusal)) => (Status::Failed, None, Some(refusal)),
            Err(fatal) => return Err(fatal),
        };
        let field = match &refusal {
            Some(Refusal::Invalid(invalid)) => Some(invalid.field.clone().into_owned()),
            _ => None,
        };
        Ok(Outcome {
            line: number,
            kind,
            reference: reference.map(|name| redact(&name).into_owned()),
            status,
            id,
            field,
            message: refusal.map(|refusal| redact(&refusal.to_string()).into_owned()),
        })
    }
}

/// By what an export and an import tell whether they share a digest key. Says nothing of the key.
#[must_use]
pub fn fingerprint(registry: &Registry) -> String {
    hex::encode(registry.digest(FINGERPRINTED).as_bytes())
}

async fn note(registry: &Registry, progress: &Progress) -> Result<()> {
    let mut tx = registry.store.begin(Purpose::Other).await?;
    imports::save_progress(&mut tx, progress, registry.clock.now()).await?;
    tx.commit().await.map_err(StoreError::from)?;
    Ok(())
}

fn entry(outcomes: &[Outcome], progress: Option<&Progress>) -> Entry {
    let mut created: BTreeMap<&str, u64> = BTreeMap::new();
    let made = outcomes
        .iter()
        .filter(|outcome| outcome.status == Status::Created);
    for outcome in made {
        *created.entry(outcome.kind.unwrap_or("unknown")).or_default() += 1;
    }
    let failed = outcomes
        .iter()
        .filter(|outcome| outcome.status == Status::Failed)
        .count();
    let lines = [
        outcomes.first().map(|outcome| outcome.line),
        outcomes.last().map(|outcome| outcome.line),
    ];
    let file = progress.map(|progress| redact(&progress.file).into_owned());
    Entry {
        action: "import.made",
        target: ("import", file.unwrap_or_else(|| "-".to_owned())),
        account: None,
        before: None,
        after: Some(json!({"lines": lines, "created": created, "errors": failed})),
    }
}
