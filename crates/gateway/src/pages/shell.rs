//! What surrounds every page: navigation, host switcher, search, account; and who looks at it.

use axum::extract::FromRequestParts;
use axum::http::header::COOKIE;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use hostler_model::{HostId, Role, Timestamp, size};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::assets;
use super::components::{LinkState, icon};
use super::errors::PageError;
use super::query::Query;
use crate::auth::Principal;
use crate::clock::now;
use crate::state::AppState;
use crate::store::{Host, HostQuery, LinkedNow, StoreError};

/// Hosts that menus list; with more, people type a name, and the hosts page has all.
const MENU: u32 = 50;

/// Who looks at a page, at what, and when. Every signed-in page takes one.
pub struct Viewer {
    /// Who.
    pub principal: Principal,
    /// The page's query.
    pub query: Query,
    /// The page's path.
    pub path: String,
    /// When the page is drawn.
    pub now: Timestamp,
    /// The first hosts by name, for menus; with few hosts all of them.
    pub hosts: Vec<Host>,
    /// How many hosts there are.
    pub host_count: u64,
    /// The host that the query names in `host`, by its id or its name; a name is replaced by the id.
    about: Option<Host>,
    /// `light` or `dark` when chosen, else the system's.
    pub theme: Option<&'static str>,
    base_url: std::sync::Arc<str>,
    state: AppState,
    here: String,
}

impl FromRequestParts<AppState> for Viewer {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, PageError> {
        let principal = parts.extensions.get::<Principal>().cloned().ok_or(PageError::SignedOut)?;
        let mut query = Query::parse(parts.uri.query());
        let about = match query.text("host") {
            Some(text) => find_host(state, &text).await?,
            None => None,
        };
        if let Some(host) = &about {
            query = query.with("host", host.id.to_string().as_str());
        }
        // The menus look up for themselves who is linked.
        let (rows, counts) = hosts_by_name(state, None, MENU).await?;
        Ok(Self {
            principal,
            query,
            path: parts.uri.path().to_string(),
            now: now(),
            hosts: rows,
            host_count: counts,
            about,
            theme: theme_of(&parts.headers),
            base_url: state.public_url.clone(),
            state: state.clone(),
            here: here(&parts.uri),
        })
    }
}

/// A part of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nav {
    /// Hosts and one host.
    Hosts,
    /// All pages of files but the scans.
    Files,
    /// History of scans; in the side bar a part of Files.
    Scans,
    /// What happened.
    Activity,
    /// Account, users, keys, the gateway.
    Settings,
}

/// What makes one page of the shell.
pub struct Page<'a> {
    /// For the window's title.
    pub title: String,
    /// The open part of the navigation.
    pub nav: Nav,
    /// The host that the page is about.
    pub host: Option<&'a Host>,
    /// What the page follows live, see `live`; empty for nothing.
    pub topics: Vec<String>,
    /// The page.
    pub main: Markup,
}

impl Viewer {
    /// True when the viewer has this role or a greater one.
    pub fn may(&self, role: Role) -> bool {
        self.principal.role >= role
    }

    /// Refuses those without the role.
    pub fn require(&self, role: Role) -> Result<(), PageError> {
        self.principal.require(role).map_err(|_| PageError::Forbidden(role))
    }

    /// The token in each form that changes something.
    pub fn csrf(&self) -> Markup {
        csrf_field(self.principal.csrf.as_deref())
    }

    /// The host that the query names, or one of the menus.
    pub fn host(&self, id: HostId) -> Option<&Host> {
        self.about.iter().chain(&self.hosts).find(|h| h.id == id)
    }

    /// True when the menus have all hosts.
    pub fn menu_is_whole(&self) -> bool {
        self.host_count <= self.hosts.len() as u64
    }

    /// A choice of hosts for a filter: a list, or with many hosts a field for a name.
    pub fn host_select(&self) -> Markup {
        let chosen = self.about.as_ref().map(|h| h.id);
        let typed = self.about.as_ref().map(|h| h.name.clone());
        let typed = typed.or_else(|| self.query.text("host").map(String::from)).unwrap_or_default();
        let unknown = (chosen.is_none() && !typed.is_empty()).then_some("true");
        html! {
            @if self.menu_is_whole() {
                select.select name="host" aria-label="Host" id="filter-host" {
                    option value="" { "Any host" }
                    @for host in &self.hosts { option value=(host.id) selected[chosen == Some(host.id)] { (host.name) } }
                }
            } @else {
                input.input name="host" id="filter-host" aria-label="Host" placeholder="Any host" value=(typed) autocomplete="off"
                    spellcheck="false" aria-invalid=[unknown] title=[unknown.map(|_| "No host is called that")];
            }
        }
    }

    /// How sure it is that the host can be reached.
    pub fn link(&self, host: &Host) -> LinkState {
        LinkState::of(
            self.state.fleet.linked(host.id),
            host.last_proof_at,
            self.now,
            self.state.fleet.stale_after_seconds(),
        )
    }

