//! `/files/duplicates/plan`: which copies stay and which go, and the script that carries it out.

use axum::extract::State;
use axum::response::Response;
use hostler_model::{ByteStr, HostId, Role, size};
use maud::{Markup, html};

use super::duplicates::{Asked, SHOWN, pending};
use super::search::by_hash;
use crate::duplicates::{self, Action, Keep, PlanTotals, PlannedGroup, PlannedName, Rules, Verdict};
use crate::pages::components::*;
use crate::pages::errors::{PageError, sentence};
use crate::pages::query::{Query, place};
use crate::pages::shell::{Nav, Page, Viewer, crumbs};
use crate::rest::script_response;
use crate::state::AppState;
use crate::store::{DuplicateQuery, PageRequest};

const PATH: &str = "/files/duplicates/plan";

/// A plan as it is asked for, and what is wrong with it.
struct Wanted {
    asked: Asked,
    rules: Rules,
    error: Option<String>,
}

impl Wanted {
    fn read(query: &Query) -> Self {
        let asked = Asked::read(query);
        let mut wrong = Vec::new();
        let keep = query.text("keep").map(|t| t.parse::<Keep>()).transpose().unwrap_or_else(|why| {
            wrong.push(why);
            None
        });
        let action = query.text("action").map(|t| t.parse::<Action>()).transpose().unwrap_or_else(|why| {
            wrong.push(why);
            None
        });
        let rules = Rules {
            keep: keep.unwrap_or_default(),
            prefer: query.all("prefer"),
            protect: query.all("protect"),
            action: action.unwrap_or_default(),
            across_hosts: query.has("across_hosts"),
        };
        wrong.extend(rules.check().err());
        Self { asked, rules, error: wrong.first().map(|why| sentence(why)) }
    }

    /// The duplicates to look at: with copies on other hosts, those of all hosts.
    fn query(&self) -> DuplicateQuery {
        let mut query = self.asked.filter.clone();
        if self.rules.across_hosts {
            query.host = None;
        }
        query
    }
}

/// `GET /files/duplicates/plan`.
pub async fn page(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    let wanted = Wanted::read(&viewer.query);
    let host = wanted.asked.filter.host;
    let mut found = None;
    if wanted.error.is_none() && wanted.asked.size_error.is_none() {
        let totals = duplicates::totals(&state.store, &wanted.query(), &wanted.rules, host).await?;
        let request = PageRequest { limit: rows(&viewer.query), cursor: viewer.query.text("cursor").map(String::from) };
        let page = state.store.duplicate_files(wanted.query(), request).await?;
        let groups: Vec<_> = page.items.into_iter().map(|g| duplicates::plan(g, &wanted.rules)).collect();
        found = Some((totals, groups, page.next, state.store.duplicate_totals(wanted.query()).await?));
    }
    let only_host = if viewer.host_count == 1 { viewer.hosts.first().map(|h| h.id) } else { None };
    let main = html! {
        (crumbs(&[("/files", "Files"), ("/files/duplicates", "Duplicates")], "Plan a clean-up"))
        div.page-head {
            h1 { "Plan a clean-up" }
            @if let Some((totals, ..)) = &found { (script_button(totals, host.or(only_host), &viewer)) }
            p.sub { "Choose which copy of each group stays. Hostler never deletes: the script is for you to read and to run on the host." }
        }
        (form(&viewer, &wanted))
        @if let Some(error) = &wanted.error { (notice("bad", "warn", html! { (error) })) }
        @if let Some((totals, groups, next, all)) = &found {
            (pending(all.pending_files))
            (sums(totals, &wanted.rules))
            section.panel aria-label="Plan" {
                @if groups.is_empty() { (empty("copy", "No duplicates", "Nothing of equal content matches the filters.", None)) }
                @else {
                    @for group in groups { (row(group, &wanted, &viewer)) }
                    (Pager { path: PATH, query: &viewer.query, shown: groups.len(), total: Some(all.groups), noun: "groups", next: next.as_deref() }.draw())
                }
            }
            @if totals.names > 0 { (on_the_command_line(&viewer, &wanted)) }
        }
    };
    let about = host.and_then(|id| viewer.host(id));
    Ok(viewer.draw(Page { title: "Plan a clean-up".into(), nav: Nav::Files, host: about, topics: Vec::new(), main }))
}

