//! `/activity`: what happened on all hosts and to the gateway, the last received first; new rows come live.

use axum::extract::State;
use hostler_model::{HostId, Timestamp};
use maud::{Markup, html};

use super::components::*;
use super::errors::PageError;
use super::forms::{since, since_select};
use super::query::Query;
use super::shell::{Nav, Page, Viewer};
use crate::state::AppState;
use crate::store::{ActivityEvent, ActivityFilter, PageRequest, Severity};

const PLACE: &str = "/activity";
/// The name of the topic, before its query.
pub const TOPIC: &str = "activity";
/// The list that new rows are put on top of.
pub const ROWS: &str = "activity-rows";
/// Keys of a query that restrict what is listed.
const FIELDS: [&str; 5] = ["host", "kind", "severity", "since", "q"];

/// The filter of a page's query.
pub fn filter(query: &Query, now: Timestamp) -> ActivityFilter {
    ActivityFilter {
        host: query.parsed("host"),
        kind: query.text("kind").map(String::from),
        min_severity: query.parsed("severity"),
        since: since(query, now),
        until: None,
        text: query.text("q").map(String::from),
    }
}

/// True when the store would list the event under this filter.
pub fn matches(filter: &ActivityFilter, event: &ActivityEvent) -> bool {
    let of_kind =
        |kind: &str| event.kind.strip_prefix(kind).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let has = |text: &str| {
        let text = text.to_ascii_lowercase();
        [&event.subject, &event.message].iter().any(|field| field.to_ascii_lowercase().contains(&text))
    };
    filter.host.is_none_or(|host| event.host == Some(host))
        && filter.kind.as_deref().is_none_or(of_kind)
        && filter.min_severity.is_none_or(|least| event.severity >= least)
        && filter.since.is_none_or(|since| event.at >= since)
        && filter.text.as_deref().is_none_or(has)
}

/// The topic of a page that lists these events: its filter, and the newest event that it has.
pub fn topic(query: &Query, events: &[ActivityEvent]) -> String {
    let mut topic = Query::default();
    for key in FIELDS {
        if let Some(value) = query.get(key) {
            topic.push(key, value.clone());
        }
    }
    let newest = events.iter().map(|event| event.id).max().unwrap_or(0);
    topic.with("after", newest.to_string().as_str()).link(TOPIC)
}

/// `GET /activity`.
pub async fn page(State(state): State<AppState>, viewer: Viewer) -> Result<Markup, PageError> {
    let query = &viewer.query;
    let filter = filter(query, viewer.now);
    let request = PageRequest { limit: rows(query), cursor: query.text("cursor").map(String::from) };
    let page = state.store.activity(filter.clone(), request).await?;
    let filtered = filter != ActivityFilter::default();
    let first = !query.has("cursor");
    let pager =
        Pager { path: PLACE, query, shown: page.items.len(), total: None, noun: "events", next: page.next.as_deref() };
    let main = html! {
        div.page-head {
            h1 { "Activity" }
            p.sub { "What happened on the hosts and to the gateway, the last received first. " @if first { "New events appear as they come." } }
            div.actions { button.btn type="button" id="held" hidden { (icon("up")) span { "New events" } } }
        }
        (filters(&viewer, &filter))
        section.panel aria-label="Events" {
            @if page.items.is_empty() && filtered { (empty("activity", "No such events", "Take a filter away to see more.", None)) }
            @else if page.items.is_empty() {
                (empty("activity", "Nothing has happened yet", "Hosts report here what happens on them, also what happened while they were not linked. This line adds one:", Some("hostler hosts token")))
            } @else {
                (table(&page.items, filter.host.is_none(), rows(query) as usize, viewer.now))
                (pager.draw())
            }
        }
    };
    let topics = if first { vec![topic(query, &page.items)] } else { Vec::new() };
    let host = filter.host.and_then(|id| viewer.host(id));
    Ok(viewer.draw(Page { title: "Activity".into(), nav: Nav::Activity, host, topics, main }))
}

fn filters(viewer: &Viewer, filter: &ActivityFilter) -> Markup {
    let query = &viewer.query;
    html! {
        form.filters action=(PLACE) role="search" {
            (kept(query))
            label.input-icon { span.sr { "Filter by text" } (icon("search"))
                input.input id="filter" type="search" name="q" placeholder="Filter by text" value=(filter.text.as_deref().unwrap_or_default()); }
            (viewer.host_select())
            select.select name="severity" aria-label="Severity" {
                option value="" { "All severities" }
                option value="warning" selected[filter.min_severity == Some(Severity::Warning)] { "Warnings and errors" }
                option value="error" selected[filter.min_severity == Some(Severity::Error)] { "Errors" }
            }
            (since_select(query))
            @if let (Some(kind), Some(value)) = (&filter.kind, query.get("kind")) {
                (hidden("kind", value))
                (pill(html! { "kind " (kind) }, "kind", &query.first_page().without(&["kind"]).link(PLACE)))
            }
            button.btn data-plain { "Filter" }
        }
    }
}

