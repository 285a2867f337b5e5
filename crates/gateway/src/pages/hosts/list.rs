//! `/hosts`: who is linked, what each host can do, when that was proved.

use axum::extract::State;
use hostler_model::{HostId, Role, Timestamp, size};
use maud::{Markup, html};

use crate::pages::components::*;
use crate::pages::errors::PageError;
use crate::pages::forms::NEEDS_ADMIN;
use crate::pages::shell::{Nav, Page, Viewer};
use crate::state::AppState;
use crate::store::{HostCounts, HostQuery, HostRow, HostSort, LinkedNow, Protocol};

const PLACE: &str = "/hosts";
/// The states of a link, with their word in the query.
const LINKS: [(LinkState, &str); 3] =
    [(LinkState::Linked, "linked"), (LinkState::Stale, "stale"), (LinkState::Down, "down")];

/// `GET /hosts`.
pub async fn page(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    let query = &viewer.query;
    let key = query.text("sort").unwrap_or_else(|| "name".into());
    let descending = query.text("order").as_deref() == Some("desc");
    let wanted = query.text("link").and_then(|word| LINKS.iter().find(|(_, w)| *w == word).map(|(link, _)| *link));
    let offset = query.parsed::<u64>("cursor").unwrap_or(0);
    let asked = HostQuery {
        text: query.text("q").map(String::from),
        link: wanted,
        sort: match &*key {
            "link" => HostSort::Link,
            "system" => HostSort::System,
            "files" => HostSort::Files,
            "size" => HostSort::Size,
            _ => HostSort::Name,
        },
        descending,
        offset,
        limit: rows(query),
    };
    let (shown, counts) = state.store.hosts_page(asked, linked_now(&state, viewer.now)).await?;
    let total = wanted.map_or(counts.all(), |link| counts.of(link));
    let to = offset.saturating_add(shown.len() as u64);
    let next = (to < total && !shown.is_empty()).then(|| to.to_string());
    let sorting = Sorting { path: PLACE, query, key: &key, descending };
    let pager =
        Pager { path: PLACE, query, shown: shown.len(), total: Some(total), noun: "hosts", next: next.as_deref() };
    let main = html! {
        div.page-head {
            h1 { "Hosts" }
            p.sub { (summary(counts, viewer.host_count)) ". Each mark is a proof with its age, not a promise." }
            div.actions {
                @if viewer.may(Role::Admin) { a.btn.primary href="/hosts/join" { (icon("plus")) "Add a host" } }
                @else { (disabled_button("", "plus", "Add a host", NEEDS_ADMIN)) }
            }
        }
        form.filters action=(PLACE) role="search" {
            (kept(query))
            label.input-icon {
                span.sr { "Filter by name" } (icon("search"))
                input.input id="filter" type="search" name="q" placeholder="Filter by name" value=(query.text("q").unwrap_or_default());
            }
            select.select name="link" aria-label="Link" {
                option value="" { "Any link" }
                @for (link, word) in LINKS { option value=(word) selected[wanted == Some(link)] { (link.mark().1) " (" (size::grouped(counts.of(link))) ")" } }
            }
            button.btn data-plain { "Filter" }
        }
        section.panel aria-label="Hosts" {
            @if viewer.host_count == 0 {
                (empty("hosts", "No hosts yet", "Hosts appear here when their agent links to this gateway. This makes a line to paste on one:", Some("hostler hosts token")))
            } @else if shown.is_empty() {
                (empty("hosts", "No host has that in its name", "Clear the filter to see all hosts.", None))
            } @else {
                table.table.stack.caps-table {
                    thead { tr {
                        (sorting.head("name", "Name", "")) (sorting.head("link", "Link", "")) th scope="col" { "Files" }
                        th.p2 scope="col" { "Indexed" } (sorting.head("files", "Files indexed", "num p2")) (sorting.head("size", "Size", "num"))
                        (sorting.head("system", "System", "p3"))
                    } }
                    tbody { @for host in &shown { (row(host, viewer.now)) } }
                }
                (pager.draw())
            }
        }
    };
    let topics = shown.iter().map(|row| format!("row:{}", row.host.id)).collect();
    Ok(viewer.draw(Page { title: "Hosts".into(), nav: Nav::Hosts, host: None, topics, main }))
}

/// Who is linked now.
fn linked_now(state: &AppState, now: Timestamp) -> LinkedNow {
    let lately = i64::try_from(state.fleet.stale_after_seconds()).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    LinkedNow {
        hosts: state.fleet.linked_hosts(),
        fresh_since: Timestamp::from_micros(now.micros().saturating_sub(lately)),
    }
}

/// `10,000 hosts · 9,998 linked, 2 not`.
fn summary(counts: HostCounts, all: u64) -> String {
    let shown = counts.all();
    let hosts = match shown == all {
        true => counted(all, "host", "hosts"),
        false => format!("{} of {}", size::grouped(shown), counted(all, "host", "hosts")),
    };
    let mut text = format!("{hosts} · {} linked", size::grouped(counts.linked));
    for (count, word) in [(counts.stale, "stale"), (counts.down, "not")] {
        if count > 0 {
            text.push_str(&format!(", {} {word}", size::grouped(count)));
        }
    }
    text
}

fn row(row: &HostRow, now: Timestamp) -> Markup {
    let HostRow { host, link, roots, files, bytes: indexed } = row;
    let none = *roots == 0;
    html! {
        tr {
            td { a.name href={ "/hosts/" (host.id) } { bdi { (host.name) } }
                @if host.facts.hostname != host.name && !host.facts.hostname.is_empty() { span.sub { bdi { (host.facts.hostname) } } } }
            td.end { (link_cell(host.id, *link, host.last_proof_at, now)) }
            td.capcell { (capability_cell(host, "files", *link, now)) }
            td.p2.off { @if none { span.muted { "—" } } @else { a href={ "/files?host=" (host.id) } { (counted(*roots, "directory", "directories")) } } }
            td.num.p2.off { @if none { span.muted { "—" } } @else { (size::grouped(*files)) } }
            td.num.end { @if none { span.muted { "—" } } @else { (bytes(*indexed)) } }
            td.p3.off { @if host.protocol == Protocol::Snapfs { "SnapFS clients" span.sub { (host.facts.agent_version) } } @else if host.facts.os.is_empty() { span.muted { "—" } } @else { (host.facts.os) span.sub { (host.facts.kernel) " · " (host.facts.arch) } } }
        }
    }
}

/// The link of a host in the table: a live fragment.
pub fn link_cell(id: HostId, link: LinkState, last_proof: Option<Timestamp>, now: Timestamp) -> Markup {
    let (kind, word) = link.mark();
    html! { div id={ "host-link-" (id) } { (state(kind, word)) span.sub { (proved(last_proof, now)) } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_what_matches() {
        let counts = HostCounts { linked: 9_998, stale: 0, down: 2 };
        assert_eq!(summary(counts, 10_000), "10,000 hosts · 9,998 linked, 2 not");
        assert_eq!(
            summary(HostCounts { linked: 1, stale: 1, down: 0 }, 10_000),
            "2 of 10,000 hosts · 1 linked, 1 stale"
        );
    }
}