    /// Draws a whole page.
    pub fn draw(&self, page: Page<'_>) -> Markup {
        let body = html! {
            a.skip href="#main" { "Skip to content" }
            div.app {
                (self.side(page.nav))
                (self.top(page.host, !page.topics.is_empty()))
                main.main id="main" tabindex="-1" data-topics=(page.topics.join(",")) { (page.main) }
                (self.tab_bar(page.nav))
            }
            div.toasts id="toasts" role="status" aria-live="polite" {}
            (palette_dialog())
            (keys_dialog())
        };
        document(&page.title, self.theme, body)
    }

    fn side(&self, nav: Nav) -> Markup {
        let here = |wanted: bool| wanted.then_some("page");
        html! {
            nav.side aria-label="Main" {
                a.brand href="/hosts" { (icon("brand")) span { "Hostler" } }
                div.nav {
                    a href="/hosts" aria-current=[here(nav == Nav::Hosts)] { (icon("hosts")) "Hosts" }
                    a href="/files" aria-current=[here(matches!(nav, Nav::Files | Nav::Scans))] { (icon("files")) "Files" }
                    a href="/activity" aria-current=[here(nav == Nav::Activity)] { (icon("activity")) "Activity" }
                    div.nav-sep {}
                    a href="/settings" aria-current=[here(nav == Nav::Settings)] { (icon("settings")) "Settings" }
                }
                div.side-foot {
                    span.wrap { (self.base_url.split_once("://").map_or(&*self.base_url, |(_, at)| at)) }
                    span { "Hostler " (env!("CARGO_PKG_VERSION")) }
                }
            }
        }
    }

    fn tab_bar(&self, nav: Nav) -> Markup {
        let entries = [
            (Nav::Hosts, "/hosts", "hosts", "Hosts"),
            (Nav::Files, "/files", "files", "Files"),
            (Nav::Scans, "/files/scans", "play", "Scans"),
            (Nav::Activity, "/activity", "activity", "Activity"),
            (Nav::Settings, "/settings", "settings", "Settings"),
        ];
        html! {
            nav.tabbar aria-label="Main, short" {
                @for (part, href, icon_name, label) in entries {
                    a href=(href) aria-current=[(part == nav).then_some("page")] { (icon(icon_name)) (label) }
                }
            }
        }
    }

    fn top(&self, host: Option<&Host>, live: bool) -> Markup {
        let shown = host.map_or("All hosts", |h| h.name.as_str());
        let more = self.host_count - self.hosts.len() as u64;
        html! {
            header.top {
                a.brand href="/hosts" aria-label="Hostler, hosts" { (icon("brand")) span { "Hostler" } }
                details.menu {
                    summary.btn.ghost aria-label={ "Host: " (shown) } { (icon("hosts")) bdi.clip { (shown) } (icon("down")) }
                    div.menu-list {
                        @if more > 0 {
                            form.menu-search action="/hosts" role="search" {
                                input.input type="search" name="q" aria-label="Find a host" placeholder="Find a host" autocomplete="off";
                            }
                        }
                        a href="/hosts" { "All hosts " span.push.muted.xs { (size::grouped(self.host_count)) } }
                        @for each in &self.hosts {
                            @let (kind, word) = self.link(each).mark();
                            a href={ "/hosts/" (each.id) } {
                                span.state.(kind) { bdi { (each.name) } } @if kind != "ok" { span.push.muted.xs { (word) } }
                            }
                        }
                        @if more > 0 { a.muted href="/hosts" { "And " (size::grouped(more)) " more" } }
                    }
                }
                a.search.push href="/search" data-palette { (icon("search")) span { "Find hosts and files" } kbd { "Ctrl K" } }
                @if live { span.live-dot id="live" hidden title="Live values arrive over one event stream." { "Live" } }
                form.theme-form method="post" action="/theme" {
                    (self.csrf())
                    input type="hidden" name="theme" value=(if self.theme == Some("dark") { "light" } else { "dark" });
                    input type="hidden" name="back" value=(self.here);
                    button.btn.icon.ghost.theme aria-label="Switch between light and dark" title="Switch between light and dark" { (icon("theme")) }
                }
                details.menu.end {
                    summary aria-label={ "Account: " (self.principal.name) ", " (self.principal.role) } {
                        span.avatar aria-hidden="true" { (self.principal.name.chars().next().unwrap_or('?').to_uppercase()) }
                    }
                    div.menu-list {
                        span.menu-text { (self.principal.name) " · " (self.principal.role) }
                        a href="/settings/account" { (icon("user")) "My account" }
                        a href="/settings/keys" { (icon("key")) "API keys" }
                        button type="button" hidden data-keys { (icon("info")) "Keyboard keys" }
                        form method="post" action="/sign-out" { (self.csrf()) button { (icon("x")) "Sign out" } }
                    }
                }
            }
        }
    }
}

