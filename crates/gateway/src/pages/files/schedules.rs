//! `/files/schedules`: what is scanned again and again, when next, and how it went last.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use hostler_model::time::age;
use hostler_model::{HostId, Role, Timestamp};
use maud::{Markup, html};

use super::scan_form::NEEDS_OPERATOR;
use super::scans::NoFields;
use crate::audit::{scan_entry, schedule_entry};
use crate::auth::CsrfForm;
use crate::pages::components::*;
use crate::pages::errors::PageError;
use crate::pages::forms::Confirm;
use crate::pages::shell::{Nav, Page, Viewer, files_tabs};
use crate::schedules::step::Plan;
use crate::schedules::{ScheduleChange, ScheduleError};
use crate::state::AppState;
use crate::store::{PageRequest, RunOutcome, Schedule, ScheduleFilter, StoreError, WaitsFor};

/// `GET /files/schedules`.
pub async fn list(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    let host: Option<HostId> = viewer.query.parsed("host");
    let filter = ScheduleFilter { host, root: viewer.query.get("root").cloned() };
    let filtered = filter != ScheduleFilter::default();
    let request = PageRequest { limit: rows(&viewer.query), cursor: viewer.query.text("cursor").map(String::from) };
    let page = state.store.schedules(filter, request).await?;
    let pager = Pager {
        path: "/files/schedules",
        query: &viewer.query,
        shown: page.items.len(),
        total: None,
        noun: "schedules",
        next: page.next.as_deref(),
    };
    let main = html! {
        div.page-head { h1 { "Files" } div.actions { a.btn.primary href="/files/schedules/new" { (icon("plus")) "New schedule" } } }
        (files_tabs("Schedules"))
        @if !page.items.is_empty() || filtered {
            form.filters action="/files/schedules" { (kept(&viewer.query)) (viewer.host_select()) button.btn data-plain { "Filter" } }
        }
        section.panel aria-label="Schedules" {
            @if page.items.is_empty() && filtered { (empty("clock", "No such schedules", "Take a filter away to see more.", None)) }
            @else if page.items.is_empty() {
                (empty("clock", "No schedules yet", "A schedule scans a directory again and again, at night if you like.", Some("hostler scans schedule /home --at 'daily 03:30'")))
            } @else {
                table.table.stack {
                    thead { tr {
                        th scope="col" { "Directory" } th scope="col" { "Host" } th scope="col" { "How often" } th scope="col" { "Next run" }
                        th scope="col" { "Last run" } th.p3 scope="col" { "By" } th scope="col" { span.sr { "Actions" } }
                    } }
                    tbody { @for schedule in &page.items { (row(schedule, &viewer)) } }
                }
                (pager.draw())
            }
        }
    };
    let about = host.and_then(|id| viewer.host(id));
    Ok(viewer.draw(Page { title: "Schedules".into(), nav: Nav::Files, host: about, topics: Vec::new(), main }))
}

fn row(schedule: &Schedule, viewer: &Viewer) -> Markup {
    let link = format!("/files/schedules/{}", schedule.id);
    html! {
        tr {
            td.full { a.strong href=(link) { (path(&schedule.root)) } }
            td { a href={ "/hosts/" (schedule.host) } { bdi { (schedule.host_name) } } }
            td.full { span.nowrap { (schedule.cadence) } div.muted.xs { (schedule.zone) @if let Some(window) = &schedule.window { ", only " (window) } } }
            td.full data-l="next" { (next_run(schedule, viewer.now)) }
            td.full data-l="last" { (last_run(schedule, viewer.now)) }
            td.p3.off.muted { bdi { (schedule.created_by) } }
            td.act.full { (actions(schedule, &link, viewer)) }
        }
    }
}

fn next_run(schedule: &Schedule, now: Timestamp) -> Markup {
    let state = &schedule.state;
    html! {
        @if let Some(scan) = state.running { a href={ "/files/scans/" (scan) } { span.state.busy { "Running" } } }
        @else if let Some(due) = state.due_at {
            span.state.warn title={ "Due " (due.exact()) } { (waits(schedule, now)) }
        }
        @else if !schedule.enabled { span.state { "Off" } }
        @else if let Some(at) = state.next_run_at {
            time datetime=(at) title=(at.exact()) { "in " (age(at.seconds_since(now))) }
        }
        @else { span.state.bad { "Never" } }
    }
}

/// What a run that is due waits for.
fn waits(schedule: &Schedule, now: Timestamp) -> String {
    match schedule.state.waits_for {
        Some(WaitsFor::Host) => "Waits for the host".into(),
        Some(WaitsFor::Root) => "Waits for another scan".into(),
        Some(WaitsFor::Window) => match Plan::of(schedule).ok().and_then(|plan| plan.opens_after(now)) {
            Some(at) => format!("Waits for its time, in {}", age(at.seconds_since(now))),
            None => "Waits for its time".into(),
        },
        None => "Begins".into(),
    }
}

