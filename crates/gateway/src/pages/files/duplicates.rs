//! `/files/duplicates`: files of equal content, those that could free most first. Nothing here deletes.

use axum::extract::State;
use hostler_model::{ByteStr, HostId, size};
use maud::{Markup, html};

use super::search::{by_hash, extensions};
use crate::pages::components::*;
use crate::pages::errors::{PageError, sentence};
use crate::pages::query::{Query, place};
use crate::pages::shell::{Nav, Page, Viewer, files_tabs};
use crate::state::AppState;
use crate::store::{DuplicateFile, DuplicateFiles, DuplicateQuery, PageRequest};

/// Names of one group that are shown; the search page has all.
pub const SHOWN: usize = 20;

/// Which duplicates a page is asked for.
pub struct Asked {
    /// The filters.
    pub filter: DuplicateQuery,
    /// What is wrong with the size.
    pub size_error: Option<String>,
}

impl Asked {
    /// Reads the filters.
    pub fn read(query: &Query) -> Self {
        let (min_size, size_error) = match query.text("min_size").map(|t| size::parse(&t)) {
            Some(Ok(least)) => (least, None),
            Some(Err(why)) => (1, Some(sentence(&why))),
            None => (1, None),
        };
        let below = query.get("below").cloned();
        let extensions = extensions(query);
        let filter = DuplicateQuery { host: query.parsed("host"), below, min_size: min_size.max(1), extensions };
        Self { filter, size_error }
    }
}

