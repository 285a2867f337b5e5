//! `/snapfs/consumers`: who reads what SnapFS clients sent.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hostler_model::Role;

use super::params::Params;
use super::{ApiError, error::ErrorBody};
use crate::audit::Entry;
use crate::auth::Principal;
use crate::state::AppState;
use crate::store::{Durable, Page, SnapfsConsumer};

/// Who reads what SnapFS clients sent, and how far they are
#[utoipa::path(get, path = "/snapfs/consumers", responses((status = 200, body = Page<SnapfsConsumer>)))]
pub async fn consumers(State(state): State<AppState>, params: Params) -> Result<Json<Page<SnapfsConsumer>>, ApiError> {
    params.end()?;
    Ok(Json(Page { items: state.store.snapfs_consumers().await?, next: None }))
}

/// Forget a consumer's position; it begins at the oldest message when it comes again
#[utoipa::path(delete, path = "/snapfs/consumers/{subject}/{durable}",
    params(("subject" = String, Path), ("durable" = String, Path)),
    responses((status = 204), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn forget(
    State(state): State<AppState>,
    principal: Principal,
    Path((subject, name)): Path<(String, String)>,
) -> Result<(Entry, StatusCode), ApiError> {
    principal.require(Role::Admin)?;
    let entry = Entry::target(format!("{name} of {subject}"));
    state.store.forget_snapfs_consumer(Durable { subject, name }).await?;
    Ok((entry, StatusCode::NO_CONTENT))
}