fn last_run(schedule: &Schedule, now: Timestamp) -> Markup {
    let Some(last) = &schedule.state.last_run else { return html! { span.muted { "none yet" } } };
    let (kind, word) = match last.outcome {
        RunOutcome::Completed => ("ok", "Completed"),
        RunOutcome::Cancelled => ("warn", "Cancelled"),
        RunOutcome::Skipped => ("warn", "Skipped"),
        RunOutcome::Failed => ("bad", "Failed"),
    };
    html! {
        @match last.scan {
            Some(scan) => a href={ "/files/scans/" (scan) } { (state(kind, word)) },
            None => (state(kind, word)),
        }
        " " span.muted { (ago(last.at, now)) }
        @if !last.message.is_empty() { div.muted.xs.wrap { (last.message) } }
    }
}

fn actions(schedule: &Schedule, link: &str, viewer: &Viewer) -> Markup {
    let (switch, switch_word) = if schedule.enabled { ("disable", "Switch off") } else { ("enable", "Switch on") };
    if !viewer.may(Role::Operator) {
        return html! { button.btn.sm type="button" aria-disabled="true" title=(NEEDS_OPERATOR) { "Run now" } };
    }
    html! {
        span.row {
            form method="post" action={ (link) "/run" } { (viewer.csrf()) button.btn.sm aria-label={ "Run now: " (schedule.root) } { "Run now" } }
            form method="post" action={ (link) "/" (switch) } { (viewer.csrf()) button.btn.sm aria-label={ (switch_word) ": " (schedule.root) } { (switch_word) } }
            a.btn.sm.danger href={ (link) "/delete" } data-confirm aria-label={ "Delete the schedule of " (schedule.root) } { "Delete…" }
        }
    }
}

/// The schedule that an address names.
pub async fn of_path(state: &AppState, id: &str) -> Result<Schedule, PageError> {
    let id = id.parse().map_err(|_| PageError::NotFound("schedule"))?;
    match state.store.schedule(id).await {
        Err(StoreError::NotFound { .. }) => Err(PageError::NotFound("schedule")),
        found => Ok(found?),
    }
}

/// `POST /files/schedules/{id}/run`: begins a scan and goes to its page.
pub async fn run(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
    CsrfForm(_): CsrfForm<NoFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Operator)?;
    let schedule = of_path(&state, &id).await?;
    let scan = state.schedules.run_now(schedule.id, viewer.principal.name.clone()).await.map_err(page_error)?;
    Ok((scan_entry(&scan), Redirect::to(&format!("/files/scans/{}", scan.id))).into_response())
}

/// `POST /files/schedules/{id}/enable`.
pub async fn enable(
    state: State<AppState>,
    viewer: Viewer,
    id: Path<String>,
    form: CsrfForm<NoFields>,
) -> Result<Response, PageError> {
    switch(state, viewer, id, form, true).await
}

/// `POST /files/schedules/{id}/disable`.
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
    viewer.require(Role::Operator)?;
    let schedule = of_path(&state, &id).await?;
    let change = ScheduleChange { enabled: Some(on), ..ScheduleChange::default() };
    let schedule = state.schedules.change(schedule.id, change).await.map_err(page_error)?;
    Ok((schedule_entry(&schedule), Redirect::to("/files/schedules")).into_response())
}

fn page_error(error: ScheduleError) -> PageError {
    match error {
        ScheduleError::Store(error) => error.into(),
        error => PageError::Bad(error.to_string()),
    }
}

/// `GET /files/schedules/{id}/delete`: asks.
pub async fn confirm_delete(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
) -> Result<Markup, PageError> {
    viewer.require(Role::Operator)?;
    let schedule = of_path(&state, &id).await?;
    Ok(Confirm {
        nav: Nav::Files,
        back: ("/files/schedules", "Schedules"),
        title: "Delete a schedule",
        action: &format!("/files/schedules/{id}/delete"),
        question: html! { "Delete the schedule of " (name(&schedule.root)) "?" },
        text: html! {
            p { "The directory is not scanned by itself any more. Its index and its scans stay, also one that runs now." }
            ul.touch { li { span.strong { (schedule.cadence) } span.muted { " on " bdi { (schedule.host_name) } } } }
        },
        button: html! { "Delete the schedule" },
        keep: "Keep it",
    }
    .draw(&viewer))
}

/// `POST /files/schedules/{id}/delete`.
pub async fn delete(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
    CsrfForm(_): CsrfForm<NoFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Operator)?;
    let schedule = of_path(&state, &id).await?;
    state.store.delete_schedule(schedule.id).await?;
    Ok((schedule_entry(&schedule), Redirect::to("/files/schedules")).into_response())
}
