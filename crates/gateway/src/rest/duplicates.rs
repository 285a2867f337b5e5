//! `/duplicates`, `/duplicates/plan`, `/duplicates/script`.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use hostler_model::{HostId, size};
use serde::Serialize;

use super::params::Params;
use super::{ApiError, error::ErrorBody};
use crate::clock;
use crate::duplicates::{self, Action, Keep, PlanTotals, PlannedGroup, Rules, Script, Walk};
use crate::state::AppState;
use crate::store::{DuplicateGroup, DuplicateQuery, DuplicateTotals, Host, Page, Store, StoreError};

/// Most extensions of one query.
const MAX_EXTENSIONS: usize = 32;

/// Duplicates: a page of groups and the totals of all.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Duplicates {
    #[serde(flatten)]
    page: Page<DuplicateGroup>,
    /// Of all groups, not of this page.
    totals: DuplicateTotals,
}

/// Files with equal content, most reclaimable first
#[utoipa::path(get, path = "/duplicates", params(
    ("host" = Option<String>, Query, description = "only this host: id or name"),
    ("below" = Option<String>, Query, description = "only below this absolute path; percent-encoded bytes"),
    ("min_size" = Option<String>, Query, description = "files of at least this many bytes; units as in 10M"),
    ("ext" = Option<Vec<String>>, Query, description = "the name ends in a dot and this; may be repeated"),
    ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default"),
    ("cursor" = Option<String>, Query, description = "`next` of the page before"),
), responses((status = 200, body = Duplicates), (status = 400, body = ErrorBody)))]
pub async fn list(State(state): State<AppState>, mut params: Params) -> Result<Json<Duplicates>, ApiError> {
    let query = query(&*state.store, &mut params).await?;
    let page = params.page()?;
    params.end()?;
    let totals = state.store.duplicate_totals(query.clone()).await?;
    Ok(Json(Duplicates { page: state.store.duplicates(query, page).await?, totals }))
}

/// A plan: a page of groups with what becomes of each name, and the sums of all.
#[derive(Serialize, utoipa::ToSchema)]
pub struct DuplicatePlan {
    #[serde(flatten)]
    page: Page<PlannedGroup>,
    /// Of all groups, not of this page; of at most 10,000 groups and 100,000 names, those that could free most.
    totals: PlanTotals,
}

/// Which copies would stay and which would go
#[utoipa::path(get, path = "/duplicates/plan", params(
    ("host" = Option<String>, Query, description = "only this host: id or name"),
    ("below" = Option<String>, Query, description = "only below this absolute path; percent-encoded bytes"),
    ("min_size" = Option<String>, Query, description = "files of at least this many bytes; units as in 10M"),
    ("ext" = Option<Vec<String>>, Query, description = "the name ends in a dot and this; may be repeated"),
    ("keep" = Option<Keep>, Query, description = "which copy stays: newest, oldest (default), shortest-path, longest-path or first; then the first by path"),
    ("prefer" = Option<Vec<String>>, Query, description = "keep a copy below this absolute path, before the rule of keep; may be repeated, the most preferred first"),
    ("protect" = Option<Vec<String>>, Query, description = "never touch names below this absolute path; may be repeated"),
    ("action" = Option<Action>, Query, description = "what becomes of the others: remove (default), hardlink or reflink"),
    ("across_hosts" = Option<bool>, Query, description = "a copy on another host counts as the one that stays; only with action=remove"),
    ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default"),
    ("cursor" = Option<String>, Query, description = "`next` of the page before"),
), responses((status = 200, body = DuplicatePlan), (status = 400, body = ErrorBody)))]
pub async fn plan(State(state): State<AppState>, mut params: Params) -> Result<Json<DuplicatePlan>, ApiError> {
    let mut query = query(&*state.store, &mut params).await?;
    let rules = rules(&mut params)?;
    let page = params.page()?;
    params.end()?;
    let host = query.host;
    if rules.across_hosts {
        query.host = None;
    }
    let found = state.store.duplicate_files(query.clone(), page).await?;
    let items = found.items.into_iter().map(|group| duplicates::plan(group, &rules)).collect();
    let totals = duplicates::totals(&state.store, &query, &rules, host).await?;
    Ok(Json(DuplicatePlan { page: Page { items, next: found.next }, totals }))
}

