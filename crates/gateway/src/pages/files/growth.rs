//! `/files/growth`: how a directory grew, and how much of it was exchanged.

use axum::extract::State;
use hostler_model::{ByteStr, HostId, Timestamp, size};
use maud::{Markup, html};

use super::chart::{self, Axis};
use super::compare;
use super::path_crumbs;
use crate::pages::components::*;
use crate::pages::errors::PageError;
use crate::pages::query::{Query, place};
use crate::pages::shell::{Nav, Page, Viewer, crumbs};
use crate::state::AppState;
use crate::store::{Growth, GrowthChange, GrowthOfChild, GrowthQuery, StoreError};

const PATH: &str = "/files/growth";
/// The times to choose from: the word in the address, in seconds, and what is said.
const RANGES: [(&str, i64, &str); 4] =
    [("24h", 86_400, "24 h"), ("7d", 7 * 86_400, "7 d"), ("30d", 30 * 86_400, "30 d"), ("1y", 365 * 86_400, "1 y")];

/// `GET /files/growth?host=&path=&range=`.
pub async fn page(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    let only = if viewer.host_count == 1 { viewer.hosts.first().map(|h| h.id) } else { None };
    let host: Option<HostId> = viewer.query.parsed("host").or(only);
    let at = viewer.query.get("path").cloned();
    let (host, at) = match (host, at) {
        (Some(host), Some(at)) => (host, at),
        (host, _) => {
            let mut roots = state.store.roots(host).await?;
            if roots.len() != 1 {
                return Ok(compare::choose(&viewer, host, &roots, "Growth", PATH, "path"));
            }
            let root = roots.remove(0);
            (root.host, root.path)
        }
    };
    let word = viewer.query.text("range");
    let (range, seconds, _) = RANGES.into_iter().find(|(w, ..)| Some(*w) == word.as_deref()).unwrap_or(RANGES[2]);
    let since = Timestamp::from_micros(viewer.now.micros().saturating_sub(seconds * 1_000_000));
    let growth = match state.store.growth(GrowthQuery { host, path: at.clone(), since }).await {
        Ok(growth) => growth,
        Err(StoreError::NotFound { .. }) => {
            return Err(PageError::Bad(format!("no index holds the directory {at}; scan it, or a directory above it")));
        }
        Err(error) => return Err(error.into()),
    };
    let here = Query::default().with("host", host.to_string().as_str()).with("path", at.clone());
    let main = html! {
        (crumbs(&[("/files", "Files")], "Growth"))
        div.page-head {
            h1 { "Growth" }
            div.actions {
                a.btn href=(compare::of(host, &at)) { (icon("diff")) "Changes" }
                a.btn href=(place("/files", host, &at)) { (icon("files")) "Browse" }
            }
        }
        div.row {
            (path_crumbs(&growth.root, &at, |to| with_range(host, to, range)))
            nav.push.group aria-label="Time" {
                @for (word, _, label) in RANGES {
                    a.btn.sm href=(here.with("range", word).link(PATH)) aria-current=[(word == range).then_some("page")] { (label) }
                }
            }
        }
        (stats(&growth))
        (charts(&growth, Axis { from: since, to: viewer.now }, range))
        (children(&growth, host, range))
        (points_table(&growth))
    };
    let title = format!("Growth of {}", at.display());
    Ok(viewer.draw(Page { title, nav: Nav::Files, host: viewer.host(host), topics: Vec::new(), main }))
}

fn with_range(host: HostId, to: &ByteStr, range: &str) -> String {
    format!("{}&range={range}", place(PATH, host, to))
}

/// `+1.20 GiB`, `−3.00 MiB`, `0 B`.
pub fn signed_bytes(change: i64) -> String {
    format!("{}{}", sign(change), size::human(change.unsigned_abs()))
}

fn signed_count(change: i64) -> String {
    format!("{}{}", sign(change), size::grouped(change.unsigned_abs()))
}

fn sign(change: i64) -> &'static str {
    match change {
        0 => "",
        1.. => "+",
        _ => "−",
    }
}

fn stats(growth: &Growth) -> Markup {
    let GrowthChange { files, bytes: grown, written_bytes, removed_bytes, changes } = growth.change;
    html! {
        div.stats {
            div.stat { span.k { "Now" } span.v { (bytes(growth.dir.size)) } span.d { (counted(growth.dir.files.unwrap_or(0), "file", "files")) } }
            div.stat { span.k { "Growth" } span.v { (signed_bytes(grown)) } span.d { (signed_count(files)) " files" } }
            div.stat { span.k { "Written" } span.v { (bytes(written_bytes)) } span.d { "new and modified files, whole" } }
            div.stat { span.k { "Removed" } span.v { (bytes(removed_bytes)) } span.d { "files that are gone" } }
            div.stat { span.k { "Changes" } span.v { (size::grouped(changes)) } span.d { "found by scans" } }
        }
    }
}

