//! `/files/search`: entries by name, size, age, owner and content, over all hosts.

use std::collections::HashMap;

use axum::extract::State;
use hostler_model::{ByteStr, ContentHash, EntryKind, HostId, Timestamp, size, time};
use maud::{Markup, html};

use super::{entry_name, parent};
use crate::pages::components::*;
use crate::pages::errors::{PageError, sentence};
use crate::pages::query::{Query, place};
use crate::pages::shell::{Nav, Page, Viewer, files_tabs};
use crate::state::AppState;
use crate::store::{FindQuery, IndexedEntry, Page as ListPage, PageRequest, SortKey};

/// The fields that restrict; with none of them set nothing is searched.
const FIELDS: [&str; 10] = ["name", "ext", "min_size", "max_size", "newer", "older", "owner", "hash", "host", "below"];

/// What is wrong, by field.
type Errors = HashMap<&'static str, String>;

/// `GET /files/search`.
pub async fn page(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    let (query, errors) = read(&viewer.query, viewer.now);
    let asked = FIELDS.iter().any(|f| viewer.query.has(f));
    let found = if asked && errors.is_empty() {
        let request = PageRequest { limit: rows(&viewer.query), cursor: viewer.query.text("cursor").map(String::from) };
        Some(state.store.find(query.clone(), request).await?)
    } else {
        None
    };
    let several_roots = found.is_some() && state.store.roots(query.host).await?.len() > 1;
    let main = html! {
        div.page-head { h1 { "Files" } }
        (files_tabs("Search"))
        (form(&viewer, &errors))
        @match &found {
            Some(page) => section.panel aria-label="Results" { (results(page, &query, several_roots, &viewer)) },
            None if !errors.is_empty() => (notice("bad", "warn", html! { "Nothing was searched: correct the marked fields first." })),
            None => section.panel {
                (empty("search", "Search all indexed files", "Give at least one of the fields above. With * or ? in it, the whole name must match.", Some("hostler files find --name '*.iso' --min-size 1GiB")))
            },
        }
    };
    let host = query.host.and_then(|id| viewer.host(id));
    Ok(viewer.draw(Page { title: "Search files".into(), nav: Nav::Files, host, topics: Vec::new(), main }))
}

/// Reads the fields; each that makes no sense is named with what is wrong.
pub fn read(query: &Query, now: Timestamp) -> (FindQuery, Errors) {
    let mut errors = Errors::new();
    let mut size_of = |field: &'static str| {
        let text = query.text(field)?;
        size::parse(&text).map_err(|why| errors.insert(field, sentence(&why))).ok()
    };
    let (min_size, max_size) = (size_of("min_size"), size_of("max_size"));
    let mut before = |field: &'static str| {
        let text = query.text(field)?;
        let seconds = time::parse_age(&text).map_err(|why| errors.insert(field, sentence(&why))).ok()?;
        Some(Timestamp::from_micros(
            now.micros().saturating_sub(i64::try_from(seconds).ok()?.saturating_mul(1_000_000)),
        ))
    };
    let (modified_after, modified_before) = (before("newer"), before("older"));
    let hash = query.text("hash").and_then(|text| {
        let hash = ContentHash::from_hex(&text);
        if hash.is_none() {
            errors.insert("hash", "A hash is an even number of hex digits, such as 9f86d081.".into());
        }
        hash
    });
    let host = query
        .text("host")
        .and_then(|text| text.parse::<HostId>().map_err(|_| errors.insert("host", "No host has this id.".into())).ok());
    let below = query.get("below").cloned();
    if below.as_ref().is_some_and(|b| !b.as_bytes().starts_with(b"/")) {
        errors.insert("below", "Give an absolute path, such as /srv/media.".into());
    }
    if min_size.zip(max_size).is_some_and(|(least, most)| least > most) {
        errors.insert("max_size", "This is less than the smallest size.".into());
    }
    let found = FindQuery {
        host,
        below,
        name: query.get("name").cloned(),
        extensions: extensions(query),
        kinds: kinds(query),
        min_size,
        max_size,
        modified_after,
        modified_before,
        owner: query.text("owner").map(String::from),
        hash,
        sort: match query.text("sort").as_deref() {
            Some("size") => SortKey::Size,
            Some("changed") => SortKey::Changed,
            _ => SortKey::Name,
        },
        descending: query.text("order").as_deref() == Some("desc"),
    };
    (found, errors)
}

/// The extensions of the field `ext`, between commas or spaces, with or without a dot; at most 32.
pub fn extensions(query: &Query) -> Vec<String> {
    let text = query.text("ext").unwrap_or_default();
    let words = text.split([',', ' ']).map(|e| e.trim_start_matches('.')).filter(|e| !e.is_empty());
    words.take(32).map(str::to_string).collect()
}

fn kinds(query: &Query) -> Vec<EntryKind> {
    match query.text("kind").as_deref() {
        Some("file") => vec![EntryKind::File],
        Some("dir") => vec![EntryKind::Dir],
        Some("symlink") => vec![EntryKind::Symlink],
        Some("other") => vec![EntryKind::Other],
        _ => Vec::new(),
    }
}

