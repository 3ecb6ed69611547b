//! What a gateway gets: every account and environment, or some of them.
//!
//! A record outside the scope is left out; its revision still goes by, so that a gateway's position means the same
//! whatever it gets. A scope has a name, made of what it holds: a gateway that holds what was sent under another name
//! takes a snapshot.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyward_contract::{AccountId, Environment, feed};

/// Which accounts and environments a gateway is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// These accounts alone; `None`: all.
    pub accounts: Option<Arc<BTreeSet<AccountId>>>,
    /// Keys of this environment alone; `None`: of both.
    pub environment: Option<Environment>,
}

impl Scope {
    /// Whether it leaves nothing out.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Its name: 32 hexadecimal digits that any other scope has otherwise; empty for everything.
    #[must_use]
    pub fn name(&self) -> String {
        if self.is_everything() {
            return String::new();
        }
        let mut hasher = blake3::Hasher::new_derive_key("keyward 2026-11 sync scope v1");
        hasher.update(&[self.environment.map_or(0, feed_number)]);
        if let Some(accounts) = &self.accounts {
            for account in accounts.iter() {
                hasher.update(account.as_uuid().as_bytes());
            }
        }
        // Two scopes that differ only in having no list or an empty one differ here.
        hasher.update(&[u8::from(self.accounts.is_some())]);
        hasher.finalize().to_hex()[..32].to_owned()
    }

    /// Whether a gateway of this scope is sent this record.
    #[must_use]
    pub fn keeps(&self, record: &feed::Record) -> bool {
        match &record.record {
            Some(feed::record::Record::Account(account)) => self.keeps_account(&account.account_id),
            Some(feed::record::Record::Key(key)) => {
                self.keeps_account(&key.account_id)
                    && self
                        .environment
                        .is_none_or(|environment| key.environment == i32::from(feed_number(environment)))
            }
            None => false,
        }
    }

    /// What of a change a gateway of this scope is sent.
    #[must_use]
    pub fn cut(&self, change: &Arc<feed::Change>) -> Arc<feed::Change> {
        if self.is_everything() {
            return Arc::clone(change);
        }
        Arc::new(feed::Change {
            records: change
                .records
                .iter()
                .filter(|record| self.keeps(record))
                .cloned()
                .collect(),
            revision: change.revision,
            committed_at_ms: change.committed_at_ms,
            history: change.history.clone(),
        })
    }

    /// Whether a gateway of this scope is told of the account with this id.
    #[must_use]
    pub fn keeps_account(&self, id: &[u8]) -> bool {
        self.accounts
            .as_ref()
            .is_none_or(|accounts| AccountId::from_slice(id).is_ok_and(|id| accounts.contains(&id)))
    }
}

fn feed_number(environment: Environment) -> u8 {
    match environment {
        Environment::Test => feed::Environment::Test as u8,
        Environment::Production => feed::Environment::Production as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_that_differ_have_other_names_and_everything_has_none() {
        let (one, other) = (AccountId::new(), AccountId::new());
        let scope = |accounts: Option<&[AccountId]>, environment| Scope {
            accounts: accounts.map(|accounts| Arc::new(accounts.iter().copied().collect())),
            environment,
        };
        let scopes = [
            scope(None, None),
            scope(Some(&[]), None),
            scope(Some(&[one]), None),
            scope(Some(&[other]), None),
            scope(Some(&[one, other]), None),
            scope(Some(&[one]), Some(Environment::Test)),
            scope(Some(&[one]), Some(Environment::Production)),
            scope(None, Some(Environment::Test)),
        ];
        let names: BTreeSet<String> = scopes.iter().map(Scope::name).collect();
        assert_eq!(names.len(), scopes.len());
        assert_eq!(scopes[0].name(), "");
    }

    #[test]
    fn a_gateway_is_sent_what_is_in_its_scope_and_every_revision() {
        let (ours, theirs) = (AccountId::new(), AccountId::new());
        let key = |account: AccountId, environment: feed::Environment| feed::Record {
            record: Some(feed::record::Record::Key(feed::Key {
                account_id: account.as_uuid().as_bytes().to_vec(),
                environment: environment.into(),
                ..feed::Key::default()
            })),
        };
        let account = |account: AccountId| feed::Record {
            record: Some(feed::record::Record::Account(feed::Account {
                account_id: account.as_uuid().as_bytes().to_vec(),
                ..feed::Account::default()
            })),
        };
        let (test, production) = (feed::Environment::Test, feed::Environment::Production);
        let change = Arc::new(feed::Change {
            revision: 7,
            history: vec![1],
            records: vec![
                account(ours),
                account(theirs),
                key(ours, test),
                key(ours, production),
                key(theirs, test),
                feed::Record { record: None },
            ],
            ..feed::Change::default()
        });
        let scope = Scope {
            accounts: Some(Arc::new([ours].into())),
            environment: Some(Environment::Test),
        };
        let sent = scope.cut(&change);
        assert_eq!(sent.records, [account(ours), key(ours, test)]);
        assert_eq!((sent.revision, &sent.history), (7, &vec![1]));
        assert_eq!(Scope::default().cut(&change).records.len(), 6);
    }
}
