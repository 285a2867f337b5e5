//! `/hosts` and `/roots`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use hostler_model::Role;
use serde::Serialize;

use super::params::{Id, Params, find_host};
use super::{ApiError, error::ErrorBody};
use crate::audit::Entry;
use crate::auth::Principal;
use crate::doctor::{self, Finding};
use crate::events::Event;
use crate::fleet::{LinkStatus, ProbeReport};
use crate::state::AppState;
use crate::store::{Host, NewEvent, Page, Root, Severity, StoreError};

/// A host and whether it is linked now.
#[derive(Serialize, utoipa::ToSchema)]
pub struct HostView {
    #[serde(flatten)]
    host: Host,
    /// True while its agent has a link; how fresh it is tells `last_proof_at`.
    linked: bool,
    /// The link, and how the last one ended.
    link: LinkStatus,
}

impl HostView {
    fn of(state: &AppState, host: Host) -> Self {
        let link = state.fleet.status(host.id);
        Self { linked: link.linked, link, host }
    }
}

/// All hosts
#[utoipa::path(get, path = "/hosts", responses((status = 200, body = Page<HostView>), (status = 401, body = ErrorBody)))]
pub async fn list(State(state): State<AppState>, params: Params) -> Result<Json<Page<HostView>>, ApiError> {
    params.end()?;
    let hosts = state.store.hosts().await?;
    let items = hosts.into_iter().map(|host| HostView::of(&state, host)).collect();
    Ok(Json(Page { items, next: None }))
}

/// One host
#[utoipa::path(get, path = "/hosts/{host}", params(("host" = String, Path, description = "id or name")),
    responses((status = 200, body = HostView), (status = 404, body = ErrorBody)))]
pub async fn show(State(state): State<AppState>, Id(host): Id<String>) -> Result<Json<HostView>, ApiError> {
    let host = state.store.host(find_host(&*state.store, &host).await?).await?;
    Ok(Json(HostView::of(&state, host)))
}

/// Remove a host with its index, scans and events; its agent cannot link up any more
#[utoipa::path(delete, path = "/hosts/{host}", params(("host" = String, Path, description = "id or name")),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub async fn remove(
    State(state): State<AppState>,
    principal: Principal,
    Id(host): Id<String>,
) -> Result<(Entry, StatusCode), ApiError> {
    principal.require(Role::Admin)?;
    let host = state.store.host(find_host(&*state.store, &host).await?).await?;
    remove_host(&state, &host, &principal.name).await?;
    Ok((Entry::host(host.id, host.name), StatusCode::NO_CONTENT))
}

/// Removes a host and ends its link.
pub async fn remove_host(state: &AppState, host: &Host, by: &str) -> Result<(), StoreError> {
    state.store.remove_host(host.id).await?;
    state.fleet.revoke(host.id);
    state.snapfs.forget(host.id);
    let message = format!("{} was removed by {by}", host.name);
    let event =
        NewEvent { subject: host.name.clone(), ..NewEvent::of_gateway("host.removed", Severity::Info, message) };
    state.events.send(Event::Activity(Box::new(state.store.append_gateway_event(event).await?)));
    Ok(())
}

/// Ask all linked hosts to prove their capabilities now
#[utoipa::path(post, path = "/hosts/probe", responses((status = 200, body = ProbeReport), (status = 403, body = ErrorBody)))]
pub async fn probe_all(State(state): State<AppState>, principal: Principal) -> Result<Json<ProbeReport>, ApiError> {
    principal.require(Role::Operator)?;
    Ok(Json(state.fleet.probe_now(None).await))
}

/// Ask a host to prove its capabilities now
#[utoipa::path(post, path = "/hosts/{host}/probe", params(("host" = String, Path, description = "id or name")),
    responses((status = 200, body = ProbeReport), (status = 404, body = ErrorBody)))]
pub async fn probe(
    State(state): State<AppState>,
    principal: Principal,
    Id(host): Id<String>,
) -> Result<(Entry, Json<ProbeReport>), ApiError> {
    principal.require(Role::Operator)?;
    let host = state.store.host(find_host(&*state.store, &host).await?).await?;
    let report = state.fleet.probe_now(Some(vec![host.id])).await;
    Ok((Entry::host(host.id, host.name), Json(report)))
}

/// What the gateway finds out about itself: is its URL reached, does its certificate last, does its store keep up
#[utoipa::path(get, path = "/doctor", responses((status = 200, body = Page<Finding>), (status = 403, body = ErrorBody)))]
pub async fn doctor(State(state): State<AppState>, principal: Principal) -> Result<Json<Page<Finding>>, ApiError> {
    principal.require(Role::Admin)?;
    Ok(Json(Page { items: doctor::examine(&state).await, next: None }))
}

/// Indexed directories
#[utoipa::path(get, path = "/roots", params(("host" = Option<String>, Query, description = "only this host: id or name")),
    responses((status = 200, body = Page<Root>)))]
pub async fn roots(State(state): State<AppState>, mut params: Params) -> Result<Json<Page<Root>>, ApiError> {
    let host = params.host(&*state.store).await?;
    params.end()?;
    Ok(Json(Page { items: state.store.roots(host).await?, next: None }))
}
