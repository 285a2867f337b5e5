//! `/hosts` and `/hosts/{id}`: who is linked, what each host can do, when that was proved.

use std::collections::HashMap;

use axum::extract::{Path, State};
use hostler_model::{HostId, Role, Timestamp, size};
use maud::{Markup, html};

use super::components::*;
use super::errors::PageError;
use super::files::scan_form;
use super::query::place;
use super::shell::{Nav, Page, Viewer, crumbs};
use crate::state::AppState;
use crate::store::{Host, PageRequest, Root, Scan, ScanFilter};

/// Hosts on one page that are followed live.
const MAX_LIVE: usize = 200;

/// The sums of a host's indexes.
#[derive(Clone, Copy, Default)]
struct Indexed {
    roots: usize,
    files: u64,
    bytes: u64,
}

/// `GET /hosts`.
pub async fn list(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    let mut indexed: HashMap<HostId, Indexed> = HashMap::new();
    for root in state.store.roots(None).await? {
        let sums = indexed.entry(root.host).or_default();
        sums.roots += 1;
        sums.files += root.files;
        sums.bytes += root.bytes;
    }
    let wanted = viewer.query.text("q").unwrap_or_default().to_lowercase();
    let key = viewer.query.text("sort").unwrap_or_else(|| "name".into());
    let descending = viewer.query.text("order").as_deref() == Some("desc");
    let mut hosts: Vec<&Host> = viewer.hosts.iter().filter(|h| h.name.to_lowercase().contains(&wanted)).collect();
    let of = |h: &Host| indexed.get(&h.id).copied().unwrap_or_default();
    match &*key {
        "link" => hosts.sort_by_key(|h| viewer.link(h)),
        "system" => hosts.sort_by(|a, b| a.facts.os.cmp(&b.facts.os)),
        "files" => hosts.sort_by_key(|h| of(h).files),
        "size" => hosts.sort_by_key(|h| of(h).bytes),
        _ => {}
    }
    if descending {
        hosts.reverse();
    }
    let rows = rows(&viewer.query) as usize;
    let from = viewer.query.parsed::<usize>("cursor").unwrap_or(0).min(hosts.len());
    let shown = &hosts[from..hosts.len().min(from + rows)];
    let next = (from + rows < hosts.len()).then(|| (from + rows).to_string());
    let sorting = Sorting { path: "/hosts", query: &viewer.query, key: &key, descending };
    let pager = Pager {
        path: "/hosts",
        query: &viewer.query,
        shown: shown.len(),
        total: Some(hosts.len() as u64),
        noun: "hosts",
        next: next.as_deref(),
    };
    let linked = viewer.hosts.iter().filter(|h| viewer.link(h) == LinkState::Linked).count();
    let main = html! {
        div.page-head {
            h1 { "Hosts" }
            p.sub { (counted(viewer.hosts.len() as u64, "host", "hosts")) " · " (linked) " linked. Each mark is a proof with its age, not a promise." }
        }
        form.filters action="/hosts" role="search" {
            (kept(&viewer.query))
            label.input-icon {
                span.sr { "Filter by name" } (icon("search"))
                input.input id="filter" type="search" name="q" placeholder="Filter by name" value=(viewer.query.text("q").unwrap_or_default());
            }
            button.btn data-plain { "Filter" }
        }
        section.panel aria-label="Hosts" {
            @if viewer.hosts.is_empty() {
                (empty("hosts", "No hosts yet", "Hosts appear here when their agent links to this gateway. This starts a gateway with an agent for its own host.", Some("hostler up")))
            } @else if shown.is_empty() {
                (empty("hosts", "No host has that in its name", "Clear the filter to see all hosts.", None))
            } @else {
                table.table.stack.caps-table {
                    thead { tr {
                        (sorting.head("name", "Name", "")) (sorting.head("link", "Link", "")) th scope="col" { "Files" }
                        th.p2 scope="col" { "Indexed" } (sorting.head("files", "Files indexed", "num p2")) (sorting.head("size", "Size", "num"))
                        (sorting.head("system", "System", "p3"))
                    } }
                    tbody { @for host in shown { (row(host, of(host), &viewer)) } }
                }
                (pager.draw())
            }
        }
    };
    let topics = shown.iter().take(MAX_LIVE).map(|h| format!("host:{}", h.id)).collect();
    Ok(viewer.draw(Page { title: "Hosts".into(), nav: Nav::Hosts, host: None, topics, main }))
}

