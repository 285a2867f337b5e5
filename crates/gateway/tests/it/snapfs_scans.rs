//! Scans of SnapFS clients, told of by scripted ones: states that stick, what is taken for deleted, agents that are alike.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Running;
use crate::websocket::{Frame, Socket};

const ROOT: &str = "/srv/show";
const HELLO_A: &str = r#"{"type":"AGENT_HELLO","agent_id":"old1","agent_type":"scanner","version":"0.2.0","capabilities":[{"id":"default-fs","kind":"fs","root":"/srv/show"}]}"#;

fn hello_b(id: &str, active: &[&str]) -> String {
    json!({"type": "AGENT_HELLO", "agent_id": id, "agent_type": "scanner", "version": "0.4.3", "capabilities": ["scan.fs"],
        "root_path": ROOT, "scanner_type": "fs", "max_concurrency": 1, "busy": !active.is_empty(), "active_scan_ids": active})
    .to_string()
}

fn event(kind: &str, scan: &str, more: &Value) -> Value {
    let mut data = json!({"root_path": ROOT, "scan_id": scan, "hostname": "store1", "user": "artist", "pid": 4711,
        "started_at": 1_790_000_100.0, "trigger_type": "manual", "schedule_id": null, "hash_algo": "sha1"});
    data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"type": kind, "data": data})
}

fn completed(scan: &str, seen: u64) -> Value {
    event(
        "scan.completed",
        scan,
        &json!({"files_seen": seen, "walk_errors": 0, "permission_errors": 0, "hash_errors": 0,
        "authoritative_for_deletes": true, "phase": "completed"}),
    )
}

fn upsert(scan: &str, name: &str, inode: u64) -> Value {
    json!({"type": "file.upsert", "data": {"root_path": ROOT, "scan_id": scan, "path": format!("{ROOT}/{name}"), "size": 3,
        "mtime": 1_790_000_000_123_i64, "nlinks": 1, "inode": inode, "dev": 2049, "uid": 0, "gid": 0, "mode": 420,
        "algo": "sha1", "hash": "a9993e364706816aba3e25717850c26c9cd0d89d"}})
}

