//! `/api-keys`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use hostler_model::{ApiKeyId, Role, Timestamp};
use serde::{Deserialize, Serialize};

use super::params::{Body, Id, Params};
use super::{ApiError, error::ErrorBody};
use crate::audit::Entry;
use crate::auth::{self, Principal};
use crate::clock;
use crate::state::AppState;
use crate::store::{ApiKey, Page};

/// A key to make.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApiKey {
    /// 1 to 64 characters, not in use.
    name: String,
    /// What it may do.
    role: Role,
    /// Seconds until it stops working; with neither this nor `expires_at`, it works until it is revoked.
    #[serde(default)]
    expires_in_seconds: Option<u64>,
    /// When it stops working.
    #[serde(default)]
    expires_at: Option<Timestamp>,
}

impl NewApiKey {
    fn expiry(&self) -> Result<Option<Timestamp>, ApiError> {
        match (self.expires_in_seconds, self.expires_at) {
            (Some(_), Some(_)) => {
                Err(ApiError::bad_request("give expires_in_seconds or expires_at; with both, which one counts?"))
            }
            (Some(seconds), None) => Ok(Some(clock::in_seconds(seconds))),
            (None, at) => Ok(at),
        }
    }
}

/// A key that was made.
#[derive(Serialize, utoipa::ToSchema)]
pub struct CreatedApiKey {
    id: ApiKeyId,
    /// The secret; it is shown this once.
    key: String,
    /// When it stops working; `null` means never.
    expires_at: Option<Timestamp>,
}

/// All keys, without their secrets
#[utoipa::path(get, path = "/api-keys", responses((status = 200, body = Page<ApiKey>), (status = 401, body = ErrorBody)))]
pub async fn list(State(state): State<AppState>, params: Params) -> Result<Json<Page<ApiKey>>, ApiError> {
    params.end()?;
    Ok(Json(Page { items: state.store.api_keys().await?, next: None }))
}

/// Make a key
#[utoipa::path(post, path = "/api-keys", request_body = NewApiKey,
    responses((status = 201, body = CreatedApiKey), (status = 409, body = ErrorBody)))]
pub async fn create(
    State(state): State<AppState>,
    principal: Principal,
    Body(new): Body<NewApiKey>,
) -> Result<(StatusCode, Entry, Json<CreatedApiKey>), ApiError> {
    principal.require(Role::Admin)?;
    let (made, key) = auth::new_api_key(&*state.store, &new.name, new.role, new.expiry()?).await?;
    let entry = Entry::target(&made.name).detail(format!("role {}", made.role));
    Ok((StatusCode::CREATED, entry, Json(CreatedApiKey { id: made.id, key, expires_at: made.expires_at })))
}

/// Make a key useless at once
#[utoipa::path(delete, path = "/api-keys/{id}", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub async fn revoke(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id<ApiKeyId>,
) -> Result<(Entry, StatusCode), ApiError> {
    principal.require(Role::Admin)?;
    let name = state.store.api_keys().await?.into_iter().find(|k| k.id == id).map(|k| k.name).unwrap_or_default();
    auth::revoke_api_key(&state, id).await?;
    Ok((Entry::target(name), StatusCode::NO_CONTENT))
}
