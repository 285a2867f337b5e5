//! `/files`: the indexed directories of the fleet, and one directory with its entries.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hostler_model::{ByteStr, EntryKind, HostId, Role, size};
use maud::{Markup, html};

use super::scan_form::{self, FieldError, ScanFields};
use super::{compare, entry_name, parent, path_crumbs};
use crate::events::ScanUpdate;
use crate::pages::components::*;
use crate::pages::errors::PageError;
use crate::pages::live::{scan_panel, scans_panels};
use crate::pages::query::place;
use crate::pages::shell::{Nav, Page, Viewer, files_tabs};
use crate::state::AppState;
use crate::store::{IndexedEntry, Listing, PageRequest, Root, ScanFilter, SortKey, StoreError};

/// `GET /files`: without a path the indexed directories, with `host` and `path` one directory.
pub async fn page(State(state): State<AppState>, viewer: Viewer) -> Result<Response, PageError> {
    let host: Option<HostId> = viewer.query.parsed("host");
    match (host, viewer.query.get("path").cloned()) {
        (Some(host), Some(path)) => directory(&state, &viewer, host, &path).await,
        (None, Some(_)) => Err(PageError::Bad("a path needs a host beside it".into())),
        (host, None) => {
            let fields = ScanFields::prefilled(host, viewer.query.get("dir"));
            Ok(overview(&state, &viewer, host, &fields, None).await?.into_response())
        }
    }
}

/// All indexed directories, of one host when it is given, and the scan form.
pub async fn overview(
    state: &AppState,
    viewer: &Viewer,
    host: Option<HostId>,
    fields: &ScanFields,
    error: Option<&FieldError>,
) -> Result<Markup, PageError> {
    let mut roots = state.store.roots(host).await?;
    let key = viewer.query.text("sort").unwrap_or_else(|| "host".into());
    let descending = viewer.query.text("order").as_deref() == Some("desc");
    match &*key {
        "name" => roots.sort_by(|a, b| a.path.cmp(&b.path)),
        "files" => roots.sort_by_key(|r| r.files),
        "size" => roots.sort_by_key(|r| r.bytes),
        "indexed" => roots.sort_by_key(|r| r.indexed_at),
        _ => {}
    }
    if descending {
        roots.reverse();
    }
    let files = roots.iter().map(|r| r.files).sum::<u64>();
    let total = roots.iter().map(|r| r.bytes).sum::<u64>();
    let about = host.and_then(|id| viewer.host(id));
    let main = html! {
        div.page-head {
            h1 { "Files" }
            @if !roots.is_empty() { p.sub { (counted(roots.len() as u64, "directory", "directories")) " indexed · " (size::grouped(files)) " files · " (bytes(total)) } }
        }
        (files_tabs("Browse"))
        (scans_panels(&state.scans.active(), viewer.may(Role::Operator), viewer.principal.csrf.as_deref(), viewer.now))
        @if let Some(host) = about {
            div.filters { (pill(html! { "host: " bdi { (host.name) } }, "host", "/files")) }
        }
        @if error.is_some() { (scan_form::panel(viewer, fields, error)) }
        section.panel aria-label="Indexed directories" {
            @if roots.is_empty() {
                (empty("files", "Nothing is indexed yet", "Scanned directories appear here, with sizes, duplicates and changes.", Some("hostler scan /home")))
            } @else { (roots_table(&roots, viewer, &key, descending)) }
        }
        @if error.is_none() { (scan_form::panel(viewer, fields, None)) }
    };
    let topics = vec!["scans".to_string()];
    Ok(viewer.draw(Page { title: "Files".into(), nav: Nav::Files, host: about, topics, main }))
}

