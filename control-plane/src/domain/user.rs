//! A person of an account: known by the `sub` of its tokens, allowed what its claims and permissions say.

use keyward_contract::{AccountId, UnixMillis, UserId};
use uuid::Uuid;

use super::refusal::InvalidField;
use super::text::Name;

/// The longest name of a user, in characters.
pub const MAX_USER_NAME: usize = 200;

/// A person of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its id.
    pub id: UserId,
    /// Its account.
    pub account: AccountId,
    /// Who its tokens say it is; unique over all accounts, and never given again.
    pub sub: Uuid,
    /// Its name.
    pub name: Name,
    /// Whom to write to.
    pub email: String,
    /// What surface 4 lets it do; compared as exact texts.
    pub claims: Vec<String>,
    /// What surface 3 lets it do, when its token doesn't say.
    pub permissions: Permissions,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it was last changed.
    pub updated_at: UnixMillis,
}

/// What a caller of surface 3 may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// `company.keys:list`
    pub list: bool,
    /// `company.keys:write`
    pub write: bool,
}

impl Permissions {
    /// The permission to read.
    pub const LIST: &'static str = "company.keys:list";
    /// The permission to change.
    pub const WRITE: &'static str = "company.keys:write";
    /// Both.
    pub const ALL: Self = Self {
        list: true,
        write: true,
    };
    /// Neither.
    pub const NONE: Self = Self {
        list: false,
        write: false,
    };

    /// What is among both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            list: self.list && other.list,
            write: self.write && other.write,
        }
    }

    /// Those among some texts; others say nothing to us.
    pub fn among<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut permissions = Self::NONE;
        for text in texts {
            match text {
                Self::LIST => permissions.list = true,
                Self::WRITE => permissions.write = true,
                _ => {}
            }
        }
        permissions
    }

    /// Reads permissions that an operator gives: unlike what stands in a token, each must be known.
    ///
    /// # Errors
    /// When one isn't.
    pub fn parse(field: &'static str, texts: &[&str]) -> Result<Self, InvalidField> {
        if texts.iter().all(|text| matches!(*text, Self::LIST | Self::WRITE)) {
            return Ok(Self::among(texts.iter().copied()));
        }
        let reason = format!("may hold {} and {} only", Self::LIST, Self::WRITE);
        Err(InvalidField::new(field, reason))
    }

    /// Their names.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        let named = [(self.list, Self::LIST), (self.write, Self::WRITE)];
        named
            .into_iter()
            .filter_map(|(has, name)| has.then_some(name))
            .collect()
    }
}
