//! `/hosts/join`: the line with which a host joins, and the tokens that are about.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use hostler_model::time::age;
use hostler_model::{JoinTokenId, Role, Timestamp};
use maud::{Markup, html};
use serde::Deserialize;

use crate::audit::Entry;
use crate::auth::CsrfForm;
use crate::pages::components::*;
use crate::pages::errors::{PageError, sentence};
use crate::pages::files::scans::NoFields;
use crate::pages::forms::Confirm;
use crate::pages::shell::{Nav, Page, Viewer, crumbs};
use crate::rest::{CreatedJoinToken, new_token};
use crate::state::AppState;
use crate::store::{Host, JoinTokenRecord, StoreError};

const PLACE: &str = "/hosts/join";
/// How long a token can be made to work: seconds, and in words.
const LIFETIMES: [(&str, &str); 3] = [("3600", "1 hour"), ("86400", "1 day"), ("604800", "7 days")];
/// Tokens that the page lists, the newest.
const MAX_SHOWN: usize = 50;

/// The fields of a new token, as typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct TokenFields {
    note: String,
    expires: String,
}

/// `GET /hosts/join`.
pub async fn page(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    viewer.require(Role::Admin)?;
    draw(&state, &viewer, None, &TokenFields::default(), None).await
}

/// `POST /hosts/join`: makes a token and shows its line, this once.
pub async fn create(
    State(state): State<AppState>,
    viewer: Viewer,
    CsrfForm(fields): CsrfForm<TokenFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Admin)?;
    let seconds = fields.expires.parse().unwrap_or(0);
    match new_token(&state, &fields.note, seconds, viewer.principal.name.clone()).await {
        Ok((entry, made)) => {
            let page = draw(&state, &viewer, Some(&made), &TokenFields::default(), None).await?;
            Ok(([(header::CACHE_CONTROL, "no-store")], entry, page).into_response())
        }
        Err(error) if error.status == StatusCode::UNPROCESSABLE_ENTITY => {
            let page = draw(&state, &viewer, None, &fields, Some(&sentence(&error.message))).await?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        Err(error) => Err(PageError::Failed(error.message)),
    }
}

async fn draw(
    state: &AppState,
    viewer: &Viewer,
    made: Option<&CreatedJoinToken>,
    fields: &TokenFields,
    error: Option<&str>,
) -> Result<Markup, PageError> {
    let tokens = state.store.join_tokens().await?;
    let mut listed = Vec::new();
    for token in tokens.iter().take(MAX_SHOWN) {
        listed.push((token, used_by(state, token).await?));
    }
    let main = html! {
        (crumbs(&[("/hosts", "Hosts")], "Add a host"))
        div.page-head { h1 { "Add a host" } p.sub { "One line to paste on it. The host dials out, so no port is opened there." } }
        div.cols.side-r {
            div.stackv {
                @if only_here(&state.public_url) {
                    (notice("warn", "warn", html! {
                        "Only this machine reaches the gateway at " code { (state.public_url) } ". For other hosts, start it with " code.nowrap { "--listen" }
                        " and an address they reach, or with " code.nowrap { "--external-url" } "."
                    }))
                }
                @match made { Some(made) => (line_panel(made, viewer.now)), None => (create_panel(viewer, fields, error)) }
                (list_panel(&listed, tokens.len(), viewer))
            }
            (notes_panel())
        }
    };
    let topics = made.map(|made| format!("join:{}", made.id)).into_iter().collect();
    Ok(viewer.draw(Page { title: "Add a host".into(), nav: Nav::Hosts, host: None, topics, main }))
}

/// True when the URL names this machine only.
fn only_here(url: &str) -> bool {
    let at = url.split_once("://").map_or(url, |(_, at)| at);
    ["127.", "localhost", "[::1]"].iter().any(|local| at.starts_with(local))
}

fn create_panel(viewer: &Viewer, fields: &TokenFields, error: Option<&str>) -> Markup {
    html! {
        section.panel {
            div.panel-head { h2 { "Make a line" } span.sub { "It holds a token for one host." } }
            form method="post" action=(PLACE) {
                div.panel-body {
                    (viewer.csrf())
                    div.form-row {
                        (text_field("note", "Note", &fields.note, "What it is for, such as the host's name. May be empty.", error))
                        div.field {
                            label for="expires" { "Works for" }
                            select.select id="expires" name="expires" {
                                @for (seconds, label) in LIFETIMES { option value=(seconds) selected[fields.expires == seconds] { (label) } }
                            }
                        }
                    }
                }
                div.panel-foot { button.btn.primary { (icon("plus")) "Make the line" } span { "It is shown once, on the next page." } }
            }
        }
    }
}

fn line_panel(made: &CreatedJoinToken, now: Timestamp) -> Markup {
    html! {
        section.panel {
            div.panel-head { h2 { "Add this host" } }
            div.panel-body {
                ol.steps {
                    li.done { div {
                        h3 { "A token was made" }
                        p.muted.small { "For one host, for " (age(made.expires_at.seconds_since(now))) ". It is not shown again." }
                    } }
                    li { div {
                        h3 { "Paste this on the host" }
                        (command(&made.command))
                        p.muted.xs { "Running it again is safe. Where Hostler is installed already, this does the same:" }
                        (command(&format!("hostler join {} {}", made.url, made.token)))
                    } }
                    li { div {
                        h3 { "Wait for the host" }
                        (waiting(made.id, None, false))
                        p.muted.xs { "Nothing after a minute? On the host, " code { "hostler doctor" } " names what is in the way." }
                    } }
                }
            }
            div.panel-foot { a.btn.sm href=(PLACE) { (icon("plus")) "Make another line" } }
        }
    }
}

