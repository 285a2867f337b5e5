//! What every store must do about what happened: events of hosts, each once; events of the gateway; the audit log.

use hostler_gateway::store::{
    ActivityEvent, ActivityFilter, AuditEntry, AuditFilter, AuditResult, EventSource, HostEventRecord, MAX_ANNOUNCED,
    NewEvent, PageRequest, Severity, Store, StoreError, Via,
};
use hostler_model::{HostId, Role};

use crate::conformance::{all_pages, at, first_page, new_host};

/// Runs every check on one store.
pub async fn conformance(store: &dyn Store) {
    records_are_kept_once(store).await;
    gaps_are_told(store).await;
    another_journal_starts_anew(store).await;
    only_the_newest_are_announced(store).await;
    events_are_filtered_and_paged(store).await;
    the_audit_log_is_filtered_and_paged(store).await;
}

pub fn record(seq: u64) -> HostEventRecord {
    HostEventRecord {
        seq,
        at: at(seq as i64),
        kind: "scan.completed".into(),
        severity: Severity::Info,
        subject: format!("/srv/{seq}"),
        message: format!("record {seq}"),
        data: format!(r#"{{"seq":{seq}}}"#),
    }
}

fn records(seqs: impl IntoIterator<Item = u64>) -> Vec<HostEventRecord> {
    seqs.into_iter().map(record).collect()
}

/// Kinds and messages of a host's events, oldest first.
async fn told(store: &dyn Store, host: HostId) -> Vec<(String, String)> {
    let filter = ActivityFilter { host: Some(host), ..ActivityFilter::default() };
    let mut events = all_pages(3, async |page| store.activity(filter.clone(), page).await.unwrap()).await;
    events.reverse();
    events.into_iter().map(|e| (e.kind, e.message)).collect()
}

async fn records_are_kept_once(store: &dyn Store) {
    let host = new_host(store, "journal").await;
    assert_eq!(store.journal_position(host).await.unwrap(), None);
    let kept = store.append_host_events(host, [1; 16], records(1..=3), 3).await.unwrap();
    assert_eq!(kept.new, 3);
    let first = ActivityEvent {
        id: kept.newest[0].id,
        host: Some(host),
        host_name: Some("journal".into()),
        at: at(1),
        received_at: kept.newest[0].received_at,
        source: EventSource::Host,
        kind: "scan.completed".into(),
        severity: Severity::Info,
        subject: "/srv/1".into(),
        message: "record 1".into(),
        data: Some(serde_json::json!({"seq": 1})),
    };
    assert_eq!(kept.newest[0], first, "what is announced is what is kept");
    assert_eq!(store.journal_position(host).await.unwrap(), Some(([1; 16], 3)));

    // Sent again, in part or as a whole, nothing is kept twice.
    assert_eq!(store.append_host_events(host, [1; 16], records(1..=3), 3).await.unwrap().new, 0);
    assert_eq!(store.append_host_events(host, [1; 16], records(2..=5), 5).await.unwrap().new, 2);
    assert_eq!(store.append_host_events(host, [1; 16], records(4..=4), 4).await.unwrap().new, 0);
    assert_eq!(store.journal_position(host).await.unwrap(), Some(([1; 16], 5)));
    let messages: Vec<String> = told(store, host).await.into_iter().map(|(_, message)| message).collect();
    assert_eq!(messages, ["record 1", "record 2", "record 3", "record 4", "record 5"]);
    let whole = ActivityFilter { host: Some(host), ..ActivityFilter::default() };
    assert_eq!(store.activity(whole, first_page(9)).await.unwrap().items.last(), Some(&first));

    let nobody = HostId::new();
    let error = store.append_host_events(nobody, [1; 16], records(1..=1), 1).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "host", .. }), "{error}");
    assert_eq!(store.journal_position(nobody).await.unwrap(), None);
}

