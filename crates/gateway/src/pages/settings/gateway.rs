//! `/settings/gateway`: what this gateway is, how hosts reach it, and its backup.

use axum::extract::State;
use hostler_model::Role;
use maud::{Markup, html};

use super::draw;
use crate::doctor::{Finding, FindingState, examine};
use crate::pages::components::*;
use crate::pages::forms::NEEDS_ADMIN;
use crate::pages::shell::Viewer;
use crate::state::AppState;

/// `GET /settings/gateway`.
pub async fn page(State(state): State<AppState>, viewer: Viewer) -> Markup {
    // It dials the gateway as hosts do, so it takes its time: only when asked for.
    let findings = match viewer.may(Role::Admin) && viewer.query.has("check") {
        true => Some(examine(&state).await),
        false => None,
    };
    let body = html! {
        section.panel {
            div.panel-head { h2 { "Gateway" } }
            div.panel-body { dl.kv {
                dt { "Version" } dd { (env!("CARGO_PKG_VERSION")) }
                dt { "Here" } dd { code { (state.base_url) } }
                dt { "For hosts" } dd { code { (state.public_url) } }
                dt { "Transport" } dd { @if state.secure { "TLS" } @else { "plain HTTP" div.muted.xs { "Anyone on the way can read it. Use it on this machine only, or start the gateway with TLS." } } }
                @if let Some(pin) = state.pin { dt { "Certificate pin" } dd { code.xs.wrap { (pin) } (copy_button(&pin.to_string())) } }
                dt { "Hosts linked" } dd { (hostler_model::size::grouped(state.fleet.linked_count() as u64)) }
                dt { "Id" } dd { code.xs.wrap { (state.gateway_id) } }
            } }
        }
        section.panel {
            div.panel-head { h2 { "Backup" } }
            div.panel-body.stackv {
                p { "One file with all that the gateway keeps, and with the key of its certificate: whoever has it can pass for this gateway. Hashes of passwords and keys are in it; sessions and sign-in links are not." }
                div.row {
                    @if viewer.may(Role::Admin) { a.btn href="/api/v1/backup" download { (icon("download")) "Download a backup" } }
                    @else { (disabled_button("", "download", "Download a backup", NEEDS_ADMIN)) }
                }
                p.muted.small { "On the gateway's host, this restores one:" }
                (command("hostler gateway restore hostler.db"))
            }
        }
        (checks_panel(&viewer, findings.as_deref()))
    };
    draw(&viewer, "Gateway", body)
}

fn checks_panel(viewer: &Viewer, findings: Option<&[Finding]>) -> Markup {
    html! {
        section.panel id="checks" {
            div.panel-head {
                h2 { "Checks" } span.sub { "of the way to this gateway, its certificate, its store and its hosts" } span.push {}
                @if viewer.may(Role::Admin) { a.btn.sm href="/settings/gateway?check=1#checks" { (icon("restart")) @if findings.is_some() { "Check again" } @else { "Check now" } } }
                @else { (disabled_button("sm", "restart", "Check now", NEEDS_ADMIN)) }
            }
            @match findings {
                Some(findings) => table.table.stack { tbody { @for finding in findings { (row(finding)) } } },
                None => div.panel-body { p.small { "On a host, " code { "hostler doctor" } " walks the same way from the other end." } },
            }
        }
    }
}

fn row(finding: &Finding) -> Markup {
    let (kind, mark, word) = match finding.state {
        FindingState::Ok => ("ok", "check", "Good"),
        FindingState::Warning => ("warn", "warn", "Warning"),
        FindingState::Failed => ("bad", "x", "Failed"),
    };
    html! {
        tr {
            td { (chip(kind, mark, word)) }
            td.end { span.name { (finding.name) } }
            td.full.prose { span.wrap { (finding.detail) } @if let Some(hint) = &finding.hint { span.sub.wrap { (hint) } } }
        }
    }
}
