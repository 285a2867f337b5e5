//! `/files/compare`: what became of a directory between two of its scans.

use axum::extract::State;
use hostler_model::{ByteStr, ChangeOp, EntryKind, HostId, ScanId, size};
use maud::{Markup, html};

use crate::compare::{self, CompareError, Point};
use crate::pages::components::*;
use crate::pages::errors::{PageError, sentence};
use crate::pages::query::{Query, place};
use crate::pages::shell::{Nav, Page, Viewer, crumbs};
use crate::state::AppState;
use crate::store::{Change, ChangeCounts, CompareQuery, Comparison, PageRequest, Root, Scan, StoreError};

const PATH: &str = "/files/compare";
/// Scans that can be picked from a list; an address may name any.
const PICKED: u32 = 200;

/// `GET /files/compare?host=&root=&since=SCAN&until=SCAN&op=&below=`; scans as [`Point`] reads them.
pub async fn page(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    let store = &*state.store;
    let only = if viewer.host_count == 1 { viewer.hosts.first().map(|h| h.id) } else { None };
    let host: Option<HostId> = viewer.query.parsed("host").or(only);
    let picked = match host {
        Some(host) => match compare::root_of(store, host, viewer.query.get("root")).await {
            Ok(found) => Some(found),
            Err(CompareError::WhichRoot(_)) => None,
            Err(CompareError::Store(error)) => return Err(error.into()),
            Err(error) => return Err(PageError::Bad(error.to_string())),
        },
        None => None,
    };
    let Some((root, rest)) = picked else {
        let roots = store.roots(host).await?;
        return Ok(choose(&viewer, host, &roots, "Compare scans", PATH, "root"));
    };
    let below = match (rest, viewer.query.get("below")) {
        (Some(rest), Some(below)) => Some([rest.as_bytes(), b"/", below.as_bytes()].concat().into()),
        (rest, below) => rest.or(below.cloned()),
    };
    // The address that all links of the page are made of: the directory as its root and what is below.
    let mut here = viewer.query.with("host", root.host.to_string().as_str()).with("root", root.path.clone());
    here = here.without(&["below"]);
    if let Some(below) = &below {
        here.push("below", below.clone());
    }
    let found = found(&state, &viewer, &root, below.clone()).await;
    let (found, error) = match found {
        Ok(found) => (Some(found), None),
        Err(CompareError::Store(error @ (StoreError::Closed | StoreError::Database(_) | StoreError::BadCursor(_)))) => {
            return Err(error.into());
        }
        Err(error) => (None, Some(sentence(&error.to_string()))),
    };
    let scans = compare::completed(store, &root, PICKED).await?;
    let main = html! {
        (crumbs(&[("/files", "Files"), (&place("/files", root.host, &root.path), &root.path.display())], "Compare scans"))
        div.page-head {
            h1 { "Changes of " (name(&root.path)) }
            p.sub { a href={ "/hosts/" (root.host) } { bdi { (root.host_name) } } }
            div.actions {
                a.btn href=(place("/files/growth", root.host, &root.path)) { (icon("activity")) "Growth" }
                a.btn href=(place("/files", root.host, &root.path)) { (icon("files")) "Browse" }
            }
        }
        (picker(&root, &scans, found.as_ref(), below.as_ref(), &here))
        @if let Some(error) = &error { (notice("bad", "warn", html! { (error) })) }
        @if let Some(found) = &found { (result(found, &root, &here)) }
    };
    let title = format!("Changes of {}", root.path.display());
    Ok(viewer.draw(Page { title, nav: Nav::Files, host: viewer.host(root.host), topics: Vec::new(), main }))
}

async fn found(
    state: &AppState,
    viewer: &Viewer,
    root: &Root,
    below: Option<ByteStr>,
) -> Result<Comparison, CompareError> {
    let point = |key: &str| viewer.query.text(key).and_then(|text| Point::parse(&text, viewer.now).ok());
    let (from, to) = compare::sides(&*state.store, root, point("since"), point("until")).await?;
    let ops = viewer.query.text("op").and_then(|word| ChangeOp::ALL.into_iter().find(|op| op.word() == word));
    let query = CompareQuery { from, to, ops: ops.into_iter().collect(), below };
    let request = PageRequest { limit: rows(&viewer.query), cursor: viewer.query.text("cursor").map(String::from) };
    Ok(state.store.compare(query, request).await?)
}

