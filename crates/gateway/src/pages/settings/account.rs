//! `/settings/account`: one's own password and sessions.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use hostler_model::UserId;
use maud::{Markup, html};
use serde::Deserialize;

use super::users::{PASSWORD_HINT, wrong_field};
use super::{draw, sessions};
use crate::attempts::Attempt;
use crate::audit::Entry;
use crate::auth::users::{self, UserError};
use crate::auth::{CsrfForm, Peer};
use crate::pages::components::*;
use crate::pages::errors::{PageError, sentence};
use crate::pages::forms::{error_of, password_field};
use crate::pages::shell::Viewer;
use crate::state::AppState;
use crate::store::{Session, User};

const PLACE: &str = "/settings/account";

/// A change of one's own password.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct OwnPassword {
    current: String,
    password: String,
}

/// `GET /settings/account`.
pub async fn page(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    show(&state, &viewer, None).await
}

async fn show(state: &AppState, viewer: &Viewer, wrong: Option<&(&'static str, String)>) -> Result<Markup, PageError> {
    let own: Vec<Session> =
        state.store.sessions(viewer.now).await?.into_iter().filter(|s| sessions::own(s, &viewer.principal)).collect();
    let principal = &viewer.principal;
    let body = html! {
        @if wrong.is_none() && viewer.query.has("changed") {
            (notice("ok", "check", html! { "The password was changed. Your other browsers were signed out." }))
        }
        section.panel {
            div.panel-head { h2 { "My account" } }
            div.panel-body { dl.kv {
                dt { "Name" } dd { bdi { (principal.name) } }
                dt { "Role" } dd { (principal.role) }
                dt { "From" } dd { (principal.from) }
                @if let Some(at) = principal.expires_at { dt { "Signed in until" } dd { (at.exact()) } }
            } }
        }
        @if principal.user.is_some() { (password_panel(viewer, wrong)) }
        @else {
            section.panel {
                div.panel-head { h2 { "Password" } }
                div.panel-body { p { "You came by a one-time link, so there is no password to change. A user has one: " a href="/settings/users" { "add a user" } ", or on the gateway's host:" }
                    (command("hostler users create ada --role admin")) }
            }
        }
        (sessions::panel(&own, viewer, "browsers in which you are signed in", "account"))
    };
    Ok(draw(viewer, "My account", body))
}

fn password_panel(viewer: &Viewer, wrong: Option<&(&'static str, String)>) -> Markup {
    html! {
        section.panel {
            div.panel-head { h2 { "Change the password" } }
            form method="post" action={ (PLACE) "/password" } {
                div.panel-body {
                    (viewer.csrf())
                    // For password managers.
                    input type="hidden" name="username" autocomplete="username" value=(viewer.principal.name);
                    div.form-row {
                        (password_field("current", "Present password", "current-password", "", error_of(wrong, "current")))
                        (password_field("password", "New password", "new-password", PASSWORD_HINT, error_of(wrong, "password")))
                    }
                }
                div.panel-foot { button.btn.primary { "Change password" } span { "Your other browsers are signed out at once." } }
            }
        }
    }
}

/// `POST /settings/account/password`.
pub async fn change_password(
    State(state): State<AppState>,
    viewer: Viewer,
    peer: Peer,
    CsrfForm(fields): CsrfForm<OwnPassword>,
) -> Result<Response, PageError> {
    let id = viewer.principal.user.ok_or_else(|| {
        PageError::Bad("you came by a one-time link, which has no password; sign in as a user to change theirs".into())
    })?;
    let user = users::find(&state, id).await?;
    match change(&state, &user, id, &fields, peer, &viewer).await? {
        None => Ok((Entry::target(user.name), Redirect::to("/settings/account?changed=1")).into_response()),
        Some(wrong) => {
            let page = show(&state, &viewer, Some(&wrong)).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
    }
}

/// `Some` names the field that is wrong.
async fn change(
    state: &AppState,
    user: &User,
    id: UserId,
    fields: &OwnPassword,
    peer: Peer,
    viewer: &Viewer,
) -> Result<Option<(&'static str, String)>, PageError> {
    let attempts = &state.auth.attempts;
    if let Err(too_many) = attempts.begin(Attempt::SignIn, peer.0, Some(&user.name)) {
        return Ok(Some(("current", sentence(&too_many.to_string()))));
    }
    let checked = users::check_password(state, user, &fields.current).await;
    if !matches!(checked, Err(UserError::WrongPassword)) {
        attempts.forgive(Attempt::SignIn, peer.0, Some(&user.name));
    }
    let changed = match checked {
        Ok(()) => users::set_password(state, id, &fields.password, viewer.principal.session).await,
        Err(error) => Err(error),
    };
    match changed {
        Ok(()) => Ok(None),
        Err(error) => wrong_field(error).map(Some),
    }
}
