//! `/settings/webhooks`: who is told by HTTP, and what became of it. A secret is shown once, in the answer that makes it.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use hostler_model::time::age;
use hostler_model::{ByteStr, DeliveryId, Role, Timestamp, WebhookId, size};
use maud::{Markup, html};
use serde::Deserialize;

use super::draw as settings;
use crate::audit::Entry;
use crate::auth::CsrfForm;
use crate::pages::components::*;
use crate::pages::errors::{PageError, sentence};
use crate::pages::files::scans::NoFields;
use crate::pages::forms::{Confirm, error_of};
use crate::pages::shell::{Nav, Viewer, crumbs, find_host};
use crate::state::AppState;
use crate::store::{Delivery, DeliveryState, Hidden, PageRequest, StoreError, Webhook, WebhookEvent};
use crate::webhooks::{NewWebhook, WebhookChange, WebhookError};

/// What can be told, and in words.
const EVENTS: [(WebhookEvent, &str); 4] = [
    (WebhookEvent::ScanCompleted, "A scan completed"),
    (WebhookEvent::ScanFailed, "A scan failed"),
    (WebhookEvent::ScanChanges, "A scan found changes"),
    (WebhookEvent::ScheduleMissed, "A scheduled scan is late"),
];

/// The fields of a new webhook, as typed.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct WebhookFields {
    url: String,
    completed: Option<String>,
    failed: Option<String>,
    changes: Option<String>,
    missed: Option<String>,
    host: String,
    root: String,
}

impl WebhookFields {
    fn checks(&self) -> [(&'static str, WebhookEvent, bool); 4] {
        [
            ("completed", WebhookEvent::ScanCompleted, self.completed.is_some()),
            ("failed", WebhookEvent::ScanFailed, self.failed.is_some()),
            ("changes", WebhookEvent::ScanChanges, self.changes.is_some()),
            ("missed", WebhookEvent::ScheduleMissed, self.missed.is_some()),
        ]
    }
}

/// `GET /settings/webhooks`.
pub async fn list(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    viewer.require(Role::Admin)?;
    let on = || Some("on".to_owned());
    let fields = WebhookFields { failed: on(), changes: on(), missed: on(), ..WebhookFields::default() };
    draw(&state, &viewer, None, &fields, None).await
}

/// `POST /settings/webhooks`: makes a webhook and shows its secret, this once.
pub async fn create(
    State(state): State<AppState>,
    viewer: Viewer,
    CsrfForm(fields): CsrfForm<WebhookFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Admin)?;
    let host = match fields.host.trim() {
        "" => Ok(None),
        text => find_host(&state, text).await?.map(|host| Some(host.id)).ok_or("host"),
    };
    let events: Vec<WebhookEvent> =
        fields.checks().into_iter().filter(|(_, _, set)| *set).map(|(_, event, _)| event).collect();
    let wrong = match host {
        Err(field) => (field, "No host is called that.".to_owned()),
        Ok(_) if events.is_empty() => ("events", "Choose what is told.".to_owned()),
        Ok(host) => {
            let root = Some(fields.root.trim()).filter(|root| !root.is_empty()).map(ByteStr::from);
            let url = Hidden::new(fields.url.as_str());
            let new = NewWebhook { url, events, host, root, created_by: viewer.principal.name.clone() };
            match state.webhooks.create(new).await {
                Ok(made) => {
                    let page = draw(&state, &viewer, Some(&made), &WebhookFields::default(), None).await?;
                    let entry = Entry::target(&made.url);
                    return Ok(([(header::CACHE_CONTROL, "no-store")], entry, page).into_response());
                }
                Err(WebhookError::Invalid { field, text }) => (field, sentence(&text)),
                Err(error) => return Err(page_error(error)),
            }
        }
    };
    let page = draw(&state, &viewer, None, &fields, Some(&wrong)).await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}

