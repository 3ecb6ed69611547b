//! An account: a company that buys access.

use keyward_contract::AccountStatus;

/// How every surface and the store write a status.
#[must_use]
pub fn status_as_str(status: AccountStatus) -> &'static str {
    match status {
        AccountStatus::Active => "active",
        AccountStatus::Suspended => "suspended",
        AccountStatus::Cancelled => "cancelled",
    }
}

/// Reads what [`status_as_str`] wrote.
///
/// # Errors
/// When it is no status.
pub fn status_from_str(text: &str) -> Result<AccountStatus, String> {
    match text {
        "active" => Ok(AccountStatus::Active),
        "suspended" => Ok(AccountStatus::Suspended),
        "cancelled" => Ok(AccountStatus::Cancelled),
        other => Err(format!("`{other}` is no account status")),
    }
}
