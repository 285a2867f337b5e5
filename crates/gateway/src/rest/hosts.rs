//! `/hosts` and `/roots`.

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::params::{Id, Params, find_host};
use super::{ApiError, error::ErrorBody};
use crate::state::AppState;
use crate::store::{Host, Page, Root};

/// A host and whether it is linked now.
#[derive(Serialize, utoipa::ToSchema)]
pub struct HostView {
    #[serde(flatten)]
    host: Host,
    /// True while its agent has a link; how fresh it is tells `last_proof_at`.
    linked: bool,
}

/// All hosts
#[utoipa::path(get, path = "/hosts", responses((status = 200, body = Page<HostView>), (status = 401, body = ErrorBody)))]
pub async fn list(State(state): State<AppState>, params: Params) -> Result<Json<Page<HostView>>, ApiError> {
    params.end()?;
    let hosts = state.store.hosts().await?;
    let items = hosts.into_iter().map(|host| HostView { linked: state.fleet.linked(host.id), host }).collect();
    Ok(Json(Page { items, next: None }))
}

/// One host
#[utoipa::path(get, path = "/hosts/{host}", params(("host" = String, Path, description = "id or name")),
    responses((status = 200, body = HostView), (status = 404, body = ErrorBody)))]
pub async fn show(State(state): State<AppState>, Id(host): Id<String>) -> Result<Json<HostView>, ApiError> {
    let host = state.store.host(find_host(&*state.store, &host).await?).await?;
    Ok(Json(HostView { linked: state.fleet.linked(host.id), host }))
}

/// Indexed directories
#[utoipa::path(get, path = "/roots", params(("host" = Option<String>, Query, description = "only this host: id or name")),
    responses((status = 200, body = Page<Root>)))]
pub async fn roots(State(state): State<AppState>, mut params: Params) -> Result<Json<Page<Root>>, ApiError> {
    let host = params.host(&*state.store).await?;
    params.end()?;
    Ok(Json(Page { items: state.store.roots(host).await?, next: None }))
}
