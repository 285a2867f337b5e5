//! `/settings/keys`: API keys. A key is shown once, in the answer that makes it.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use hostler_model::{ApiKeyId, Role};
use maud::{Markup, html};
use serde::Deserialize;

use super::components::*;
use super::errors::{PageError, sentence};
use super::files::scans::NoFields;
use super::shell::{Nav, Page, Viewer, crumbs};
use crate::auth::{self, CsrfForm, NewKeyError};
use crate::state::AppState;
use crate::store::{ApiKey, StoreError};

/// The title of what others see and cannot use.
const NEEDS_ADMIN: &str = "Needs the admin role";

/// The fields of a new key, as typed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct KeyFields {
    name: String,
    role: String,
}

/// `GET /settings/keys`.
pub async fn keys(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    draw(&state, &viewer, None, &KeyFields::default(), None).await
}

/// `POST /settings/keys`: makes a key and shows it, this once.
pub async fn create(
    State(state): State<AppState>,
    viewer: Viewer,
    CsrfForm(fields): CsrfForm<KeyFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Admin)?;
    let wrong = match (check_name(&fields.name), fields.role.parse::<Role>()) {
        (Err(why), _) => why,
        (_, Err(why)) => sentence(&why),
        (Ok(name), Ok(role)) => match auth::new_api_key(state.store.as_ref(), name, role).await {
            Ok((key, secret)) => {
                let page = draw(&state, &viewer, Some((&key, &secret)), &KeyFields::default(), None).await?;
                return Ok(([(header::CACHE_CONTROL, "no-store")], page).into_response());
            }
            Err(error @ (NewKeyError::Name | NewKeyError::Store(StoreError::Exists { .. }))) => {
                sentence(&error.to_string())
            }
            Err(error) => return Err(PageError::Bad(error.to_string())),
        },
    };
    let page = draw(&state, &viewer, None, &fields, Some(&wrong)).await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}

fn check_name(name: &str) -> Result<&str, String> {
    let name = name.trim();
    let good = !name.is_empty()
        && name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if good { Ok(name) } else { Err("Use up to 64 letters, digits and dashes, for example ci-deploy.".into()) }
}

async fn draw(
    state: &AppState,
    viewer: &Viewer,
    made: Option<(&ApiKey, &str)>,
    fields: &KeyFields,
    error: Option<&str>,
) -> Result<Markup, PageError> {
    let keys = state.store.api_keys().await?;
    let main = html! {
        div.page-head { h1 { "Settings" } }
        div.settings {
            nav.subnav aria-label="Settings" { a href="/settings/keys" aria-current="page" { "API keys" } }
            div.stackv {
                @if let Some((key, secret)) = made {
                    (notice("ok", "key", html! {
                        div.stackv {
                            div { b { "Copy the key " (key.name) " now." } " It is stored hashed and will not be shown again." }
                            (plain_command(secret))
                            div.muted.xs { "Send it as " code { "Authorization: Bearer" } " or " code { "X-API-Key" } ". Role " (key.role) "." }
                        }
                    }))
                }
                (create_panel(viewer, fields, error))
                (list_panel(&keys, viewer))
            }
        }
    };
    Ok(viewer.draw(Page { title: "API keys".into(), nav: Nav::Settings, host: None, topics: Vec::new(), main }))
}

fn create_panel(viewer: &Viewer, fields: &KeyFields, error: Option<&str>) -> Markup {
    let roles = [
        (Role::Viewer, "reads everything, changes nothing"),
        (Role::Operator, "also starts and cancels scans"),
        (Role::Admin, "also manages keys"),
    ];
    html! {
        section.panel {
            div.panel-head { h2 { "Create an API key" } }
            form method="post" action="/settings/keys" {
                div.panel-body {
                    (viewer.csrf())
                    div.form-row {
                        (text_field("name", "Name", &fields.name, "What will use it, for example ci-deploy.", error))
                        div.field {
                            label for="role" { "Role" }
                            select.select id="role" name="role" {
                                @for (role, what) in roles { option value=(role) selected[fields.role == role.word()] { (role) ": " (what) } }
                            }
                        }
                    }
                }
                div.panel-foot {
                    @if viewer.may(Role::Admin) { button.btn.primary { "Create key" } span { "The key is shown once, on the next page." } }
                    @else { (disabled_button("primary", "key", "Create key", NEEDS_ADMIN)) }
                }
            }
        }
    }
}

