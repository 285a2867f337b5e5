//! `/files/scans`: what was scanned, by whom, with what result; and one scan.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use hostler_model::{HostId, Role, ScanId, ScanState, Timestamp, size};
use maud::{Markup, html};
use serde::Deserialize;

use super::compare::change_row;
use super::scan_form;
use crate::audit::scan_entry;
use crate::auth::CsrfForm;
use crate::events::ScanUpdate;
use crate::pages::components::*;
use crate::pages::errors::PageError;
use crate::pages::live::{scan_panel, scans_panels};
use crate::pages::query::place;
use crate::pages::shell::{Nav, Page, Viewer, crumbs, files_tabs};
use crate::scans::SetPausedError;
use crate::state::AppState;
use crate::store::{
    Change, MAX_SCAN_CHANGES, MAX_SCAN_ERRORS, Page as ListPage, PageRequest, Scan, ScanError, ScanFilter,
};

/// `GET /files/scans`.
pub async fn history(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    let chosen: Option<ScanState> = viewer.query.parsed("state");
    let host: Option<HostId> = viewer.query.parsed("host");
    let filter = ScanFilter { host, root: viewer.query.get("root").cloned(), states: chosen.into_iter().collect() };
    let request = PageRequest { limit: rows(&viewer.query), cursor: viewer.query.text("cursor").map(String::from) };
    let page = state.store.scans(filter.clone(), request).await?;
    let pager = Pager {
        path: "/files/scans",
        query: &viewer.query,
        shown: page.items.len(),
        total: None,
        noun: "scans",
        next: page.next.as_deref(),
    };
    let filtered = host.is_some() || chosen.is_some() || filter.root.is_some();
    let main = html! {
        div.page-head { h1 { "Files" } div.actions { a.btn.primary href="/files#scan" { (icon("play")) "Scan a directory" } } }
        (files_tabs("Scans"))
        (scans_panels(&state.scans.active(), viewer.may(Role::Operator), viewer.principal.csrf.as_deref(), viewer.now))
        form.filters action="/files/scans" {
            (kept(&viewer.query))
            (viewer.host_select())
            select.select name="state" id="filter" aria-label="State" {
                option value="" { "Any state" }
                @for each in [ScanState::Queued, ScanState::Running, ScanState::Completed, ScanState::Cancelled, ScanState::Failed] {
                    option value=(each) selected[chosen == Some(each)] { (capital(each.word())) }
                }
            }
            @if let Some(root) = &filter.root {
                (hidden("root", root))
                (pill(html! { "directory " (name(root)) }, "directory", &viewer.query.first_page().without(&["root"]).link("/files/scans")))
            }
            button.btn data-plain { "Filter" }
        }
        section.panel aria-label="Scans" {
            @if page.items.is_empty() && filtered { (empty("activity", "No such scans", "Take a filter away to see more.", None)) }
            @else if page.items.is_empty() { (empty("activity", "No scans yet", "Each scan is listed here with what it found.", Some("hostler scan /home"))) }
            @else {
                table.table.stack {
                    thead { tr {
                        th scope="col" { "State" } th scope="col" { "Directory" } th scope="col" { "Host" } th.p3 scope="col" { "By" }
                        th scope="col" { "Asked" } th.num.p2 scope="col" { "Took" } th.num.p2 scope="col" { "Files" } th.num.p3 scope="col" { "Hashed" }
                        th.p2 scope="col" { "Changes" } th.num scope="col" { "Errors" }
                    } }
                    tbody { @for scan in &page.items { (row(scan, &viewer)) } }
                }
                (pager.draw())
            }
        }
    };
    let about = host.and_then(|id| viewer.host(id));
    Ok(viewer.draw(Page { title: "Scans".into(), nav: Nav::Scans, host: about, topics: vec!["scans".into()], main }))
}

