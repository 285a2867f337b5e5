//! `/files/duplicates`: files of equal content, and their list as CSV. Nothing here deletes.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use hostler_model::{Algorithm, ByteStr, ContentHash, EntryKind, HostId, size};
use maud::{Markup, html};

use super::entry::same_file;
use super::search::by_hash;
use crate::pages::components::*;
use crate::pages::errors::{PageError, sentence};
use crate::pages::query::Query;
use crate::pages::shell::{Nav, Page, Viewer, files_tabs};
use crate::state::AppState;
use crate::store::{DuplicateGroup, DuplicateQuery, FindQuery, IndexedEntry, PageRequest, SortKey, Store, StoreError};

/// Copies of one group that are shown; the search page has all.
const MAX_COPIES: u32 = 200;
/// Rows of the CSV file.
const MAX_ROWS: u64 = 100_000;

/// The filters of a query, and what is wrong with the size.
fn read(query: &Query) -> (DuplicateQuery, Option<String>) {
    let (min_size, error) = match query.text("min_size").map(|t| size::parse(&t)) {
        Some(Ok(least)) => (least, None),
        Some(Err(why)) => (1, Some(sentence(&why))),
        None => (1, None),
    };
    (
        DuplicateQuery { host: query.parsed("host"), below: query.get("below").cloned(), min_size: min_size.max(1) },
        error,
    )
}

/// `GET /files/duplicates`.
pub async fn page(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    let (filter, error) = read(&viewer.query);
    let totals = state.store.duplicate_totals(filter.clone()).await?;
    let request = PageRequest { limit: rows(&viewer.query), cursor: viewer.query.text("cursor").map(String::from) };
    let page = state.store.duplicates(filter.clone(), request).await?;
    let mut groups = Vec::with_capacity(page.items.len());
    for group in page.items {
        let first =
            names(&state.store, &group.hash, group.size, &filter, PageRequest { limit: 1, cursor: None }).await?;
        groups.push((group, first.items.into_iter().next()));
    }
    let indexed: u64 = state.store.roots(filter.host).await?.iter().map(|r| r.bytes).sum();
    let most = groups.iter().map(|(g, _)| g.reclaimable).max().unwrap_or(0);
    let pager = Pager {
        path: "/files/duplicates",
        query: &viewer.query,
        shown: groups.len(),
        total: Some(totals.groups),
        noun: "groups",
        next: page.next.as_deref(),
    };
    let main = html! {
        div.page-head {
            h1 { "Files" }
            div.actions {
                @if totals.groups > 0 {
                    a.btn href=(viewer.query.first_page().link("/files/duplicates.csv")) download { (icon("download")) "Export as CSV" }
                }
            }
        }
        (files_tabs("Duplicates"))
        div.stats {
            div.stat {
                span.k { "Could be freed" } span.v { (bytes(totals.reclaimable)) }
                span.d { @if indexed > 0 { (format!("{:.1}%", totals.reclaimable as f64 * 100.0 / indexed as f64)) " of " (bytes(indexed)) " indexed" } }
            }
            div.stat { span.k { "Groups" } span.v { (size::grouped(totals.groups)) } span.d { "by hash and size" } }
            div.stat { span.k { "Extra copies" } span.v { (size::grouped(totals.extra_copies)) } span.d { "hard links not counted" } }
        }
        (filters(&viewer, &filter, error.as_deref()))
        section.panel aria-label="Groups of duplicates" {
            @if groups.is_empty() {
                (empty("copy", "No duplicates", "Files of equal content on indexed hosts appear here. Empty files do not count.", None))
            } @else {
                div.dup-head { span {} span { "Name" } span { "Copies" } span { "Size" } span.strong { "Could be freed ↓" } }
                @for (group, first) in &groups { (row(group, first.as_ref(), &filter, most)) }
                (pager.draw())
            }
        }
        p.muted.xs { "Hostler never deletes files. Export the list, read it, and decide on the host." }
    };
    let host = filter.host.and_then(|id| viewer.host(id));
    Ok(viewer.draw(Page { title: "Duplicates".into(), nav: Nav::Files, host, topics: Vec::new(), main }))
}