/// The hidden field that every form which changes something must carry.
pub fn csrf_field(token: Option<&str>) -> Markup {
    html! { @if let Some(token) = token { input type="hidden" name="csrf" value=(token); } }
}

/// A document with the stylesheet, the script and the icons.
pub fn document(title: &str, theme: Option<&str>, body: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-base="/" data-theme=[theme] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover";
                title { (title) " · Hostler" }
                link rel="icon" type="image/svg+xml" href=(assets::url("favicon.svg"));
                link rel="stylesheet" href=(assets::url("hostler.css"));
                script src=(assets::url("app.js")) defer {}
            }
            body { (PreEscaped(assets::SPRITE)) (body) }
        }
    }
}

/// A page outside the shell: a card in the middle.
pub fn gate(title: &str, theme: Option<&str>, card: Markup) -> Markup {
    let body = html! {
        main.gate id="main" {
            a.brand href="/" { (icon("brand")) span { "Hostler" } }
            (card)
            p.muted.xs { "Hostler " (env!("CARGO_PKG_VERSION")) }
        }
    };
    document(title, theme, body)
}

/// The theme of the cookie.
pub fn theme_of(headers: &HeaderMap) -> Option<&'static str> {
    let all = headers.get_all(COOKIE).into_iter().filter_map(|v| v.to_str().ok());
    let value = all.flat_map(|c| c.split(';')).find_map(|c| c.trim().strip_prefix("theme="))?;
    ["light", "dark"].into_iter().find(|t| *t == value)
}

/// The host of this id or name.
pub async fn find_host(state: &AppState, text: &str) -> Result<Option<Host>, PageError> {
    if let Ok(id) = text.parse::<HostId>() {
        return match state.store.host(id).await {
            Ok(host) => Ok(Some(host)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        };
    }
    let (found, _) = hosts_by_name(state, Some(text), MENU).await?;
    Ok(found.into_iter().find(|host| host.name.eq_ignore_ascii_case(text)))
}

/// The first hosts by name that have this text in theirs, and how many have it.
pub async fn hosts_by_name(state: &AppState, text: Option<&str>, limit: u32) -> Result<(Vec<Host>, u64), PageError> {
    let query = HostQuery { text: text.map(str::to_owned), limit, ..HostQuery::default() };
    let nobody = LinkedNow { hosts: Vec::new(), fresh_since: Timestamp::from_micros(0) };
    let (rows, counts) = state.store.hosts_page(query, nobody).await?;
    Ok((rows.into_iter().map(|row| row.host).collect(), counts.all()))
}

fn here(uri: &Uri) -> String {
    uri.path_and_query().map_or_else(|| "/".into(), |p| p.as_str().to_string())
}

fn palette_dialog() -> Markup {
    html! {
        dialog.modal.palette id="palette" aria-label="Search and commands" {
            div.palette-in {
                (icon("search"))
                input type="text" role="combobox" aria-label="Search and commands" aria-expanded="true" aria-controls="palette-list" autocomplete="off" spellcheck="false";
                kbd { "Esc" }
            }
            div.palette-list role="listbox" id="palette-list" aria-label="Results" tabindex="-1" {}
            div.palette-foot {
                span { kbd { "↑" } " " kbd { "↓" } " move" } span { kbd { "↵" } " open" } span { kbd { "Ctrl ↵" } " new tab" }
            }
        }
    }
}

fn keys_dialog() -> Markup {
    let keys = [
        ("Ctrl K", "Search"),
        ("G H", "Hosts"),
        ("G F", "Files"),
        ("G U", "Duplicates"),
        ("G S", "Scans"),
        ("G A", "Activity"),
        ("/", "Filter or search on this page"),
        ("J K", "Next or previous row"),
        ("Enter", "Open the row"),
        ("?", "This list"),
    ];
    html! {
        dialog.modal id="keys" aria-labelledby="keys-title" {
            form method="dialog" {
                div.modal-head { h2 id="keys-title" { "Keys" } }
                div.modal-body { dl.kv { @for (key, what) in keys { dt { kbd { (key) } } dd { (what) } } } }
                div.modal-foot { button.btn autofocus { "Close" } }
            }
        }
    }
}

/// The tabs of the files pages.
pub fn files_tabs(open: &str) -> Markup {
    let tabs = [
        ("/files", "Browse"),
        ("/files/search", "Search"),
        ("/files/duplicates", "Duplicates"),
        ("/files/scans", "Scans"),
        ("/files/schedules", "Schedules"),
    ];
    html! {
        nav.tabs aria-label="Files" {
            @for (href, label) in tabs { a href=(href) aria-current=[(label == open).then_some("page")] { (label) } }
        }
    }
}

/// A breadcrumb of links and the page itself.
pub fn crumbs(links: &[(&str, &str)], last: &str) -> Markup {
    html! {
        nav aria-label="Breadcrumb" {
            ol.crumbs {
                @for (href, label) in links { li { a href=(href) { (label) } } }
                li { span aria-current="page" { bdi { (last) } } }
            }
        }
    }
}
