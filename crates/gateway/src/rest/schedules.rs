//! `/schedules`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use hostler_model::{ByteStr, Role, ScanId, ScanOptions, ScheduleId};
use serde::{Deserialize, Serialize};

use super::params::{Body, Id, Params, find_host};
use super::{ApiError, error::ErrorBody};
use crate::audit::{Entry, schedule_entry};
use crate::auth::Principal;
use crate::schedules::{NewSchedule, ScheduleChange};
use crate::state::AppState;
use crate::store::{Page, Schedule, ScheduleFilter};

/// A schedule to make.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewScheduleBody {
    /// Id or name; may be left out when there is one host.
    #[serde(default)]
    host: Option<String>,
    /// Absolute path of a directory the host's owner has granted.
    root: ByteStr,
    /// What to leave out, how to hash, what to use of the machine.
    #[serde(default)]
    options: ScanOptions,
    /// `every 6h`, `hourly`, `daily 03:30`, `weekly sun 03:30`, `monthly 1 03:30` or five fields of cron(5).
    cadence: String,
    /// IANA name of the time zone whose clocks count; the gateway's own by default.
    #[serde(default)]
    zone: Option<String>,
    /// `22:00-06:00` or `mon-fri 22:00-06:00`: outside, a scan waits or pauses.
    #[serde(default)]
    window: Option<String>,
    /// Come up to ten minutes later, so that many schedules do not start at once; by default for `every` and `hourly`.
    #[serde(default)]
    spread: Option<bool>,
    /// False to switch it on later.
    #[serde(default = "yes")]
    enabled: bool,
}

fn yes() -> bool {
    true
}

/// What is to be different; what is left out stays.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ScheduleChangeBody {
    /// Absolute path.
    #[serde(default)]
    root: Option<ByteStr>,
    /// All options anew.
    #[serde(default)]
    options: Option<ScanOptions>,
    /// How often.
    #[serde(default)]
    cadence: Option<String>,
    /// Time zone.
    #[serde(default)]
    zone: Option<String>,
    /// When it may run; an empty text takes the window away.
    #[serde(default)]
    window: Option<String>,
    /// Spread the runs of many schedules.
    #[serde(default)]
    spread: Option<bool>,
    /// On or off.
    #[serde(default)]
    enabled: Option<bool>,
}

/// The scan that was queued.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Started {
    scan: ScanId,
}

/// Schedules by host's name and directory
#[utoipa::path(get, path = "/schedules", params(
    ("host" = Option<String>, Query, description = "only this host: id or name"),
    ("root" = Option<String>, Query, description = "only this directory; percent-encoded bytes"),
    ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default"),
    ("cursor" = Option<String>, Query, description = "`next` of the page before"),
), responses((status = 200, body = Page<Schedule>)))]
pub async fn list(State(state): State<AppState>, mut params: Params) -> Result<Json<Page<Schedule>>, ApiError> {
    let filter = ScheduleFilter { host: params.host(&*state.store).await?, root: params.bytes("root") };
    let page = params.page()?;
    params.end()?;
    Ok(Json(state.store.schedules(filter, page).await?))
}

/// Make a schedule
#[utoipa::path(post, path = "/schedules", request_body = NewScheduleBody,
    responses((status = 201, body = Schedule), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub async fn create(
    State(state): State<AppState>,
    principal: Principal,
    Body(new): Body<NewScheduleBody>,
) -> Result<(StatusCode, Entry, Json<Schedule>), ApiError> {
    principal.require(Role::Operator)?;
    let host = match &new.host {
        Some(host) => find_host(&*state.store, host).await?,
        None => Params::default().one_host(&*state.store).await?,
    };
    let schedule = NewSchedule {
        host,
        root: new.root,
        options: new.options,
        cadence: new.cadence,
        zone: new.zone,
        window: new.window,
        spread: new.spread,
        enabled: new.enabled,
        created_by: principal.name,
    };
    let schedule = state.schedules.create(schedule).await?;
    Ok((StatusCode::CREATED, schedule_entry(&schedule), Json(schedule)))
}

/// One schedule with its next and its last run
#[utoipa::path(get, path = "/schedules/{id}", params(("id" = String, Path)),
    responses((status = 200, body = Schedule), (status = 404, body = ErrorBody)))]
pub async fn show(State(state): State<AppState>, Id(id): Id<ScheduleId>) -> Result<Json<Schedule>, ApiError> {
    Ok(Json(state.store.schedule(id).await?))
}

/// Change a schedule, switch it off or on
#[utoipa::path(patch, path = "/schedules/{id}", request_body = ScheduleChangeBody, params(("id" = String, Path)),
    responses((status = 200, body = Schedule), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub async fn change(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id<ScheduleId>,
    Body(change): Body<ScheduleChangeBody>,
) -> Result<(Entry, Json<Schedule>), ApiError> {
    principal.require(Role::Operator)?;
    let change = ScheduleChange {
        root: change.root,
        options: change.options,
        cadence: change.cadence,
        zone: change.zone,
        window: change.window,
        spread: change.spread,
        enabled: change.enabled,
    };
    let schedule = state.schedules.change(id, change).await?;
    Ok((schedule_entry(&schedule), Json(schedule)))
}

/// Delete a schedule; its scans stay
#[utoipa::path(delete, path = "/schedules/{id}", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub async fn delete(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id<ScheduleId>,
) -> Result<(Entry, StatusCode), ApiError> {
    principal.require(Role::Operator)?;
    let schedule = state.store.schedule(id).await?;
    state.store.delete_schedule(id).await?;
    Ok((schedule_entry(&schedule), StatusCode::NO_CONTENT))
}

/// Run it now, whatever its time window says
#[utoipa::path(post, path = "/schedules/{id}/run", params(("id" = String, Path)),
    responses((status = 201, body = Started), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
pub async fn run(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id<ScheduleId>,
) -> Result<(StatusCode, Entry, Json<Started>), ApiError> {
    principal.require(Role::Operator)?;
    let scan = state.schedules.run_now(id, principal.name).await?;
    Ok((StatusCode::CREATED, crate::audit::scan_entry(&scan), Json(Started { scan: scan.id })))
}