fn list_panel(keys: &[ApiKey], viewer: &Viewer) -> Markup {
    html! {
        section.panel {
            div.panel-head { h2 { "API keys" } }
            @if keys.is_empty() {
                (empty("key", "No API keys", "Programs and scripts use keys to reach this gateway.", Some("hostler api-keys create ci --role viewer")))
            } @else {
                table.table.stack {
                    thead { tr {
                        th scope="col" { "Name" } th scope="col" { "Role" } th.p2 scope="col" { "Starts with" } th scope="col" { "Last used" }
                        th.p2 scope="col" { "Created" } th scope="col" { span.sr { "Actions" } }
                    } }
                    tbody {
                        @for key in keys {
                            tr {
                                td { span.name { (key.name) } }
                                td.end { span.chip.outline { (key.role) } }
                                td.mono.xs.muted.p2.off { (key.hint) "…" }
                                td.nowrap data-l="used" { @match key.last_used_at { Some(at) => (ago(at, viewer.now)), None => span.muted { "never" } } }
                                td.p2.off.muted.nowrap { (ago(key.created_at, viewer.now)) }
                                td.act.end {
                                    @if viewer.may(Role::Admin) { a.btn.sm.danger href={ "/settings/keys/" (key.id) "/revoke" } data-confirm { "Revoke…" } }
                                    @else { button.btn.sm.danger type="button" aria-disabled="true" title=(NEEDS_ADMIN) { "Revoke…" } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `GET /settings/keys/{id}/revoke`: asks. The script shows the same form as a dialog.
pub async fn confirm_revoke(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Markup, PageError> {
    viewer.require(Role::Admin)?;
    let id: ApiKeyId = id.parse().map_err(|_| PageError::NotFound("API key"))?;
    let key = state.store.api_keys().await?.into_iter().find(|k| k.id == id).ok_or(PageError::NotFound("API key"))?;
    let main = html! {
        (crumbs(&[("/settings/keys", "API keys")], "Revoke"))
        form.card.confirm id="confirm" method="post" action={ "/settings/keys/" (id) "/revoke" } aria-labelledby="confirm-title" {
            (viewer.csrf())
            h2 id="confirm-title" { "Revoke the key " (key.name) "?" }
            p { "Whatever uses it is refused from then on. This cannot be undone; scans it started go on." }
            ul.touch { li { span.strong { (key.name) } span.muted {
                (key.role) " · " @match key.last_used_at { Some(at) => { "used " (ago(at, viewer.now)) }, None => "never used" }
            } } }
            div.row { a.btn.push href="/settings/keys" data-keep { "Keep it" } button.btn.danger-fill { "Revoke " (key.name) } }
        }
    };
    Ok(viewer.draw(Page { title: "Revoke a key".into(), nav: Nav::Settings, host: None, topics: Vec::new(), main }))
}

/// `POST /settings/keys/{id}/revoke`.
pub async fn revoke(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
    CsrfForm(_): CsrfForm<NoFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Admin)?;
    let id: ApiKeyId = id.parse().map_err(|_| PageError::NotFound("API key"))?;
    state.store.revoke_api_key(id).await?;
    Ok(Redirect::to("/settings/keys").into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_keys() {
        assert_eq!(check_name(" ci-deploy "), Ok("ci-deploy"));
        for name in ["", "ci deploy!", "<b>", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