fn script_button(totals: &PlanTotals, host: Option<HostId>, viewer: &Viewer) -> Markup {
    html! {
        div.actions {
            @match host {
                Some(host) if totals.names > 0 => {
                    @let query = viewer.query.first_page().without(&["rows"]).with("host", host.to_string().as_str());
                    a.btn.primary href=(query.link("/files/duplicates.sh")) download { (icon("download")) "Download the script" }
                },
                Some(_) => (disabled_button("primary", "download", "Download the script", "Nothing would go")),
                None => (disabled_button("primary", "download", "Download the script", "A script is for one host: choose it below")),
            }
        }
    }
}

fn sums(totals: &PlanTotals, rules: &Rules) -> Markup {
    let verb = match rules.action {
        Action::Remove => "would be removed",
        Action::Hardlink => "would become hard links",
        Action::Reflink => "would share blocks",
    };
    html! {
        div.stats {
            div.stat { span.k { "Would free" } span.v { (bytes(totals.frees)) } span.d { "in " (counted(totals.files, "file", "files")) } }
            div.stat { span.k { "Names" } span.v { (size::grouped(totals.names)) } span.d { (verb) } }
            div.stat { span.k { "Groups" } span.v { (size::grouped(totals.groups)) } span.d { "of " (size::grouped(totals.looked_at)) " looked at" } }
        }
        @if !totals.complete {
            (notice("warn", "info", html! {
                "There is more than one plan looks at: these are the groups that could free most, at most " (size::grouped(duplicates::MAX_GROUPS))
                " of them with " (size::grouped(duplicates::MAX_NAMES)) " names. Run the script, scan again, and plan the rest."
            }))
        }
    }
}

fn form(viewer: &Viewer, wanted: &Wanted) -> Markup {
    let query = &viewer.query;
    let value = |key: &str| query.text(key).map(String::from).unwrap_or_default();
    let rules = &wanted.rules;
    html! {
        form.panel.search-form action=(PATH) aria-label="Rules" {
            (super::super::components::kept(query))
            div.panel-body.form {
                div.form-row {
                    div.field {
                        label for="keep" { "Which copy stays" }
                        select.select id="keep" name="keep" {
                            @for (each, word, label) in Keep::ALL { option value=(word) selected[rules.keep == each] { (capital(label)) } }
                        }
                        span.hint { "Between equals, the first by path." }
                    }
                    div.field {
                        label for="action" { "The others" }
                        select.select id="action" name="action" {
                            @for (each, word, label) in Action::ALL { option value=(word) selected[rules.action == each] { (capital(label)) } }
                        }
                        span.hint { @if rules.action == Action::Remove { "One of each host stays." } @else { "One of each filesystem stays." } }
                    }
                    div.field { label for="filter-host" { "Host" } (viewer.host_select()) }
                }
                div.form-row {
                    (dirs_field(query, "prefer", "Prefer", "Keep a copy below this directory, if there is one.", &rules.prefer))
                    (dirs_field(query, "protect", "Never touch", "Names below this directory stay.", &rules.protect))
                }
                div.form-row {
                    (text_field("min_size", "At least", &value("min_size"), "Such as 1MiB.", wanted.asked.size_error.as_deref()))
                    (text_field("ext", "Extension", &value("ext"), "Such as jpg, or jpg png.", None))
                    @match &wanted.asked.filter.below {
                        Some(below) => div.field {
                            span.label { "Below" }
                            div.filters { (hidden("below", below)) (pill(name(below), "below", &query.first_page().without(&["below"]).link(PATH))) }
                        },
                        None => (text_field("below", "Below", "", "Only files below this directory.", None)),
                    }
                }
                @if viewer.host_count > 1 {
                    label.check { input type="checkbox" name="across_hosts" value="1" checked[rules.across_hosts];
                        "A copy on another host counts as the one that stays" }
                    @if rules.across_hosts {
                        (notice("warn", "warn", html! {
                            "A script runs on one host and cannot look at another: whether that copy is still there, and is not the same file on a filesystem both share, is for you to know."
                        }))
                    }
                }
            }
            div.panel-foot { button.btn.primary { "Preview" } a.btn.ghost href=(PATH) { "Clear" } }
        }
    }
}

