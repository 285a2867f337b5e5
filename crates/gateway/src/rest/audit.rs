//! `/audit`.

use axum::Json;
use axum::extract::State;
use hostler_model::Role;

use super::params::Params;
use super::{ApiError, error::ErrorBody};
use crate::auth::Principal;
use crate::state::AppState;
use crate::store::{AuditEntry, AuditFilter, AuditResult, Page};

/// Who changed what, the newest first; kept for two years
#[utoipa::path(get, path = "/audit", params(
    ("who" = Option<String>, Query, description = "the name holds this"),
    ("action" = Option<String>, Query, description = "this action, or those that start with this and a dot: hosts or hosts.remove"),
    ("host" = Option<String>, Query, description = "only to this host: id, also of a removed one, or name"),
    ("result" = Option<AuditResult>, Query, description = "ok, refused or failed"),
    ("since" = Option<String>, Query, description = "within this age, such as 7d, or after this RFC 3339 time"),
    ("until" = Option<String>, Query, description = "before that"),
    ("limit" = Option<u32>, Query, description = "1 to 1000, 100 by default"),
    ("cursor" = Option<String>, Query, description = "`next` of the page before"),
), responses((status = 200, body = Page<AuditEntry>), (status = 403, body = ErrorBody)))]
pub async fn list(
    State(state): State<AppState>,
    principal: Principal,
    mut params: Params,
) -> Result<Json<Page<AuditEntry>>, ApiError> {
    principal.require(Role::Admin)?;
    let filter = AuditFilter {
        who: params.text("who")?,
        action: params.text("action")?,
        host: params.past_host(&*state.store).await?,
        result: params.parsed("result")?,
        since: params.instant("since")?,
        until: params.instant("until")?,
    };
    let page = params.page()?;
    params.end()?;
    Ok(Json(state.store.audit(filter, page).await?))
}
