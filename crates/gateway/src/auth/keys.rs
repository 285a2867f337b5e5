//! API keys.

use hostler_model::{ApiKeyId, Role, Timestamp};

use crate::state::AppState;
use crate::store::{ApiKey, Store, StoreError};
use crate::{clock, secret};

/// Every API key starts with this.
pub const KEY_PREFIX: &str = "hst_";

/// Why a key was not made.
#[derive(Debug, thiserror::Error)]
pub enum NewKeyError {
    /// The name cannot be used.
    #[error("a key's name has 1 to 64 characters, none of them a control character")]
    Name,
    /// It would not work at all.
    #[error("the key would expire before it could be used; choose a time in the future")]
    Expired,
    /// The store failed, or has a key of that name.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] secret::NoRandomness),
}

/// Makes an API key that works until `expires_at`. The secret is returned once and kept nowhere.
pub async fn new_api_key(
    store: &dyn Store,
    name: &str,
    role: Role,
    expires_at: Option<Timestamp>,
) -> Result<(ApiKey, String), NewKeyError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 64 || name.chars().any(char::is_control) {
        return Err(NewKeyError::Name);
    }
    let now = clock::now();
    if expires_at.is_some_and(|at| at <= now) {
        return Err(NewKeyError::Expired);
    }
    let secret_text = format!("{KEY_PREFIX}{}", secret::random_hex(16)?);
    let key = ApiKey {
        id: ApiKeyId::new(),
        name: name.to_owned(),
        role,
        hint: secret_text.chars().take(KEY_PREFIX.len() + 4).collect(),
        created_at: now,
        last_used_at: None,
        expires_at,
    };
    store.create_api_key(key.clone(), secret::hash(&secret_text)).await?;
    Ok((key, secret_text))
}

/// Makes a key useless at once, on open streams too.
pub async fn revoke_api_key(state: &AppState, id: ApiKeyId) -> Result<(), StoreError> {
    state.store.revoke_api_key(id).await?;
    state.auth.changed();
    Ok(())
}
