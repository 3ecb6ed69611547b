//! API keys: their states.

use keyward_contract::KeyState;

/// How the store writes a key's own state.
#[must_use]
pub fn state_as_str(state: KeyState) -> &'static str {
    match state {
        KeyState::Active => "active",
        KeyState::Disabled => "disabled",
        KeyState::Revoked => "revoked",
        KeyState::Deleted => "deleted",
    }
}

/// Reads what [`state_as_str`] wrote.
///
/// # Errors
/// When it is no state.
pub fn state_from_str(text: &str) -> Result<KeyState, String> {
    match text {
        "active" => Ok(KeyState::Active),
        "disabled" => Ok(KeyState::Disabled),
        "revoked" => Ok(KeyState::Revoked),
        "deleted" => Ok(KeyState::Deleted),
        other => Err(format!("`{other}` is no key state")),
    }
}
