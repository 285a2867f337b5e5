//! `/live`: values that change while a page is open, as fragments of that page.
//!
//! A page names what it follows in `?topics=`, comma-separated:
//!
//! | topic | fragments (element ids) |
//! |---|---|
//! | `scans` | `live-scans`; `reload` when a scan begins or ends |
//! | `scan:ID` | `scan-ID`; `reload` when it ends |
//! | `row:ID` | of a host in a table: `host-link-ID`, `host-files-ID` |
//! | `host:ID` | of a host on its page: `host-state-ID`, `host-caps-ID`, `host-panel-ID`, `host-banner-ID` |
//! | `join:ID` | `join-ID`, for admins |
//! | `activity?QUERY` | rows for `activity-rows`, newest first; the query is the page's filter and `after`, its newest event |
//!
//! Server-sent events: `fragment` with `{"id", "html"}`, the element whole; `rows` with the same, to be put on top of the
//! list; `reload` when the page as a whole is out of date; `tick` every 5 s with the server's time. What changes faster
//! than twice a second is sent twice a second.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures_util::stream::{self, Stream, StreamExt};
use hostler_model::{HostId, JoinTokenId, Role, ScanId, ScanState, Timestamp, size, time};
use maud::{Markup, html};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::activity;
use super::components::*;
use super::errors::PageError;
use super::files::scan_form::NEEDS_OPERATOR;
use super::hosts::join;
use super::hosts::list::link_cell;
use super::hosts::show::{capability_cards, duplicate_banner, link_line, link_panel};
use super::query::Query;
use super::shell::{Viewer, csrf_field};
use crate::clock::now;
use crate::events::{Event, ScanUpdate};
use crate::state::AppState;
use crate::store::{ActivityEvent, ActivityFilter, Host, PageRequest};