/// Whether a host has joined with a token: a live fragment.
pub fn waiting(token: JoinTokenId, joined: Option<&Host>, linked: bool) -> Markup {
    html! {
        div.row id={ "join-" (token) } role="status" {
            @match joined {
                None => (state("busy", "Waiting for a host to join")),
                Some(host) => {
                    span.state.(if linked { "ok" } else { "busy" }) {
                        span { "Joined: " a href={ "/hosts/" (host.id) } { bdi { (host.name) } } @if linked { ", and linked" } @else { ", waiting for its link" } }
                    }
                },
            }
        }
    }
}

/// The host that joined with a token; `None` when none did, or it was removed.
pub async fn used_by(state: &AppState, token: &JoinTokenRecord) -> Result<Option<Host>, PageError> {
    let Some(id) = token.used_by else { return Ok(None) };
    match state.store.host(id).await {
        Ok(host) => Ok(Some(host)),
        Err(StoreError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn notes_panel() -> Markup {
    html! {
        section.panel {
            div.panel-head { h2 { "What the line does" } }
            div.panel-body.prose.small.stackv {
                p { "It fetches this gateway's own program, checks its SHA-256, and runs " code { "hostler join" } ": the host makes a key that never leaves it, joins with the token, and an agent starts that dials this gateway." }
                p { b { "It grants nothing. " } "What this gateway may read there is decided by the host's owner, in " code { "agent.toml" } " on the host." }
                p { b { "As root " } "the agent is a service of the system, and starts with it." }
                p { b { "Without root " } "it is a service of that user: it reads only what that user may read, and without lingering it runs only while the user is signed in." }
            }
        }
    }
}

/// How a token stands.
fn standing(token: &JoinTokenRecord, host: Option<&Host>, now: Timestamp) -> Markup {
    html! {
        @if let Some(at) = token.used_at {
            span.chip.ok { (icon("check")) span { "used " (ago(at, now)) } }
            span.sub { @match host { Some(host) => { "by " a href={ "/hosts/" (host.id) } { bdi { (host.name) } } }, None => "by a host that was removed" } }
        }
        @else if token.revoked_at.is_some() { span.chip.bad { (icon("x")) "revoked" } }
        @else if token.expires_at <= now { span.chip { (icon("clock")) span { "expired " (ago(token.expires_at, now)) } } }
        @else { span.chip.info title=(token.expires_at.exact()) { (icon("clock")) "works for " (age(token.expires_at.seconds_since(now))) } }
    }
}

/// True when a host could still join with it.
fn works(token: &JoinTokenRecord, now: Timestamp) -> bool {
    token.used_at.is_none() && token.revoked_at.is_none() && token.expires_at > now
}

fn list_panel(tokens: &[(&JoinTokenRecord, Option<Host>)], all: usize, viewer: &Viewer) -> Markup {
    html! {
        section.panel {
            div.panel-head { h2 { "Join tokens" } }
            @if tokens.is_empty() {
                (empty("key", "No tokens yet", "Each line that was made is listed here, with the host that used it.", Some("hostler hosts token")))
            } @else {
                table.table.stack {
                    thead { tr {
                        th scope="col" { "Note" } th scope="col" { "State" } th.p2 scope="col" { "Made by" } th.p2 scope="col" { "Made" }
                        th scope="col" { span.sr { "Actions" } }
                    } }
                    tbody {
                        @for (token, host) in tokens {
                            tr {
                                td { @if token.note.is_empty() { span.muted { "no note" } } @else { span.name.wrap { bdi { (token.note) } } } }
                                td.end { (standing(token, host.as_ref(), viewer.now)) }
                                td.p2.off { bdi { (token.created_by) } }
                                td.p2.off.muted.nowrap { (ago(token.created_at, viewer.now)) }
                                td.act.full {
                                    @if works(token, viewer.now) { a.btn.sm.danger href={ (PLACE) "/" (token.id) "/revoke" } data-confirm { "Revoke…" } }
                                }
                            }
                        }
                    }
                }
                @if all > tokens.len() { div.panel-foot { "And " (all - tokens.len()) " older ones: " code { "hostler join-tokens list" } " lists all." } }
            }
        }
    }
}

/// `GET /hosts/join/{id}/revoke`: asks.
pub async fn confirm_revoke(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Markup, PageError> {
    viewer.require(Role::Admin)?;
    let token = find(&state, &id).await?;
    Ok(Confirm {
        nav: Nav::Hosts,
        back: (PLACE, "Add a host"),
        title: "Revoke a join token",
        action: &format!("{PLACE}/{}/revoke", token.id),
        question: html! { "Revoke the token?" },
        text: html! {
            p { "No host can join with it from then on. Hosts that have joined stay." }
            ul.touch { li {
                span.strong { @if token.note.is_empty() { "no note" } @else { bdi { (token.note) } } }
                span.muted { "made by " bdi { (token.created_by) } " " (ago(token.created_at, viewer.now)) }
            } }
        },
        button: html! { "Revoke it" },
        keep: "Keep it",
    }
    .draw(&viewer))
}

/// `POST /hosts/join/{id}/revoke`.
pub async fn revoke(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
    CsrfForm(_): CsrfForm<NoFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Admin)?;
    let token = find(&state, &id).await?;
    state.store.revoke_join_token(token.id, viewer.now).await?;
    let entry = Entry::target(token.id.to_string()).detail(token.note);
    Ok((entry, Redirect::to(PLACE)).into_response())
}

/// The token of a path.
async fn find(state: &AppState, id: &str) -> Result<JoinTokenRecord, PageError> {
    let id: JoinTokenId = id.parse().map_err(|_| PageError::NotFound("join token"))?;
    let tokens = state.store.join_tokens().await?;
    tokens.into_iter().find(|token| token.id == id).ok_or(PageError::NotFound("join token"))
}