/// Directories that were given, each to be taken away, and a field for one more.
fn dirs_field(query: &Query, key: &'static str, label: &str, hint: &str, dirs: &[ByteStr]) -> Markup {
    html! {
        div.field {
            label for=(key) { (label) }
            @if !dirs.is_empty() {
                div.filters {
                    @for (i, dir) in dirs.iter().enumerate() {
                        @let without = dirs.iter().enumerate().filter(|(j, _)| *j != i).fold(query.first_page().without(&[key]), |mut q, (_, d)| { q.push(key, d.clone()); q });
                        (hidden(key, dir)) (pill(name(dir), &dir.display(), &without.link(PATH)))
                    }
                }
            }
            @if dirs.len() < duplicates::MAX_DIRS {
                input.input.mono id=(key) name=(key) placeholder="/srv/media" autocomplete="off" spellcheck="false" aria-describedby={ (key) "-hint" };
            }
            span.hint id={ (key) "-hint" } { (hint) }
        }
    }
}

fn row(group: &PlannedGroup, wanted: &Wanted, viewer: &Viewer) -> Markup {
    let of = &group.group;
    let goes = group.files.iter().filter(|n| n.verdict == Verdict::Goes).count() as u64;
    let title = group.files.iter().find(|n| n.verdict == Verdict::Kept).or(group.files.first());
    let filter = &wanted.asked.filter;
    html! {
        details.dup open {
            summary {
                (icon("right"))
                span.wrap.strong { @if let Some(title) = title { (name(&file_name(&title.file.path))) } }
                span { (size::grouped(goes)) " of " (counted(of.names, "name", "names")) }
                span.muted { (bytes(of.size)) " each" }
                span.num { @if group.frees > 0 { "frees " (bytes(group.frees)) } @else { span.muted { "frees nothing" } } }
            }
            ul {
                @for name in group.files.iter().take(SHOWN) { (name_row(name, wanted.rules.action, viewer)) }
                @if of.names > SHOWN as u64 {
                    li { a href=(by_hash(&of.hash, filter.host, filter.below.as_ref())) { "All " (size::grouped(of.names)) " names" } }
                }
            }
        }
    }
}

fn name_row(of: &PlannedName, action: Action, viewer: &Viewer) -> Markup {
    let (class, mark, word, why) = match of.verdict {
        Verdict::Kept => ("ok", "check", "stays", "The copy that stays."),
        Verdict::HardLink => {
            ("", "link", "hard link, stays", "Another name of the copy that stays: to remove it would free nothing.")
        }
        Verdict::Goes => match action {
            Action::Remove => ("bad", "trash", "goes", "It would be removed."),
            Action::Hardlink => {
                ("warn", "link", "becomes a hard link", "It would be replaced by a hard link to the copy that stays.")
            }
            Action::Reflink => (
                "warn",
                "copy",
                "shares blocks",
                "It would be replaced by a file that shares the blocks of the copy that stays.",
            ),
        },
        Verdict::Protected => ("info", "lock", "protected", "It is below a directory that is never touched."),
        Verdict::LinkedElsewhere => {
            ("", "link", "linked elsewhere, stays", "Its file has another name that stays, so nothing would be freed.")
        }
        Verdict::OnlyCopy => {
            ("", "dash", "only copy, stays", "There is no other copy on its host, or for links on its filesystem.")
        }
    };
    html! {
        li {
            a.mono.wrap href=(place("/files/entry", of.file.host, &of.file.path)) { (name(&of.file.path)) } (not_utf8(&of.file.path))
            span.chip.(class) title=(why) { (icon(mark)) (word) }
            (host_chip(&of.file.host_name))
            span.push.muted.xs { (ago(of.file.mtime, viewer.now)) }
        }
    }
}