fn form(viewer: &Viewer, errors: &Errors) -> Markup {
    let query = &viewer.query;
    let value = |key: &str| query.text(key).map(String::from).unwrap_or_default();
    let field = |key: &'static str, label: &str, hint: &str| {
        text_field(key, label, &value(key), hint, errors.get(key).map(String::as_str))
    };
    let kind = value("kind");
    html! {
        form.panel.search-form action="/files/search" role="search" aria-label="Search files" {
            (kept(query))
            div.panel-body.form {
                div.form-row {
                    (byte_field(query, "name", "Name", "Part of it, or a pattern with * and ?."))
                    (field("ext", "Extension", "Such as jpg, or jpg png."))
                    div.field {
                        label for="kind" { "Kind" }
                        select.select id="kind" name="kind" {
                            @for (word, label) in [("", "Anything but directories"), ("file", "Files"), ("dir", "Directories"), ("symlink", "Symbolic links"), ("other", "FIFOs, sockets, devices")] {
                                option value=(word) selected[kind == word] { (label) }
                            }
                        }
                    }
                    (field("owner", "Owner", "Name or number."))
                }
                div.form-row {
                    (field("min_size", "Size from", "Such as 4K or 1.5GiB."))
                    (field("max_size", "Size to", ""))
                    (field("newer", "Changed within", "Such as 7d: in the last 7 days."))
                    (field("older", "Changed before", "Such as 1y: more than a year ago."))
                }
                div.form-row {
                    div.field {
                        label for="filter-host" { "Host" } (viewer.host_select())
                        (field_error("host", errors.get("host").map(String::as_str)))
                    }
                    @if query.get("below").is_none_or(is_plain) { (field("below", "Below", "A directory.")) }
                    @else { (byte_field(query, "below", "Below", "")) }
                    (field("hash", "Content hash", "In hex."))
                }
            }
            div.panel-foot {
                button.btn.primary { (icon("search")) "Search" }
                a.btn.ghost href="/files/search" { "Clear" }
            }
        }
    }
}

/// A field for bytes. What no field can carry is shown and kept beside it, until it is removed.
fn byte_field(query: &Query, key: &str, label: &str, hint: &str) -> Markup {
    match query.get(key).filter(|v| !is_plain(v)) {
        Some(bytes) => html! {
            div.field {
                span.label { (label) }
                div.filters { (pill(name(bytes), label, &query.first_page().without(&[key]).link("/files/search"))) (hidden(key, bytes)) }
            }
        },
        None => text_field(key, label, &query.text(key).unwrap_or_default(), hint, None),
    }
}

fn results(page: &ListPage<IndexedEntry>, query: &FindQuery, several_roots: bool, viewer: &Viewer) -> Markup {
    let key = match query.sort {
        SortKey::Size => "size",
        SortKey::Changed => "changed",
        _ => "name",
    };
    let sorting = Sorting { path: "/files/search", query: &viewer.query, key, descending: query.descending };
    let pager = Pager {
        path: "/files/search",
        query: &viewer.query,
        shown: page.items.len(),
        total: None,
        noun: "entries",
        next: page.next.as_deref(),
    };
    html! {
        @if page.items.is_empty() {
            (empty("search", "Nothing matches", "Take a restriction away, or scan the directory again if it changed since.", None))
        } @else {
            table.table.stack {
                thead { tr {
                    (sorting.head("name", "Name", "")) th scope="col" { "Directory" } (sorting.head("size", "Size", "num"))
                    (sorting.head("changed", "Changed", "p2")) th.p3 scope="col" { "Owner" } th scope="col" { "Host" }
                    @if several_roots { th.p3 scope="col" { "Index" } }
                } }
                tbody {
                    @for entry in &page.items {
                        @let up = parent(&entry.path);
                        tr {
                            td { (entry_name(entry)) }
                            td.clipcell.full title=(up) { a.muted href=(place("/files", entry.host, &up)) { bdi.mono { (up) } } }
                            td.num.end { @if entry.kind == EntryKind::File || entry.kind == EntryKind::Dir { (bytes(entry.size)) } @else { span.muted { "—" } } }
                            td.p2.off.nowrap { (ago(entry.mtime, viewer.now)) }
                            td.p3.off.muted { bdi { (entry.owner) } ":" bdi { (entry.group) } }
                            td { a href={ "/hosts/" (entry.host) } { bdi { (entry.host_name) } } }
                            @if several_roots { td.p3.off { a.muted href=(place("/files", entry.host, &entry.root)) { (path(&entry.root)) } } }
                        }
                    }
                }
            }
            (pager.draw())
        }
    }
}

/// Where all names of one content are listed.
pub fn by_hash(hash: &str, host: Option<HostId>, below: Option<&ByteStr>) -> String {
    let mut query = Query::default();
    query.push("hash", hash);
    if let Some(host) = host {
        query.push("host", host.to_string().as_str());
    }
    if let Some(below) = below {
        query.push("below", below.clone());
    }
    query.link("/files/search")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_fields_are_named_and_right_ones_kept() {
        let query = Query::parse(Some("min_size=big&newer=7+parsecs&hash=xyz&below=srv&ext=.jpg,png&name=a%E9"));
        let (found, errors) = read(&query, Timestamp::from_micros(0));
        let mut fields: Vec<_> = errors.keys().copied().collect();
        fields.sort_unstable();
        assert_eq!(fields, ["below", "hash", "min_size", "newer"]);
        assert_eq!(found.extensions, ["jpg", "png"]);
        assert_eq!(found.name.unwrap().as_bytes(), b"a\xe9");
        assert!(
            read(&Query::parse(Some("min_size=2&max_size=1")), Timestamp::from_micros(0)).1.contains_key("max_size")
        );
    }

    #[test]
    fn ages_count_back_from_now() {
        let (found, errors) = read(&Query::parse(Some("newer=1h&older=30s")), Timestamp::from_micros(7_200_000_000));
        assert!(errors.is_empty());
        assert_eq!(found.modified_after, Some(Timestamp::from_micros(3_600_000_000)));
        assert_eq!(found.modified_before, Some(Timestamp::from_micros(7_170_000_000)));
    }
}