/// Topics of one stream.
const MAX_TOPICS: usize = 256;
/// Running scans that a page lists.
const MAX_PANELS: usize = 20;
/// Events that wait to be drawn; with more, the page is drawn anew.
const MAX_ROWS: usize = 100;
/// Between two fragments of one element.
const COALESCE: Duration = Duration::from_millis(500);
/// Between two ticks, which also look for hosts that went stale.
const TICK: Duration = Duration::from_secs(5);
/// Between two comments that keep proxies from closing an idle stream.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// `GET /live?topics=…`.
pub async fn stream(
    State(state): State<AppState>,
    viewer: Viewer,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, PageError> {
    let mut topics = Topics::parse(&viewer.query.text("topics").unwrap_or_default(), viewer.now);
    topics.join = topics.join.filter(|_| viewer.may(Role::Admin));
    let live = Live::new(state.clone(), topics, viewer.may(Role::Operator), viewer.principal.csrf.clone());
    let events = stream::unfold(live, |mut live| async move {
        let event = live.next().await?;
        Some((Ok(event), live))
    });
    // Who may no longer read this reads no more of it; the page's script comes back and is told so.
    let events = events.take_until(viewer.principal.until_changed(state));
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

/// What one page follows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Topics {
    scans: bool,
    scan: BTreeSet<ScanId>,
    host: BTreeSet<HostId>,
    row: BTreeSet<HostId>,
    join: Option<JoinTokenId>,
    activity: Option<Followed>,
}

/// A list of events that a page shows.
#[derive(Debug, PartialEq, Eq)]
struct Followed {
    filter: ActivityFilter,
    /// The newest event that the page has.
    after: i64,
}

impl Topics {
    fn parse(text: &str, at: Timestamp) -> Self {
        let mut topics = Self::default();
        for topic in text.split(',').take(MAX_TOPICS) {
            if let Some(query) = topic.strip_prefix(activity::TOPIC).and_then(|rest| rest.strip_prefix('?')) {
                let query = Query::parse(Some(query));
                let after = query.parsed("after").unwrap_or(0);
                topics.activity = Some(Followed { filter: activity::filter(&query, at), after });
                continue;
            }
            match topic.split_once(':') {
                None if topic == "scans" => topics.scans = true,
                Some(("scan", id)) => topics.scan.extend(id.parse::<ScanId>().ok()),
                Some(("host", id)) => topics.host.extend(id.parse::<HostId>().ok()),
                Some(("row", id)) => topics.row.extend(id.parse::<HostId>().ok()),
                Some(("join", id)) => topics.join = id.parse().ok(),
                _ => {}
            }
        }
        topics
    }
}

/// One open stream.
struct Live {
    state: AppState,
    topics: Topics,
    operator: bool,
    csrf: Option<String>,
    events: Receiver<Event>,
    ticks: Interval,
    /// Drawn and not yet sent.
    ready: VecDeque<SseEvent>,
    /// Changed and not yet drawn.
    changed_scans: BTreeMap<ScanId, ScanUpdate>,
    changed_hosts: BTreeSet<HostId>,
    list_changed: bool,
    join_changed: bool,
    /// Events for the page's list, oldest first.
    new_events: VecDeque<ActivityEvent>,
    /// Events that came between the drawing of the page and now are not read yet.
    behind: bool,
    /// Running scans that the page knows of.
    running: BTreeSet<ScanId>,
    /// Scans that the page follows and that no longer ran when this stream was opened.
    unseen: Vec<ScanId>,
    /// When each linked host goes stale, which no event tells.
    stale_at: HashMap<HostId, Timestamp>,
    flush_at: Option<Instant>,
}

impl Live {
    fn new(state: AppState, topics: Topics, operator: bool, csrf: Option<String>) -> Self {
        let events = state.events.subscribe();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let running = state.scans.active().iter().map(ScanUpdate::id).collect();
        // What changed between the drawing of the page and now is drawn again at once.
        let changed_scans = topics.scan.iter().filter_map(|id| Some((*id, state.scans.live(*id)?))).collect();
        let changed_hosts = topics.host.union(&topics.row).copied().collect();
        let unseen = topics.scan.iter().copied().filter(|id| state.scans.live(*id).is_none()).collect();
        Self {
            list_changed: topics.scans,
            join_changed: topics.join.is_some(),
            new_events: VecDeque::new(),
            behind: topics.activity.is_some(),
            state,
            topics,
            operator,
            csrf,
            events,
            ticks,
            ready: VecDeque::new(),
            changed_scans,
            changed_hosts,
            running,
            unseen,
            stale_at: HashMap::new(),
            flush_at: Some(Instant::now()),
        }
    }

    /// The next event; `None` ends the stream.
    async fn next(&mut self) -> Option<SseEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let flush_at = self.flush_at;
            let flush = async {
                match flush_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.state.stopping.cancelled() => return None,
                event = self.events.recv() => match event {
                    Ok(event) => self.note(event),
                    // Some were missed: the page is drawn again whole.
                    Err(RecvError::Lagged(_)) => self.missed(),
                    Err(RecvError::Closed) => return None,
                },
                _ = self.ticks.tick() => {
                    self.look_for_stale();
                    self.ready.push_back(SseEvent::default().event("tick").data(now().to_string()));
                }
                () = flush => self.flush().await,
            }
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Scan(update) => self.note_scan(*update),
            Event::Host { host, .. } if self.topics.host.contains(&host) || self.topics.row.contains(&host) => {
                self.changed_hosts.insert(host);
                self.flush_soon();
            }
            Event::Host { .. } => {}
            Event::Activity(event) => {
                // `host.joined` and `host.linked` of whichever host uses the token.
                if self.topics.join.is_some() && event.kind.starts_with("host.") {
                    self.join_changed = true;
                    self.flush_soon();
                }
                self.note_activity(*event);
            }
        }
    }

    fn note_activity(&mut self, event: ActivityEvent) {
        let Some(followed) = &self.topics.activity else { return };
        if !activity::matches(&followed.filter, &event) {
            return;
        }
        if self.new_events.len() >= MAX_ROWS {
            self.new_events.clear();
            self.missed();
            return;
        }
        self.new_events.push_back(event);
        self.flush_soon();
    }

    /// The page is drawn anew. One that shows a token's secret cannot be: only what it waits for is.
    fn missed(&mut self) {
        if self.topics.join.is_some() {
            self.join_changed = true;
            self.flush_soon();
        } else {
            self.ready.push_back(reload("missed"));
        }
    }

    fn note_scan(&mut self, update: ScanUpdate) {
        let id = update.id();
        let ended = update.scan.state.is_final();
        let known = if ended { !self.running.remove(&id) } else { !self.running.insert(id) };
        if self.topics.scans {
            self.list_changed = true;
            if ended || !known {
                self.ready.push_back(reload(if ended { "ended" } else { "began" }));
            }
        }
        if self.topics.scan.contains(&id) {
            if ended {
                self.changed_scans.remove(&id);
                self.topics.scan.remove(&id);
                self.ready.push_back(reload("ended"));
            } else {
                self.changed_scans.insert(id, update);
            }
        }
        self.flush_soon();
    }

    fn flush_soon(&mut self) {
        self.flush_at.get_or_insert_with(|| Instant::now() + COALESCE);
    }

    fn look_for_stale(&mut self) {
        let at = now();
        self.changed_hosts.extend(self.stale_at.iter().filter(|(_, due)| **due <= at).map(|(id, _)| *id));
        if !self.changed_hosts.is_empty() {
            self.flush_soon();
        }
    }

    async fn flush(&mut self) {
        self.flush_at = None;
        let at = now();
        if std::mem::take(&mut self.list_changed) {
            let panels = scans_panels(&self.state.scans.active(), self.operator, self.csrf.as_deref(), at);
            self.tell("fragment", "live-scans", panels);
        }
        for (id, update) in std::mem::take(&mut self.changed_scans) {
            let panel = scan_panel(&update, self.operator, self.csrf.as_deref(), at);
            self.tell("fragment", &format!("scan-{id}"), panel);
        }
        for id in std::mem::take(&mut self.changed_hosts) {
            match self.state.store.host(id).await {
                Ok(host) => self.draw_host(&host, at),
                Err(error) => tracing::debug!(%id, %error, "a followed host could not be read"),
            }
        }
        if std::mem::take(&mut self.join_changed) {
            self.draw_join().await;
        }
        if std::mem::take(&mut self.behind) {
            self.catch_up().await;
        }
        self.draw_rows(at);
        self.look_for_ended().await;
    }

    async fn draw_join(&mut self) {
        let Some(id) = self.topics.join else { return };
        let joined = async {
            let tokens = self.state.store.join_tokens().await?;
            match tokens.iter().find(|token| token.id == id) {
                Some(token) => join::used_by(&self.state, token).await,
                None => Ok(None),
            }
        };
        match joined.await {
            Ok(host) => {
                let linked = host.as_ref().is_some_and(|host| self.state.fleet.linked(host.id));
                self.tell("fragment", &format!("join-{id}"), join::waiting(id, host.as_ref(), linked));
            }
            Err(error) => tracing::debug!(%id, %error, "a followed join token could not be read"),
        }
    }

    /// Reads the events that came between the drawing of the page and the opening of this stream.
    async fn catch_up(&mut self) {
        let Some(followed) = &self.topics.activity else { return };
        let request = PageRequest { limit: MAX_ROWS as u32, cursor: None };
        match self.state.store.activity(followed.filter.clone(), request).await {
            Ok(page) => {
                let newer = page.items.into_iter().filter(|event| event.id > followed.after);
                newer.for_each(|event| self.new_events.push_front(event));
            }
            Err(error) => tracing::debug!(%error, "followed events could not be read"),
        }
    }

    fn draw_rows(&mut self, at: Timestamp) {
        let Some(followed) = &mut self.topics.activity else { return };
        let with_host = followed.filter.host.is_none();
        let mut rows = Vec::new();
        for event in self.new_events.drain(..) {
            if event.id > followed.after {
                followed.after = event.id;
                rows.push(activity::row(&event, with_host, at));
            }
        }
        if !rows.is_empty() {
            let html = html! { @for row in rows.iter().rev() { (row) } };
            self.tell("rows", activity::ROWS, html);
        }
    }

    /// A scan may have ended between the drawing of the page and the opening of this stream.
    async fn look_for_ended(&mut self) {
        for id in std::mem::take(&mut self.unseen) {
            if self.state.store.scan(id).await.is_ok_and(|scan| scan.state.is_final()) {
                self.topics.scan.remove(&id);
                self.ready.push_back(reload("ended"));
            }
        }
    }

    fn draw_host(&mut self, host: &Host, at: Timestamp) {
        let id = host.id;
        let stale_after = self.state.fleet.stale_after_seconds();
        let link = LinkState::of(self.state.fleet.linked(id), host.last_proof_at, at, stale_after);
        match (link, host.last_proof_at) {
            (LinkState::Linked, Some(proof)) => {
                let stale_after = i64::try_from(stale_after + 1).unwrap_or(i64::MAX);
                let due = proof.micros().saturating_add(stale_after.saturating_mul(1_000_000));
                self.stale_at.insert(id, Timestamp::from_micros(due));
            }
            _ => {
                self.stale_at.remove(&id);
            }
        }
        let mut parts = Vec::new();
        if self.topics.row.contains(&id) {
            parts.push((format!("host-link-{id}"), link_cell(id, link, host.last_proof_at, at)));
            parts.push((format!("host-files-{id}"), capability_cell(host, "files", link, at)));
        }
        if self.topics.host.contains(&id) {
            let status = self.state.fleet.status(id);
            parts.push((format!("host-state-{id}"), link_line(id, link, host.last_proof_at, at)));
            parts.push((format!("host-caps-{id}"), capability_cards(host, link, at)));
            parts.push((format!("host-panel-{id}"), link_panel(host, &status, at)));
            parts.push((format!("host-banner-{id}"), duplicate_banner(host, &status, at)));
        }
        for (id, html) in parts {
            self.tell("fragment", &id, html);
        }
    }

    fn tell(&mut self, what: &str, id: &str, html: Markup) {
        let html = self.state.prefix.put_into(html.into_string());
        let data = serde_json::json!({ "id": id, "html": html }).to_string();
        self.ready.push_back(SseEvent::default().event(what).data(data));
    }
}

