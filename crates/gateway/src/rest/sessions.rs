//! `/me` and `/sessions`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use hostler_model::{Role, SessionId, Timestamp, UserId};
use serde::Serialize;

use super::params::{Id, Params};
use super::{ApiError, error::ErrorBody};
use crate::audit::Entry;
use crate::auth::Principal;
use crate::clock;
use crate::state::AppState;
use crate::store::{Page, Session, StoreError, Via};

/// Who asks.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Me {
    /// As in records: `ada`, `key ci-deploy`, `uid 1000 (local socket)`.
    name: String,
    role: Role,
    /// How they proved it.
    via: Via,
    /// Where from: an address, or `local socket`.
    from: String,
    /// The user; `null` for keys, the local socket and one-time links.
    user: Option<UserId>,
    /// The browser's session.
    session: Option<SessionId>,
    /// When the key or the session ends.
    expires_at: Option<Timestamp>,
}

/// Who asks, and what they may do
#[utoipa::path(get, path = "/me", responses((status = 200, body = Me), (status = 401, body = ErrorBody)))]
pub async fn me(principal: Principal, params: Params) -> Result<Json<Me>, ApiError> {
    params.end()?;
    let Principal { name, role, via, from, user, session, expires_at, .. } = principal;
    Ok(Json(Me { name, role, via, from, user, session, expires_at }))
}

/// A browser that is signed in.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SessionView {
    id: SessionId,
    /// The user; `null` for those who came by a one-time link.
    user: Option<UserId>,
    /// Who signed in.
    name: String,
    role: Role,
    created_at: Timestamp,
    /// When it was last used (within a minute).
    last_seen_at: Timestamp,
    /// When it ends at the latest; unused for seven days, it ends before.
    expires_at: Timestamp,
    /// Where it was begun from.
    address: String,
    /// What the browser says it is.
    agent: String,
    /// True for the one that asks.
    current: bool,
}

/// Browsers that are signed in, the last used first: all for admins, else one's own
#[utoipa::path(get, path = "/sessions", responses((status = 200, body = Page<SessionView>), (status = 401, body = ErrorBody)))]
pub async fn list(
    State(state): State<AppState>,
    principal: Principal,
    params: Params,
) -> Result<Json<Page<SessionView>>, ApiError> {
    params.end()?;
    let sessions = state.store.sessions(clock::now()).await?;
    let items = sessions.into_iter().filter(|s| visible(s, &principal)).map(|s| view(s, principal.session)).collect();
    Ok(Json(Page { items, next: None }))
}

/// Sign a browser out at once
#[utoipa::path(delete, path = "/sessions/{id}", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub async fn end(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id<SessionId>,
) -> Result<(Entry, StatusCode), ApiError> {
    let sessions = state.store.sessions(clock::now()).await?;
    // Others' sessions are as if they were not there.
    let session = sessions.into_iter().find(|s| s.id == id).filter(|s| visible(s, &principal));
    let session = session.ok_or(StoreError::NotFound { what: "session", id: id.to_string() })?;
    state.store.end_session_by_id(id).await?;
    state.auth.changed();
    Ok((Entry::default().detail(format!("of {}", session.name)), StatusCode::NO_CONTENT))
}

fn visible(session: &Session, principal: &Principal) -> bool {
    principal.role >= Role::Admin
        || principal.session == Some(session.id)
        || (principal.user.is_some() && principal.user == session.user)
}

fn view(session: Session, current: Option<SessionId>) -> SessionView {
    SessionView {
        id: session.id,
        user: session.user,
        name: session.name,
        role: session.role,
        created_at: session.created_at,
        last_seen_at: session.last_seen_at,
        expires_at: session.expires_at,
        address: session.address,
        agent: session.agent,
        current: current == Some(session.id),
    }
}