async fn gaps_are_told(store: &dyn Store) {
    let host = new_host(store, "gaps").await;
    let kept = store.append_host_events(host, [1; 16], records([4, 5, 9]), 10).await.unwrap();
    assert_eq!(kept.new, 3, "gaps are not counted");
    store.append_host_events(host, [1; 16], records([12]), 12).await.unwrap();
    let events = told(store, host).await;
    let gaps: Vec<&str> =
        events.iter().filter(|(kind, _)| kind == "journal.gap").map(|(_, m)| m.split(' ').next().unwrap()).collect();
    assert_eq!(gaps, ["3", "3", "1", "1"], "{events:?}");
    let filter = ActivityFilter { host: Some(host), kind: Some("journal".into()), ..ActivityFilter::default() };
    let gap = store.activity(filter, first_page(9)).await.unwrap().items.pop().unwrap();
    assert_eq!((gap.severity, gap.source), (Severity::Warning, EventSource::Gateway));
    assert_eq!(gap.data, Some(serde_json::json!({"lost": 3, "after": 0, "next": 4})));
}

async fn another_journal_starts_anew(store: &dyn Store) {
    let host = new_host(store, "reinstalled").await;
    store.append_host_events(host, [1; 16], records(1..=7), 7).await.unwrap();
    let kept = store.append_host_events(host, [2; 16], records(1..=2), 2).await.unwrap();
    assert_eq!(kept.new, 2);
    assert_eq!(store.journal_position(host).await.unwrap(), Some(([2; 16], 2)));
    let kinds: Vec<String> = told(store, host).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds[7..], ["journal.new", "scan.completed", "scan.completed"]);
}

async fn only_the_newest_are_announced(store: &dyn Store) {
    let host = new_host(store, "talkative").await;
    let last = 3 * MAX_ANNOUNCED as u64;
    let kept = store.append_host_events(host, [1; 16], records(1..=last), last).await.unwrap();
    assert_eq!((kept.new, kept.newest.len()), (last, MAX_ANNOUNCED));
    assert_eq!(kept.newest.last().map(|e| e.message.as_str()), Some(format!("record {last}").as_str()));
    assert!(kept.newest.iter().map(|e| e.id).is_sorted());
}

async fn events_are_filtered_and_paged(store: &dyn Store) {
    let (host, other) = (new_host(store, "events").await, new_host(store, "other events").await);
    let event = |host, n: i64, kind: &str, severity, subject: &str| NewEvent {
        host,
        at: at(n),
        kind: kind.into(),
        severity,
        subject: subject.into(),
        message: format!("100% of _{n}_"),
        data: if n == 1 { "not {json".into() } else { String::new() },
    };
    for new in [
        event(Some(host), 1, "host.linked", Severity::Info, ""),
        event(Some(host), 2, "host.unlinked", Severity::Warning, ""),
        event(Some(host), 3, "hosting", Severity::Error, "/Srv/Data"),
        event(Some(other), 4, "host.linked", Severity::Info, ""),
        event(None, 5, "gateway.restored", Severity::Warning, ""),
    ] {
        let kept = store.append_gateway_event(new.clone()).await.unwrap();
        assert_eq!((kept.host, kept.at, kept.kind, kept.source), (new.host, new.at, new.kind, EventSource::Gateway));
    }
    let of_host = ActivityFilter { host: Some(host), ..ActivityFilter::default() };
    let whole = store.activity(of_host.clone(), first_page(9)).await.unwrap().items;
    assert_eq!(whole.iter().map(|e| e.at).collect::<Vec<_>>(), [at(3), at(2), at(1)], "the newest first");
    assert_eq!(whole[2].data, Some("not {json".into()), "what is no JSON is shown as text");
    assert_eq!(whole[1].data, None);
    for (filter, expected) in [
        (ActivityFilter { kind: Some("host".into()), ..of_host.clone() }, vec![2, 1]),
        (ActivityFilter { kind: Some("host.".into()), ..of_host.clone() }, vec![2, 1]),
        (ActivityFilter { kind: Some("host.linked".into()), ..of_host.clone() }, vec![1]),
        (ActivityFilter { min_severity: Some(Severity::Warning), ..of_host.clone() }, vec![3, 2]),
        (ActivityFilter { since: Some(at(2)), until: Some(at(3)), ..of_host.clone() }, vec![2]),
        (ActivityFilter { text: Some("srv/data".into()), ..of_host.clone() }, vec![3]),
        (ActivityFilter { text: Some("100% OF _2_".into()), ..of_host.clone() }, vec![2]),
        (ActivityFilter { text: Some("1__%".into()), ..of_host.clone() }, vec![]),
        (ActivityFilter { host: Some(HostId::new()), ..ActivityFilter::default() }, vec![]),
    ] {
        let found = store.activity(filter.clone(), first_page(9)).await.unwrap().items;
        let times: Vec<_> = found.iter().map(|e| e.at).collect();
        assert_eq!(times, expected.into_iter().map(at).collect::<Vec<_>>(), "{filter:?}");
    }
    let gateways = ActivityFilter { kind: Some("gateway.restored".into()), ..ActivityFilter::default() };
    assert_eq!(store.activity(gateways, first_page(9)).await.unwrap().items[0].host, None);
    for wrong in ["x", "b00", "i1.i2", ""] {
        let page = PageRequest { limit: 2, cursor: Some(wrong.into()) };
        let error = store.activity(of_host.clone(), page).await.unwrap_err();
        assert!(matches!(error, StoreError::BadCursor(_)), "{wrong:?}: {error}");
    }
}

