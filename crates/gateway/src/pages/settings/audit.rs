//! `/settings/audit`: who changed what, from where, with what result.

use axum::extract::State;
use hostler_model::Role;
use maud::{Markup, html};

use super::draw;
use crate::pages::components::*;
use crate::pages::errors::PageError;
use crate::pages::forms::{since, since_select};
use crate::pages::shell::Viewer;
use crate::state::AppState;
use crate::store::{AuditEntry, AuditFilter, AuditResult, PageRequest};

const PLACE: &str = "/settings/audit";

/// `GET /settings/audit`.
pub async fn list(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    if !viewer.may(Role::Admin) {
        let body = notice(
            "",
            "lock",
            html! { "The audit log is shown to admins only. You are signed in as " (viewer.principal.role) "." },
        );
        return Ok(draw(&viewer, "Audit log", body));
    }
    let query = &viewer.query;
    let filter = AuditFilter {
        who: query.text("who").map(String::from),
        action: query.text("action").map(String::from),
        host: query.parsed("host"),
        since: since(query, viewer.now),
        until: None,
        result: query.parsed("result"),
    };
    let request = PageRequest { limit: rows(query), cursor: query.text("cursor").map(String::from) };
    let page = state.store.audit(filter.clone(), request).await?;
    let filtered = filter != AuditFilter::default();
    let pager =
        Pager { path: PLACE, query, shown: page.items.len(), total: None, noun: "entries", next: page.next.as_deref() };
    let body = html! {
        (filters(&viewer, &filter))
        section.panel aria-label="Audit log" {
            @if page.items.is_empty() && filtered { (empty("file", "No such entries", "Take a filter away to see more.", None)) }
            @else if page.items.is_empty() { (empty("file", "Nothing was changed yet", "Every change and every refusal is listed here, with who and from where.", None)) }
            @else {
                table.table.stack {
                    thead { tr {
                        th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "What" } th.p2 scope="col" { "Host" }
                        th scope="col" { "Result" } th.p2 scope="col" { "From" }
                    } }
                    tbody { @for entry in &page.items { (row(entry, &viewer)) } }
                }
                (pager.draw())
            }
        }
        p.muted.xs { "Entries are kept for two years and are never changed." }
    };
    Ok(draw(&viewer, "Audit log", body))
}

fn filters(viewer: &Viewer, filter: &AuditFilter) -> Markup {
    let query = &viewer.query;
    html! {
        form.filters action=(PLACE) role="search" {
            (kept(query))
            label.input-icon { span.sr { "Filter by who" } (icon("user"))
                input.input id="filter" type="search" name="who" placeholder="Filter by who" value=(filter.who.as_deref().unwrap_or_default()); }
            label.input-icon { span.sr { "Filter by action" } (icon("search"))
                input.input id="action" type="search" name="action" placeholder="Action, such as users" value=(filter.action.as_deref().unwrap_or_default()); }
            select.select name="result" aria-label="Result" {
                option value="" { "Any result" }
                @for each in AuditResult::ALL { option value=(each) selected[filter.result == Some(*each)] { (capital(each.word())) } }
            }
            (since_select(query))
            @if let (Some(host), Some(value)) = (filter.host, query.get("host")) {
                (hidden("host", value))
                (pill(html! { "host " (host) }, "host", &query.first_page().without(&["host"]).link(PLACE)))
            }
            button.btn data-plain { "Filter" }
        }
    }
}

fn row(entry: &AuditEntry, viewer: &Viewer) -> Markup {
    let (kind, mark, word) = match entry.result {
        AuditResult::Ok => ("ok", "check", "Done"),
        AuditResult::Refused => ("bad", "x", "Refused"),
        AuditResult::Failed => ("bad", "warn", "Failed"),
    };
    let of = |host: &str| viewer.query.first_page().with("host", host).link(PLACE);
    html! {
        tr {
            td.nowrap.muted { (ago(entry.at, viewer.now)) }
            td.end { span.strong { bdi { (entry.who) } } span.sub { (entry.via) @if let Some(role) = entry.role { " · " (role) } } }
            td.full { code.xs { (entry.action) } @if !entry.target.is_empty() { " " bdi.wrap { (entry.target) } } @if !entry.detail.is_empty() { span.sub.wrap { (entry.detail) } } }
            td.p2.keep { @match entry.host {
                Some(id) => a href=(of(&id.to_string())) title="Only this host" { bdi { @if entry.host_name.is_empty() { (id) } @else { (entry.host_name) } } },
                None => span.muted { "gateway" },
            } }
            td.end { (chip(kind, mark, word)) }
            td.p2.off.muted.mono.xs { (entry.from) }
        }
    }
}