/// The page that asks for a directory, when it is not clear which is meant.
pub fn choose(viewer: &Viewer, host: Option<HostId>, roots: &[Root], title: &str, page: &str, key: &str) -> Markup {
    let main = html! {
        (crumbs(&[("/files", "Files")], title))
        div.page-head { h1 { (title) } }
        section.panel aria-label="Indexed directories" {
            @if roots.is_empty() {
                (empty("files", "Nothing is indexed yet", "Scanned directories appear here. The second scan of one shows what changed.", Some("hostler scan /home")))
            } @else {
                table.table.stack {
                    thead { tr { th scope="col" { "Directory" } th scope="col" { "Host" } th.num scope="col" { "Size" } th scope="col" { "Indexed" } } }
                    tbody { @for root in roots {
                        tr {
                            td.full { span.file-name { (icon_as("files", "i dir")) a.strong href={ (page) "?host=" (root.host) "&" (key) "=" (root.path.to_query()) } { (path(&root.path)) } } }
                            td { bdi { (root.host_name) } }
                            td.num { (bytes(root.bytes)) }
                            td.muted.nowrap.end { (old(root.indexed_at, viewer.now)) }
                        }
                    } }
                }
            }
        }
    };
    let about = host.and_then(|id| viewer.host(id));
    viewer.draw(Page { title: title.into(), nav: Nav::Files, host: about, topics: Vec::new(), main })
}

fn picker(root: &Root, scans: &[Scan], found: Option<&Comparison>, below: Option<&ByteStr>, here: &Query) -> Markup {
    let from = found.and_then(|f| f.from.as_ref());
    let to = found.map(|f| &f.to);
    let side = |id: &'static str, label: &str, chosen: Option<&Scan>, none: Option<&str>| {
        let listed = |id: ScanId| scans.iter().any(|s| s.id == id);
        html! {
            div.field {
                label for=(id) { (label) }
                select.select id=(id) name=(id) {
                    @if let Some(none) = none { option value="" selected[chosen.is_none()] { (none) } }
                    @if let Some(scan) = chosen.filter(|s| !listed(s.id)) { option value=(scan.id) selected { (scan_label(scan)) } }
                    @for scan in scans { option value=(scan.id) selected[chosen.is_some_and(|c| c.id == scan.id)] { (scan_label(scan)) } }
                }
            }
        }
    };
    html! {
        form.panel action=(PATH) aria-label="Scans to compare" {
            (hidden("host", &root.host.to_string().as_str().into())) (hidden("root", &root.path))
            @if let Some(below) = below { (hidden("below", below)) }
            @for key in ["op", "rows"] { @if let Some(value) = here.get(key) { (hidden(key, value)) } }
            div.panel-body.form {
                div.form-row {
                    (side("since", "From", from, Some("The scan before")))
                    (side("until", "To", to, None))
                    button.btn.primary { (icon("diff")) "Compare" }
                }
                @if let Some(below) = below {
                    div.filters { (pill(html! { "below " (name(below)) }, "below", &here.first_page().without(&["below"]).link(PATH))) }
                }
            }
        }
    }
}

fn scan_label(scan: &Scan) -> String {
    let at = scan.ended_at.unwrap_or(scan.created_at).exact();
    let counters = &scan.counters;
    match scan.first {
        true => format!("{at} · first scan · {}", counted(counters.files, "file", "files")),
        false => format!(
            "{at} · +{} ~{} −{} →{}",
            size::grouped(counters.created),
            size::grouped(counters.modified + counters.metadata),
            size::grouped(counters.deleted),
            size::grouped(counters.moved)
        ),
    }
}

/// The class, the mark and the word of what happened.
pub fn op_mark(op: ChangeOp) -> (&'static str, &'static str, &'static str) {
    match op {
        ChangeOp::Created => ("add", "+", "Created"),
        ChangeOp::Modified => ("mod", "~", "Modified"),
        ChangeOp::Metadata => ("mov", "≈", "Owner, mode or links"),
        ChangeOp::Deleted => ("del", "−", "Deleted"),
        ChangeOp::Moved => ("mov", "→", "Moved"),
    }
}

fn count_of(counts: &ChangeCounts, op: ChangeOp) -> u64 {
    match op {
        ChangeOp::Created => counts.created,
        ChangeOp::Modified => counts.modified,
        ChangeOp::Metadata => counts.metadata,
        ChangeOp::Deleted => counts.deleted,
        ChangeOp::Moved => counts.moved,
    }
}

