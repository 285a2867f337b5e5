//! `/hosts/{id}`: one host: its link, what it proved, what its owner allows, what happened.

use axum::extract::{Path, State};
use hostler_model::{ByteStr, HostId, Role, Timestamp, size};
use maud::{Markup, html};

use super::of_path;
use crate::fleet::LinkStatus;
use crate::pages::activity;
use crate::pages::components::*;
use crate::pages::errors::PageError;
use crate::pages::files::scan_form::{self, NEEDS_OPERATOR};
use crate::pages::forms::NEEDS_ADMIN;
use crate::pages::query::{Query, place};
use crate::pages::shell::{Nav, Page, Viewer, crumbs};
use crate::pages::welcome::shell_word;
use crate::state::AppState;
use crate::store::{ActivityEvent, ActivityFilter, Grant, Host, PageRequest, Protocol, Root, Scan, ScanFilter};

/// Events that the page lists.
const EVENTS: u32 = 10;

/// The link of a host beside its name: a live fragment.
pub fn link_line(id: HostId, link: LinkState, last_proof: Option<Timestamp>, now: Timestamp) -> Markup {
    let (kind, word) = link.mark();
    html! { span.state.(kind) id={ "host-state-" (id) } { span { (word) " · " (proved(last_proof, now)) } } }
}

/// The capabilities of a host as cards: a live fragment.
pub fn capability_cards(host: &Host, link: LinkState, now: Timestamp) -> Markup {
    html! {
        div.stats role="group" aria-label="Capabilities" id={ "host-caps-" (host.id) } {
            @if host.capabilities.is_empty() {
                div.stat { span.k { "Capabilities" } span { (chip("outline", "dash", "not known yet")) } span.d { "The host has not described itself." } }
            }
            @for capability in &host.capabilities {
                @let proof = Proof::of(Some(capability), link);
                div.stat {
                    span.k.row-tight { (icon(if capability.name == "files" { "files" } else { "info" })) (capital(&capability.name)) }
                    span { span.chip.(proof.chip) { (icon(proof.icon)) span { (proof.word) @if proof.aged { " " (ago(capability.proved_at, now)) } } } }
                    span.d.wrap { (capability.detail) }
                }
            }
        }
    }
}

/// The warning that a second machine claims to be this host: a live fragment, empty when there is none.
pub fn duplicate_banner(host: &Host, status: &LinkStatus, now: Timestamp) -> Markup {
    html! {
        div.banner id={ "host-banner-" (host.id) } {
            @if let Some(duplicate) = &status.duplicate {
                (notice("warn", "warn", html! {
                    b { "A second machine claims to be " bdi { (host.name) } "." }
                    " It was refused " (counted(duplicate.refused, "time", "times")) ", last " (ago(duplicate.at, now))
                    @if let Some(address) = duplicate.address { ", from " code { (address) } }
                    ". If it is a copy of this host, join it anew on that machine with " code { "hostler join --new-identity" }
                    ". If you do not know it, the host's key was taken: remove the host here and join it again."
                }))
            }
        }
    }
}

/// The host's link: a live fragment.
pub fn link_panel(host: &Host, status: &LinkStatus, now: Timestamp) -> Markup {
    let by_snapfs = host.protocol == Protocol::Snapfs;
    html! {
        section.panel id={ "host-panel-" (host.id) } {
            div.panel-head { h2 { "Link" } }
            div.panel-body { dl.kv {
                @if status.linked {
                    dt { "Linked" } dd { (ago_or_dash(status.linked_at, now)) @if !by_snapfs { ", number " (host.generation) } }
                    dt { "From" } dd { @match status.address { Some(address) => code { (address) }, None => span.muted { "this machine" } } }
                } @else {
                    dt { "Linked" } dd {
                        @if by_snapfs { "no SnapFS agent is connected" }
                        @else { span.bad { "no" } @if host.generation == 0 { ", never yet" } }
                    }
                }
                @if let Some(at) = status.ended_at {
                    dt { @if status.linked { "Before that" } @else { "Ended" } }
                    dd.wrap { (ago(at, now)) @if let Some(why) = &status.ended_because { ": " (why) } }
                }
                dt { "Proved" } dd { (ago_or_dash(host.last_proof_at, now)) }
            } }
            @if by_snapfs {
                div.panel-foot { span {
                    "SnapFS clients speak for this host. " code { "snapfs scan" } " needs no agent; jobs and schedules do. "
                    a href="/settings/snapfs" { "How clients connect" }
                } }
            } @else if !status.linked {
                div.panel-foot { span { "On the host, " code { "hostler doctor" } " names what is in the way." } }
            }
        }
    }
}