impl Running {
    async fn tells(&self, events: &[Value]) {
        let body = json!({ "events": events }).to_string();
        let answer = self.request("POST", "/api/ingest", &["content-type: application/json"], &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    async fn agent(&self, path: &str, hello: &str) -> Socket {
        let mut socket = Socket::open(self.address(), path, &[]).await.unwrap();
        socket.send(hello).await;
        socket
    }

    async fn host_named(&self, name: &str) -> Value {
        self.eventually(|| async {
            let hosts = self.admin("GET", "/api/v1/hosts", "").await.json();
            hosts["items"].as_array().unwrap().iter().find(|host| host["name"] == name).cloned()
        })
        .await
    }

    async fn linked(&self, name: &str) {
        self.eventually(|| async {
            Some(()).filter(|()| true).zip(Some(self.host_named(name).await)).filter(|(_, h)| h["linked"] == true)
        })
        .await;
    }

    async fn job(&self, host: &str) -> String {
        let answer = self.admin("POST", "/api/v1/scans", &json!({"host": host, "root": ROOT}).to_string()).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    async fn scan_as(&self, id: &str, state: &str) -> Value {
        self.eventually(|| async {
            let scan = self.admin("GET", &format!("/api/v1/scans/{id}"), "").await.json();
            (scan["state"] == state).then_some(scan)
        })
        .await
    }

    /// Names of the indexed files.
    async fn names(&self) -> Vec<String> {
        let found = self.admin("GET", "/api/v1/files?limit=1000", "").await.json();
        let items = found["items"].as_array().unwrap_or_else(|| panic!("{found}"));
        let name = |file: &Value| file["path"].as_str().unwrap().strip_prefix("/srv/show/").unwrap().to_owned();
        let mut names: Vec<String> = items.iter().map(name).collect();
        names.sort();
        names
    }

    async fn eventually_names(&self, wanted: &[&str]) {
        self.eventually(|| async {
            Some(()).filter(|()| true).zip(Some(self.names().await)).filter(|(_, n)| n == wanted)
        })
        .await;
    }

    async fn last_scan(&self, state: &str) -> Value {
        self.eventually(|| async {
            let scan = self.admin("GET", "/api/v1/scans?limit=1", "").await.json()["items"][0].clone();
            (scan["state"] == state).then_some(scan)
        })
        .await
    }

    async fn eventually<T, F: Future<Output = Option<T>>>(&self, mut attempt: impl FnMut() -> F) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "it did not come");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn the_first_end_of_a_job_counts() {
    let gateway = Running::start().await;
    let mut agent = gateway.agent("/ws/agents", &hello_b("store1", &[])).await;
    gateway.linked("store1").await;
    let scan = gateway.job("store1").await;
    let job = agent.json().await;
    assert_eq!(
        (&job["type"], &job["command_id"], &job["target"]["scan_id"], &job["target"]["root"]),
        (&json!("SCAN_TARGET"), &json!(scan), &json!(scan), &json!(ROOT))
    );
    assert_eq!((&job["target"]["trigger_type"], &job["options"]["force"]), (&json!("manual"), &json!(false)));
    gateway.tells(&[event("scan.started", &scan, &json!({"phase": "walking"}))]).await;
    gateway.scan_as(&scan, "running").await;
    gateway.tells(&[upsert(&scan, "a", 1), upsert(&scan, "sub/b", 2)]).await;
    // The same again: a client that got no answer sends it once more.
    gateway.tells(&[upsert(&scan, "a", 1), upsert(&scan, "sub/b", 2)]).await;
    gateway.tells(&[completed(&scan, 2)]).await;
    let done = gateway.scan_as(&scan, "completed").await;
    assert_eq!((&done["counters"]["files"], &done["options"]["algorithm"]), (&json!(2), &json!("sha1")));
    assert_eq!(gateway.names().await, ["a", "sub/b"]);

    // Late, repeated and contradicting messages change no state; a late file is kept all the same.
    for late in ["SCAN_COMPLETE", "SCAN_ERROR", "SCAN_CANCELLED"] {
        agent.send(&json!({"type": late, "command_id": scan, "root": ROOT, "error": "late"}).to_string()).await;
    }
    gateway.tells(&[event("scan.failed", &scan, &json!({"error": "late"})), completed(&scan, 2)]).await;
    gateway.tells(&[upsert(&scan, "late", 3)]).await;
    gateway.eventually_names(&["a", "late", "sub/b"]).await;
    let still = gateway.scan_as(&scan, "completed").await;
    assert_eq!((&still["error"], &still["counters"]), (&Value::Null, &done["counters"]));
}

#[tokio::test]
async fn only_what_a_complete_scan_vouches_for_is_taken_for_deleted() {
    let gateway = Running::start().await;
    let scan = |id: &'static str, names: &'static [&'static str], end: Value| {
        let upserts: Vec<Value> = names.iter().zip(1..).map(|(name, inode)| upsert(id, name, inode)).collect();
        [vec![event("scan.started", id, &json!({}))], upserts, vec![end]].concat()
    };
    gateway.tells(&scan("one", &["a", "b", "c"], completed("one", 3))).await;
    gateway.eventually_names(&["a", "b", "c"]).await;
    assert_eq!(gateway.last_scan("completed").await["host_name"], "store1");

    // Two were seen and one told of: a call was lost, and nothing is known of the rest.
    gateway.tells(&scan("two", &["a"], completed("two", 2))).await;
    let two = gateway
        .eventually(|| async { Some(gateway.last_scan("completed").await).filter(|s| s["counters"]["files"] == 1) });
    two.await;
    assert_eq!(gateway.names().await, ["a", "b", "c"]);

    // Not authoritative, or with errors.
    for (id, more) in [
        ("three", json!({"authoritative_for_deletes": false, "files_seen": 1})),
        ("four", json!({"walk_errors": 1, "files_seen": 1})),
    ] {
        let mut end = completed(id, 1);
        end["data"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        gateway.tells(&[upsert(id, "a", 1), end]).await;
        gateway
            .eventually(|| async {
                Some(
                    gateway.admin("GET", "/api/v1/scans?state=completed", "").await.json()["items"]
                        .as_array()
                        .unwrap()
                        .len(),
                )
                .filter(|n| *n == if id == "three" { 3 } else { 4 })
            })
            .await;
        assert_eq!(gateway.names().await, ["a", "b", "c"], "{id}");
    }
    gateway.tells(&scan("five", &["a", "c"], completed("five", 2))).await;
    gateway.eventually_names(&["a", "c"]).await;
    let five = gateway.last_scan("completed").await;
    assert_eq!((&five["counters"]["deleted"], &five["counters"]["files"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn a_scan_that_broke_off_leaves_what_it_told() {
    let gateway = Running::start().await;
    gateway.tells(&[event("scan.started", "one", &json!({})), upsert("one", "a", 1)]).await;
    gateway.tells(&[event("scan.failed", "one", &json!({"error": "the disk fell over"}))]).await;
    let scan = gateway.last_scan("failed").await;
    assert_eq!(scan["error"], "the disk fell over");
    gateway.eventually_names(&["a"]).await;
    // What cannot be placed is kept as an error of its scan, and loses nothing else of its call.
    let outside = json!({"type": "file.upsert", "data": {"root_path": ROOT, "scan_id": "two", "path": "/etc/shadow", "size": 1, "mtime": 1}});
    let upwards = json!({"type": "file.upsert", "data": {"root_path": ROOT, "scan_id": "two", "path": "/srv/show/../../etc/shadow", "size": 1, "mtime": 1}});
    let odd = json!({"type": "file.upsert", "data": {"root_path": 7, "scan_id": [], "path": {}, "size": "x"}});
    gateway
        .tells(&[
            event("scan.started", "two", &json!({})),
            outside,
            upwards,
            odd,
            upsert("two", "b", 2),
            completed("two", 4),
        ])
        .await;
    gateway.eventually_names(&["a", "b"]).await;
    let two = gateway.last_scan("completed").await;
    let errors =
        gateway.admin("GET", &format!("/api/v1/scans/{}/errors", two["id"].as_str().unwrap()), "").await.json();
    let messages: Vec<&str> =
        errors["items"].as_array().unwrap().iter().map(|e| e["message"].as_str().unwrap()).collect();
    assert!(
        messages.contains(&"the path is outside its scan's root") && messages.contains(&"the path leads upwards"),
        "{errors}"
    );
}

#[tokio::test]
async fn jobs_are_cancelled_before_they_begin_and_after_they_end() {
    let gateway = Running::start().await;
    let mut agent = gateway.agent("/agents", &hello_b("store1", &[])).await;
    gateway.linked("store1").await;
    let scan = gateway.job("store1").await;
    assert_eq!(agent.json().await["type"], "SCAN_TARGET");
    assert_eq!(gateway.admin("POST", &format!("/api/v1/scans/{scan}/cancel"), "").await.status, 200);
    let cancel = agent.json().await;
    assert_eq!(
        (&cancel["type"], &cancel["command_id"], &cancel["scan_id"]),
        (&json!("SCAN_CANCEL"), &json!(scan), &json!(scan))
    );
    agent
        .send(&json!({"type": "SCAN_CANCELLED", "command_id": scan, "error": "canceled by operator"}).to_string())
        .await;
    let ended = gateway.scan_as(&scan, "cancelled").await;
    assert_eq!(ended["error"], Value::Null);
    // Upstream goes on for a while, and tells of its end twice.
    gateway
        .tells(&[
            event("scan.started", &scan, &json!({})),
            upsert(&scan, "a", 1),
            event("scan.cancelled", &scan, &json!({"error": "scan interrupted"})),
        ])
        .await;
    gateway.tells(&[event("scan.cancelled", &scan, &json!({"error": "canceled by operator"}))]).await;
    gateway.eventually_names(&["a"]).await;
    assert_eq!(gateway.scan_as(&scan, "cancelled").await["error"], Value::Null);
    assert_eq!(
        gateway.admin("POST", &format!("/api/v1/scans/{scan}/cancel"), "").await.status,
        200,
        "as with any scan"
    );
    assert_eq!(gateway.admin("POST", &format!("/api/v1/scans/{scan}/pause"), "").await.status, 409);
}

#[tokio::test]
async fn generation_a_tells_little() {
    let gateway = Running::start().await;
    let mut agent = gateway.agent("/agents", HELLO_A).await;
    gateway.linked("old1").await;
    let offered = || async {
        let roots = gateway.host_named("old1").await["capabilities"][0]["roots"].clone();
        (!roots.is_null()).then_some(roots)
    };
    assert_eq!(gateway.eventually(offered).await, json!([ROOT]));
    // Its child has its own id for the scan, and the end is an event only.
    let first = gateway.job("old1").await;
    assert_eq!(agent.json().await["target"]["root"], ROOT);
    gateway
        .tells(&[event("scan.started", "child-1", &json!({})), upsert("child-1", "a", 1), completed("child-1", 1)])
        .await;
    assert_eq!(gateway.scan_as(&first, "completed").await["counters"]["files"], 1);
    // Release 0.1.0 tells of success as an error with code 0.
    let second = gateway.job("old1").await;
    agent.json().await;
    gateway.tells(&[event("scan.started", "child-2", &json!({})), upsert("child-2", "b", 2)]).await;
    let success = json!({"type": "SCAN_ERROR", "command_id": second, "status": "error", "returncode": 0, "stderr": ""});
    agent.send(&success.to_string()).await;
    gateway.scan_as(&second, "completed").await;
    gateway.eventually_names(&["a", "b"]).await;
    let third = gateway.job("old1").await;
    agent.json().await;
    let failure = json!({"type": "SCAN_ERROR", "command_id": third, "root": ROOT, "status": "error", "returncode": 2, "stderr": "Usage\nno such path"});
    agent.send(&failure.to_string()).await;
    assert_eq!(gateway.scan_as(&third, "failed").await["error"], "no such path");
}

#[tokio::test]
async fn agents_that_are_alike_are_told_apart() {
    let gateway = Running::start().await;
    let _cut_off = gateway.agent("/ws/agents", &hello_b("store1", &[])).await;
    gateway.linked("store1").await;
    // The old socket does not answer a ping: the same agent has come again.
    let mut again = gateway.agent("/ws/agents", &hello_b("store1", &[])).await;
    loop {
        // A job is given to the socket that is there: the first one until the second has taken its place.
        let scan = gateway.job("store1").await;
        if let Ok(job) = tokio::time::timeout(Duration::from_millis(500), again.json()).await {
            assert_eq!(job["command_id"], json!(scan));
            break;
        }
    }
    drop(again);
    // It comes back without knowing the job, and is heard no more of it.
    let _back = gateway.agent("/ws/agents", &hello_b("store1", &[])).await;
    gateway.linked("store1").await;
    assert_eq!(gateway.admin("GET", "/api/v1/hosts", "").await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn agents_are_let_in_by_key_or_on_this_machine() {
    let gateway = Running::start().await;
    let (operator, _) = gateway.key("scanner", "operator").await;
    let (viewer, _) = gateway.key("reader", "viewer").await;
    let key = operator.rsplit(' ').next().unwrap();
    for path in ["/agents", "/ws/agents"] {
        let refused = |status: u16| {
            move |answer: Result<Socket, (u16, String)>| assert_eq!(answer.err().map(|(s, _)| s), Some(status))
        };
        refused(401)(
            Socket::open(gateway.address(), &format!("{path}/hst_00000000000000000000000000000000"), &[]).await,
        );
        refused(401)(Socket::open(gateway.address(), path, &["authorization: Bearer nonsense"]).await);
        refused(403)(Socket::open(gateway.address(), path, &[&viewer]).await);
        // A page in a browser on this machine.
        assert!(Socket::open(gateway.address(), path, &["origin: http://evil.example"]).await.is_err());
        for (path, headers) in
            [(format!("{path}/{key}"), vec![]), (path.to_owned(), vec![operator.as_str()]), (path.to_owned(), vec![])]
        {
            let mut socket = Socket::open(gateway.address(), &path, &headers).await.unwrap();
            socket.send(r#"{"type":"AGENT_HELLO","agent_id":"any"}"#).await;
            socket.send(r#"{"type":"PING"}"#).await;
            assert_eq!(socket.json().await["type"], "PONG", "{path}");
        }
    }
    // Revoked: the socket ends.
    let (header, id) = gateway.key("short", "operator").await;
    let mut socket = Socket::open(gateway.address(), "/ws/agents", &[&header]).await.unwrap();
    socket.send(r#"{"type":"AGENT_HELLO","agent_id":"short"}"#).await;
    socket.send(r#"{"type":"PING"}"#).await;
    assert_eq!(socket.json().await["type"], "PONG");
    gateway.admin("DELETE", &format!("/api/v1/api-keys/{id}"), "").await;
    assert!(matches!(socket.next().await, Frame::End | Frame::Close(_)));
}

#[tokio::test]
async fn a_removed_host_is_another_one_when_its_client_goes_on() {
    let gateway = Running::start().await;
    gateway.tells(&[event("scan.started", "one", &json!({})), upsert("one", "a", 1)]).await;
    let before = gateway.host_named("store1").await;
    assert_eq!(gateway.admin("DELETE", "/api/v1/hosts/store1", "").await.status, 204);
    gateway.tells(&[upsert("one", "b", 2), completed("one", 1)]).await;
    let after = gateway.last_scan("completed").await;
    assert_ne!(after["host"], before["id"]);
    gateway.eventually_names(&["b"]).await;
}

#[tokio::test]
async fn further_names_of_a_hard_link_are_not_taken_for_deleted() {
    let gateway = Running::start().await;
    let linked = |scan: &str, name: &str, links: u64| {
        let mut event = upsert(scan, name, 7);
        event["data"]["nlinks"] = json!(links);
        event
    };
    // A client that tells of all names, as Hostler's does.
    let all = ["a", "only/b", "only/c"].map(|name| linked("one", name, 3));
    gateway.tells(&[&all[..], &[upsert("one", "z", 9), completed("one", 4)]].concat()).await;
    gateway.eventually_names(&["a", "only/b", "only/c", "z"]).await;
    // One that tells of the first name only, and sees all.
    gateway.tells(&[linked("two", "only/b", 3), upsert("two", "z", 9), completed("two", 4)]).await;
    let second = || async { Some(gateway.last_scan("completed").await).filter(|s| s["first"] == false) };
    let two = gateway.eventually(second).await;
    assert_eq!((&two["counters"]["deleted"], &two["counters"]["created"]), (&json!(0), &json!(0)), "{two}");
    assert_eq!(gateway.names().await, ["a", "only/b", "only/c", "z"]);
    // One link fewer: one of the names that were not told of is gone.
    gateway.tells(&[linked("three", "only/b", 2), upsert("three", "z", 9), completed("three", 3)]).await;
    gateway.eventually_names(&["a", "only/b", "z"]).await;
}

#[tokio::test]
async fn directories_whose_names_sort_between_a_parent_and_its_children_lose_nothing() {
    let gateway = Running::start().await;
    let names = ["a/x", "a-b/y", "a/b/z", "a/b/c/d/w", "a/b-c/v"];
    for scan in ["one", "two"] {
        let upserts: Vec<Value> = names.iter().zip(1..).map(|(name, inode)| upsert(scan, name, inode)).collect();
        gateway.tells(&[upserts, vec![completed(scan, 5)]].concat()).await;
        gateway.last_scan("completed").await;
    }
    let second = || async { Some(gateway.last_scan("completed").await).filter(|s| s["first"] == false) };
    let two = gateway.eventually(second).await;
    let changes = ["created", "modified", "metadata", "deleted"].map(|what| two["counters"][what].clone());
    assert_eq!(changes, [0, 0, 0, 0].map(|none| json!(none)), "{two}");
    let mut sorted = names.map(str::to_owned);
    sorted.sort();
    assert_eq!(gateway.names().await, sorted);
}

#[tokio::test]
async fn links_to_elsewhere_do_not_hide_that_calls_were_lost() {
    let gateway = Running::start().await;
    let linked = |scan: &str, name: &str, inode: u64| {
        let mut event = upsert(scan, name, inode);
        event["data"]["nlinks"] = json!(7);
        event
    };
    let end = |scan: &str, published: u64| {
        let mut end = completed(scan, 3);
        end["data"]
            .as_object_mut()
            .unwrap()
            .extend(json!({"cache_hits": 1, "hashed": 2, "published": published}).as_object().unwrap().clone());
        end
    };
    let all: Vec<Value> = ["a", "b", "c"].iter().zip(1..).map(|(name, inode)| linked("one", name, inode)).collect();
    gateway.tells(&[all, vec![end("one", 3)]].concat()).await;
    gateway.eventually_names(&["a", "b", "c"]).await;
    gateway.tells(&[linked("two", "a", 1), end("two", 1)]).await;
    let second = || async { Some(gateway.last_scan("completed").await).filter(|s| s["first"] == false) };
    let two = gateway.eventually(second).await;
    assert_eq!(two["counters"]["deleted"], 0, "{two}");
    assert_eq!(gateway.names().await, ["a", "b", "c"]);
}

#[tokio::test]
async fn what_an_older_scan_tells_late_does_not_undo_a_newer_one() {
    let gateway = Running::start().await;
    gateway.tells(&[event("scan.started", "old", &json!({})), upsert("old", "gone", 1)]).await;
    gateway.tells(&[event("scan.started", "new", &json!({})), upsert("new", "kept", 2), completed("new", 1)]).await;
    gateway.eventually_names(&["kept"]).await;
    gateway.tells(&[upsert("old", "gone too", 3), event("scan.failed", "old", &json!({"error": "cut off"}))]).await;
    gateway.last_scan("completed").await;
    let failed = || async {
        let scans = gateway.admin("GET", "/api/v1/scans?state=failed", "").await.json();
        (scans["items"].as_array().unwrap().len() == 1).then_some(())
    };
    gateway.eventually(failed).await;
    assert_eq!(gateway.names().await, ["kept"]);
}

#[tokio::test]
async fn clients_that_do_not_say_where_they_run_are_one_host() {
    let gateway = Running::start().await;
    for (scan, host) in [("one", "store1"), ("two", "store2")] {
        let mut end = completed(scan, 0);
        end["data"]["hostname"] = json!(host);
        gateway.tells(&[end]).await;
    }
    for name in ["a", "b", "c"] {
        gateway.tells(&[upsert(name, name, 1)]).await;
    }
    let hosts = gateway.admin("GET", "/api/v1/hosts", "").await.json();
    assert_eq!(hosts["items"].as_array().unwrap().len(), 3, "{hosts}");
}