/// A shell script that carries a plan out on one host
#[utoipa::path(get, path = "/duplicates/script", params(
    ("host" = Option<String>, Query, description = "id or name; may be left out when there is one host"),
    ("below" = Option<String>, Query, description = "as for the plan"),
    ("min_size" = Option<String>, Query, description = "as for the plan"),
    ("ext" = Option<Vec<String>>, Query, description = "as for the plan"),
    ("keep" = Option<Keep>, Query, description = "as for the plan"),
    ("prefer" = Option<Vec<String>>, Query, description = "as for the plan"),
    ("protect" = Option<Vec<String>>, Query, description = "as for the plan"),
    ("action" = Option<Action>, Query, description = "as for the plan"),
    ("across_hosts" = Option<bool>, Query, description = "as for the plan"),
), responses(
    (status = 200, body = String, content_type = "text/x-shellscript", description = "it does nothing unless it is called with --run"),
    (status = 400, body = ErrorBody)))]
pub async fn script(State(state): State<AppState>, mut params: Params) -> Result<Response, ApiError> {
    let mut query = query(&*state.store, &mut params).await?;
    let rules = rules(&mut params)?;
    params.end()?;
    let host = match query.host {
        Some(host) => host,
        None => Params::default().one_host(&*state.store).await?,
    };
    query.host = (!rules.across_hosts).then_some(host);
    let host = state.store.host(host).await?;
    Ok(script_response(&state, host, query, rules))
}

async fn query(store: &dyn Store, params: &mut Params) -> Result<DuplicateQuery, ApiError> {
    let query = DuplicateQuery {
        host: params.host(store).await?,
        below: params.maybe_absolute("below")?,
        min_size: params.with("min_size", size::parse)?.unwrap_or(1).max(1),
        extensions: params.all("ext")?,
    };
    match query.extensions.len() {
        0..=MAX_EXTENSIONS => Ok(query),
        _ => Err(ApiError::bad_request(format!("query parameter ext: more than {MAX_EXTENSIONS} extensions"))),
    }
}

fn rules(params: &mut Params) -> Result<Rules, ApiError> {
    let mut dirs = |name: &str| {
        let mut found = Vec::new();
        while let Some(dir) = params.maybe_absolute(name)? {
            found.push(dir);
        }
        Ok::<_, ApiError>(found)
    };
    let (prefer, protect) = (dirs("prefer")?, dirs("protect")?);
    let rules = Rules {
        keep: params.parsed("keep")?.unwrap_or_default(),
        prefer,
        protect,
        action: params.parsed("action")?.unwrap_or_default(),
        across_hosts: params.flag("across_hosts")?,
    };
    rules.check().map_err(ApiError::bad_request)?;
    Ok(rules)
}

/// The script as a download, read from the store as it is sent. A script that breaks off does nothing.
pub fn script_response(state: &AppState, host: Host, query: DuplicateQuery, rules: Rules) -> Response {
    let made = Making { walk: Walk::new(state.store.clone(), query), host, rules, at: clock::now(), begun: false };
    let body = stream::unfold(Some(made), |made| async move {
        let mut made = made?;
        match made.chunk().await {
            Ok((chunk, true)) => Some((Ok(chunk), Some(made))),
            Ok((chunk, false)) => Some((Ok(chunk), None)),
            Err(error) => Some((Err(error), None)),
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "text/x-shellscript"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"duplicates.sh\""),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, Body::from_stream(body)).into_response()
}

/// Where a script has come to.
struct Making {
    walk: Walk,
    host: Host,
    rules: Rules,
    at: hostler_model::Timestamp,
    begun: bool,
}

impl Making {
    /// The next part, and whether there are more.
    async fn chunk(&mut self) -> Result<(Vec<u8>, bool), StoreError> {
        let id: HostId = self.host.id;
        let script = Script {
            host: id,
            host_name: &self.host.name,
            kernel_name: &self.host.facts.hostname,
            rules: &self.rules,
            at: self.at,
        };
        if !self.begun {
            self.begun = true;
            return Ok((duplicates::head(&script), true));
        }
        let Some(groups) = self.walk.step().await? else {
            return Ok((duplicates::tail(self.walk.is_cut()), false));
        };
        let mut out = Vec::new();
        for group in groups {
            duplicates::write_group(&script, &duplicates::plan(group, &self.rules), &mut out);
        }
        Ok((out, true))
    }
}