fn roots_table(roots: &[Root], viewer: &Viewer, key: &str, descending: bool) -> Markup {
    let sorting = Sorting { path: "/files", query: &viewer.query, key, descending };
    html! {
        table.table.stack {
            thead { tr {
                (sorting.head("name", "Directory", "")) th scope="col" { "Host" } (sorting.head("files", "Files", "num p2"))
                th.num.p3 scope="col" { "Directories" } (sorting.head("size", "Size", "num")) (sorting.head("indexed", "Indexed", ""))
                th scope="col" { span.sr { "Actions" } }
            } }
            tbody {
                @for root in roots {
                    tr {
                        td { span.file-name { (icon_as("files", "i dir")) a.strong href=(place("/files", root.host, &root.path)) { (path(&root.path)) } } }
                        td.end { a href={ "/hosts/" (root.host) } { bdi { (root.host_name) } } }
                        td.num.p2.off { (size::grouped(root.files)) }
                        td.num.p3.off { (size::grouped(root.dirs)) }
                        td.num { (bytes(root.bytes)) }
                        td.muted.nowrap.end { (old(root.indexed_at, viewer.now)) }
                        td.act.off.nowrap {
                            a.btn.sm href=(compare::of(root.host, &root.path)) aria-label={ "Changes of " (root.path) } { "Changes" } " "
                            a.btn.sm href=(place("/files/growth", root.host, &root.path)) aria-label={ "Growth of " (root.path) } { "Growth" } " "
                            a.btn.sm href=(place("/files", root.host, &root.path)) aria-label={ "Browse " (root.path) } { "Browse" }
                        }
                    }
                }
            }
        }
    }
}

async fn directory(state: &AppState, viewer: &Viewer, host: HostId, path: &ByteStr) -> Result<Response, PageError> {
    let word = viewer.query.text("sort").unwrap_or_else(|| "size".into());
    let (sort, key) = match &*word {
        "name" => (SortKey::Name, "name"),
        "files" => (SortKey::Files, "files"),
        "changed" => (SortKey::Changed, "changed"),
        _ => (SortKey::Size, "size"),
    };
    let descending = match viewer.query.text("order").as_deref() {
        Some("asc") => false,
        Some("desc") => true,
        _ => key != "name",
    };
    let request = PageRequest { limit: rows(&viewer.query), cursor: viewer.query.text("cursor").map(String::from) };
    let listing = match state.store.list_dir(host, path, sort, descending, request).await {
        Ok(listing) => listing,
        Err(StoreError::NotFound { .. }) => return missing(state, viewer, host, path).await,
        Err(error) => return Err(error.into()),
    };
    let running = running(state, host, &listing.root.path);
    let filter = ScanFilter { host: Some(host), root: Some(listing.root.path.clone()), ..ScanFilter::default() };
    let last = state.store.scans(filter, PageRequest { limit: 1, cursor: None }).await?.items.pop();
    let sorting = Sorting { path: "/files", query: &viewer.query, key, descending };
    let main = html! {
        div.page-head {
            h1 { "Files" }
            div.actions {
                @if let Some(last) = &last { a.btn href={ "/files/scans/" (last.id) } { (icon("clock")) "Last scan" } }
                a.btn href=(compare::of(host, path)) { (icon("diff")) "Changes" }
                a.btn href=(place("/files/growth", host, path)) { (icon("activity")) "Growth" }
                @if running.is_none() {
                    (scan_form::again_button(viewer, host, &listing.root.path, last.as_ref().map(|s| &s.options), "primary"))
                }
            }
        }
        (files_tabs("Browse"))
        @if let Some(update) = &running { (scan_panel(update, viewer.may(Role::Operator), viewer.principal.csrf.as_deref(), viewer.now)) }
        div.row {
            (path_crumbs(&listing.root, &listing.dir.path, |to| place("/files", host, to)))
            span.push.muted.small {
                (bytes(listing.dir.size)) " · " (counted(listing.dir.files.unwrap_or(0), "file", "files")) " · index " (old(listing.root.indexed_at, viewer.now))
            }
        }
        section.panel aria-label="Directory" { (listing_table(&listing, viewer, &sorting)) }
    };
    let title = format!("{} on {}", path.display(), listing.root.host_name);
    let topics = running.iter().map(|u| format!("scan:{}", u.id())).collect();
    Ok(viewer.draw(Page { title, nav: Nav::Files, host: viewer.host(host), topics, main }).into_response())
}

