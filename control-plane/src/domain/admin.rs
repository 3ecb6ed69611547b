//! Operators: their keys and what each role may do.

use keyward_contract::{KeyDigest, KeyId, KeyMask, UnixMillis};

use super::text::Name;

/// What an operator may do; each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Changes everything but admin keys.
    Operator,
    /// Manages admin keys too.
    Owner,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Owner];

    /// How the surface and the store write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Owner => "owner",
        }
    }

    /// Reads what [`Role::as_str`] wrote.
    #[must_use]
    pub fn from_stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// A key that identifies an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminKey {
    /// Its id.
    pub id: KeyId,
    /// What it is called.
    pub name: Name,
    /// What its holder may do.
    pub role: Role,
    /// What may be shown of it.
    pub mask: KeyMask,
    /// How it is found.
    pub digest: KeyDigest,
    /// When it was made.
    pub created_at: UnixMillis,
    /// Since when it is dead.
    pub revoked_at: Option<UnixMillis>,
    /// When it was last presented, to the minute.
    pub last_used_at: Option<UnixMillis>,
}

impl AdminKey {
    /// Whether it may be used.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.revoked_at.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_ordered_by_what_they_may_do() {
        assert!(Role::Owner > Role::Operator && Role::Operator > Role::Viewer);
        for role in Role::ALL {
            assert_eq!(Role::from_stored(role.as_str()), Some(role));
        }
    }
}