/// A table of events onto which new ones are put; it keeps at most `max`.
pub fn table(events: &[ActivityEvent], with_host: bool, max: usize, now: Timestamp) -> Markup {
    html! {
        table.table.stack {
            thead { tr {
                th scope="col" { "When" } th scope="col" { "What" } th.p2 scope="col" { "Kind" } @if with_host { th scope="col" { "Host" } }
            } }
            tbody id=(ROWS) data-max=(max) { @for event in events { (row(event, with_host, now)) } }
        }
    }
}

/// One event.
pub fn row(event: &ActivityEvent, with_host: bool, now: Timestamp) -> Markup {
    let mark = match (event.kind.as_str(), event.severity) {
        ("journal.gap", _) => Some(("warn", "Events lost")),
        (_, Severity::Info) => None,
        (_, Severity::Warning) => Some(("warn", "Warning")),
        (_, Severity::Error) => Some(("bad", "Error")),
    };
    html! {
        tr id={ "activity-" (event.id) } {
            td.nowrap.muted { (ago(event.at, now)) }
            td.full.prose {
                @if let Some((kind, word)) = mark { (state(kind, word)) " " }
                span.wrap { (sentence_of(event)) }
                @if !event.subject.is_empty() && !event.message.contains(&event.subject) { span.sub.mono.wrap { bdi { (event.subject) } } }
            }
            td.p2.off { a.xs.muted.mono href={ (PLACE) "?kind=" (event.kind) @if !with_host { @if let Some(host) = event.host { "&host=" (host) } } } { (event.kind) } }
            @if with_host { td.end { (host_link(event.host, event.host_name.as_deref())) } }
        }
    }
}

/// The message with a capital, unless it begins with a name: names are shown as they are.
fn sentence_of(event: &ActivityEvent) -> String {
    let names = [event.host_name.as_deref(), Some(event.subject.as_str())];
    let begins_with_name = names.into_iter().flatten().any(|name| !name.is_empty() && event.message.starts_with(name));
    if begins_with_name { event.message.clone() } else { capital(&event.message) }
}

fn host_link(host: Option<HostId>, name: Option<&str>) -> Markup {
    html! {
        @match (host, name) {
            (Some(id), Some(name)) => a href={ "/hosts/" (id) } { bdi { (name) } },
            _ => span.muted { "gateway" },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::EventSource;

    fn event(kind: &str, severity: Severity, message: &str) -> ActivityEvent {
        ActivityEvent {
            id: 7,
            host: Some(HostId::new()),
            host_name: Some("<b>web".into()),
            at: Timestamp::from_micros(1_000_000),
            received_at: Timestamp::from_micros(1_000_000),
            source: EventSource::Host,
            kind: kind.into(),
            severity,
            subject: "/srv/<i>".into(),
            message: message.into(),
            data: None,
        }
    }

    #[test]
    fn what_comes_live_is_what_the_list_would_show() {
        let event = event("scan.completed", Severity::Warning, "Scan ended");
        let now = Timestamp::from_micros(2_000_000);
        let shown = |raw: &str| matches(&filter(&Query::parse(Some(raw)), now), &event);
        for raw in
            ["", "kind=scan", "kind=scan.completed", "severity=info", "severity=warning", "q=SCAN", "q=srv", "since=1h"]
        {
            assert!(shown(raw), "{raw}");
        }
        for raw in ["kind=sca", "kind=scan.complete", "severity=error", "q=nothing", "since=0s"] {
            assert!(!shown(raw), "{raw}");
        }
        assert!(shown(&format!("host={}", event.host.unwrap())) && !shown(&format!("host={}", HostId::new())));
    }

    #[test]
    fn names_keep_their_letters() {
        let mut event = event("host.joined", Severity::Info, "web-1 joined");
        event.host_name = Some("web-1".into());
        assert_eq!(sentence_of(&event), "web-1 joined");
        event.message = "the link ended".into();
        assert_eq!(sentence_of(&event), "The link ended");
    }

    #[test]
    fn rows_escape_what_hosts_say_and_topics_hold_no_comma() {
        let event = event("host.linked", Severity::Info, "<script>x, y</script>");
        let row = row(&event, true, Timestamp::from_micros(2_000_000)).into_string();
        assert!(!row.contains("<script") && !row.contains("<b>") && !row.contains("<i>"), "{row}");
        let topic = topic(&Query::parse(Some("q=a%2Cb%26c&cursor=x")), &[event]);
        assert_eq!(topic, "activity?q=a%2Cb%26c&after=7");
    }
}