fn filters(viewer: &Viewer, filter: &DuplicateQuery, error: Option<&str>) -> Markup {
    let typed = viewer.query.text("min_size").map(String::from).unwrap_or_default();
    html! {
        form.filters action="/files/duplicates" {
            (kept(&viewer.query))
            (viewer.host_select())
            label.row-tight.small { span.muted { "At least" }
                input.input.short id="min_size" name="min_size" value=(typed) placeholder="any size" size="9" list="sizes"
                    aria-invalid=[error.map(|_| "true")] aria-describedby=[error.map(|_| "min_size-error")]; }
            datalist id="sizes" { option value="1MiB" {} option value="100MiB" {} option value="1GiB" {} }
            @match &filter.below {
                Some(below) => {
                    (hidden("below", below))
                    (pill(html! { "below " (name(below)) }, "below", &viewer.query.first_page().without(&["below"]).link("/files/duplicates")))
                },
                None => label.row-tight.small { span.muted { "Below" } input.input.mono id="below" name="below" placeholder="/srv/media" size="22" spellcheck="false"; },
            }
            button.btn data-plain { "Filter" }
            div.field { (field_error("min_size", error)) }
        }
    }
}

fn row(group: &DuplicateGroup, first: Option<&IndexedEntry>, filter: &DuplicateQuery, most: u64) -> Markup {
    let mut copies = Query::default();
    copies
        .push("hash", group.hash.as_str())
        .push("algo", group.algo.name())
        .push("size", group.size.to_string().as_str());
    if let Some(host) = filter.host {
        copies.push("host", host.to_string().as_str());
    }
    if let Some(below) = &filter.below {
        copies.push("below", below.clone());
    }
    let percent = if most == 0 { 0.0 } else { group.reclaimable as f64 * 100.0 / most as f64 };
    let links = group.names.saturating_sub(group.copies);
    html! {
        details.dup data-load=(copies.link("/files/duplicates/copies")) {
            summary {
                (icon("right"))
                span.wrap.strong {
                    @match first { Some(entry) => (name(&file_name(&entry.path))), None => code.xs { (group.hash.get(..16).unwrap_or(&group.hash)) } }
                }
                span { (counted(group.copies, "copy", "copies"))
                    @if links > 0 { span.muted { " + " (counted(links, "link", "links")) } } }
                span.muted { (bytes(group.size)) " each" }
                span.meter { (bar(percent, "")) (bytes(group.reclaimable)) }
            }
            ul { li { a href=(by_hash(&group.hash, filter.host, filter.below.as_ref())) { "List the copies" } } }
        }
    }
}

/// A page of the names with this content and size.
async fn names(
    store: &Arc<dyn Store>,
    hash: &str,
    of_size: u64,
    filter: &DuplicateQuery,
    page: PageRequest,
) -> Result<crate::store::Page<IndexedEntry>, StoreError> {
    let query = FindQuery {
        host: filter.host,
        below: filter.below.clone(),
        kinds: vec![EntryKind::File],
        min_size: Some(of_size),
        max_size: Some(of_size),
        hash: ContentHash::from_hex(hash),
        sort: SortKey::Name,
        ..FindQuery::default()
    };
    store.find(query, page).await
}

/// `GET /files/duplicates/copies`: the names of one group, as list items.
pub async fn copies(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    let query = &viewer.query;
    let bad = || PageError::Bad("a group is named by hash, algo and size".into());
    let hash = query.text("hash").filter(|h| ContentHash::from_hex(h).is_some()).ok_or_else(bad)?;
    let algo: Algorithm = query.parsed("algo").ok_or_else(bad)?;
    let of_size: u64 = query.parsed("size").ok_or_else(bad)?;
    let (filter, _) = read(query);
    let page = names(&state.store, &hash, of_size, &filter, PageRequest { limit: MAX_COPIES, cursor: None }).await?;
    let items: Vec<IndexedEntry> = page.items.into_iter().filter(|e| e.algo == Some(algo)).collect();
    Ok(copy_items(
        &group_links(items),
        page.next.is_some(),
        &by_hash(&hash, filter.host, filter.below.as_ref()),
        &viewer,
    ))
}

/// Puts the names of one file behind each other; the first of each file is false, its hard links true.
fn group_links(entries: Vec<IndexedEntry>) -> Vec<(IndexedEntry, bool)> {
    let mut out: Vec<(IndexedEntry, bool)> = Vec::with_capacity(entries.len());
    for entry in entries {
        match out.iter().rposition(|(other, _)| same_file(other, &entry)) {
            Some(at) => out.insert(at + 1, (entry, true)),
            None => out.push((entry, false)),
        }
    }
    out
}

