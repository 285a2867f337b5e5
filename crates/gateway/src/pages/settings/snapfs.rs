//! `/settings/snapfs`: how SnapFS clients reach this gateway, and who reads what they tell.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use hostler_model::{Role, size};
use maud::{Markup, html};

use super::draw;
use crate::audit::Entry;
use crate::auth::CsrfForm;
use crate::pages::components::*;
use crate::pages::errors::PageError;
use crate::pages::files::scans::NoFields;
use crate::pages::forms::{Confirm, NEEDS_ADMIN};
use crate::pages::shell::{Nav, Viewer};
use crate::state::AppState;
use crate::store::{Durable, SnapfsConsumer, StoreError};

/// `GET /settings/snapfs`.
pub async fn page(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    let consumers = state.store.snapfs_consumers().await?;
    let body = html! {
        (connect_panel(&state))
        (consumers_panel(&consumers, &viewer))
    };
    Ok(draw(&viewer, "SnapFS", body))
}

fn connect_panel(state: &AppState) -> Markup {
    let url = &state.public_url;
    let sockets = url.replacen("http", "ws", 1);
    html! {
        section.panel {
            div.panel-head { h2 { "Connect SnapFS clients" } }
            div.panel-body.stackv {
                p {
                    "The SnapFS tool and its agents can work with this gateway. Their hosts, scans and files appear beside all others. "
                    "They need an " a href="/settings/keys" { "API key" } " with the role operator, one for each host"
                    @if state.snapfs_require_key { ", also on this machine." } @else { "; programs on this machine need none." }
                }
                p.muted.small { "A scan from another machine, or an agent that waits for scans:" }
                (command(&format!("SNAPFS_GATEWAY={url} SNAPFS_API_KEY=hst_... snapfs scan /srv")))
                (command(&format!("SNAPFS_GATEWAY={url} SNAPFS_API_KEY=hst_... snapfs agent --agent-id NAME --root /srv")))
                p.muted.small { "The older " code { "snapfs-agent-scanner" } " sends no key, so it gets one in its path:" }
                (command(&format!("GATEWAY_WS={sockets} SNAPFS_GATEWAY={url} SNAPFS_AGENT_WS_PATH=/agents/hst_... SNAPFS_AGENT_ID=NAME SNAPFS_SCAN_ROOT=/srv snapfs-agent-scanner")))
                @if !state.secure {
                    p.muted.small { "This gateway speaks plain HTTP: " code { "snapfs agent" } " on another machine also wants " code { "SNAPFS_ALLOW_INSECURE_GATEWAY=1" } "." }
                }
            }
        }
    }
}

fn consumers_panel(consumers: &[SnapfsConsumer], viewer: &Viewer) -> Markup {
    html! {
        section.panel {
            div.panel-head { h2 { "Consumers" } span.sub { "Programs that read what clients tell, from " code { "/stream" } } }
            @if consumers.is_empty() {
                (empty("link", "No consumers", "A program that reads the stream is listed here with its position.", None))
            } @else {
                table.table.stack {
                    thead { tr {
                        th scope="col" { "Name" } th scope="col" { "Subject" } th.num scope="col" { "Behind" } th.num scope="col" { "Lost" }
                        th scope="col" { "Seen" } th scope="col" { span.sr { "Actions" } }
                    } }
                    tbody { @for consumer in consumers { (row(consumer, viewer)) } }
                }
            }
        }
    }
}

fn row(consumer: &SnapfsConsumer, viewer: &Viewer) -> Markup {
    html! {
        tr {
            td.wrap { span.name { (consumer.durable) } }
            td.full.mono.xs { (consumer.subject) }
            td.num data-l="behind" { (size::grouped(consumer.behind)) }
            td.num data-l="lost" { @if consumer.lost > 0 { span.bad { (size::grouped(consumer.lost)) } } @else { "0" } }
            td.nowrap.full data-l="seen" { (ago(consumer.seen_at, viewer.now)) }
            td.act.full {
                @if viewer.may(Role::Admin) { a.btn.sm.danger href=(forget_link(consumer)) data-confirm { "Forget…" } }
                @else { button.btn.sm.danger type="button" aria-disabled="true" title=(NEEDS_ADMIN) { "Forget…" } }
            }
        }
    }
}

/// Both names have only characters that need no escape.
fn forget_link(consumer: &SnapfsConsumer) -> String {
    format!("/settings/snapfs/{}/{}/forget", consumer.subject, consumer.durable)
}

/// `GET /settings/snapfs/{subject}/{durable}/forget`: asks.
pub async fn confirm_forget(
    State(state): State<AppState>,
    viewer: Viewer,
    Path((subject, durable)): Path<(String, String)>,
) -> Result<Markup, PageError> {
    viewer.require(Role::Admin)?;
    let consumers = state.store.snapfs_consumers().await?;
    let consumer = consumers.into_iter().find(|c| c.subject == subject && c.durable == durable);
    let consumer = consumer.ok_or(PageError::NotFound("consumer"))?;
    Ok(Confirm {
        nav: Nav::Settings,
        back: ("/settings/snapfs", "SnapFS"),
        title: "Forget a consumer",
        action: &forget_link(&consumer),
        question: html! { "Forget the position of " (consumer.durable) "?" },
        text: html! { p { "It has read " (consumer.subject) " up to message " (size::grouped(consumer.position)) ". When it connects again, it gets everything from the oldest message that is kept." } },
        button: html! { "Forget the consumer" },
        keep: "Keep it",
    }
    .draw(&viewer))
}

/// `POST /settings/snapfs/{subject}/{durable}/forget`.
pub async fn forget(
    State(state): State<AppState>,
    viewer: Viewer,
    Path((subject, name)): Path<(String, String)>,
    CsrfForm(_): CsrfForm<NoFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Admin)?;
    let entry = Entry::target(format!("{name} of {subject}"));
    match state.store.forget_snapfs_consumer(Durable { subject, name }).await {
        Err(StoreError::NotFound { .. }) => Err(PageError::NotFound("consumer")),
        other => {
            other?;
            Ok((entry, Redirect::to("/settings/snapfs")).into_response())
        }
    }
}
