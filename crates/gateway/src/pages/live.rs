//! `/live`: values that change while a page is open, as fragments of that page.
//!
//! A page names what it follows in `?topics=`, comma-separated:
//!
//! | topic | fragments (element ids) |
//! |---|---|
//! | `scans` | `live-scans`; `reload` when a scan begins or ends |
//! | `scan:ID` | `scan-ID`; `reload` when it ends |
//! | `host:ID` | `host-link-ID`, `host-state-ID`, `host-files-ID`, `host-caps-ID` |
//! | `hosts` | those of every host |
//!
//! Server-sent events: `fragment` with `{"id", "html"}`, the element whole; `reload` when the page as a whole is out of
//! date; `tick` every 5 s with the server's time. What changes faster than twice a second is sent twice a second.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use hostler_model::{HostId, Role, ScanId, ScanState, Timestamp, size, time};
use maud::{Markup, html};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::components::*;
use super::errors::PageError;
use super::files::scan_form::NEEDS_OPERATOR;
use super::hosts::{capability_cards, link_cell, link_line};
use super::shell::{Viewer, csrf_field};
use crate::clock::now;
use crate::events::{Event, ScanUpdate};
use crate::state::AppState;
use crate::store::Host;

/// Topics of one stream.
const MAX_TOPICS: usize = 256;
/// Running scans that a page lists.
const MAX_PANELS: usize = 20;
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
    let topics = Topics::parse(&viewer.query.text("topics").unwrap_or_default());
    let live = Live::new(state, topics, viewer.may(Role::Operator), viewer.principal.csrf.clone());
    let events = stream::unfold(live, |mut live| async move {
        let event = live.next().await?;
        Some((Ok(event), live))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

/// What one page follows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Topics {
    scans: bool,
    scan: BTreeSet<ScanId>,
    all_hosts: bool,
    host: BTreeSet<HostId>,
}

impl Topics {
    fn parse(text: &str) -> Self {
        let mut topics = Self::default();
        for topic in text.split(',').take(MAX_TOPICS) {
            match topic.split_once(':') {
                None if topic == "scans" => topics.scans = true,
                None if topic == "hosts" => topics.all_hosts = true,
                Some(("scan", id)) => topics.scan.extend(id.parse::<ScanId>().ok()),
                Some(("host", id)) => topics.host.extend(id.parse::<HostId>().ok()),
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
        let changed_hosts = topics.host.clone();
        let unseen = topics.scan.iter().copied().filter(|id| state.scans.live(*id).is_none()).collect();
        Self {
            list_changed: topics.scans,
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
                    Err(RecvError::Lagged(_)) => self.ready.push_back(reload("missed")),
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
            Event::Host { host, .. } if self.topics.all_hosts || self.topics.host.contains(&host) => {
                self.changed_hosts.insert(host);
                self.flush_soon();
            }
            Event::Host { .. } => {}
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
            self.ready.push_back(fragment("live-scans", panels));
        }
        for (id, update) in std::mem::take(&mut self.changed_scans) {
            let panel = scan_panel(&update, self.operator, self.csrf.as_deref(), at);
            self.ready.push_back(fragment(&format!("scan-{id}"), panel));
        }
        for id in std::mem::take(&mut self.changed_hosts) {
            match self.state.store.host(id).await {
                Ok(host) => self.draw_host(&host, at),
                Err(error) => tracing::debug!(%id, %error, "a followed host could not be read"),
            }
        }
        self.look_for_ended().await;
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
        let link = LinkState::of(self.state.fleet.linked(id), host.last_proof_at, at);
        match (link, host.last_proof_at) {
            (LinkState::Linked, Some(proof)) => {
                let stale_after = i64::try_from(crate::fleet::STALE_AFTER_SECONDS + 1).unwrap_or(i64::MAX);
                let due = proof.micros().saturating_add(stale_after.saturating_mul(1_000_000));
                self.stale_at.insert(id, Timestamp::from_micros(due));
            }
            _ => {
                self.stale_at.remove(&id);
            }
        }
        let parts = [
            (format!("host-link-{id}"), link_cell(id, link, host.last_proof_at, at)),
            (format!("host-state-{id}"), link_line(id, link, host.last_proof_at, at)),
            (format!("host-files-{id}"), capability_cell(host, "files", link, at)),
            (format!("host-caps-{id}"), capability_cards(host, link, at)),
        ];
        self.ready.extend(parts.into_iter().map(|(id, html)| fragment(&id, html)));
    }
}

fn fragment(id: &str, html: Markup) -> SseEvent {
    let data = serde_json::json!({ "id": id, "html": html.into_string() });
    SseEvent::default().event("fragment").data(data.to_string())
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
    let word = match (scan.state, update.cancelling) {
        (_, true) => "Cancelling",
        (ScanState::Queued, _) => "Waiting to scan",
        _ => "Scanning",
    };
    let kind = if scan.state == ScanState::Queued && !update.cancelling { "" } else { "busy" };
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
                        form method="post" action={ "/files/scans/" (scan.id) "/cancel" } { (csrf_field(csrf)) button.btn.sm.danger aria-label={ "Cancel the scan of " (scan.root) } { "Cancel" } }
                    }
                    @else { button.btn.sm.danger type="button" aria-disabled="true" title=(NEEDS_OPERATOR) { "Cancel" } }
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
        let topics = Topics::parse(&format!("scans,scan:{scan},host:{host},host:nobody,what"));
        assert!(topics.scans && !topics.all_hosts);
        assert!(topics.scan.contains(&scan) && topics.host.contains(&host) && topics.host.len() == 1);
        let many = (0..1000).map(|_| format!("host:{}", HostId::new())).collect::<Vec<_>>().join(",");
        assert_eq!(Topics::parse(&many).host.len(), MAX_TOPICS);
    }
}