fn copy_items(items: &[(IndexedEntry, bool)], more: bool, all: &str, viewer: &Viewer) -> Markup {
    let oldest = items.iter().map(|(e, _)| e.mtime).min();
    let several = items.iter().any(|(e, _)| Some(e.mtime) != oldest);
    html! {
        @for (entry, link) in items {
            li {
                a.mono.wrap href=(super::entry_link(entry)) { (name(&entry.path)) } (not_utf8(&entry.path))
                (host_chip(&entry.host_name))
                @if *link { (chip("", "link", "hard link")) }
                @else if several && Some(entry.mtime) == oldest { span.chip.info { "oldest" } }
                span.push.muted.xs { (ago(entry.mtime, viewer.now)) }
            }
        }
        @if items.is_empty() { li.muted { "No copy is left; the index changed since." } }
        @if more { li { a href=(all) { "All copies" } } }
    }
}

/// Where the CSV file has come to.
struct Export {
    store: Arc<dyn Store>,
    filter: DuplicateQuery,
    groups: std::vec::IntoIter<DuplicateGroup>,
    next_groups: Option<PageRequest>,
    open: Option<(DuplicateGroup, Option<String>)>,
    left: u64,
    begun: bool,
}

/// `GET /files/duplicates.csv`: at most 100,000 rows, read from the store page by page as they are sent.
pub async fn csv(State(state): State<AppState>, viewer: Viewer) -> Result<Response, PageError> {
    viewer.require(hostler_model::Role::Viewer)?;
    let (filter, error) = read(&viewer.query);
    if let Some(error) = error {
        return Err(PageError::Bad(error));
    }
    let export = Export {
        store: state.store.clone(),
        filter,
        groups: Vec::new().into_iter(),
        next_groups: Some(PageRequest { limit: 200, cursor: None }),
        open: None,
        left: MAX_ROWS,
        begun: false,
    };
    let body = stream::unfold(Some(export), |export| async move {
        let mut export = export?;
        match export.chunk().await {
            Ok(Some(chunk)) => Some((Ok(chunk), Some(export))),
            Ok(None) => None,
            // The headers are sent: only a broken body can tell that the list is not whole.
            Err(error) => Some((Err(error), None)),
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"duplicates.csv\""),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}

impl Export {
    async fn chunk(&mut self) -> Result<Option<String>, StoreError> {
        if !self.begun {
            self.begun = true;
            return Ok(Some("group_hash,algorithm,size,host,path,modified,inode,device\r\n".into()));
        }
        while self.left > 0 {
            if let Some((group, cursor)) = self.open.take() {
                let limit = u32::try_from(self.left.min(500)).unwrap_or(500);
                let page =
                    names(&self.store, &group.hash, group.size, &self.filter, PageRequest { limit, cursor }).await?;
                let lines: String =
                    page.items.iter().filter(|e| e.algo == Some(group.algo)).map(|e| line(&group, e)).collect();
                self.left = self.left.saturating_sub(page.items.len() as u64);
                self.open = page.next.map(|cursor| (group, Some(cursor)));
                return Ok(Some(lines));
            }
            if let Some(group) = self.groups.next() {
                self.open = Some((group, None));
                continue;
            }
            let Some(request) = self.next_groups.take() else { break };
            let page = self.store.duplicates(self.filter.clone(), request).await?;
            self.groups = page.items.into_iter();
            self.next_groups = page.next.map(|cursor| PageRequest { limit: 200, cursor: Some(cursor) });
        }
        Ok(None)
    }
}

fn line(group: &DuplicateGroup, entry: &IndexedEntry) -> String {
    format!(
        "{},{},{},{},{},{},{},{}\r\n",
        group.hash,
        group.algo,
        group.size,
        cell(&entry.host_name),
        cell(&entry.path.display()),
        entry.mtime,
        entry.ino,
        entry.dev
    )
}

/// A cell that no spreadsheet takes for a formula.
fn cell(text: &str) -> String {
    let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\""))
}

/// Where the duplicates of one directory are listed.
pub fn below(host: HostId, path: &ByteStr) -> String {
    format!("/files/duplicates?host={host}&below={}", path.to_query())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_no_formulas() {
        assert_eq!(cell("=cmd|' /C calc'!A0"), "\"'=cmd|' /C calc'!A0\"");
        assert_eq!(cell("a \"b\", c"), "\"a \"\"b\"\", c\"");
    }

    #[test]
    fn filters_never_ask_for_empty_files() {
        assert_eq!(read(&Query::parse(Some("min_size=0"))).0.min_size, 1);
        let (filter, error) = read(&Query::parse(Some("min_size=big&below=/a%E9")));
        assert!(error.is_some() && filter.min_size == 1);
        assert_eq!(filter.below.unwrap().as_bytes(), b"/a\xe9");
    }
}
