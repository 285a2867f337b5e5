#![allow(clippy::unwrap_used, reason = "clippy's own exception for tests does not reach their helpers")]
#![allow(refining_impl_trait, reason = "connectrpc's traits are implemented with concrete types")]

use std::sync::{Arc, Mutex};

use connectrpc::{RequestContext, Response, ServiceRequest, ServiceResult, ServiceStream};
use futures_util::StreamExt;
use hostler_link::Peer;
use tokio_util::sync::CancellationToken;

use crate::store::sqlite::SqliteStore;
use crate::store::{ActivityFilter, PageRequest};

use super::*;

/// A host with a journal; its Follow ends when all is sent.
#[derive(Clone, Default)]
struct Host(Arc<Mutex<Journal>>);

#[derive(Clone, Default)]
struct Journal {
    id: u8,
    seqs: Vec<u64>,
    acknowledged: Vec<u64>,
    /// Acknowledge fails, as on a link that is lost at that moment.
    deaf: bool,
}

impl v1::JournalService for Host {
    async fn follow(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, v1::FollowRequest>,
    ) -> ServiceResult<ServiceStream<v1::FollowResponse>> {
        let journal = self.0.lock().unwrap().clone();
        let mut after = if request.journal_id == [journal.id; 16] { request.after } else { 0 };
        let mut answers = Vec::new();
        let seqs: Vec<u64> = journal.seqs.iter().copied().filter(|seq| *seq > after).collect();
        for part in seqs.chunks(2) {
            let record = |seq: &u64| {
                let event = v1::HostEvent { kind: "test.event".into(), message: seq.to_string(), ..Default::default() };
                v1::Record { seq: *seq, event: hostler_api::encode_event(&event), ..Default::default() }
            };
            let next_seq = part[part.len() - 1] + 1;
            answers.push(Ok(v1::FollowResponse {
                journal_id: vec![journal.id; 16],
                after,
                records: part.iter().map(record).collect(),
                next_seq,
                ..Default::default()
            }));
            after = next_seq - 1;
        }
        Response::ok(futures_util::stream::iter(answers).boxed())
    }

    async fn acknowledge(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, v1::AcknowledgeRequest>,
    ) -> ServiceResult<v1::AcknowledgeResponse> {
        let mut journal = self.0.lock().unwrap();
        if journal.deaf {
            return Err(ConnectError::unavailable("the link is lost"));
        }
        journal.acknowledged.push(request.seq);
        Response::ok(v1::AcknowledgeResponse::default())
    }
}

impl Host {
    /// What the next link finds.
    fn set(&self, id: u8, seqs: &[u64], deaf: bool) {
        *self.0.lock().unwrap() = Journal { id, seqs: seqs.to_vec(), deaf, acknowledged: Vec::new() };
    }

    /// Follows it over a link of its own.
    async fn follow(&self, store: &dyn Store, events: &Events, id: HostId) -> Result<(), FollowError> {
        let (agent, gateway) = tokio::io::duplex(64 << 10);
        let services = connectrpc::Router::new().add_service(Arc::new(self.clone()));
        let router = axum::Router::new().fallback_service(services.into_axum_service());
        let stop = CancellationToken::new();
        let served = hostler_link::serve(agent, router, Peer::Stdio { parent_pid: 1 }, stop.clone());
        let served = tokio::spawn(served);
        let (client, _) = LinkClient::connect(gateway).await.unwrap();
        let followed = follow(store, events, id, &client).await;
        stop.cancel();
        drop(client);
        served.await.unwrap().unwrap();
        followed
    }
}

/// Kinds and messages of what is kept, the oldest first.
async fn kept(store: &dyn Store, host: HostId) -> Vec<(String, String)> {
    let filter = ActivityFilter { host: Some(host), ..ActivityFilter::default() };
    let page = store.activity(filter, PageRequest { limit: 1000, cursor: None }).await.unwrap();
    page.items.into_iter().rev().map(|e| (e.kind, e.message)).collect()
}

