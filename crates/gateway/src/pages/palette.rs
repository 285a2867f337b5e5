//! `/search`: hosts, files and pages by name; as a page, and as the list of the Ctrl-K dialog.

use std::time::Duration;

use axum::extract::State;
use hostler_model::{ByteStr, EntryKind};
use maud::{Markup, html};

use super::components::*;
use super::errors::PageError;
use super::files::entry_link;
use super::query::Query;
use super::shell::{Nav, Page, Viewer, hosts_by_name};
use crate::state::AppState;
use crate::store::{FindQuery, PageRequest};

/// Results of each kind.
const PER_GROUP: usize = 8;
/// How long files are looked for while somebody types.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Pages that can be jumped to.
const PAGES: [(&str, &str, &str, &str); 15] = [
    ("/hosts", "hosts", "Hosts", "G H"),
    ("/files", "files", "Files", "G F"),
    ("/files/search", "search", "Search files", ""),
    ("/files/duplicates", "copy", "Duplicates", "G U"),
    ("/files/scans", "activity", "Scans", "G S"),
    ("/files#scan", "play", "Scan a directory", ""),
    ("/activity", "activity", "Activity", "G A"),
    ("/hosts/join", "plus", "Add a host", ""),
    ("/settings/account", "user", "My account", ""),
    ("/settings/users", "user", "Users", ""),
    ("/settings/sessions", "lock", "Sessions", ""),
    ("/settings/keys", "key", "API keys", ""),
    ("/settings/audit", "file", "Audit log", ""),
    ("/settings/gateway", "settings", "Gateway", ""),
    ("/welcome", "info", "First steps", ""),
];

/// One result.
struct Hit {
    href: String,
    icon: &'static str,
    label: Markup,
    context: Markup,
    key: &'static str,
}

/// The results of one kind.
struct Group {
    title: &'static str,
    hits: Vec<Hit>,
}

/// `GET /search?q=`.
pub async fn page(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    let (groups, slow) = find(&state, &viewer).await?;
    let text = viewer.query.text("q").unwrap_or_default();
    let main = html! {
        div.page-head { h1 { "Search" } }
        form.filters action="/search" role="search" {
            label.input-icon { span.sr { "Search hosts and files" } (icon("search"))
                input.input id="filter" type="search" name="q" placeholder="Find hosts and files" value=(text) autofocus; }
            button.btn data-plain { "Search" }
        }
        @for group in &groups {
            section.panel aria-label=(group.title) {
                div.panel-head { h2 { (group.title) } }
                table.table.stack { tbody { @for hit in &group.hits {
                    tr { td.full { span.file-name { (icon(hit.icon)) a href=(hit.href) { (hit.label) } } } td.full.muted.small { (hit.context) } }
                } } }
            }
        }
        @if slow { (notice("warn", "clock", html! { "Looking through all files takes longer. " a href=(all_files(&text)) { "Search files" } " waits for it." })) }
        @else if groups.is_empty() { section.panel { (empty("search", "Nothing has that in its name", "The files page searches by pattern, size and age too.", None)) } }
    };
    Ok(viewer.draw(Page { title: "Search".into(), nav: Nav::Hosts, host: None, topics: Vec::new(), main }))
}

/// `GET /search/fragment?q=`: the options of the dialog.
pub async fn fragment(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    let (groups, slow) = find(&state, &viewer).await?;
    let text = viewer.query.text("q").unwrap_or_default();
    let mut number = 0;
    Ok(html! {
        @for (g, group) in groups.iter().enumerate() {
            div role="group" aria-labelledby={ "palette-group-" (g) } {
                div.sec id={ "palette-group-" (g) } { (group.title) }
                @for hit in &group.hits {
                    a role="option" tabindex="-1" id={ "palette-option-" (next(&mut number)) } aria-selected="false" href=(hit.href) {
                        (icon(hit.icon)) span.clip { (hit.label) " " span.ctx { (hit.context) } } span.ctx { (hit.key) }
                    }
                }
            }
        }
        @if !text.is_empty() {
            a role="option" tabindex="-1" id={ "palette-option-" (next(&mut number)) } aria-selected="false" href=(all_files(&text)) {
                (icon("search")) span.clip { "All files with " bdi { (text) } " in the name" @if slow { span.ctx { " takes longer" } } } span.ctx {}
            }
        }
    })
}