fn reload(why: &str) -> SseEvent {
    SseEvent::default().event("reload").data(why)
}

/// The running scans: the fragment `live-scans`.
pub fn scans_panels(active: &[ScanUpdate], operator: bool, csrf: Option<&str>, at: Timestamp) -> Markup {
    html! {
        div.stackv.live-scans id="live-scans" {
            @for update in active.iter().take(MAX_PANELS) { (scan_panel(update, operator, csrf, at)) }
            @if active.len() > MAX_PANELS { p.muted.small { "And " (active.len() - MAX_PANELS) " more, see " a href="/files/scans?state=running" { "all running scans" } "." } }
        }
    }
}

/// One running scan: the fragment `scan-ID`.
pub fn scan_panel(update: &ScanUpdate, operator: bool, csrf: Option<&str>, at: Timestamp) -> Markup {
    let scan = &update.scan;
    let (kind, word) = match (scan.state, update.cancelling, update.paused) {
        (_, true, _) => ("busy", "Cancelling"),
        (_, _, true) => ("warn", "Paused:"),
        (ScanState::Queued, ..) => ("", "Waiting to scan"),
        _ => ("busy", "Scanning"),
    };
    let (other, other_word) = if update.paused { ("resume", "Resume") } else { ("pause", "Pause") };
    let counters = &scan.counters;
    let expected = counters.expected_files.max(counters.files);
    let label = format!("Scan of {}", scan.root.display());
    html! {
        section.panel id={ "scan-" (scan.id) } aria-label=(label) {
            div.scan {
                span.row {
                    span.state.(kind) { (word) " " bdi.mono.wrap { (scan.root.display()) } }
                    (host_chip(&scan.host_name))
                    span.chip.outline { "by " (scan.requested_by) }
                }
                span.row {
                    a.btn.sm href={ "/files/scans/" (scan.id) } { "Details" }
                    @if update.cancelling { button.btn.sm type="button" aria-busy="true" disabled { "Cancelling" } }
                    @else if operator {
                        @if update.pausable { form method="post" action={ "/files/scans/" (scan.id) "/" (other) } { (csrf_field(csrf)) button.btn.sm aria-label={ (other_word) " the scan of " (scan.root) } { (other_word) } } }
                        form method="post" action={ "/files/scans/" (scan.id) "/cancel" } { (csrf_field(csrf)) button.btn.sm.danger aria-label={ "Cancel the scan of " (scan.root) } { "Cancel" } }
                    }
                    @else {
                        @if update.pausable { button.btn.sm type="button" aria-disabled="true" title=(NEEDS_OPERATOR) { (other_word) } }
                        button.btn.sm.danger type="button" aria-disabled="true" title=(NEEDS_OPERATOR) { "Cancel" }
                    }
                }
                @if counters.expected_files > 0 { progress.progress value=(counters.files) max=(expected) aria-label=(label) { (counters.files * 100 / expected.max(1)) "%" } }
                @else { progress.progress aria-label=(label) {} }
                (facts(update, at))
            }
        }
    }
}

