//! `/settings/keys`: API keys. A key is shown once, in the answer that makes it.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use hostler_model::time::age;
use hostler_model::{ApiKeyId, Role, Timestamp};
use maud::{Markup, html};
use serde::Deserialize;

use super::draw as settings;
use crate::audit::Entry;
use crate::auth::{self, CsrfForm, NewKeyError};
use crate::clock;
use crate::pages::components::*;
use crate::pages::errors::{PageError, sentence};
use crate::pages::files::scans::NoFields;
use crate::pages::forms::{Confirm, NEEDS_ADMIN, role_field};
use crate::pages::shell::{Nav, Viewer};
use crate::state::AppState;
use crate::store::{ApiKey, StoreError};

/// How long a key can be made to work: days, and in words. The first is the one that is offered.
const LIFETIMES: [(&str, &str); 5] =
    [("90", "90 days"), ("7", "7 days"), ("30", "30 days"), ("365", "1 year"), ("never", "no expiry")];

/// The fields of a new key, as typed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct KeyFields {
    name: String,
    role: String,
    /// Days until it expires, or `never`.
    expires: String,
}

impl KeyFields {
    fn expiry(&self) -> Result<Option<Timestamp>, String> {
        match self.expires.as_str() {
            "" | "never" => Ok(None),
            days => match days.parse::<u64>() {
                Ok(days) if (1..=3650).contains(&days) => Ok(Some(clock::in_seconds(days * 86_400))),
                _ => Err("choose how long the key works, up to ten years".into()),
            },
        }
    }
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
    let expiry = fields.expiry().map_err(PageError::Bad)?;
    let wrong = match (check_name(&fields.name), fields.role.parse::<Role>()) {
        (Err(why), _) => why,
        (_, Err(why)) => sentence(&why),
        (Ok(name), Ok(role)) => match auth::new_api_key(state.store.as_ref(), name, role, expiry).await {
            Ok((key, secret)) => {
                let page = draw(&state, &viewer, Some((&key, &secret)), &KeyFields::default(), None).await?;
                let entry = Entry::target(&key.name).detail(format!("role {}", key.role));
                return Ok(([(header::CACHE_CONTROL, "no-store")], entry, page).into_response());
            }
            Err(error @ (NewKeyError::Name | NewKeyError::Expired | NewKeyError::Store(StoreError::Exists { .. }))) => {
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
    let body = html! {
        @if let Some((key, secret)) = made {
            (notice("ok", "key", html! {
                div.stackv {
                    div { b { "Copy the key " (key.name) " now." } " It is stored hashed and will not be shown again." }
                    (plain_command(secret))
                    div.muted.xs {
                        "Send it as " code { "Authorization: Bearer" } " or " code { "X-API-Key" } ". Role " (key.role) ", "
                        @match key.expires_at { Some(at) => { "expires " (at.exact()) }, None => "no expiry" } "."
                    }
                }
            }))
        }
        (create_panel(viewer, fields, error))
        (list_panel(&keys, viewer))
    };
    Ok(settings(viewer, "API keys", body))
}

fn create_panel(viewer: &Viewer, fields: &KeyFields, error: Option<&str>) -> Markup {
    html! {
        section.panel {
            div.panel-head { h2 { "Create an API key" } }
            form method="post" action="/settings/keys" {
                div.panel-body {
                    (viewer.csrf())
                    div.form-row {
                        (text_field("name", "Name", &fields.name, "What will use it, for example ci-deploy.", error))
                        (role_field(&fields.role))
                        div.field {
                            label for="expires" { "Works for" }
                            select.select id="expires" name="expires" {
                                @for (days, label) in LIFETIMES { option value=(days) selected[fields.expires == days] { (label) } }
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
                        th.p2 scope="col" { "Created" } th scope="col" { "Expiry" } th scope="col" { span.sr { "Actions" } }
                    } }
                    tbody {
                        @for key in keys {
                            tr {
                                td { span.name { (key.name) } }
                                td.end { span.chip.outline { (key.role) } }
                                td.mono.xs.muted.p2.off { (key.hint) "…" }
                                td.nowrap.full data-l="used" { @match key.last_used_at { Some(at) => (ago(at, viewer.now)), None => span.muted { "never" } } }
                                td.p2.off.muted.nowrap { (ago(key.created_at, viewer.now)) }
                                td.full { (expiry(key, viewer.now)) }
                                td.act.full {
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

/// When a key stops working: a chip.
fn expiry(key: &ApiKey, now: Timestamp) -> Markup {
    /// A key that has less than this left is marked.
    const SOON_SECONDS: u64 = 7 * 86_400;
    html! {
        @match key.expires_at {
            None => span.chip { "no expiry" },
            Some(at) if at <= now => span.chip.bad title=(at.exact()) { (icon("x")) "expired " (ago(at, now)) },
            Some(at) => {
                @let left = at.seconds_since(now);
                span.chip.(if left < SOON_SECONDS { "warn" } else { "info" }) title=(at.exact()) { (icon("clock")) "expires in " (age(left)) }
            },
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
    Ok(Confirm {
        nav: Nav::Settings,
        back: ("/settings/keys", "API keys"),
        title: "Revoke a key",
        action: &format!("/settings/keys/{id}/revoke"),
        question: html! { "Revoke the key " (key.name) "?" },
        text: html! {
            p { "Whatever uses it is refused from then on. This cannot be undone; scans it started go on." }
            ul.touch { li { span.strong { (key.name) } span.muted {
                (key.role) " · " @match key.last_used_at { Some(at) => { "used " (ago(at, viewer.now)) }, None => "never used" }
            } } }
        },
        button: html! { "Revoke " (key.name) },
        keep: "Keep it",
    }
    .draw(&viewer))
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
    let name = state.store.api_keys().await?.into_iter().find(|k| k.id == id).map(|k| k.name).unwrap_or_default();
    auth::revoke_api_key(&state, id).await?;
    Ok((Entry::target(name), Redirect::to("/settings/keys")).into_response())
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
