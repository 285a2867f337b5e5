//! `/files/entry`: all that is known of one name.

use axum::extract::State;
use hostler_model::{EntryKind, HostId, size};
use maud::{Markup, html};

use super::{mode_words, parent};
use crate::pages::components::*;
use crate::pages::errors::PageError;
use crate::pages::query::place;
use crate::pages::shell::{Nav, Page, Viewer, files_tabs};
use crate::state::AppState;
use crate::store::{FindQuery, IndexedEntry, PageRequest};

/// Other copies that the page lists.
const COPIES: u32 = 20;

/// `GET /files/entry?host=&path=`.
pub async fn page(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    let host: HostId = viewer.query.parsed("host").ok_or_else(|| PageError::Bad("the address needs a host".into()))?;
    let at = viewer.query.get("path").ok_or_else(|| PageError::Bad("the address needs a path".into()))?;
    let entry = state.store.stat(host, at).await?;
    let hash = entry.hash.as_deref().filter(|_| entry.size > 0).and_then(hostler_model::ContentHash::from_hex);
    let mut copies = Vec::new();
    if let Some(hash) = hash {
        let query = FindQuery { hash: Some(hash), ..FindQuery::default() };
        let found = state.store.find(query, PageRequest { limit: COPIES + 1, cursor: None }).await?.items;
        copies = found.into_iter().filter(|c| (c.host, &c.path) != (entry.host, &entry.path)).collect();
    }
    let last = file_name(&entry.path);
    let up = parent(&entry.path);
    let main = html! {
        div.page-head { h1 { "Files" } div.actions {
            @if entry.kind == EntryKind::Dir { a.btn href=(place("/files", host, &entry.path)) { (icon("files")) "Browse" } }
            @else { a.btn href=(place("/files", host, &up)) { (icon("files")) "Directory" } }
        } }
        (files_tabs("Browse"))
        nav aria-label="Path" { ol.crumbs.path {
            li { a href={ "/files?host=" (host) } { bdi { (entry.host_name) } } }
            li { a href=(place("/files", host, &up)) { (name(&up)) } }
            li { span aria-current="page" { (name(&last)) } }
        } }
        div.cols.side-r {
            section.panel { div.panel-head { (kind_icon(entry.kind)) h2.wrap { (name(&last)) } (not_utf8(&last)) } div.panel-body { (facts(&entry, &viewer)) } }
            (copies_panel(&entry, &copies, &viewer))
        }
    };
    let title = format!("{} on {}", last.display(), entry.host_name);
    Ok(viewer.draw(Page { title, nav: Nav::Files, host: viewer.host(host), topics: Vec::new(), main }))
}

fn facts(entry: &IndexedEntry, viewer: &Viewer) -> Markup {
    html! {
        dl.kv {
            dt { "Path" } dd { (path(&entry.path)) (copy_button(&entry.path.display())) }
            dt { "Host" } dd { a href={ "/hosts/" (entry.host) } { bdi { (entry.host_name) } } }
            dt { "Index" } dd { a href=(place("/files", entry.host, &entry.root)) { (path(&entry.root)) } }
            dt { "Kind" } dd { (kind_word(entry.kind)) }
            dt { "Size" } dd { (bytes(entry.size)) span.muted { " · " (size::grouped(entry.size)) " B" } }
            @if let Some(files) = entry.files { dt { "Files below" } dd { (size::grouped(files)) } }
            dt { "Changed" } dd { (ago(entry.mtime, viewer.now)) span.muted { " · " (entry.mtime.exact()) } }
            dt { "Owner" } dd { bdi { (entry.owner) } ":" bdi { (entry.group) } }
            dt { "Mode" } dd { code { (mode_words(entry.mode)) } span.muted { " · " (format!("{:04o}", entry.mode)) } }
            dt { "Hard links" } dd { (size::grouped(entry.nlink)) }
            dt { "Inode" } dd { (entry.ino) span.muted { " on device " (entry.dev) } }
            dt { @match entry.algo { Some(algo) => (algo.name().to_uppercase()), None => "Hash" } }
            dd { @match &entry.hash { Some(hash) => { code.xs.wrap { (hash) } (copy_button(hash)) }, None => span.muted { "not hashed" } } }
        }
    }
}

fn copies_panel(entry: &IndexedEntry, copies: &[IndexedEntry], viewer: &Viewer) -> Markup {
    let more = copies.len() > COPIES as usize;
    html! {
        section.panel {
            div.panel-head { h2 { "Other copies" } span.push {}
                @if let (Some(hash), false) = (&entry.hash, copies.is_empty()) { a.small href={ "/files/search?hash=" (hash) } { "All with this content" } } }
            @if copies.is_empty() {
                div.panel-body { p.muted.small {
                    @if entry.hash.is_none() { "Without a hash, copies cannot be found." } @else if entry.size == 0 { "It is empty." } @else { "No other indexed file has this content." }
                } }
            } @else {
                table.table { tbody {
                    @for copy in copies.iter().take(COPIES as usize) {
                        tr { td.wrap {
                            a href=(super::entry_link(copy)) { (path(&copy.path)) }
                            span.sub { bdi { (copy.host_name) } " · " (ago(copy.mtime, viewer.now))
                                @if same_file(copy, entry) { " · hard link of this file" } }
                        } }
                    }
                    @if more { tr { td.muted { "And more." } } }
                } }
            }
        }
    }
}

/// Two names of one file.
fn same_file(a: &IndexedEntry, b: &IndexedEntry) -> bool {
    (a.host, a.dev, a.ino) == (b.host, b.dev, b.ino)
}