async fn the_audit_log_is_filtered_and_paged(store: &dyn Store) {
    let host = HostId::new();
    let entry = |n: i64| AuditEntry {
        id: 0,
        at: at(n),
        who: if n % 2 == 0 { "audited ada".into() } else { "audited key ci".into() },
        role: (n != 1).then_some(Role::Operator),
        from: "192.0.2.7".into(),
        via: if n % 2 == 0 { Via::Web } else { Via::Key },
        action: if n < 4 { "hosts.remove".into() } else { "scans.create".into() },
        host: (n == 2).then_some(host),
        host_name: "web1".into(),
        target: n.to_string(),
        result: if n == 3 { AuditResult::Refused } else { AuditResult::Ok },
        detail: "why".into(),
    };
    for n in 1..=6 {
        store.append_audit(entry(n)).await.unwrap();
    }
    let ours = AuditFilter { who: Some("AUDITED".into()), ..AuditFilter::default() };
    for limit in [1, 4, 9] {
        let list = all_pages(limit, async |page| store.audit(ours.clone(), page).await.unwrap()).await;
        let list: Vec<AuditEntry> = list.into_iter().map(|e| AuditEntry { id: 0, ..e }).collect();
        assert_eq!(list, (1..=6).rev().map(entry).collect::<Vec<_>>(), "newest first, in pages of {limit}");
    }
    for (filter, expected) in [
        (AuditFilter { who: Some("ited ada".into()), ..ours.clone() }, vec![6, 4, 2]),
        (AuditFilter { action: Some("hosts".into()), ..ours.clone() }, vec![3, 2, 1]),
        (AuditFilter { action: Some("host".into()), ..ours.clone() }, vec![]),
        (AuditFilter { host: Some(host), ..ours.clone() }, vec![2]),
        (AuditFilter { result: Some(AuditResult::Refused), ..ours.clone() }, vec![3]),
        (AuditFilter { since: Some(at(3)), until: Some(at(5)), ..ours.clone() }, vec![4, 3]),
    ] {
        let found = store.audit(filter.clone(), first_page(9)).await.unwrap().items;
        let times: Vec<_> = found.iter().map(|e| e.at).collect();
        assert_eq!(times, expected.into_iter().map(at).collect::<Vec<_>>(), "{filter:?}");
    }
}