/// `GET /hosts/{id}`.
pub async fn page(State(state): State<AppState>, viewer: Viewer, Path(id): Path<String>) -> Result<Markup, PageError> {
    let host = of_path(&state, &id).await?;
    let id = host.id;
    let status = state.fleet.status(id);
    let roots = state.store.roots(Some(id)).await?;
    let filter = ScanFilter { host: Some(id), ..ScanFilter::default() };
    let scans = state.store.scans(filter, PageRequest { limit: 8, cursor: None }).await?.items;
    let filter = ActivityFilter { host: Some(id), ..ActivityFilter::default() };
    let events = state.store.activity(filter, PageRequest { limit: EVENTS, cursor: None }).await?.items;
    let link = viewer.link(&host);
    let main = html! {
        (crumbs(&[("/hosts", "Hosts")], &host.name))
        (head(&host, &viewer, &status))
        (duplicate_banner(&host, &status, viewer.now))
        (answer(&viewer, &host))
        div id="capabilities" { (capability_cards(&host, link, viewer.now)) }
        div.cols.side-r {
            div.stackv { (roots_panel(&host, &roots, &viewer)) (events_panel(&host, &events, &viewer)) (scans_panel(&scans, &viewer)) }
            div.stackv { (link_panel(&host, &status, viewer.now)) (granted_panel(&host)) @if host.protocol == Protocol::Hostler { (facts_panel(&host, &viewer)) } }
        }
    };
    let about = Query::default().with("host", id.to_string().as_str());
    let topics = vec![format!("host:{id}"), activity::topic(&about, &events)];
    Ok(viewer.draw(Page { title: host.name.clone(), nav: Nav::Hosts, host: Some(&host), topics, main }))
}

fn head(host: &Host, viewer: &Viewer, status: &LinkStatus) -> Markup {
    let facts = &host.facts;
    let operator = viewer.may(Role::Operator);
    html! {
        div.page-head {
            h1 { bdi { (host.name) } }
            (link_line(host.id, viewer.link(host), host.last_proof_at, viewer.now))
            p.sub {
                @if host.protocol == Protocol::Snapfs {
                    @if facts.agent_version.is_empty() { "Scanned by SnapFS clients." }
                    @else { "Scanned by SnapFS clients · agent " (facts.agent_version) }
                }
                @else if facts.os.is_empty() { "The host has not described itself yet." }
                @else {
                    (facts.os) " · Linux " (facts.kernel)
                    @if let Some(at) = facts.booted_at { " · up " (hostler_model::time::age(viewer.now.seconds_since(at))) }
                    " · agent " (facts.agent_version)
                }
            }
            div.actions {
                @if !operator { (disabled_button("", "restart", "Prove now", NEEDS_OPERATOR)) }
                @else if host.protocol == Protocol::Snapfs {}
                @else if !status.linked { (disabled_button("", "restart", "Prove now", "The host is not linked")) }
                @else { form method="post" action={ "/hosts/" (host.id) "/probe" } { (viewer.csrf()) button.btn { (icon("restart")) "Prove now" } } }
                @if viewer.may(Role::Admin) { a.btn.danger href={ "/hosts/" (host.id) "/remove" } data-confirm { (icon("trash")) "Remove host…" } }
                @else { (disabled_button("danger", "trash", "Remove host…", NEEDS_ADMIN)) }
                @if operator { a.btn.primary href={ "/files?host=" (host.id) "#scan" } { (icon("play")) "Scan a directory" } }
                @else { (disabled_button("", "play", "Scan a directory", NEEDS_OPERATOR)) }
            }
        }
    }
}

/// What became of the proofs that were just asked for.
fn answer(viewer: &Viewer, host: &Host) -> Markup {
    let answered = viewer.query.text("answered");
    html! {
        @match answered.as_deref() {
            None => {},
            Some("failed") => (notice("bad", "warn", html! { bdi { (host.name) } " did not answer. What it proved before stays below, with its age." })),
            Some(text) => @if let Ok(milliseconds) = text.parse::<u64>() {
                (notice("ok", "check", html! { bdi { (host.name) } " answered after " (size::grouped(milliseconds)) " ms." }))
            },
        }
    }
}

fn events_panel(host: &Host, events: &[ActivityEvent], viewer: &Viewer) -> Markup {
    html! {
        section.panel {
            div.panel-head { h2 { "Recent activity" } span.push {} a.small href={ "/activity?host=" (host.id) } { "All of this host" } }
            @if events.is_empty() { (empty("activity", "Nothing has happened yet", "What the host reports appears here.", None)) }
            @else { (activity::table(events, false, EVENTS as usize, viewer.now)) }
        }
    }
}

