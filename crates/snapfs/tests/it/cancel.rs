//! Stopping a scan, wherever it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hostler_snapfs::{ScanEnd, ScanOutcome, ScanSettings, scan};
use tokio_util::sync::CancellationToken;

use crate::support::events::Parsed;
use crate::support::{FakeGateway, Fault, Kind, Notes, PATIENCE, Tree, settings};

/// Scans, and cancels when the gateway is at the call that `at` picks; that call is answered with `fault`.
async fn cancelled(
    tree: &Tree,
    settings: &ScanSettings,
    gateway: &FakeGateway,
    fault: Fault,
    mut at: impl FnMut(usize, &crate::support::gateway::Call) -> bool + Send + 'static,
) -> (ScanOutcome, Instant, Duration) {
    let cancel = CancellationToken::new();
    let trigger = cancel.clone();
    gateway.judge(move |number, call| {
        let hit = !trigger.is_cancelled() && at(number, call);
        hit.then(|| {
            trigger.cancel();
            fault
        })
    });
    let client = tree.gateway(gateway);
    let target = tree.target("s");
    let scan = scan(&client, settings, &target, cancel.clone(), Arc::new(Notes::default()));
    let asked = async {
        cancel.cancelled().await;
        Instant::now()
    };
    let (outcome, asked) = tokio::join!(async { tokio::time::timeout(PATIENCE, scan).await.expect("it ends") }, asked);
    let took = asked.elapsed();
    // Whatever would come afterwards has time to.
    tokio::time::sleep(Duration::from_millis(300)).await;
    (outcome, asked, took)
}

fn check(gateway: &FakeGateway, outcome: &ScanOutcome, asked: Instant, took: Duration, what: &str) {
    assert_eq!(outcome.end, ScanEnd::Cancelled, "{what}");
    assert!(took < Duration::from_secs(10), "{what}: {took:?}");
    let taken = gateway.taken("s");
    let ends: Vec<_> = taken.iter().filter(|e| !matches!(e.word(), "started" | "upsert" | "telemetry")).collect();
    let [Parsed::Cancelled(end)] = &ends[..] else { panic!("{what}: {ends:?}") };
    assert_eq!((end.phase.as_str(), end.error.as_str()), ("canceled", "scan interrupted"), "{what}");
    assert!(!end.authoritative_for_deletes, "{what}");
    let late = asked + Duration::from_secs(1);
    assert!(gateway.calls().iter().all(|call| call.at < late), "{what}");
    assert_eq!(taken.last().unwrap().word(), "cancelled", "{what}: {taken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn at_any_call_also_one_that_hangs() {
    let tree = Tree::with_files(40);
    for fault in [Fault::Silence, Fault::Slow, Fault::Status(500)] {
        for at in 0..12 {
            let gateway = FakeGateway::start().await;
            let (outcome, asked, took) =
                cancelled(&tree, &settings(), &gateway, fault, move |number, _| number == at).await;
            check(&gateway, &outcome, asked, took, &format!("{fault:?} at {at}"));
            assert!(outcome.closed);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_large_file_is_read() {
    let tree = Tree::with_files(4);
    // Sparse: minutes of hashing, no space.
    std::fs::File::create(tree.path("large")).unwrap().set_len(200 << 30).unwrap();
    let gateway = FakeGateway::start().await;
    let quick = ScanSettings { telemetry_interval: Some(Duration::from_millis(50)), ..settings() };
    let (outcome, asked, took) = cancelled(&tree, &quick, &gateway, Fault::Slow, |_, call| {
        call.events.iter().any(|e| matches!(e, Parsed::Telemetry(t) if t.phase == "hashing" && t.current_offset > 0))
    })
    .await;
    check(&gateway, &outcome, asked, took, "hashing");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_gateway_is_away_the_spool_keeps_only_the_end() {
    let tree = Tree::with_files(200);
    let gateway = FakeGateway::start().await;
    let cancel = CancellationToken::new();
    let away = cancel.clone();
    let mut upserts = 0;
    gateway.judge(move |_, call| {
        upserts += usize::from(call.events.iter().any(|e| e.word() == "upsert"));
        if upserts > 12 {
            away.cancel();
        }
        (upserts > 2 && call.kind == Kind::Ingest).then_some(Fault::Status(503))
    });
    let client = tree.gateway(&gateway);
    let (target, settings) = (tree.target("s"), settings());
    let scan = scan(&client, &settings, &target, cancel, Arc::new(Notes::default()));
    let outcome = tokio::time::timeout(PATIENCE, scan).await.unwrap();
    assert_eq!((outcome.end, outcome.closed), (ScanEnd::Cancelled, false));
    assert!(outcome.report.unpublished > 0);

    gateway.mend();
    let before = gateway.upserts("s").len();
    let drained = client.drain_spool(CancellationToken::new()).await.unwrap();
    assert_eq!((drained.calls, drained.files), (1, 0));
    assert_eq!(gateway.upserts("s").len(), before, "nothing of a cancelled scan comes later");
    assert_eq!(gateway.order("s"), ["started", "upsert", "cancelled"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn before_it_began() {
    let tree = Tree::with_files(4);
    let gateway = FakeGateway::start().await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let client = tree.gateway(&gateway);
    let outcome = scan(&client, &settings(), &tree.target("s"), cancel, Arc::new(Notes::default())).await;
    assert_eq!(outcome.end, ScanEnd::Cancelled);
    assert!(gateway.upserts("s").is_empty());
}