fn row(scan: &Scan, viewer: &Viewer) -> Markup {
    let counters = &scan.counters;
    html! {
        tr {
            td { (scan_state(scan.state)) }
            td.full { a.strong href={ "/files/scans/" (scan.id) } { (path(&scan.root)) } }
            td { a href={ "/hosts/" (scan.host) } { bdi { (scan.host_name) } } }
            td.p3.off.muted { (scan.requested_by) }
            td.nowrap.muted.end { (ago(scan.created_at, viewer.now)) }
            td.num.p2.off.nowrap { @match took(scan, viewer.now) { Some(text) => (text), None => span.muted { "—" } } }
            td.num.p2.off { (size::grouped(counters.files)) }
            td.num.p3.off { (bytes(counters.hashed_bytes)) }
            td.p2.off.nowrap { (change_counts(scan)) }
            td.num.end { @if counters.errors == 0 { span.muted { "0" span.sr { " errors" } } } @else { a.bad href={ "/files/scans/" (scan.id) "?tab=errors" } { (size::grouped(counters.errors)) span.sr { " errors" } } } }
        }
    }
}

/// How long the scan took, or has taken.
fn took(scan: &Scan, now: Timestamp) -> Option<String> {
    scan.started_at.map(|from| span(from, scan.ended_at.unwrap_or(now)))
}

fn change_counts(scan: &Scan) -> Markup {
    let counters = &scan.counters;
    html! {
        @if scan.first { span.muted { "first scan" } }
        @else {
            span.ok title="Created" { "+" (size::grouped(counters.created)) } " "
            span.warn title={ "Modified; " (size::grouped(counters.metadata)) " more differ in owner, mode or links only" } { "~" (size::grouped(counters.modified + counters.metadata)) } " "
            span.bad title="Deleted" { "−" (size::grouped(counters.deleted)) }
            @if counters.moved > 0 { " " span title="Moved" { "→" (size::grouped(counters.moved)) } }
        }
    }
}

/// `GET /files/scans/{id}`.
pub async fn show(State(state): State<AppState>, viewer: Viewer, Path(id): Path<String>) -> Result<Markup, PageError> {
    let id: ScanId = id.parse().map_err(|_| PageError::NotFound("scan"))?;
    let scan = state.store.scan(id).await?;
    let tab = viewer.query.text("tab").unwrap_or_else(|| "changes".into());
    let request = PageRequest { limit: rows(&viewer.query), cursor: viewer.query.text("cursor").map(String::from) };
    let ended = scan.state.is_final();
    let body = match &*tab {
        "options" => options_panel(&scan),
        "errors" => errors_panel(&scan, &state.store.scan_errors(id, request).await?, &viewer),
        _ if ended => changes_panel(&scan, &state.store.scan_changes(id, request).await?, &viewer),
        _ => html! {},
    };
    let title = format!("Scan of {}", scan.root.display());
    let main = html! {
        (crumbs(&[("/files", "Files"), ("/files/scans", "Scans")], &scan.root.display()))
        div.page-head {
            h1 { "Scan of " (name(&scan.root)) }
            (scan_state(scan.state))
            p.sub {
                a href={ "/hosts/" (scan.host) } { bdi { (scan.host_name) } } " · asked " (ago(scan.created_at, viewer.now)) " by " bdi { (scan.requested_by) }
                @if let (true, Some(text)) = (ended, took(&scan, viewer.now)) { " · took " (text) }
            }
            div.actions {
                @if scan.state == ScanState::Completed {
                    a.btn href={ "/files/compare?host=" (scan.host) "&root=" (scan.root.to_query()) "&until=" (scan.id) } { (icon("diff")) "Compare" }
                    a.btn href=(place("/files", scan.host, &scan.root)) { (icon("files")) "Browse" }
                }
                a.btn href={ (place("/files/schedules/new", scan.host, &scan.root)) "&of=" (scan.id) } { (icon("clock")) "Schedule" }
                @if ended { (scan_form::again_button(&viewer, scan.host, &scan.root, Some(&scan.options), "")) }
            }
        }
        @if !ended {
            @let update = state.scans.live(id).unwrap_or_else(|| ScanUpdate { scan: scan.clone(), rate: None, current: None, cancelling: false, paused: false, pausable: false });
            (scan_panel(&update, viewer.may(Role::Operator), viewer.principal.csrf.as_deref(), viewer.now))
        }
        @if let Some(error) = &scan.error {
            (notice("bad", "warn", html! { b { "The scan did not complete." } " " (error) " The index is as it was before." }))
        } @else if scan.state == ScanState::Cancelled {
            (notice("warn", "info", html! { "The scan was cancelled. The index is as it was before." }))
        }
        @if ended { (totals(&scan)) }
        (tabs(&scan, &tab, ended))
        (body)
    };
    let topics = if ended { Vec::new() } else { vec![format!("scan:{id}")] };
    let host = state.store.host(scan.host).await?;
    Ok(viewer.draw(Page { title, nav: Nav::Scans, host: Some(&host), topics, main }))
}