fn result(found: &Comparison, root: &Root, here: &Query) -> Markup {
    let counts = &found.counts;
    let all: u64 = ChangeOp::ALL.into_iter().map(|op| count_of(counts, op)).sum();
    let chosen = here.text("op").and_then(|word| ChangeOp::ALL.into_iter().find(|op| op.word() == word));
    let total = chosen.map_or(all, |op| count_of(counts, op));
    let link = |op: Option<ChangeOp>| {
        let query = here.first_page().without(&["op"]);
        op.map_or(query.clone(), |op| query.with("op", op.word())).link(PATH)
    };
    let pager = Pager {
        path: PATH,
        query: here,
        shown: found.changes.items.len(),
        total: Some(total),
        noun: "changes",
        next: found.changes.next.as_deref(),
    };
    html! {
        div.stats {
            div.stat { span.k { "Added" } span.v { (bytes(counts.added_bytes)) } span.d { "new, and grown" } }
            div.stat { span.k { "Gone" } span.v { (bytes(counts.removed_bytes)) } span.d { "deleted, and shrunk" } }
            div.stat { span.k { "Changes" } span.v { (size::grouped(all)) } span.d { "put together from " (counted(found.scans, "scan", "scans")) } }
        }
        @if !found.complete {
            (notice("warn", "info", html! {
                "This is not the whole: the changes of a scan in between were not kept, or were too many to be kept all."
            }))
        }
        nav.tabs aria-label="Kinds of change" {
            a href=(link(None)) aria-current=[chosen.is_none().then_some("page")] { "All " span.n { (size::grouped(all)) } }
            @for op in ChangeOp::ALL {
                @let (class, mark, word) = op_mark(op);
                a href=(link(Some(op))) aria-current=[(chosen == Some(op)).then_some("page")] {
                    span.op.(class) aria-hidden="true" { (mark) } (word) " " span.n { (size::grouped(count_of(counts, op))) }
                }
            }
        }
        section.panel aria-label="Changes" {
            @if found.changes.items.is_empty() {
                @if found.to.first && found.from.is_none() {
                    (empty("diff", "The first scan of this directory", "Everything is new, so nothing is listed one by one. The next scan lists what changed.", None))
                } @else { (empty("diff", "No changes", "Nothing of this kind changed between the two scans.", None)) }
            } @else {
                table.table.stack {
                    thead { tr { th scope="col" { "Path" } th.p2 scope="col" { "What" } th.num scope="col" { "Before" } th.num scope="col" { "After" } } }
                    tbody { @for change in &found.changes.items { (change_row(root.host, &root.path, change)) } }
                }
                (pager.draw())
            }
        }
    }
}

/// A change as a row of path, what happened, size before and after.
pub fn change_row(host: HostId, root: &ByteStr, change: &Change) -> Markup {
    let (class, mark, word) = op_mark(change.op);
    let page = if change.kind == EntryKind::Dir { "/files" } else { "/files/entry" };
    html! {
        tr {
            td.full { span.file-name {
                span.op.(class) title=(word) { (mark) span.sr { (word) } }
                span {
                    @if let Some(from) = &change.from { span.muted { (path(from)) } " → " }
                    @if change.op == ChangeOp::Deleted { (path(&change.path)) }
                    @else { a href=(place(page, host, &join(root, &change.path))) { (path(&change.path)) } }
                }
            } }
            td.p2.off.muted { (word) @if change.kind != EntryKind::File { " · " (kind_word(change.kind)) } }
            td.num.nowrap.muted data-l="before" { @match change.size_before { Some(was) => (bytes(was)), None => "—" } }
            td.num.nowrap.end data-l="after" { @match change.size_after { Some(is) => (bytes(is)), None => span.muted { "—" } } }
        }
    }
}

/// An absolute path from a root and a path below it.
pub fn join(root: &ByteStr, below: &ByteStr) -> ByteStr {
    if below.is_empty() {
        return root.clone();
    }
    let mut whole = root.as_bytes().to_vec();
    if whole.last() != Some(&b'/') {
        whole.push(b'/');
    }
    whole.extend_from_slice(below.as_bytes());
    whole.into()
}

/// Where the changes below a directory are listed.
pub fn of(host: HostId, dir: &ByteStr) -> String {
    format!("{PATH}?host={host}&root={}", dir.to_query())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_below_the_root_of_the_filesystem_too() {
        for (root, below, whole) in [("/", "etc", "/etc"), ("/srv", "a/b", "/srv/a/b"), ("/srv", "", "/srv")] {
            assert_eq!(join(&ByteStr::from(root), &ByteStr::from(below)), ByteStr::from(whole));
        }
    }

    #[test]
    fn what_moved_shows_where_from_and_what_is_gone_has_no_link() {
        let change = |op, from: Option<&str>| Change {
            op,
            kind: EntryKind::File,
            path: "b/<new>\n".into(),
            from: from.map(Into::into),
            size_before: Some(1024),
            size_after: None,
        };
        let row = change_row(HostId::new(), &"/srv".into(), &change(ChangeOp::Moved, Some("a/old"))).into_string();
        let (old, new) = (row.find("a/old"), row.find("b/&lt;new&gt;\\n"));
        assert!(old.is_some() && old < new, "{row}");
        assert!(row.contains("path=/srv/b/%3Cnew%3E%0A") && row.contains("1.00 KiB"), "{row}");
        assert!(
            !change_row(HostId::new(), &"/srv".into(), &change(ChangeOp::Deleted, None)).into_string().contains("<a ")
        );
    }
}