fn charts(growth: &Growth, axis: Axis, range: &str) -> Markup {
    let sizes: Vec<_> = growth.points.iter().map(|p| (p.at, p.bytes)).collect();
    let inside = growth.points.iter().filter(|p| p.at >= axis.from && p.change != GrowthChange::default());
    let churn: Vec<_> = inside.map(|p| (p.at, p.change.written_bytes, p.change.removed_bytes)).collect();
    let known = growth.known_since.filter(|known| *known > axis.from);
    html! {
        section.panel aria-label="Charts" {
            @if sizes.is_empty() {
                (empty("activity", "Nothing is known of this time", "Each scan adds a point: how large the directory is, and what changed since the scan before.", None))
            } @else {
                div.panel-body.form {
                    (chart::sizes("size-chart", "Size", axis, &sizes))
                    @if churn.is_empty() { p.muted.small { "No scan found a change in the last " (range) "." } }
                    @else { (chart::churn("churn-chart", "Churn", axis, &churn)) }
                    @if let Some(known) = known {
                        p.muted.xs { "Changes of " (name(&growth.root.path)) " are known since " time datetime=(known) { (known.exact()) } "." }
                    }
                }
            }
        }
    }
}

fn children(growth: &Growth, host: HostId, range: &str) -> Markup {
    html! {
        section.panel aria-label="Subdirectories" {
            div.panel-head { h2 { "By subdirectory" } span.muted.small { "the greatest difference first" } }
            @if growth.children.is_empty() {
                (empty("files", "No subdirectory changed", "What changed is in the directory itself, or nothing did.", None))
            } @else {
                table.table.stack {
                    thead { tr {
                        th scope="col" { "Directory" } th.num scope="col" { "Now" } th.num scope="col" { "Growth" } th.num scope="col" { "Written" }
                        th.num scope="col" { "Removed" } th.num.p3 scope="col" { "Changes" }
                    } }
                    tbody { @for child in &growth.children { (child_row(child, host, range)) } }
                }
            }
        }
    }
}

fn child_row(child: &GrowthOfChild, host: HostId, range: &str) -> Markup {
    let change = &child.change;
    let class = match change.bytes {
        0 => "muted",
        _ => "strong",
    };
    html! {
        tr {
            td.full { span.file-name { (icon_as("files", "i dir")) a.strong href=(with_range(host, &child.path, range)) { (name(&file_name(&child.path))) } (not_utf8(&child.path)) } }
            td.num.nowrap data-l="now" { (bytes(child.bytes)) }
            td.num.nowrap.end.(class) data-l="growth" title={ (signed_count(change.files)) " files" } { (signed_bytes(change.bytes)) }
            td.num.nowrap.muted data-l="written" { (bytes(change.written_bytes)) }
            td.num.nowrap.end.muted data-l="removed" { (bytes(change.removed_bytes)) }
            td.num.p3.off.muted { (size::grouped(change.changes)) }
        }
    }
}

/// What the charts show, in numbers.
fn points_table(growth: &Growth) -> Markup {
    html! {
        @if !growth.points.is_empty() {
            details.options {
                summary { (icon("right")) "The numbers of the charts" }
                section.panel aria-label="Numbers" {
                    table.table.stack {
                        thead { tr {
                            th scope="col" { "Scan of" } th.num scope="col" { "Size" } th.num.p2 scope="col" { "Files" } th.num scope="col" { "Growth" }
                            th.num scope="col" { "Written" } th.num scope="col" { "Removed" } th.num.p3 scope="col" { "Changes" }
                        } }
                        tbody { @for point in growth.points.iter().rev() {
                            tr {
                                td.nowrap.full { time datetime=(point.at) { (point.at.exact()) } }
                                td.num.nowrap data-l="size" { (bytes(point.bytes)) }
                                td.num.p2.off { (size::grouped(point.files)) }
                                td.num.nowrap.end data-l="growth" { (signed_bytes(point.change.bytes)) }
                                td.num.nowrap data-l="written" { (bytes(point.change.written_bytes)) }
                                td.num.nowrap.end data-l="removed" { (bytes(point.change.removed_bytes)) }
                                td.num.p3.off { (size::grouped(point.change.changes)) }
                            }
                        } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_have_a_sign() {
        assert_eq!(signed_bytes(2048), "+2.00 KiB");
        assert_eq!(signed_bytes(-2048), "−2.00 KiB");
        assert_eq!(signed_bytes(0), "0 B");
        assert_eq!(signed_bytes(i64::MIN), "−8.00 EiB");
    }
}