fn tabs(scan: &Scan, open: &str, ended: bool) -> Markup {
    let counters = &scan.counters;
    let changes = counters.created + counters.modified + counters.metadata + counters.deleted + counters.moved;
    let tabs = [
        ("changes", "Changes", (!scan.first && ended).then_some(changes)),
        ("errors", "Errors", Some(counters.errors)),
        ("options", "Options", None),
    ];
    html! {
        nav.tabs aria-label="Scan" {
            @for (key, label, count) in tabs {
                @if key != "changes" || ended {
                    a href={ "/files/scans/" (scan.id) "?tab=" (key) } aria-current=[(key == open).then_some("page")] {
                        (label) @if let Some(count) = count { " " span.n { (size::grouped(count)) } }
                    }
                }
            }
        }
    }
}

fn totals(scan: &Scan) -> Markup {
    let counters = &scan.counters;
    html! {
        div.stats {
            div.stat { span.k { "Files" } span.v { (size::grouped(counters.files)) } span.d { (counted(counters.dirs, "directory", "directories")) " · " (size::grouped(counters.others)) " others" } }
            div.stat { span.k { "Size" } span.v { (bytes(counters.bytes)) } span.d { "walked" } }
            div.stat { span.k { "Hashed" } span.v { (bytes(counters.hashed_bytes)) } span.d { (counted(counters.hashed_files, "file", "files")) " read" } }
            div.stat { span.k { "Changes" } span.v { (change_counts(scan)) } span.d { @if scan.first { "everything is new" } @else { "since the scan before" } } }
            div.stat { span.k { "Errors" } span.v { (size::grouped(counters.errors)) } span.d { @if counters.errors == 0 { "all was readable" } @else { "names not readable" } } }
        }
    }
}

fn changes_panel(scan: &Scan, page: &ListPage<Change>, viewer: &Viewer) -> Markup {
    let link = format!("/files/scans/{}", scan.id);
    let counters = &scan.counters;
    let kept = (counters.created + counters.modified + counters.metadata + counters.deleted).min(MAX_SCAN_CHANGES);
    let pager = Pager {
        path: &link,
        query: &viewer.query,
        shown: page.items.len(),
        // What moved along with its directory is counted and not listed.
        total: (counters.moved == 0).then_some(kept),
        noun: "changes",
        next: page.next.as_deref(),
    };
    html! {
        section.panel aria-label="Changes" {
            @if scan.state != ScanState::Completed { (empty("diff", "No changes recorded", "Only a completed scan changes the index.", None)) }
            @else if scan.first { (empty("diff", "The first scan of this directory", "Everything is new, so nothing is listed one by one. The next scan lists what changed.", None)) }
            @else if page.items.is_empty() { (empty("diff", "Nothing changed", "The directory is as the scan before found it.", None)) }
            @else {
                table.table.stack {
                    thead { tr { th scope="col" { "Path" } th.p2 scope="col" { "What" } th.num scope="col" { "Before" } th.num scope="col" { "After" } } }
                    tbody { @for change in &page.items { (change_row(scan.host, &scan.root, change)) } }
                }
                (pager.draw())
            }
        }
    }
}