fn on_the_command_line(viewer: &Viewer, wanted: &Wanted) -> Markup {
    let filter = &wanted.asked.filter;
    let mut line = String::from("hostler files dups --script");
    let mut add = |flag: &str, value: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
        let quoted = match value.chars().all(plain) {
            true => value.to_owned(),
            false => format!("'{}'", value.replace('\'', "'\\''")),
        };
        line.push_str(&format!(" {flag} {quoted}"));
    };
    add("--keep", wanted.rules.keep.word());
    add("--action", wanted.rules.action.word());
    if let Some(host) = filter.host.and_then(|id| viewer.host(id)) {
        add("--host", &host.name);
    }
    if let Some(size) = viewer.query.text("min_size") {
        add("--min-size", &size);
    }
    for ext in &filter.extensions {
        add("--ext", ext);
    }
    let dirs = filter.below.iter().map(|d| ("--root", d));
    let dirs = dirs.chain(wanted.rules.prefer.iter().map(|d| ("--prefer", d)));
    let dirs: Vec<_> = dirs.chain(wanted.rules.protect.iter().map(|d| ("--protect", d))).collect();
    // What a person could not type is not shown as if it could be.
    let typable = dirs.iter().all(|(_, dir)| is_plain(dir));
    for (flag, dir) in dirs {
        add(flag, &dir.display());
    }
    if wanted.rules.across_hosts {
        line.push_str(" --across-hosts");
    }
    html! { @if typable { section.panel { div.panel-head { h2 { "On the command line" } } div.panel-body { (command(&format!("{line} > duplicates.sh"))) } } } }
}

/// `GET /files/duplicates.sh`: the script of a plan, for one host.
pub async fn script(State(state): State<AppState>, viewer: Viewer) -> Result<Response, PageError> {
    viewer.require(Role::Viewer)?;
    let wanted = Wanted::read(&viewer.query);
    if let Some(error) = wanted.error.or(wanted.asked.size_error.clone()) {
        return Err(PageError::Bad(error));
    }
    let host = wanted.asked.filter.host.ok_or_else(|| PageError::Bad("a script is for one host: choose it".into()))?;
    let mut query = wanted.asked.filter;
    query.host = (!wanted.rules.across_hosts).then_some(host);
    Ok(script_response(&state, state.store.host(host).await?, query, wanted.rules))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_and_what_is_wrong_is_said() {
        let wanted = Wanted::read(&Query::parse(Some(
            "keep=newest&action=hardlink&prefer=/a%E9&prefer=/b&prefer=&protect=/c&min_size=1MiB",
        )));
        assert_eq!((wanted.rules.keep, wanted.rules.action, wanted.error), (Keep::Newest, Action::Hardlink, None));
        assert_eq!(wanted.rules.prefer, [ByteStr::from(&b"/a\xe9"[..]), "/b".into()]);
        assert_eq!(wanted.rules.protect, ["/c".into()]);
        for (query, part) in [
            ("keep=all", "shortest-path"),
            ("action=delete", "reflink"),
            ("prefer=a", "absolute"),
            ("action=reflink&across_hosts=1", "another host"),
        ] {
            let error = Wanted::read(&Query::parse(Some(query))).error.unwrap_or_default();
            assert!(error.contains(part), "{query}: {error}");
        }
    }
}
