//! What is kept while the gateway is away.

use std::time::Duration;

use hostler_snapfs::{Gateway, GatewaySettings, ScanEnd, ScanSettings, Waits};
use tokio_util::sync::CancellationToken;

use crate::support::events::Parsed;
use crate::support::{FakeGateway, Fault, Kind, PATIENCE, Tree, run, run_with, settings};

const FILES: usize = 300;

/// Gives up at once.
fn hasty(tree: &Tree, gateway: &FakeGateway) -> GatewaySettings {
    let settings = tree.gateway_settings(gateway);
    GatewaySettings { waits: Waits { give_up: Duration::from_millis(200), ..settings.waits }, ..settings }
}

fn big() -> ScanSettings {
    ScanSettings { probe_batch: 20, publish_batch: 10, ..settings() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_away_in_the_middle_gets_everything_in_order() {
    let tree = Tree::with_files(FILES);
    let gateway = FakeGateway::start().await;
    gateway.judge(|number, call| (call.kind == Kind::Ingest && (5..60).contains(&number)).then_some(Fault::Cut));
    let (outcome, _) = run_with(&tree.gateway(&gateway), &big(), &tree.target("s")).await;
    assert_eq!((outcome.end, outcome.closed, outcome.report.unpublished), (ScanEnd::Completed, true, 0));
    assert_eq!(gateway.upserts("s").len(), FILES);
    assert_eq!(gateway.order("s"), ["started", "upsert", "completed"]);
    let Some(Parsed::Completed(end)) = gateway.taken("s").pop() else { panic!("not the last") };
    assert!(end.authoritative_for_deletes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_without_a_gateway_is_sent_by_the_next_one() {
    let tree = Tree::with_files(FILES);
    let gateway = FakeGateway::start().await;
    gateway.set_away(true);
    for id in ["1", "2"] {
        let client = Gateway::new(hasty(&tree, &gateway)).unwrap();
        let (outcome, notes) = run_with(&client, &big(), &tree.target(id)).await;
        assert_eq!((outcome.end, outcome.closed), (ScanEnd::Completed, false));
        assert_eq!((outcome.report.hashed, outcome.report.published), (FILES as u64, 0));
        assert_eq!(outcome.report.unpublished, FILES as u64);
        assert!(!notes.problems.lock().unwrap().is_empty());
    }
    // Another process, as far as files go.
    let client = Gateway::new(hasty(&tree, &gateway)).unwrap();
    assert_eq!(client.spooled().unwrap(), 2 * FILES as u64);
    gateway.set_away(false);
    let (outcome, _) = run_with(&client, &big(), &tree.target("3")).await;
    assert_eq!((outcome.closed, outcome.report.published), (true, FILES as u64));
    let ids: Vec<_> = ["1", "2", "3"].into();
    for id in &ids {
        assert_eq!(gateway.order(id), ["started", "upsert", "completed"], "{id}");
        assert_eq!(gateway.upserts(id).len(), FILES, "{id}");
    }
    // Oldest first, none between another's.
    let calls = gateway.calls();
    let mut order: Vec<_> = calls
        .iter()
        .flat_map(|call| &call.events)
        .filter(|e| e.subject() == "snapfs.files")
        .map(|e| e.scan_id().to_owned())
        .collect();
    order.dedup();
    assert_eq!(order, ids);
    let Some(Parsed::Completed(end)) = gateway.taken("1").pop() else { panic!("not the last") };
    assert!(!end.authoritative_for_deletes);
    assert_eq!(client.spooled().unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_drains_in_the_background_and_waits_for_the_gateway() {
    let tree = Tree::with_files(FILES);
    let gateway = FakeGateway::start().await;
    gateway.set_away(true);
    let client = Gateway::new(hasty(&tree, &gateway)).unwrap();
    run_with(&client, &big(), &tree.target("s")).await;
    let drain = tokio::spawn({
        let client = client.clone();
        async move { client.drain_spool(CancellationToken::new()).await.unwrap() }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!drain.is_finished());
    gateway.set_away(false);
    let drained = tokio::time::timeout(PATIENCE, drain).await.unwrap().unwrap();
    assert_eq!(drained.files, FILES as u64);
    assert_eq!(gateway.order("s"), ["started", "upsert", "completed"]);

    // With nothing left it ends at once, and when it is cancelled too.
    assert_eq!(client.drain_spool(CancellationToken::new()).await.unwrap().calls, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spool_keeps_its_bound_and_says_what_is_lost() {
    let tree = Tree::with_files(3000);
    let gateway = FakeGateway::start().await;
    gateway.set_away(true);
    let small = GatewaySettings { spool_bytes: 600 << 10, ..hasty(&tree, &gateway) };
    let client = Gateway::new(small).unwrap();
    let (outcome, notes) = run_with(&client, &big(), &tree.target("s")).await;
    assert_eq!((outcome.report.unpublished, outcome.report.published), (3000, 0));
    assert!(notes.problems.lock().unwrap().iter().any(|text| text.contains("lost")));
    let kept = client.spooled().unwrap();
    assert!(kept > 100 && kept < 2000, "{kept}");
    assert!(size(&tree.spool()) < (700 << 10), "{}", size(&tree.spool()));
    gateway.set_away(false);
    let drained = client.drain_spool(CancellationToken::new()).await.unwrap();
    assert_eq!(drained.files, kept);
    assert_eq!(gateway.order("s"), ["started", "upsert", "completed"]);
    let Some(Parsed::Completed(end)) = gateway.taken("s").pop() else { panic!("not the last") };
    assert!(!end.authoritative_for_deletes);
}

fn size(dir: &std::path::Path) -> u64 {
    std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            if entry.path().is_dir() { size(&entry.path()) } else { entry.metadata().unwrap().len() }
        })
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_cannot_be_used_is_said_and_the_scan_goes_on() {
    let tree = Tree::with_files(FILES);
    std::fs::write(tree.spool(), b"in the way").unwrap();
    let gateway = FakeGateway::start().await;
    gateway
        .judge(|number, call| (call.kind == Kind::Ingest && (3..20).contains(&number)).then_some(Fault::Status(500)));
    let (outcome, _) = run(&tree.gateway(&gateway), &tree, "1").await;
    assert_eq!(outcome.report.unpublished, 0, "the scan waits for a gateway that is back soon");

    gateway.set_away(true);
    let client = Gateway::new(hasty(&tree, &gateway)).unwrap();
    let (outcome, notes) = run_with(&client, &big(), &tree.target("2")).await;
    assert_eq!((outcome.report.unpublished, outcome.closed), (FILES as u64, false));
    assert!(notes.problems.lock().unwrap().iter().any(|text| text.contains("spool")));
}

#[tokio::test(flavor = "multi_thread")]
async fn scans_side_by_side_share_a_spool() {
    let tree = Tree::with_files(FILES);
    let gateway = FakeGateway::start().await;
    gateway.set_away(true);
    let settings = big();
    let one = async |id: &'static str| {
        let client = Gateway::new(hasty(&tree, &gateway)).unwrap();
        run_with(&client, &settings, &tree.target(id)).await.0
    };
    let outcomes = tokio::join!(one("a"), one("b"), one("c"), one("d"));
    for outcome in [outcomes.0, outcomes.1, outcomes.2, outcomes.3] {
        assert_eq!(outcome.report.unpublished, FILES as u64);
    }
    gateway.set_away(false);
    let client = tree.gateway(&gateway);
    assert_eq!(client.drain_spool(CancellationToken::new()).await.unwrap().files, 4 * FILES as u64);
    for id in ["a", "b", "c", "d"] {
        assert_eq!(gateway.order(id), ["started", "upsert", "completed"], "{id}");
        assert_eq!(gateway.upserts(id).len(), FILES, "{id}");
    }
}