fn errors_panel(scan: &Scan, page: &ListPage<ScanError>, viewer: &Viewer) -> Markup {
    let link = format!("/files/scans/{}", scan.id);
    let pager = Pager {
        path: &link,
        query: &viewer.query,
        shown: page.items.len(),
        total: Some(scan.counters.errors.min(MAX_SCAN_ERRORS)),
        noun: "errors",
        next: page.next.as_deref(),
    };
    html! {
        section.panel aria-label="Errors" {
            @if page.items.is_empty() { (empty("check", "No errors", "Every name was readable.", None)) }
            @else {
                table.table.stack {
                    thead { tr { th scope="col" { "Path" } th scope="col" { "Could not" } th scope="col" { "Why" } } }
                    tbody {
                        @for error in &page.items {
                            tr { td.full { (path(&error.path)) @if error.path.is_empty() { span.muted { "the directory itself" } } } td { (error.operation) } td.end.muted.wrap { (error.message) } }
                        }
                    }
                }
                @if scan.counters.errors > MAX_SCAN_ERRORS { div.panel-foot { "The first " (size::grouped(MAX_SCAN_ERRORS)) " of " (size::grouped(scan.counters.errors)) " are kept." } }
                (pager.draw())
            }
        }
    }
}

fn options_panel(scan: &Scan) -> Markup {
    let options = &scan.options;
    let yes = |set: bool| if set { "yes" } else { "no" };
    html! {
        section.panel aria-label="Options" { div.panel-body {
            dl.kv {
                dt { "Hash" } dd { (options.algorithm) }
                dt { "Hash files from" } dd { @if options.hash_min_size == 0 { "any size" } @else { (bytes(options.hash_min_size)) } }
                dt { "Hash files up to" } dd { @if options.hash_max_size == 0 { "any size" } @else { (bytes(options.hash_max_size)) } }
                dt { "Hash everything again" } dd { (yes(options.force)) }
                dt { "Stay on one filesystem" } dd { (yes(options.one_file_system)) }
                dt { "Enter snapshots" } dd { (yes(options.snapshots)) }
                dt { "Limits" } dd { (super::limits::words(&options.limits)) }
                dt { "Leave out" } dd { @if options.excludes.is_empty() { span.muted { "nothing" } } @for each in &options.excludes { code { (each) } " " } }
                dt { "Id" } dd { code.xs { (scan.id) } (copy_button(&scan.id.to_string())) }
            }
        } }
    }
}

/// A form with nothing but its token.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct NoFields {}

/// `POST /files/scans/{id}/pause`.
pub async fn pause(
    state: State<AppState>,
    viewer: Viewer,
    id: Path<String>,
    form: CsrfForm<NoFields>,
) -> Result<Response, PageError> {
    set_paused(state, viewer, id, form, true).await
}

/// `POST /files/scans/{id}/resume`.
pub async fn resume(
    state: State<AppState>,
    viewer: Viewer,
    id: Path<String>,
    form: CsrfForm<NoFields>,
) -> Result<Response, PageError> {
    set_paused(state, viewer, id, form, false).await
}

async fn set_paused(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
    CsrfForm(_): CsrfForm<NoFields>,
    paused: bool,
) -> Result<Response, PageError> {
    viewer.require(Role::Operator)?;
    let id: ScanId = id.parse().map_err(|_| PageError::NotFound("scan"))?;
    let scan = match state.scans.set_paused(id, paused).await {
        Ok(scan) => scan,
        // Its page says how it ended.
        Err(SetPausedError::Ended(_) | SetPausedError::Ending) => state.scans.scan(id).await?,
        Err(SetPausedError::Store(error)) => return Err(error.into()),
        Err(error) => return Err(PageError::Bad(error.to_string())),
    };
    Ok((scan_entry(&scan), Redirect::to(&format!("/files/scans/{id}"))).into_response())
}

/// `POST /files/scans/{id}/cancel`.
pub async fn cancel(
    State(state): State<AppState>,
    viewer: Viewer,
    Path(id): Path<String>,
    CsrfForm(_): CsrfForm<NoFields>,
) -> Result<Response, PageError> {
    viewer.require(Role::Operator)?;
    let id: ScanId = id.parse().map_err(|_| PageError::NotFound("scan"))?;
    let scan = state.scans.cancel(id).await?;
    Ok((scan_entry(&scan), Redirect::to(&format!("/files/scans/{id}"))).into_response())
}
