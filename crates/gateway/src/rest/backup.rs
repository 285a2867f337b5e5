//! `/backup` and `/restore`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use hostler_model::Role;

use super::params::Params;
use super::{ApiError, error::ErrorBody};
use crate::audit::Entry;
use crate::auth::Principal;
use crate::backup;
use crate::state::AppState;

/// A backup of all that the gateway keeps, made while it runs
///
/// An SQLite database with the gateway's id and the key of its self-made certificate: keep it as safe as those. Hashes of
/// passwords and keys are in it; sessions and sign-in links are not.
#[utoipa::path(get, path = "/backup", responses(
    (status = 200, description = "the file", content_type = "application/vnd.sqlite3"),
    (status = 403, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn backup(
    State(state): State<AppState>,
    principal: Principal,
    params: Params,
) -> Result<([(HeaderName, String); 3], Entry, Body), ApiError> {
    principal.require(Role::Admin)?;
    params.end()?;
    let (size, body) = backup::backup(&state).await?;
    let day: String = crate::clock::now().exact().chars().take(10).collect();
    let headers = [
        (header::CONTENT_TYPE, "application/vnd.sqlite3".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"hostler-{day}.db\"")),
    ];
    Ok((headers, Entry::default().detail(format!("{size} bytes")), body))
}

/// Replace all that the gateway keeps by a backup, while it runs
///
/// The body is the file, 64 GiB at most. It is checked before anything is changed. All links and sessions end. When the
/// backup is of another gateway, this one is that one from its next start on.
#[utoipa::path(post, path = "/restore", request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 204), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub async fn restore(State(state): State<AppState>, principal: Principal, body: Body) -> Result<StatusCode, ApiError> {
    principal.require(Role::Admin)?;
    backup::restore(&state, body.into_data_stream(), &principal.name).await?;
    Ok(StatusCode::NO_CONTENT)
}