fn row(host: &Host, indexed: Indexed, viewer: &Viewer) -> Markup {
    let link = viewer.link(host);
    html! {
        tr {
            td { a.name href={ "/hosts/" (host.id) } { bdi { (host.name) } }
                @if host.facts.hostname != host.name && !host.facts.hostname.is_empty() { span.sub { bdi { (host.facts.hostname) } } } }
            td.end { (link_cell(host.id, link, host.last_proof_at, viewer.now)) }
            td.capcell { (capability_cell(host, "files", link, viewer.now)) }
            td.p2.off { @if indexed.roots == 0 { span.muted { "—" } } @else { a href={ "/files?host=" (host.id) } { (counted(indexed.roots as u64, "directory", "directories")) } } }
            td.num.p2.off { @if indexed.roots == 0 { span.muted { "—" } } @else { (size::grouped(indexed.files)) } }
            td.num.end { @if indexed.roots == 0 { span.muted { "—" } } @else { (bytes(indexed.bytes)) } }
            td.p3.off { @if host.facts.os.is_empty() { span.muted { "—" } } @else { (host.facts.os) span.sub { (host.facts.kernel) " · " (host.facts.arch) } } }
        }
    }
}

/// The link of a host in the table: a live fragment.
pub fn link_cell(id: HostId, link: LinkState, last_proof: Option<Timestamp>, now: Timestamp) -> Markup {
    let (kind, word) = link.mark();
    html! { div id={ "host-link-" (id) } { (state(kind, word)) span.sub { (proved(last_proof, now)) } } }
}

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
                @let proof = Proof::of(Some(capability), link, now);
                div.stat {
                    span.k.row-tight { (icon(if capability.name == "files" { "files" } else { "info" })) (capital(&capability.name)) }
                    span { span.chip.(proof.chip) { (icon(proof.icon)) span { (proof.word) @if proof.aged { " " (ago(capability.proved_at, now)) } } } }
                    span.d.wrap { (capability.detail) }
                }
            }
        }
    }
}

/// `GET /hosts/{id}`.
pub async fn show(State(state): State<AppState>, viewer: Viewer, Path(id): Path<String>) -> Result<Markup, PageError> {
    let id: HostId = id.parse().map_err(|_| PageError::NotFound("host"))?;
    let host = viewer.host(id).cloned().ok_or(PageError::NotFound("host"))?;
    let roots = state.store.roots(Some(id)).await?;
    let filter = ScanFilter { host: Some(id), ..ScanFilter::default() };
    let scans = state.store.scans(filter, PageRequest { limit: 8, cursor: None }).await?.items;
    let link = viewer.link(&host);
    let facts = &host.facts;
    let main = html! {
        (crumbs(&[("/hosts", "Hosts")], &host.name))
        div.page-head {
            h1 { bdi { (host.name) } }
            (link_line(id, link, host.last_proof_at, viewer.now))
            p.sub {
                @if facts.os.is_empty() { "The host has not described itself yet." }
                @else {
                    (facts.os) " · Linux " (facts.kernel)
                    @if let Some(at) = facts.booted_at { " · up " (hostler_model::time::age(viewer.now.seconds_since(at))) }
                    " · agent " (facts.agent_version)
                }
            }
            div.actions {
                @if viewer.may(Role::Operator) { a.btn.primary href={ "/files?host=" (id) "#scan" } { (icon("play")) "Scan a directory" } }
                @else { (disabled_button("", "play", "Scan a directory", scan_form::NEEDS_OPERATOR)) }
            }
        }
        div id="capabilities" { (capability_cards(&host, link, viewer.now)) }
        div.cols.side-r {
            div.stackv { (roots_panel(&host, &roots, &viewer)) (scans_panel(&scans, &viewer)) }
            div.stackv { (granted_panel(&host)) (facts_panel(&host, &viewer)) }
        }
    };
    let topics = vec![format!("host:{id}")];
    Ok(viewer.draw(Page { title: host.name.clone(), nav: Nav::Hosts, host: Some(&host), topics, main }))
}

fn roots_panel(host: &Host, roots: &[Root], viewer: &Viewer) -> Markup {
    html! {
        section.panel {
            div.panel-head { h2 { "Indexed directories" } span.push {} a.small href={ "/files?host=" (host.id) } { "Browse" } }
            @if roots.is_empty() {
                (empty("files", "No index of this host yet", "A scan makes one. It reads and changes nothing.", Some("hostler scan /home")))
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
    let granted = capability(host, "files").map(|c| c.roots.as_slice()).unwrap_or_default();
    html! {
        section.panel {
            div.panel-head { h2 { "What this host allows" } span.sub { "from agent.toml" } }
            div.panel-body {
                @if granted.is_empty() {
                    div.stackv {
                        p.small { "No directory is granted. The host's owner grants some in agent.toml:" }
                        (plain_command("[files]\nroots = [\"/home\"]"))
                    }
                } @else {
                    dl.kv { dt { "Files" } dd { ul { @for root in granted { li { (path(root)) } } } } }
                }
            }
            div.panel-foot { "Only the host's owner can change this, on the host." }
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
                    dt { "Link" } dd { "number " (host.generation) }
                    dt { "Id" } dd { code.xs { (host.id) } }
                }
            }
        }
    }
}
