use connectrpc::ErrorCode;
use hostler_api::v1;

use crate::support::{Running, files};

#[tokio::test]
async fn a_call_without_a_grant_is_refused_with_the_key_to_set_and_recorded() {
    let (data, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let agent = Running::start(data.path(), files(&[])).await;
    let unary = agent.check_root(tree.path()).await.unwrap_err();
    let streaming = agent.scan(tree.path()).await.unwrap_err();
    for error in [unary, streaming] {
        assert_eq!(error.code, ErrorCode::PermissionDenied);
        assert!(error.to_string().contains("files.roots in agent.toml"), "{error}");
    }
    let host = v1::HostServiceClient::new(agent.client.clone(), agent.client.config());
    host.describe(v1::DescribeRequest::default()).await.unwrap();
    let events = agent.events(|all| all.iter().filter(|e| e.kind == "rpc.refused").count() == 2).await;
    let subjects: Vec<&str> = events.iter().filter(|e| e.kind == "rpc.refused").map(|e| e.subject.as_str()).collect();
    assert_eq!(subjects, ["/hostler.v1.FilesService/CheckRoot", "/hostler.v1.FilesService/Scan"]);
    agent.stop().await;
}

#[tokio::test]
async fn paths_outside_the_roots_are_refused_and_a_flood_is_counted() {
    const CALLS: u64 = 200;
    let (data, tree, outside) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let agent = Running::start(data.path(), files(&[tree.path()])).await;
    agent.check_root(tree.path()).await.unwrap();
    for _ in 0..CALLS {
        let error = agent.check_root(outside.path()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::PermissionDenied);
    }
    let count = |e: &v1::HostEvent| {
        let data: serde_json::Value = serde_json::from_str(&e.data_json).ok()?;
        data["count"].as_u64().filter(|_| e.kind == "rpc.refused")
    };
    let events = agent.events(|all| all.iter().filter_map(count).sum::<u64>() == CALLS).await;
    let refused: Vec<&v1::HostEvent> = events.iter().filter(|e| e.kind == "rpc.refused").collect();
    assert!(refused.len() < 20, "{} events of {CALLS} calls", refused.len());
    assert!(refused[0].message.contains(&*outside.path().to_string_lossy()), "{}", refused[0].message);
    assert_eq!(refused[0].severity, 2);
    agent.stop().await;
}

#[tokio::test]
async fn the_gateway_is_told_what_is_granted() {
    let (data, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let agent = Running::start(data.path(), files(&[tree.path()])).await;
    let host = v1::HostServiceClient::new(agent.client.clone(), agent.client.config());
    let probe = host.probe(v1::ProbeRequest::default()).await.unwrap().into_view().to_owned_message();
    let told: Vec<(&str, &str)> = probe.grants.iter().map(|g| (g.capability.as_str(), g.level.as_str())).collect();
    let expected = [
        ("files", "read"),
        ("containers", "read"),
        ("snapshots", "read"),
        ("clearance", "decide"),
        ("sandboxes", "none"),
    ];
    assert_eq!(told, expected);
    assert_eq!(probe.grants[0].roots, [tree.path().as_os_str().as_encoded_bytes()]);
    agent.stop().await;
}
