use hostler_agent::{Agent, AgentSettings};
use hostler_api::v1;

use crate::support::{Follower, Running, connect, files, kinds};

#[tokio::test]
async fn the_journal_goes_on_over_restarts_and_tells_of_another_policy() {
    let (data, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let agent = Running::start(data.path(), files(&[])).await;
    let mut follower = Follower::start(&agent.client, Vec::new(), 0).await;
    assert_eq!(follower.first().await.1.kind, "agent.started");
    let id = follower.journal_id.clone();
    drop(follower);
    agent.stop().await;
    let agent = Running::start(data.path(), files(&[])).await;
    agent.stop().await;
    let agent = Running::start(data.path(), files(&[tree.path()])).await;
    let events = agent.events(|all| all.len() >= 6).await;
    let expected =
        ["agent.started", "agent.stopped", "agent.started", "agent.stopped", "agent.started", "policy.changed"];
    assert_eq!(kinds(&events), expected);
    let changed: serde_json::Value = serde_json::from_str(&events[5].data_json).unwrap();
    assert_eq!(changed["before"]["grants"][0]["level"], "none");
    assert_eq!(changed["now"]["grants"][0]["roots"][0], *tree.path().to_string_lossy());
    assert!(events.is_sorted_by_key(|e| e.at_us) && events[0].at_us > 1_700_000_000_000_000);
    assert_eq!(Follower::start(&agent.client, Vec::new(), 0).await.after, 0);
    let mut follower = Follower::start(&agent.client, id.clone(), 4).await;
    assert_eq!(follower.first().await.0, 5);
    assert_eq!(follower.journal_id, id);
    agent.stop().await;
}

/// A gateway that commits what it read, loses its link again and again, and begins after what it committed.
#[tokio::test]
async fn each_event_arrives_once_over_many_links() {
    const LINKS: usize = 12;
    const SCANS: usize = 5;
    let (data, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(tree.path().join("file"), b"content").unwrap();
    let agent = Running::start(data.path(), files(&[tree.path()])).await;
    let (mut committed, mut id, mut after) = (Vec::new(), Vec::new(), 0);
    for link in 0..LINKS {
        let client = connect(data.path()).await;
        let mut follower = Follower::start(&client, id.clone(), after).await;
        for _ in 0..SCANS {
            agent.scan(tree.path()).await.unwrap();
        }
        let mut records = Vec::new();
        while records.is_empty() {
            records = follower.next().await.unwrap();
        }
        // Every third link is lost between the answer and the commit.
        if link % 3 != 2 {
            committed.extend(records);
            (id, after) = (follower.journal_id.clone(), follower.after);
            let journal = v1::JournalServiceClient::new(client.clone(), client.config());
            let done = v1::AcknowledgeRequest { journal_id: id.clone(), seq: after, ..Default::default() };
            journal.acknowledge(done).await.unwrap();
        }
        client.kill(hostler_link::CloseReason::Shutdown);
    }
    let mut follower = Follower::start(&agent.client, id, after).await;
    let scans = |all: &[(u64, v1::HostEvent)]| all.iter().filter(|(_, e)| e.kind == "scan.completed").count();
    while scans(&committed) < LINKS * SCANS {
        committed.extend(follower.next().await.unwrap());
    }
    let numbers: Vec<u64> = committed.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let (_, scan) = committed.iter().find(|(_, e)| e.kind == "scan.completed").unwrap();
    assert_eq!(scan.subject, tree.path().to_string_lossy());
    assert!(scan.message.contains("1 file,"), "{}", scan.message);
    agent.stop().await;
}

#[tokio::test]
async fn a_follower_does_not_keep_the_agent_from_stopping() {
    let data = tempfile::tempdir().unwrap();
    let agent = Running::start(data.path(), files(&[])).await;
    let mut follower = Follower::start(&agent.client, Vec::new(), 0).await;
    follower.first().await;
    let from = std::time::Instant::now();
    let (ended, ()) = tokio::join!(follower.is_ended(), agent.stop());
    assert!(ended, "the stream was cut");
    println!("stopped after {:?}", from.elapsed());
}

#[tokio::test]
async fn another_journal_is_sent_from_its_first_event_and_not_acknowledged() {
    let data = tempfile::tempdir().unwrap();
    let agent = Running::start(data.path(), files(&[])).await;
    let mut follower = Follower::start(&agent.client, vec![7; 16], 1000).await;
    assert_eq!(follower.first().await.0, 1);
    assert_ne!(follower.journal_id, [7; 16]);
    let journal = v1::JournalServiceClient::new(agent.client.clone(), agent.client.config());
    let other = v1::AcknowledgeRequest { journal_id: vec![7; 16], seq: 1, ..Default::default() };
    assert_eq!(journal.acknowledge(other).await.unwrap_err().code, connectrpc::ErrorCode::FailedPrecondition);
    agent.stop().await;
}

#[tokio::test]
async fn a_data_directory_that_went_back_in_time_does_not_hide_events() {
    let (data, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let agent = Running::start(data.path(), files(&[tree.path()])).await;
    let mut follower = Follower::start(&agent.client, Vec::new(), 0).await;
    follower.first().await;
    // The gateway has seen 100 events of the future that is gone now.
    let mut ahead = Follower::start(&agent.client, follower.journal_id.clone(), 100).await;
    agent.scan(tree.path()).await.unwrap();
    let (seq, event) = ahead.first().await;
    assert_eq!((seq, event.kind.as_str()), (101, "journal.went_back"));
    assert_eq!(agent.events(|all| all.len() == 3).await.last().unwrap().kind, "scan.completed");
    let far = v1::FollowRequest { journal_id: ahead.journal_id.clone(), after: u64::MAX, ..Default::default() };
    let journal = v1::JournalServiceClient::new(agent.client.clone(), agent.client.config());
    let mut stream = journal.follow(far).await.unwrap();
    assert!(!matches!(stream.message().await, Ok(Some(_))));
    drop(stream);
    agent.stop().await;
}

#[tokio::test]
async fn a_failed_scan_is_recorded() {
    let (data, tree) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let agent = Running::start(data.path(), files(&[tree.path()])).await;
    let files = v1::FilesServiceClient::new(agent.client.clone(), agent.client.config());
    let request = v1::ScanRequest {
        root: tree.path().as_os_str().as_encoded_bytes().to_vec(),
        base_generation: u64::MAX,
        ..Default::default()
    };
    let mut stream = files.scan(request).await.unwrap();
    let failed = loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            ended => break ended.is_err() || stream.error().is_some(),
        }
    };
    assert!(failed);
    let events = agent.events(|all| all.iter().any(|e| e.kind == "scan.failed")).await;
    assert_eq!(events.last().unwrap().severity, 3);
    agent.stop().await;
}

#[tokio::test]
async fn two_agents_on_one_data_directory_are_one_too_many() {
    let data = tempfile::tempdir().unwrap();
    let agent = Running::start(data.path(), files(&[])).await;
    let error = match Agent::open(AgentSettings { data: data.path().to_owned(), policy: files(&[]) }) {
        Ok(_) => panic!("opened twice"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("in use by another process"), "{error}");
    agent.stop().await;
}