/// `GET /files/duplicates`.
pub async fn page(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    let asked = Asked::read(&viewer.query);
    let filter = &asked.filter;
    let totals = state.store.duplicate_totals(filter.clone()).await?;
    let request = PageRequest { limit: rows(&viewer.query), cursor: viewer.query.text("cursor").map(String::from) };
    let page = state.store.duplicate_files(filter.clone(), request).await?;
    let indexed: u64 = state.store.roots(filter.host).await?.iter().map(|r| r.bytes).sum();
    let most = page.items.iter().map(|g| g.group.reclaimable).max().unwrap_or(0);
    let pager = Pager {
        path: "/files/duplicates",
        query: &viewer.query,
        shown: page.items.len(),
        total: Some(totals.groups),
        noun: "groups",
        next: page.next.as_deref(),
    };
    let filters_only = viewer.query.first_page().without(&["rows"]);
    let main = html! {
        div.page-head {
            h1 { "Files" }
            div.actions {
                @if totals.groups > 0 {
                    a.btn href=(filters_only.link("/files/duplicates.csv")) download { (icon("download")) "Export as CSV" }
                    a.btn.primary href=(filters_only.link("/files/duplicates/plan")) { (icon("copy")) "Plan a clean-up" }
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
        (pending(totals.pending_files))
        (filters(&viewer, &asked))
        section.panel aria-label="Groups of duplicates" {
            @if page.items.is_empty() {
                (empty("copy", "No duplicates", "Files of equal content on indexed hosts appear here. Empty files do not count.", None))
            } @else {
                div.dup-head { span {} span { "Name" } span { "Copies" } span { "Size" } span.strong { "Could be freed ↓" } }
                @for group in page.items { (row(group, filter, most, &viewer)) }
                (pager.draw())
            }
        }
        p.muted.xs { "Hostler never deletes files. It plans, and writes a script that you read and run on the host." }
    };
    let host = filter.host.and_then(|id| viewer.host(id));
    Ok(viewer.draw(Page { title: "Duplicates".into(), nav: Nav::Files, host, topics: Vec::new(), main }))
}

/// Says that the list is not whole yet.
pub fn pending(files: u64) -> Markup {
    html! {
        @if files > 0 {
            (notice("", "clock", html! { (counted(files, "file of a new scan is", "files of new scans are")) " not compared yet. They are in a moment." }))
        }
    }
}

fn filters(viewer: &Viewer, asked: &Asked) -> Markup {
    let value = |key: &str| viewer.query.text(key).map(String::from).unwrap_or_default();
    let error = asked.size_error.as_deref();
    html! {
        form.filters action="/files/duplicates" {
            (kept(&viewer.query))
            (viewer.host_select())
            label.row-tight.small { span.muted { "At least" }
                input.input.short id="min_size" name="min_size" value=(value("min_size")) placeholder="any size" size="9" list="sizes"
                    aria-invalid=[error.map(|_| "true")] aria-describedby=[error.map(|_| "min_size-error")]; }
            datalist id="sizes" { option value="1MiB" {} option value="100MiB" {} option value="1GiB" {} }
            label.row-tight.small { span.muted { "Extension" } input.input.short id="ext" name="ext" value=(value("ext")) placeholder="any" size="9" spellcheck="false"; }
            @match &asked.filter.below {
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

fn row(of: DuplicateFiles, filter: &DuplicateQuery, most: u64, viewer: &Viewer) -> Markup {
    let DuplicateFiles { group, files } = of;
    let percent = if most == 0 { 0.0 } else { group.reclaimable as f64 * 100.0 / most as f64 };
    let links = group.names.saturating_sub(group.copies);
    let title = files.first().map(|file| file_name(&file.path));
    html! {
        details.dup {
            summary {
                (icon("right"))
                span.wrap.strong {
                    @match title { Some(title) => (name(&title)), None => code.xs { (group.hash.get(..16).unwrap_or(&group.hash)) } }
                }
                span { (counted(group.copies, "copy", "copies"))
                    @if links > 0 { span.muted { " + " (counted(links, "link", "links")) } } }
                span.muted { (bytes(group.size)) " each" }
                span.meter { (bar(percent, "")) (bytes(group.reclaimable)) }
            }
            (names(files, group.names, &by_hash(&group.hash, filter.host, filter.below.as_ref()), viewer))
        }
    }
}

/// The names of a group, hard links behind each other.
fn names(files: Vec<DuplicateFile>, all: u64, search: &str, viewer: &Viewer) -> Markup {
    let oldest = files.iter().map(|f| f.mtime).min();
    let several = files.iter().any(|f| Some(f.mtime) != oldest);
    let mut of_files: Vec<Vec<DuplicateFile>> = Vec::new();
    let mut left = SHOWN;
    for file in files {
        let same = |of: &&mut Vec<DuplicateFile>| {
            of.first().is_some_and(|f| (f.host, f.dev, f.ino) == (file.host, file.dev, file.ino))
        };
        match of_files.iter_mut().find(same) {
            Some(of) if left > 0 => of.push(file),
            None if left > 0 => of_files.push(vec![file]),
            _ => continue,
        }
        left -= 1;
    }
    let shown = (SHOWN - left) as u64;
    html! {
        ul {
            @for of_file in &of_files {
                @for (i, file) in of_file.iter().enumerate() {
                    li {
                        a.mono.wrap href=(place("/files/entry", file.host, &file.path)) { (name(&file.path)) } (not_utf8(&file.path))
                        (host_chip(&file.host_name))
                        @if i > 0 { span.chip title="Another name of the file above: to remove it frees nothing." { (icon("link")) "hard link" } }
                        @else if of_file.len() > 1 { span.chip { (of_file.len()) " names, 1 file" } }
                        @if i == 0 && several && Some(file.mtime) == oldest { span.chip.info { "oldest" } }
                        span.push.muted.xs { (ago(file.mtime, viewer.now)) }
                    }
                }
            }
            @if shown < all { li { a href=(search) { "All " (size::grouped(all)) " names" } } }
        }
    }
}

/// Where the duplicates of one directory are listed.
pub fn below(host: HostId, path: &ByteStr) -> String {
    format!("/files/duplicates?host={host}&below={}", path.to_query())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_never_ask_for_empty_files() {
        assert_eq!(Asked::read(&Query::parse(Some("min_size=0"))).filter.min_size, 1);
        let asked = Asked::read(&Query::parse(Some("min_size=big&below=/a%E9&ext=.jpg,+png")));
        assert!(asked.size_error.is_some() && asked.filter.min_size == 1);
        assert_eq!(asked.filter.below.unwrap().as_bytes(), b"/a\xe9");
        assert_eq!(asked.filter.extensions, ["jpg", "png"]);
    }
}