fn next(number: &mut u32) -> u32 {
    *number += 1;
    *number
}

fn all_files(text: &str) -> String {
    let mut query = Query::default();
    query.push("name", text);
    query.link("/files/search")
}

async fn find(state: &AppState, viewer: &Viewer) -> Result<(Vec<Group>, bool), PageError> {
    let text = viewer.query.text("q").unwrap_or_default();
    let lower = text.to_lowercase();
    let mut groups = Vec::new();
    let (hosts, _) = hosts_by_name(state, (!lower.is_empty()).then_some(&*lower), PER_GROUP as u32).await?;
    groups.push(Group {
        title: "Hosts",
        hits: hosts
            .iter()
            .map(|host| Hit {
                href: format!("/hosts/{}", host.id),
                icon: "hosts",
                label: html! { bdi { (marked(&host.name, &lower)) } },
                context: html! { (viewer.link(host).mark().1) @if !host.facts.os.is_empty() { " · " (host.facts.os) } },
                key: "",
            })
            .collect(),
    });
    let mut slow = false;
    // One letter is in nearly every name.
    if text.chars().count() > 1 {
        let query = FindQuery {
            name: Some(ByteStr::from(&*text)),
            kinds: vec![EntryKind::File, EntryKind::Dir, EntryKind::Symlink],
            ..FindQuery::default()
        };
        let search = state.store.find(query, PageRequest { limit: PER_GROUP as u32, cursor: None });
        match tokio::time::timeout(PATIENCE, search).await {
            Ok(found) => {
                groups.push(Group { title: "Files", hits: found?.items.iter().map(|e| file_hit(e, &lower)).collect() })
            }
            Err(_) => slow = true,
        }
    }
    let pages = PAGES.iter().filter(|(_, _, label, _)| label.to_lowercase().contains(&lower));
    groups.push(Group {
        title: "Pages",
        hits: pages
            .map(|&(href, icon, label, key)| Hit {
                href: href.into(),
                icon,
                label: marked(label, &lower),
                context: html! {},
                key,
            })
            .collect(),
    });
    groups.retain(|g| !g.hits.is_empty());
    Ok((groups, slow))
}

fn file_hit(entry: &crate::store::IndexedEntry, lower: &str) -> Hit {
    let up = super::files::parent(&entry.path);
    Hit {
        href: entry_link(entry),
        icon: if entry.kind == EntryKind::Dir { "files" } else { "file" },
        label: html! { bdi { (marked(&file_name(&entry.path).display(), lower)) } },
        context: html! { bdi { (entry.host_name) ":" (up) } " · " (hostler_model::size::human(entry.size)) },
        key: "",
    }
}

/// The text with the first match marked.
fn marked(text: &str, lower: &str) -> Markup {
    // Lower-casing may move bytes; then nothing is marked.
    let at = text.to_lowercase().find(lower).filter(|_| !lower.is_empty());
    let parts =
        at.and_then(|at| Some((text.get(..at)?, text.get(at..at + lower.len())?, text.get(at + lower.len()..)?)));
    html! {
        @match parts {
            Some((before, hit, after)) => { (before) mark { (hit) } (after) },
            None => (text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stay_inside_characters() {
        assert_eq!(marked("Shop-api", "shop").into_string(), "<mark>Shop</mark>-api");
        assert_eq!(marked("<b>shop", "shop").into_string(), "&lt;b&gt;<mark>shop</mark>");
        let _ = marked("İİİé", "é");
    }
}