fn facts(update: &ScanUpdate, at: Timestamp) -> Markup {
    let scan = &update.scan;
    let counters = &scan.counters;
    html! {
        div.facts {
            @if scan.state == ScanState::Queued { span { "asked " (ago(scan.created_at, at)) ", waits for the host" } }
            @else {
                span { b { (size::grouped(counters.files)) } @if counters.expected_files > 0 { " of about " (size::grouped(counters.expected_files)) } " files" }
                span { b { (size::human(counters.bytes)) } " walked, " b { (size::human(counters.hashed_bytes)) } " hashed" }
                @if let Some(rate) = update.rate {
                    span { b { (size::grouped(rate.files_per_second.max(0.0) as u64)) } " files/s" }
                    span { b { (size::human(rate.bytes_per_second.max(0.0) as u64)) "/s" } }
                    @if let Some(left) = rate.seconds_left { span { "about " b { (time::age(left)) } " left" } }
                }
                @if counters.errors > 0 { span { a.bad href={ "/files/scans/" (scan.id) "?tab=errors" } { (counted(counters.errors, "error", "errors")) } } }
                @if let Some(current) = &update.current { span.current { "in " bdi.mono { @if current.is_empty() { (scan.root) } @else { (current) } } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_parsed_and_bounded() {
        let (scan, host) = (ScanId::new(), HostId::new());
        let at = Timestamp::from_micros(0);
        let text = format!("scans,scan:{scan},host:{host},host:nobody,what,activity?kind=host&q=a%2Cb&after=9");
        let topics = Topics::parse(&text, at);
        assert!(topics.scans);
        let followed = topics.activity.unwrap();
        assert_eq!((followed.after, followed.filter.kind.as_deref()), (9, Some("host")));
        assert_eq!(followed.filter.text.as_deref(), Some("a,b"));
        assert!(topics.scan.contains(&scan) && topics.host.contains(&host) && topics.host.len() == 1);
        let many = (0..1000).map(|_| format!("host:{}", HostId::new())).collect::<Vec<_>>().join(",");
        assert_eq!(Topics::parse(&many, at).host.len(), MAX_TOPICS);
    }
}