fn roots_panel(host: &Host, roots: &[Root], viewer: &Viewer) -> Markup {
    let scan = format!("hostler scan /home --host {}", shell_word(&ByteStr::from(host.name.as_str())));
    html! {
        section.panel {
            div.panel-head { h2 { "Indexed directories" } span.push {} a.small href={ "/files?host=" (host.id) } { "Browse" } }
            @if roots.is_empty() {
                (empty("files", "No index of this host yet", "A scan makes one. It reads and changes nothing.", Some(&scan)))
            } @else {
                table.table.stack {
                    thead { tr { th scope="col" { "Directory" } th.num scope="col" { "Size" } th.num.p2 scope="col" { "Files" } th scope="col" { "Indexed" } th scope="col" { span.sr { "Actions" } } } }
                    tbody {
                        @for root in roots {
                            tr {
                                td { a href=(place("/files", host.id, &root.path)) { (path(&root.path)) } }
                                td.num.end { (bytes(root.bytes)) }
                                td.num.p2.off { (size::grouped(root.files)) }
                                td.muted.nowrap { (old(root.indexed_at, viewer.now)) }
                                td.act.end { (scan_form::again_button(viewer, host.id, &root.path, None, "sm")) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn scans_panel(scans: &[Scan], viewer: &Viewer) -> Markup {
    html! {
        section.panel {
            div.panel-head { h2 { "Recent scans" } span.push {} a.small href="/files/scans" { "All scans" } }
            @if scans.is_empty() { (empty("activity", "No scans yet", "Scans of this host appear here with what they found.", None)) }
            @else {
                table.table.stack { tbody {
                    @for scan in scans {
                        tr {
                            td { (scan_state(scan.state)) }
                            td.full { a href={ "/files/scans/" (scan.id) } { (path(&scan.root)) } span.sub { "by " (scan.requested_by) } }
                            td.num.p2.off { (counted(scan.counters.files, "file", "files")) }
                            td.muted.nowrap.num.end { (ago(scan.created_at, viewer.now)) }
                        }
                    }
                } }
            }
        }
    }
}

fn granted_panel(host: &Host) -> Markup {
    if host.protocol == Protocol::Snapfs {
        return html! {
            section.panel {
                div.panel-head { h2 { "What this host allows" } }
                div.panel-body { p.small.muted {
                    "SnapFS clients tell of the files they scan, and of nothing else. Which directories an agent takes is set on its host."
                } }
            }
        };
    }
    html! {
        section.panel {
            div.panel-head { h2 { "What this host allows" } span.sub { "from agent.toml" } }
            div.panel-body {
                @if host.grants.is_empty() { p.small.muted { "The host has not told yet." } }
                @else { dl.kv { @for grant in &host.grants { dt { (capital(&grant.capability)) } dd { (granted(grant)) } } } }
            }
            div.panel-foot { "Only the host's owner can change this, on the host." }
        }
    }
}

fn granted(grant: &Grant) -> Markup {
    html! {
        @if grant.level == "none" {
            span.muted { "not granted" }
            @if grant.capability == "files" { (plain_command("[files]\nroots = [\"/home\"]")) }
        }
        @else {
            (grant.level)
            @if !grant.roots.is_empty() { ul { @for root in &grant.roots { li { (path(root)) } } } }
            @else if grant.capability == "files" { span.muted { ", in no directory" } }
        }
    }
}

fn facts_panel(host: &Host, viewer: &Viewer) -> Markup {
    let facts = &host.facts;
    let or_dash = |text: &str| if text.is_empty() { "—".to_string() } else { text.to_string() };
    html! {
        section.panel {
            div.panel-head { h2 { "Facts" } }
            div.panel-body {
                dl.kv {
                    dt { "Host name" } dd { bdi { (or_dash(&facts.hostname)) } }
                    dt { "System" } dd { (or_dash(&facts.os)) }
                    dt { "Kernel" } dd { (or_dash(&facts.kernel)) }
                    dt { "Processors" } dd { (facts.cpus) " · " (or_dash(&facts.arch)) }
                    dt { "Memory" } dd { (bytes(facts.memory_bytes)) }
                    dt { "Started" } dd { (ago_or_dash(facts.booted_at, viewer.now)) }
                    dt { "Agent" } dd { (or_dash(&facts.agent_version)) }
                    dt { "Known" } dd { (ago(host.created_at, viewer.now)) }
                    dt { "Id" } dd { code.xs { (host.id) } }
                }
            }
        }
    }
}
