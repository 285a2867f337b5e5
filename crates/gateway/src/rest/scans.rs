//! `/scans`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use hostler_model::{ByteStr, Role, ScanId, ScanOptions, ScanState};
use serde::{Deserialize, Serialize};

use super::params::{Body, Id, Params, find_host};
use super::{ApiError, error::ErrorBody};
use crate::audit::{Entry, scan_entry};
use crate::auth::Principal;
use crate::scans::{StartScan, Trigger};
use crate::state::AppState;
use crate::store::{Change, Page, Scan, ScanError, ScanFilter};

/// What to scan.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewScan {
    /// Id or name; may be left out when there is one host.
    #[serde(default)]
    host: Option<String>,
    /// Absolute path of a directory the host's owner has granted.
    root: ByteStr,
    /// Hash every file again.
    #[serde(default)]
    force: bool,
    /// What to leave out and how to hash.
    #[serde(default)]
    options: ScanOptions,
}

/// The scan that was queued.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Created {
    id: ScanId,
}

/// A scan as it is now.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ScanNow {
    #[serde(flatten)]
    scan: Scan,
    /// True from a pause until it is lifted; the state stays what it is.
    paused: bool,
}

impl ScanNow {
    /// With the counters of one that waits or runs.
    fn of(scan: Scan, state: &AppState) -> Self {
        match state.scans.live(scan.id) {
            Some(live) => Self { paused: live.paused, scan: live.scan },
            None => Self { scan, paused: false },
        }
    }
}

/// Start a scan
#[utoipa::path(post, path = "/scans", request_body = NewScan,
    responses((status = 201, body = Created), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub async fn create(
    State(state): State<AppState>,
    principal: Principal,
    Body(new): Body<NewScan>,
) -> Result<(StatusCode, Entry, Json<Created>), ApiError> {
    principal.require(Role::Operator)?;
    let host = match &new.host {
        Some(host) => find_host(&*state.store, host).await?,
        None => Params::default().one_host(&*state.store).await?,
    };
    let mut options = new.options;
    options.force |= new.force;
    let request =
        StartScan { host, root: new.root, options, requested_by: principal.name, trigger: Trigger::default() };
    let scan = state.scans.start(request).await?;
    Ok((StatusCode::CREATED, scan_entry(&scan), Json(Created { id: scan.id })))
}

/// Scans, newest first
#[utoipa::path(get, path = "/scans", params(
    ("host" = Option<String>, Query, description = "only this host: id or name"),
    ("root" = Option<String>, Query, description = "only this root; percent-encoded bytes"),
    ("state" = Option<Vec<ScanState>>, Query, description = "only these states; may be repeated"),
    ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default"),
    ("cursor" = Option<String>, Query, description = "`next` of the page before"),
), responses((status = 200, body = Page<ScanNow>)))]
pub async fn list(State(state): State<AppState>, mut params: Params) -> Result<Json<Page<ScanNow>>, ApiError> {
    let state_of =
        |text: &String| text.parse().map_err(|e: String| ApiError::bad_request(format!("query parameter state: {e}")));
    let states = params.all("state")?.iter().map(state_of).collect::<Result<_, _>>()?;
    let filter = ScanFilter { host: params.host(&*state.store).await?, root: params.bytes("root"), states };
    let page = params.page()?;
    params.end()?;
    let found = state.store.scans(filter, page).await?;
    let items = found.items.into_iter().map(|scan| ScanNow::of(scan, &state)).collect();
    Ok(Json(Page { items, next: found.next }))
}

/// One scan with its counters up to now
#[utoipa::path(get, path = "/scans/{id}", params(("id" = String, Path)),
    responses((status = 200, body = ScanNow), (status = 404, body = ErrorBody)))]
pub async fn show(State(state): State<AppState>, Id(id): Id<ScanId>) -> Result<Json<ScanNow>, ApiError> {
    Ok(Json(ScanNow::of(state.scans.scan(id).await?, &state)))
}

/// Cancel a scan; one that has ended stays as it is
#[utoipa::path(post, path = "/scans/{id}/cancel", params(("id" = String, Path)),
    responses((status = 200, body = Scan), (status = 404, body = ErrorBody)))]
pub async fn cancel(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id<ScanId>,
) -> Result<(Entry, Json<Scan>), ApiError> {
    principal.require(Role::Operator)?;
    let scan = state.scans.cancel(id).await?;
    Ok((scan_entry(&scan), Json(scan)))
}

/// Halt a scan that waits or runs; `POST /scans/{id}/resume` lets it go on
#[utoipa::path(post, path = "/scans/{id}/pause", params(("id" = String, Path)),
    responses((status = 200, body = ScanNow), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn pause(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id<ScanId>,
) -> Result<(Entry, Json<ScanNow>), ApiError> {
    principal.require(Role::Operator)?;
    let scan = state.scans.set_paused(id, true).await?;
    Ok((scan_entry(&scan), Json(ScanNow::of(scan, &state))))
}

/// Let a paused scan go on
#[utoipa::path(post, path = "/scans/{id}/resume", params(("id" = String, Path)),
    responses((status = 200, body = ScanNow), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn resume(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id<ScanId>,
) -> Result<(Entry, Json<ScanNow>), ApiError> {
    principal.require(Role::Operator)?;
    let scan = state.scans.set_paused(id, false).await?;
    Ok((scan_entry(&scan), Json(ScanNow::of(scan, &state))))
}

/// What a scan could not read
#[utoipa::path(get, path = "/scans/{id}/errors", params(
    ("id" = String, Path),
    ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default"),
    ("cursor" = Option<String>, Query, description = "`next` of the page before"),
), responses((status = 200, body = Page<ScanError>), (status = 404, body = ErrorBody)))]
pub async fn errors(
    State(state): State<AppState>,
    Id(id): Id<ScanId>,
    mut params: Params,
) -> Result<Json<Page<ScanError>>, ApiError> {
    let page = params.page()?;
    params.end()?;
    Ok(Json(state.store.scan_errors(id, page).await?))
}

/// What a scan found changed; empty for the first scan of a root
#[utoipa::path(get, path = "/scans/{id}/changes", params(
    ("id" = String, Path),
    ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default"),
    ("cursor" = Option<String>, Query, description = "`next` of the page before"),
), responses((status = 200, body = Page<Change>), (status = 404, body = ErrorBody)))]
pub async fn changes(
    State(state): State<AppState>,
    Id(id): Id<ScanId>,
    mut params: Params,
) -> Result<Json<Page<Change>>, ApiError> {
    let page = params.page()?;
    params.end()?;
    Ok(Json(state.store.scan_changes(id, page).await?))
}