#[tokio::test]
async fn each_event_is_kept_once_whatever_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), clock::now()).await.unwrap();
    let (id, events, host) = (HostId::new(), Events::default(), Host::default());
    store.register_host(id, "web1", [1; 32], clock::now()).await.unwrap();
    let mut live = events.subscribe();
    host.set(1, &[1, 2, 3], true);
    assert!(matches!(host.follow(&store, &events, id).await, Err(FollowError::Call(_))));
    assert_eq!(store.journal_position(id).await.unwrap(), Some(([1; 16], 2)), "committed, not acknowledged");
    host.set(1, &[1, 2, 3, 4, 5], false);
    host.follow(&store, &events, id).await.unwrap();
    assert_eq!(host.0.lock().unwrap().acknowledged, [4, 5]);
    host.follow(&store, &events, id).await.unwrap();
    let numbers: Vec<String> = kept(&store, id).await.into_iter().map(|(_, message)| message).collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5"]);
    let mut told = Vec::new();
    while let Ok(Event::Activity(event)) = live.try_recv() {
        told.push(event.message);
    }
    assert!(told.ends_with(&["3".into(), "4".into(), "5".into()]), "{told:?}");

    // Lost events are told, and a new journal begins anew.
    host.set(1, &[6, 9], false);
    host.follow(&store, &events, id).await.unwrap();
    host.set(2, &[1], false);
    host.follow(&store, &events, id).await.unwrap();
    let kinds: Vec<String> = kept(&store, id).await.into_iter().skip(5).map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["test.event", "journal.gap", "test.event", "journal.new", "test.event"]);
    assert_eq!(store.journal_position(id).await.unwrap(), Some(([2; 16], 1)));
}

fn answer(after: u64, next_seq: u64, seqs: &[u64]) -> v1::FollowResponse {
    let record = |seq: &u64| v1::Record { seq: *seq, ..Default::default() };
    v1::FollowResponse {
        journal_id: vec![1; 16],
        after,
        next_seq,
        records: seqs.iter().map(record).collect(),
        ..Default::default()
    }
}

#[test]
fn answers_that_cannot_be_are_refused() {
    assert_eq!(checked(answer(2, 9, &[4, 8])).unwrap().1, 8);
    assert_eq!(checked(answer(0, 1, &[])).unwrap().1, 0);
    for wrong in [
        answer(2, 9, &[2, 3]),
        answer(2, 9, &[4, 4]),
        answer(2, 9, &[9]),
        answer(5, 4, &[]),
        answer(0, 0, &[]),
        answer(0, u64::MAX, &[]),
        v1::FollowResponse { journal_id: vec![1; 15], ..answer(0, 1, &[]) },
    ] {
        assert!(checked(wrong.clone()).is_err(), "{wrong:?}");
    }
}

#[test]
fn what_a_host_says_is_bounded() {
    let event = v1::HostEvent {
        at_us: i64::MAX,
        kind: "Scan Completed\n".into(),
        severity: 77,
        subject: "x".repeat(10_000),
        message: "one\u{1b}[31mtwo\n".repeat(1000),
        data_json: "[1]".into(),
        ..Default::default()
    };
    let kept = record(&v1::Record { seq: 3, event: hostler_api::encode_event(&event), ..Default::default() });
    assert_eq!((kept.seq, kept.kind.as_str(), kept.severity), (3, "unknown", Severity::Info));
    assert_eq!((kept.subject.len(), kept.message.len(), kept.data.as_str()), (MAX_SUBJECT, MAX_MESSAGE, ""));
    assert!(kept.at.to_string().starts_with("9999-12-30") && !kept.message.contains(char::is_control));
    let event = v1::HostEvent { kind: "scan.completed".into(), data_json: "{\"files\":1}".into(), ..event };
    let kept = record(&v1::Record { seq: 3, event: hostler_api::encode_event(&event), ..Default::default() });
    assert_eq!((kept.kind.as_str(), kept.data.as_str()), ("scan.completed", "{\"files\":1}"));
    let noise = record(&v1::Record { seq: 4, event: vec![0xff; 9], ..Default::default() });
    assert_eq!(noise.kind, "journal.unreadable");
}
