//! Everything that can go wrong with a call, at every call of a scan.

use std::sync::Arc;
use std::time::Duration;

use hostler_snapfs::ScanEnd;

use crate::support::events::Parsed;
use crate::support::{FakeGateway, Fault, Kind, Tree, run, run_with, settings};

const FAULTS: [Fault; 14] = [
    Fault::Status(500),
    Fault::Status(502),
    Fault::Status(401),
    Fault::Status(403),
    Fault::Status(404),
    Fault::Status(413),
    Fault::Status(422),
    Fault::Status(307),
    Fault::Silence,
    Fault::Cut,
    Fault::CutAnswer,
    Fault::WrongLength,
    Fault::WebPage,
    Fault::Slow,
];

const FILES: usize = 14;

#[tokio::test(flavor = "multi_thread")]
async fn one_fault_at_any_call_loses_nothing_unsaid() {
    let tree = Arc::new(Tree::with_files(FILES));
    let calls = {
        let gateway = FakeGateway::start().await;
        run(&tree.gateway(&gateway), &tree, "clean").await;
        gateway.calls().len()
    };
    assert!(calls >= 10, "{calls} calls");
    let mut trials = tokio::task::JoinSet::new();
    for fault in FAULTS {
        for at in 0..calls {
            let tree = tree.clone();
            trials.spawn(async move { trial(&tree, fault, at).await });
            if trials.len() >= 8 {
                trials.join_next().await.unwrap().unwrap();
            }
        }
    }
    while let Some(trial) = trials.join_next().await {
        trial.unwrap();
    }
}

async fn trial(tree: &Tree, fault: Fault, at: usize) {
    let what = format!("{fault:?} at call {at}");
    let gateway = FakeGateway::start().await;
    gateway.judge(move |number, _| (number == at).then_some(fault));
    let mut client = tree.gateway_settings(&gateway);
    client.spool = tree.dir.path().join(format!("spool-{fault:?}-{at}"));
    let client = hostler_snapfs::Gateway::new(client).unwrap();
    let (outcome, notes) = run(&client, tree, "s").await;

    let calls = gateway.calls();
    let problems = notes.problems.lock().unwrap().clone();
    let report = outcome.report;
    if let Fault::Status(401 | 403) = fault {
        assert!(matches!(outcome.end, ScanEnd::Unauthorized(_)), "{what}: {:?}", outcome.end);
        // What was on its way when the answer came cannot be called back.
        assert!(calls.len() <= at + 1 + 5, "{what}: {} calls", calls.len());
        let after = calls[at].at + Duration::from_secs(1);
        assert!(calls.iter().all(|call| call.at < after), "{what}");
        assert!(!gateway.order("s").contains(&"completed"), "{what}");
        return;
    }
    assert_eq!(outcome.end, ScanEnd::Completed, "{what}: {problems:?}");
    assert_eq!(report.files, FILES as u64, "{what}");
    assert_eq!(report.published + report.unpublished, report.files, "{what}: {report:?}");
    assert_eq!(gateway.upserts("s").len() as u64, report.published, "{what}: {report:?}");
    assert_eq!(report.unpublished, 0, "{what}: one fault is made up for: {problems:?}");
    assert!(gateway.upserts("s").values().all(|upsert| upsert.hash.is_some()), "{what}");
    assert_eq!(report.cache_hits + report.hashed, report.files, "{what}: {report:?}");
    // One event at fault alone cannot be sent in parts.
    let refused = matches!(fault, Fault::Status(413 | 422));
    let lone = matches!(calls[at].events.as_slice(), [Parsed::Started(_) | Parsed::Completed(_)]);
    if refused && lone {
        assert!(!problems.is_empty(), "{what}");
        assert_eq!(outcome.closed, !matches!(calls[at].events[0], Parsed::Completed(_)), "{what}");
        return;
    }
    assert!(outcome.closed, "{what}: {problems:?}");
    assert_eq!(gateway.order("s"), ["started", "upsert", "completed"], "{what}");
    let Some(Parsed::Completed(end)) = gateway.taken("s").pop() else { panic!("{what}: not the last") };
    assert!(end.authoritative_for_deletes, "{what}");
    let gone = std::fs::read_dir(client_spool(tree, fault, at)).map_or(0, |lanes| lanes.count());
    assert_eq!(gone, 0, "{what}: nothing is left in the spool");
}

fn client_spool(tree: &Tree, fault: Fault, at: usize) -> std::path::PathBuf {
    tree.dir.path().join(format!("spool-{fault:?}-{at}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_that_fail_are_split_until_the_file_at_fault_is_alone() {
    let tree = Tree::with_files(FILES);
    let gateway = FakeGateway::start().await;
    let client = tree.gateway(&gateway);
    run(&client, &tree, "1").await;
    let bad = |call: &crate::support::gateway::Call| {
        call.kind == Kind::Probe && call.probes.iter().any(|p| p.path.as_bytes().ends_with(b"file-00007.bin"))
    };
    gateway.judge(move |_, call| bad(call).then_some(Fault::Status(500)));
    let (outcome, notes) = run(&client, &tree, "2").await;
    assert_eq!((outcome.report.cache_hits, outcome.report.hashed), (FILES as u64 - 1, 1));
    assert!(notes.hashed.lock().unwrap()[0].as_bytes().ends_with(b"file-00007.bin"));
    assert_eq!(outcome.report.unpublished, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_refused_is_lost_alone_and_said_so() {
    let tree = Tree::with_files(FILES);
    let gateway = FakeGateway::start().await;
    let bad = |call: &crate::support::gateway::Call| {
        call.events.iter().any(|e| matches!(e, Parsed::Upsert(u) if u.name.as_bytes() == b"file-00007.bin"))
    };
    gateway.judge(move |_, call| bad(call).then_some(Fault::Status(422)));
    let (outcome, notes) = run(&tree.gateway(&gateway), &tree, "s").await;
    assert_eq!((outcome.report.published, outcome.report.unpublished), (FILES as u64 - 1, 1));
    assert!(notes.problems.lock().unwrap().iter().any(|text| text.contains("file-00007.bin")));
    let Some(Parsed::Completed(end)) = gateway.taken("s").pop() else { panic!("not the last") };
    assert!(!end.authoritative_for_deletes);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unprefixed_paths_are_found_and_remembered() {
    let tree = Tree::with_files(FILES);
    let gateway = FakeGateway::start().await;
    gateway.judge(|_, call| call.path.starts_with("/api/").then_some(Fault::Status(404)));
    let client = tree.gateway(&gateway);
    let (outcome, _) = run(&client, &tree, "s").await;
    assert_eq!((outcome.report.unpublished, outcome.closed), (0, true));
    let prefixed = gateway.calls().iter().filter(|call| call.path.starts_with("/api/")).count();
    assert_eq!(prefixed, 1, "asked once");
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_that_fails_harms_nothing() {
    let tree = Tree::with_files(FILES);
    let gateway = FakeGateway::start().await;
    gateway.judge(|_, call| call.events.iter().any(|e| e.subject() == "snapfs.events").then_some(Fault::Status(500)));
    let (outcome, _) = run(&tree.gateway(&gateway), &tree, "s").await;
    assert_eq!((outcome.report.unpublished, outcome.closed), (0, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_telemetry_there_is_none() {
    let tree = Tree::with_files(FILES);
    let gateway = FakeGateway::start().await;
    let settings = hostler_snapfs::ScanSettings { telemetry_interval: None, ..settings() };
    run_with(&tree.gateway(&gateway), &settings, &tree.target("s")).await;
    assert!(gateway.taken("s").iter().all(|event| event.word() != "telemetry"));
}