async fn draw(
    state: &AppState,
    viewer: &Viewer,
    made: Option<&Webhook>,
    fields: &WebhookFields,
    error: Option<&(&'static str, String)>,
) -> Result<Markup, PageError> {
    let webhooks = state.store.webhooks().await?;
    let body = html! {
        @if let Some(made) = made {
            (notice("ok", "key", html! {
                div.stackv {
                    div { b { "Copy the secret of " bdi { (made.url) } " now." } " It will not be shown again." }
                    (plain_command(made.secret.reveal()))
                    div.muted.xs { "Receivers check the header " code { "webhook-signature" } " with it, as Standard Webhooks says." }
                }
            }))
        }
        (create_panel(viewer, fields, error))
        (list_panel(&webhooks, viewer))
    };
    Ok(settings(viewer, "Webhooks", body))
}

fn create_panel(viewer: &Viewer, fields: &WebhookFields, error: Option<&(&'static str, String)>) -> Markup {
    html! {
        section.panel {
            div.panel-head { h2 { "Create a webhook" } }
            form method="post" action="/settings/webhooks" {
                div.panel-body.form {
                    (viewer.csrf())
                    // Never sent back into the page with credentials in it.
                    @let url = if crate::webhooks::shown(&fields.url) == fields.url { fields.url.as_str() } else { "" };
                    (text_field("url", "URL", url, "It is sent a POST, such as https://example.com/hooks/hostler.", error_of(error, "url")))
                    div.row {
                        @for ((key, _, set), (_, label)) in fields.checks().into_iter().zip(EVENTS) {
                            label.check { input type="checkbox" name=(key) checked[set]; (label) }
                        }
                        (field_error("events", error_of(error, "events")))
                    }
                    div.form-row {
                        (text_field("host", "Only this host", &fields.host, "Its name. Empty for all.", error_of(error, "host")))
                        (text_field("root", "Only below", &fields.root, "A directory such as /srv. Empty for all.", error_of(error, "root")))
                    }
                }
                div.panel-foot { button.btn.primary { "Create webhook" } span { "The secret is shown once, on the next page." } }
            }
        }
    }
}

fn list_panel(webhooks: &[Webhook], viewer: &Viewer) -> Markup {
    html! {
        section.panel {
            div.panel-head { h2 { "Webhooks" } }
            @if webhooks.is_empty() {
                (empty("link", "No webhooks", "A webhook tells another program when a scan ends or finds changes.", Some("hostler webhooks create https://example.com/hook --event scan.changes")))
            } @else {
                table.table.stack {
                    thead { tr { th scope="col" { "URL" } th scope="col" { "State" } th.p2 scope="col" { "Told of" } th.num scope="col" { "Waiting" } th scope="col" { span.sr { "Actions" } } } }
                    tbody { @for webhook in webhooks { (row(webhook, viewer)) } }
                }
            }
        }
    }
}

fn row(webhook: &Webhook, viewer: &Viewer) -> Markup {
    let link = format!("/settings/webhooks/{}", webhook.id);
    let (switch, switch_word) = if webhook.enabled { ("disable", "Switch off") } else { ("enable", "Switch on") };
    html! {
        tr {
            td.full.wrap { a.strong href=(link) { bdi { (webhook.url) } } }
            td.full { (webhook_state(webhook, viewer.now)) }
            td.p2.off.muted.xs { @for event in &webhook.events { (event) " " } }
            td.num { (size::grouped(webhook.pending)) @if webhook.dropped > 0 { div.bad.xs { (size::grouped(webhook.dropped)) " dropped" } } }
            td.act.full { span.row {
                @if webhook.enabled { form method="post" action={ (link) "/test" } { (viewer.csrf()) button.btn.sm { "Send a test" } } }
                form method="post" action={ (link) "/" (switch) } { (viewer.csrf()) button.btn.sm { (switch_word) } }
                a.btn.sm.danger href={ (link) "/delete" } data-confirm { "Delete…" }
            } }
        }
    }
}

fn webhook_state(webhook: &Webhook, now: Timestamp) -> Markup {
    html! {
        @if !webhook.enabled {
            (state("bad", "Off"))
            @if let Some(why) = &webhook.disabled_because { div.muted.xs.wrap { (why) } }
        } @else if let Some(since) = webhook.failing_since { (state("warn", "Failing")) " " span.muted { "since " (ago(since, now)) } }
        @else if let Some(at) = webhook.delivered_at { (state("ok", "Delivers")) " " span.muted { (ago(at, now)) } }
        @else { (state("", "Nothing sent yet")) }
    }
}

/// `GET /settings/webhooks/{id}`: its deliveries.
pub async fn show(State(state): State<AppState>, viewer: Viewer, Path(id): Path<String>) -> Result<Markup, PageError> {
    viewer.require(Role::Admin)?;
    let webhook = of_path(&state, &id).await?;
    let request = PageRequest { limit: rows(&viewer.query), cursor: viewer.query.text("cursor").map(String::from) };
    let page = state.store.deliveries(webhook.id, request).await?;
    let link = format!("/settings/webhooks/{}", webhook.id);
    let pager = Pager {
        path: &link,
        query: &viewer.query,
        shown: page.items.len(),
        total: None,
        noun: "deliveries",
        next: page.next.as_deref(),
    };
    let body = html! {
        (crumbs(&[("/settings/webhooks", "Webhooks")], &webhook.url))
        section.panel {
            div.panel-head { h2 { "Deliveries" } span.sub { (webhook_state(&webhook, viewer.now)) } }
            @if page.items.is_empty() { (empty("link", "Nothing was sent yet", "What is sent to this webhook is listed here.", None)) }
            @else {
                table.table.stack {
                    thead { tr { th scope="col" { "Event" } th scope="col" { "State" } th.num scope="col" { "Tries" } th scope="col" { "Made" } th scope="col" { span.sr { "Actions" } } } }
                    tbody { @for delivery in &page.items { (delivery_row(delivery, &link, &webhook, &viewer)) } }
                }
                (pager.draw())
            }
        }
    };
    Ok(settings(&viewer, "Webhooks", body))
}

fn delivery_row(delivery: &Delivery, link: &str, webhook: &Webhook, viewer: &Viewer) -> Markup {
    let (kind, word) = match delivery.state {
        DeliveryState::Pending => ("busy", "Waiting"),
        DeliveryState::Delivered => ("ok", "Delivered"),
        DeliveryState::Failed => ("bad", "Given up"),
    };
    html! {
        tr {
            td { (delivery.event) div.mono.xs.muted { (delivery.id) } }
            td.full {
                (state(kind, word)) @if let Some(code) = delivery.response { " " span.muted { "answer " (code) } }
                @if let Some(error) = &delivery.error { div.muted.xs.wrap { (error) } }
                @if let (DeliveryState::Pending, Some(next)) = (delivery.state, delivery.next_at) { div.muted.xs { "next try in " (age(next.seconds_since(viewer.now))) } }
            }
            td.num { (delivery.attempts) }
            td.nowrap.muted { (ago(delivery.created_at, viewer.now)) }
            td.act { @if webhook.enabled { form method="post" action={ (link) "/deliveries/" (delivery.id) "/redeliver" } { (viewer.csrf()) button.btn.sm { "Send again" } } } }
        }
    }
}

async fn of_path(state: &AppState, id: &str) -> Result<Webhook, PageError> {
    let id: WebhookId = id.parse().map_err(|_| PageError::NotFound("webhook"))?;
    match state.store.webhook(id).await {
        Err(StoreError::NotFound { .. }) => Err(PageError::NotFound("webhook")),
        found => Ok(found?),
    }
}

fn page_error(error: WebhookError) -> PageError {
    match error {
        WebhookError::Store(error) => error.into(),
        error => PageError::Bad(error.to_string()),
    }
}

/// `POST /settings/webhooks/{id}/test`.
pub async fn test(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
    CsrfForm(_): CsrfForm<NoFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Admin)?;
    let webhook = of_path(&state, &id).await?;
    state.webhooks.test(webhook.id).await.map_err(page_error)?;
    let to = format!("/settings/webhooks/{}", webhook.id);
    Ok((Entry::target(webhook.url), Redirect::to(&to)).into_response())
}

/// `POST /settings/webhooks/{id}/deliveries/{delivery}/redeliver`.
pub async fn redeliver(
    State(state): State<AppState>,
    viewer: Viewer,
    Path((id, delivery)): Path<(String, String)>,
    CsrfForm(_): CsrfForm<NoFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Admin)?;
    let webhook = of_path(&state, &id).await?;
    let delivery: DeliveryId = delivery.parse().map_err(|_| PageError::NotFound("delivery"))?;
    state.webhooks.redeliver(webhook.id, delivery).await.map_err(page_error)?;
    let to = format!("/settings/webhooks/{}", webhook.id);
    Ok((Entry::target(webhook.url), Redirect::to(&to)).into_response())
}

