//! `/users`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use hostler_model::{Role, UserId};
use serde::Deserialize;

use super::params::{Body, Id, Params};
use super::{ApiError, error::ErrorBody};
use crate::attempts::Attempt;
use crate::audit::Entry;
use crate::auth::users::{self, UserError};
use crate::auth::{Peer, Principal};
use crate::state::AppState;
use crate::store::{Page, User};

/// A user to make.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// 1 to 64 letters, digits, dots, dashes, underscores or @; not in use, whatever the case.
    name: String,
    /// What they may do.
    role: Role,
    /// 10 to 1,024 bytes.
    password: String,
}

/// What to change.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserChange {
    /// What they may do.
    role: Role,
}

/// A password to set.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// 10 to 1,024 bytes.
    password: String,
    /// The present one; needed to change one's own.
    #[serde(default)]
    current: Option<String>,
}

/// All users by name
#[utoipa::path(get, path = "/users", responses((status = 200, body = Page<User>), (status = 403, body = ErrorBody)))]
pub async fn list(
    State(state): State<AppState>,
    principal: Principal,
    params: Params,
) -> Result<Json<Page<User>>, ApiError> {
    principal.require(Role::Admin)?;
    params.end()?;
    Ok(Json(Page { items: state.store.users().await?, next: None }))
}

/// Make a user
#[utoipa::path(post, path = "/users", request_body = NewUser,
    responses((status = 201, body = User), (status = 409, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub async fn create(
    State(state): State<AppState>,
    principal: Principal,
    Body(new): Body<NewUser>,
) -> Result<(StatusCode, Entry, Json<User>), ApiError> {
    principal.require(Role::Admin)?;
    let user = users::create(&state, &new.name, new.role, &new.password).await?;
    let entry = Entry::target(&user.name).detail(format!("role {}", user.role));
    Ok((StatusCode::CREATED, entry, Json(user)))
}

/// Change what a user may do, at once
///
/// There need not be an admin among the users: on the gateway's host the local socket is one.
#[utoipa::path(patch, path = "/users/{id}", params(("id" = String, Path)), request_body = UserChange,
    responses((status = 200, body = User), (status = 404, body = ErrorBody)))]
pub async fn change(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id<UserId>,
    Body(change): Body<UserChange>,
) -> Result<(Entry, Json<User>), ApiError> {
    principal.require(Role::Admin)?;
    let user = users::set_role(&state, id, change.role).await?;
    Ok((Entry::target(&user.name).detail(format!("role {}", user.role)), Json(user)))
}

/// Delete a user; their sessions end at once
///
/// Also the last one: on the gateway's host the local socket is an admin, and `hostler users create` makes a new one.
#[utoipa::path(delete, path = "/users/{id}", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = ErrorBody)))]
pub async fn delete(
    State(state): State<AppState>,
    principal: Principal,
    Id(id): Id<UserId>,
) -> Result<(Entry, StatusCode), ApiError> {
    principal.require(Role::Admin)?;
    let user = users::find(&state, id).await?;
    users::delete(&state, id).await?;
    Ok((Entry::target(user.name), StatusCode::NO_CONTENT))
}

/// Set a user's password, one's own or as an admin anybody's; their other sessions end at once
#[utoipa::path(post, path = "/users/{id}/password", params(("id" = String, Path)), request_body = NewPassword,
    responses((status = 204), (status = 403, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub async fn set_password(
    State(state): State<AppState>,
    principal: Principal,
    peer: Peer,
    Id(id): Id<UserId>,
    Body(new): Body<NewPassword>,
) -> Result<(Entry, StatusCode), ApiError> {
    let own = principal.user == Some(id);
    if !own {
        principal.require(Role::Admin)?;
    }
    let user = users::find(&state, id).await?;
    if own {
        // Who finds a browser signed in must not take the account over.
        let current = new.current.as_deref().unwrap_or_default();
        state.auth.attempts.begin(Attempt::SignIn, peer.0, Some(&user.name))?;
        match users::check_password(&state, &user, current).await {
            Err(error @ UserError::WrongPassword) => {
                return Err(ApiError::from(error).hint("send the present password as `current`"));
            }
            other => {
                state.auth.attempts.forgive(Attempt::SignIn, peer.0, Some(&user.name));
                other?;
            }
        }
    }
    users::set_password(&state, id, &new.password, principal.session.filter(|_| own)).await?;
    Ok((Entry::target(user.name), StatusCode::NO_CONTENT))
}