fn running(state: &AppState, host: HostId, root: &ByteStr) -> Option<ScanUpdate> {
    state.scans.active().into_iter().find(|u| u.scan.host == host && u.scan.root == *root)
}

fn listing_table(listing: &Listing, viewer: &Viewer, sorting: &Sorting<'_>) -> Markup {
    let here = &listing.dir.path;
    let pager = Pager {
        path: "/files",
        query: &viewer.query,
        shown: listing.entries.items.len(),
        total: Some(listing.total_entries),
        noun: "entries",
        next: listing.entries.next.as_deref(),
    };
    html! {
        form.panel-head action="/files/search" role="search" {
            input type="hidden" name="host" value=(listing.dir.host);
            (hidden("below", here))
            label.input-icon {
                span.sr { "Search below " (here) } (icon("search"))
                input.input id="filter" type="search" name="name" placeholder={ "Search below " (here) };
            }
            select.select name="min_size" aria-label="Size" {
                option value="" { "Any size" } option value="1MiB" { "Over 1 MiB" } option value="100MiB" { "Over 100 MiB" } option value="1GiB" { "Over 1 GiB" }
            }
            button.btn { "Search" }
            span.push {}
            a.btn.sm.hide-s href=(super::duplicates::below(listing.dir.host, here)) { (icon("copy")) "Duplicates below" }
        }
        @if listing.total_entries == 0 {
            (empty("files", "An empty directory", "Nothing was in it when it was indexed.", None))
        } @else {
            table.table.stack {
                thead { tr {
                    (sorting.head("name", "Name", "")) (sorting.head("size", "Size", "num")) th scope="col" { "Share of directory" }
                    (sorting.head("files", "Files", "num p2")) (sorting.head("changed", "Changed", "p2")) th.p3 scope="col" { "Owner" }
                } }
                tbody { @for entry in &listing.entries.items { (row(entry, listing.dir.size, viewer)) } }
            }
            (pager.draw())
        }
    }
}

fn row(entry: &IndexedEntry, whole: u64, viewer: &Viewer) -> Markup {
    let sized = matches!(entry.kind, EntryKind::File | EntryKind::Dir);
    html! {
        tr {
            td { (entry_name(entry)) }
            td.num.end.nowrap { @if sized { (bytes(entry.size)) } @else { span.muted { (kind_word(entry.kind)) } } }
            td.full { @if sized { (share(entry.size, whole)) } }
            td.num.p2.off { @match entry.files { Some(files) => (size::grouped(files)), None => span.muted { "—" } } }
            td.p2.off.nowrap { (ago(entry.mtime, viewer.now)) }
            td.p3.off.muted { bdi { (entry.owner) } ":" bdi { (entry.group) } }
        }
    }
}

/// No index holds the path: says so and offers to make one.
async fn missing(state: &AppState, viewer: &Viewer, host: HostId, at: &ByteStr) -> Result<Response, PageError> {
    let known = viewer.host(host).ok_or(PageError::NotFound("host"))?;
    let roots = state.store.roots(Some(host)).await?;
    let inside = roots.iter().find(|r| at.as_bytes().starts_with(r.path.as_bytes()));
    let main = html! {
        div.page-head { h1 { "Files" } }
        (files_tabs("Browse"))
        (notice("bad", "warn", html! {
            b { "No directory " (path(at)) " is indexed on " bdi { (known.name) } "." }
            @match inside {
                Some(root) => { " Its index is " (old(root.indexed_at, viewer.now)) ". Go to " a href=(place("/files", host, &parent(at))) { "the directory above" } " or " a href=(place("/files", host, &root.path)) { (path(&root.path)) } ", or scan again." },
                None => " Scan it, or a directory above it.",
            }
        }))
        (scan_form::panel(viewer, &ScanFields::prefilled(Some(host), Some(inside.map_or(at, |r| &r.path))), None))
    };
    let page = Page { title: "Not indexed".into(), nav: Nav::Files, host: Some(known), topics: Vec::new(), main };
    Ok((StatusCode::NOT_FOUND, viewer.draw(page)).into_response())
}