/// `POST /settings/webhooks/{id}/enable`.
pub async fn enable(
    state: State<AppState>,
    viewer: Viewer,
    id: Path<String>,
    form: CsrfForm<NoFields>,
) -> Result<Response, PageError> {
    switch(state, viewer, id, form, true).await
}

/// `POST /settings/webhooks/{id}/disable`.
pub async fn disable(
    state: State<AppState>,
    viewer: Viewer,
    id: Path<String>,
    form: CsrfForm<NoFields>,
) -> Result<Response, PageError> {
    switch(state, viewer, id, form, false).await
}

async fn switch(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
    CsrfForm(_): CsrfForm<NoFields>,
    on: bool,
) -> Result<Response, PageError> {
    viewer.require(Role::Admin)?;
    let webhook = of_path(&state, &id).await?;
    let change = WebhookChange { enabled: Some(on), ..WebhookChange::default() };
    state.webhooks.change(webhook.id, change).await.map_err(page_error)?;
    let entry = Entry::target(webhook.url).detail(if on { "on" } else { "off" });
    Ok((entry, Redirect::to("/settings/webhooks")).into_response())
}

/// `GET /settings/webhooks/{id}/delete`: asks.
pub async fn confirm_delete(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Markup, PageError> {
    viewer.require(Role::Admin)?;
    let webhook = of_path(&state, &id).await?;
    Ok(Confirm {
        nav: Nav::Settings,
        back: ("/settings/webhooks", "Webhooks"),
        title: "Delete a webhook",
        action: &format!("/settings/webhooks/{}/delete", webhook.id),
        question: html! { "Delete the webhook to " bdi { (webhook.url) } "?" },
        text: html! { p { "What it is still to be told (" (counted(webhook.pending, "message", "messages")) ") is dropped. Its secret is of no use any more." } },
        button: html! { "Delete the webhook" },
        keep: "Keep it",
    }
    .draw(&viewer))
}

/// `POST /settings/webhooks/{id}/delete`.
pub async fn delete(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
    CsrfForm(_): CsrfForm<NoFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Admin)?;
    let webhook = of_path(&state, &id).await?;
    state.store.delete_webhook(webhook.id).await?;
    Ok((Entry::target(webhook.url), Redirect::to("/settings/webhooks")).into_response())
}
