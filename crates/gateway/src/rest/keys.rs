//! `/api-keys`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use hostler_model::{ApiKeyId, Role};
use serde::{Deserialize, Serialize};

use super::params::{Body, Id, Params};
use super::{ApiError, error::ErrorBody};
use crate::auth::{self, Principal};
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
}

/// A key that was made.
#[derive(Serialize, utoipa::ToSchema)]
pub struct CreatedApiKey {
    id: ApiKeyId,
    /// The secret; it is shown this once.
    key: String,
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
) -> Result<(StatusCode, Json<CreatedApiKey>), ApiError> {
    principal.require(Role::Admin)?;
    let (made, key) = auth::new_api_key(&*state.store, &new.name, new.role).await?;
    Ok((StatusCode::CREATED, Json(CreatedApiKey { id: made.id, key })))
}

/// Make a key useless at once
#[utoipa::path(delete, path = "/api-keys/{id}", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub async fn revoke(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id<ApiKeyId>,
) -> Result<StatusCode, ApiError> {
    principal.require(Role::Admin)?;
    state.store.revoke_api_key(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
