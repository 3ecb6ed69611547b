//! `/admin/customers/{customer_id}/users`: the persons of an account, as surfaces 3 and 4 know them.

pub mod create;
pub mod delete;
pub mod list;
pub mod show;
pub mod update;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::claims;
use crate::domain::refusal::InvalidField;
use crate::domain::user::{Permissions, User};
use crate::surfaces::fields::{Fields, Given};

/// How the admin API writes a user.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = User, example = json!({
    "user_id": "0190b5f2-e5f0-7c9a-8d1e-2f3a4b5c6d84", "sub": "6fa459ea-ee8a-4ca4-894e-db77e160355e",
    "name": "Ada Lovelace", "email": "ada@acme.example", "claims": ["Issuer_Admin"],
    "permissions": ["company.keys:list"], "status": "active", "created_at": "2026-01-19T10:30:00Z",
}))]
pub struct UserBody {
    #[schema(format = "uuid")]
    user_id: String,
    #[schema(format = "uuid")]
    sub: String,
    name: String,
    email: String,
    claims: Vec<String>,
    permissions: Vec<&'static str>,
    #[schema(pattern = "^active$")]
    status: &'static str,
    #[schema(format = DateTime)]
    created_at: String,
}

impl From<&User> for UserBody {
    fn from(user: &User) -> Self {
        Self {
            user_id: user.id.to_string(),
            sub: user.sub.to_string(),
            name: user.name.as_str().to_owned(),
            email: user.email.clone(),
            claims: user.claims.clone(),
            permissions: user.permissions.names(),
            // Deleted ones are not shown.
            status: "active",
            created_at: user.created_at.to_rfc3339_seconds(),
        }
    }
}

/// A user's `sub`, as it was sent.
fn sub(fields: &Fields) -> Result<Given<uuid::Uuid>, InvalidField> {
    fields.text("sub")?.read(|text| {
        let hyphenated = Some(text).filter(|text| text.len() == 36);
        hyphenated
            .and_then(|text| uuid::Uuid::try_parse(text).ok())
            .ok_or_else(|| InvalidField::new("sub", "must be a UUID"))
    })
}

/// A user's claims, as they were sent.
fn claims(fields: &Fields) -> Result<Given<Vec<String>>, InvalidField> {
    fields
        .texts("claims")?
        .read(|texts| claims::parse("claims", &texts))
}

/// A user's permissions, as they were sent.
fn permissions(fields: &Fields) -> Result<Given<Permissions>, InvalidField> {
    fields
        .texts("permissions")?
        .read(|texts| Permissions::parse("permissions", &texts))
}
