//! The REST surfaces: wire shapes and translation only. What a call does is in `operations`; each surface has a
//! folder with one file per endpoint, and one file that turns a [`problem::Problem`] into its form of error.

pub mod admin;
pub mod body;
mod broken_off;
pub mod call;
pub mod credentials;
pub mod fields;
pub mod keys;
pub mod limits;
pub mod oauth;
pub mod once;
pub mod openapi;
mod page;
pub mod params;
pub mod portal;
pub mod problem;
pub mod settled;
pub mod span;
pub mod strict_json;
pub mod user_keys;

/// Which form an answer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// Surface 1: partners and their end customers.
    Portal,
    /// Surface 2: operators.
    Admin,
    /// Surface 3: a company's API keys.
    Keys,
    /// Surface 4: users' own keys.
    UserKeys,
    /// Tokens for surfaces 3 and 4. Nobody is identified before the endpoint.
    OAuth,
    /// No surface: nobody is identified there, and errors take the portal's form.
    Elsewhere,
}

impl Surface {
    /// The surface that a path lies on.
    #[must_use]
    pub fn of(path: &str) -> Self {
        let below = |prefix: &str| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if below("/admin") {
            Self::Admin
        } else if below("/customers") || below("/v1/customers") {
            Self::Portal
        } else if below("/keys") {
            Self::Keys
        } else if below(user_keys::PATH) || below("/environments") {
            Self::UserKeys
        } else if below("/oauth") || below("/.well-known") {
            Self::OAuth
        } else {
            Self::Elsewhere
        }
    }

    /// What metrics call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Portal => "portal",
            Self::Admin => "admin",
            Self::Keys => "keys",
            Self::UserKeys => "user_keys",
            Self::OAuth => "oauth",
            Self::Elsewhere => "none",
        }
    }
}
