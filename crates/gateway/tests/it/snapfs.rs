//! The edge for SnapFS clients over HTTP: probes, what is told, errors in their form, who may come in.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Answer, Running, Settings};
use crate::websocket::{Frame, Socket};

const JSON: &str = "content-type: application/json";
const SHA1: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";
const XXH64: &str = "44bc2cf5ad770999";
/// In milliseconds, as the newer clients send it.
const MTIME: i64 = 1_790_000_000_123;

/// A file as the newer clients tell of it.
fn upsert(path: &str, inode: u64, mtime: i64) -> Value {
    json!({"type": "file.upsert", "data": {
        "root_path": "/srv/show", "scan_id": "5e0c6f0e-4d0b-4a56-9f6e-0d6f5f4f2a11", "seen_at": 1_790_000_100.25,
        "path": path, "dir": "/srv/show", "name": "a", "ext": "", "type": "file", "size": 3, "fsize_du": 3,
        "mtime": mtime, "atime": mtime, "ctime": mtime, "nlinks": 1, "inode": inode, "dev": 2049,
        "owner": "artist", "group": "artist", "uid": 1000, "gid": 1000, "mode": 420, "algo": "sha1", "hash": SHA1,
    }})
}

fn probe(path: &str, inode: u64, mtime: i64) -> Value {
    json!({"path": path, "size": 3, "mtime": mtime, "inode": inode, "dev": 2049})
}

fn started(algorithm: &str) -> Value {
    json!({"type": "scan.started", "data": {
        "root_path": "/srv/show", "scan_id": "5e0c6f0e-4d0b-4a56-9f6e-0d6f5f4f2a11", "hostname": "store1",
        "started_at": 1_790_000_100.0, "trigger_type": "manual", "hash_algo": algorithm,
    }})
}

impl Running {
    async fn post(&self, path: &str, headers: &[&str], body: &str) -> Answer {
        let answer = self.request("POST", path, &[&[JSON], headers].concat(), body).await;
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path}: {answer:?}");
        answer
    }

    async fn tell(&self, headers: &[&str], events: &[Value]) {
        let answer = self.post("/api/ingest", headers, &json!({ "events": events }).to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// What is known of each: `MISS`, or algorithm and hash.
    async fn known(&self, headers: &[&str], probes: &[Value]) -> Vec<String> {
        let answer = self.post("/api/cache/batch", headers, &json!(probes).to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let answers = answer.json();
        let of = |answer: &Value| {
            assert_eq!(answer.as_object().unwrap().len(), 3, "all three keys are always there: {answer}");
            match answer["status"].as_str().unwrap() {
                "HIT" => format!("{} {}", answer["algo"].as_str().unwrap(), answer["hash"].as_str().unwrap()),
                miss => {
                    assert!(answer["algo"].is_null() && answer["hash"].is_null(), "{answer}");
                    miss.to_owned()
                }
            }
        };
        answers.as_array().unwrap().iter().map(of).collect()
    }
}

fn hit() -> String {
    format!("sha1 {SHA1}")
}

#[tokio::test]
async fn hashes_that_were_told_are_known_by_both_generations_and_paths() {
    let gateway = Running::start().await;
    // An older client: seconds with a fraction, only what it needs, on the older path.
    let old = r#"{"events": [{"type": "file.upsert", "data": {"path": "/srv/old", "size": 3, "mtime": 1790000000.75, "inode": 7, "dev": 2049, "algo": "sha1", "hash": "A9993E364706816ABA3E25717850C26C9CD0D89D"}}]}"#;
    let answer = gateway.post("/ingest?subject=snapfs.files", &[], old).await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({"status": "ok", "received": 1, "subject": "snapfs.files"}))
    );
    gateway.tell(&[], &[upsert("/srv/new", 8, MTIME), upsert("/srv//path/./form", 0, MTIME)]).await;
    // Repeats change nothing.
    gateway.tell(&[], &[upsert("/srv/new", 8, MTIME)]).await;

    for path in ["/cache/batch", "/api/cache/batch"] {
        let body = format!(
            r#"[{{"path": "/srv/old", "size": 3, "mtime": 1790000000.0, "inode": 7, "dev": 2049}},
                {{"path": "/anywhere", "size": "3", "mtime": "{MTIME}", "inode": 8, "dev": "2049", "more": [1]}},
                {{"path": "/srv/path/form", "size": 3, "mtime": {MTIME}, "inode": null}},
                {{"path": "/srv//path/./form", "size": 3, "mtime": {MTIME}}},
                {{"path": "/srv/new", "size": 4, "mtime": {MTIME}, "inode": 8, "dev": 2049}},
                {{"path": "/srv/new", "size": 3, "mtime": {MTIME}, "inode": 8, "dev": 2050}}]"#
        );
        let answer = gateway.post(path, &[], &body).await;
        let found: Vec<Value> = answer.json().as_array().unwrap().iter().map(|a| a["status"].clone()).collect();
        assert_eq!(found, ["HIT", "HIT", "HIT", "MISS", "MISS", "MISS"], "{path}");
        assert_eq!(answer.json()[0]["hash"], SHA1, "lower case");
        assert_eq!(gateway.post(path, &[], "[]").await.body, b"[]");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_probe_that_is_off_by_a_millisecond_finds_its_file() {
    let gateway = Running::start().await;
    gateway
        .tell(&[], &[upsert("/srv/a", 1, MTIME), upsert("/srv/b", 0, MTIME), upsert("/srv/c", 3, 1_790_000_000)])
        .await;
    let probes: Vec<Value> = [
        (1, MTIME - 1),
        (1, MTIME + 1),
        (1, MTIME + 2),
        (1, MTIME - 2),
        (3, 1_790_000_000),
        (3, 1_790_000_001),
        (3, 1_789_999_999),
    ]
    .map(|(inode, mtime)| probe("/elsewhere", inode, mtime))
    .into();
    let found = gateway.known(&[], &probes).await;
    assert_eq!(found, [&hit(), &hit(), "MISS", "MISS", &hit(), "MISS", "MISS"], "neither by two nor in seconds");
    let by_path = [probe("/srv/b", 0, MTIME), probe("/srv/b", 0, MTIME + 1)];
    assert_eq!(gateway.known(&[], &by_path).await, [&hit(), "MISS"], "nor by path");
    // The exact one comes first.
    let mut other = upsert("/srv/a", 1, MTIME + 1);
    other["data"]["hash"] = json!("0".repeat(40));
    gateway.tell(&[], &[other]).await;
    assert_eq!(gateway.known(&[], &[probe("/srv/a", 1, MTIME)]).await, [hit()]);
    gateway.stop().await;
}

#[tokio::test]
async fn scopes_never_share_a_hash() {
    let gateway = Running::start().await;
    let (one, _) = gateway.key("one", "operator").await;
    let (two, _) = gateway.key("two", "operator").await;
    let asked = [probe("/srv/a", 1, MTIME), probe("/srv/p", 0, MTIME)];
    gateway.tell(&[&one], &[upsert("/srv/a", 1, MTIME), upsert("/srv/p", 0, MTIME)]).await;
    assert_eq!(gateway.known(&[&one], &asked).await, [hit(), hit()]);
    assert_eq!(gateway.known(&[&two], &asked).await, ["MISS", "MISS"]);
    assert_eq!(gateway.known(&[], &asked).await, ["MISS", "MISS"]);
    // The same inode elsewhere is another file.
    let mut other = upsert("/srv/a", 1, MTIME);
    other["data"]["hash"] = json!("0".repeat(40));
    gateway.tell(&[&two], &[other]).await;
    assert_eq!(gateway.known(&[&one], &asked[..1]).await, [hit()]);
    assert_eq!(gateway.known(&[&two], &asked[..1]).await, [format!("sha1 {}", "0".repeat(40))]);
    // A token is its key.
    let token = token(&gateway, &one, r#"{"scopes":["ingest:write"]}"#).await;
    assert_eq!(gateway.known(&[&token], &asked).await, [hit(), hit()]);
    gateway.stop().await;
}

#[tokio::test]
async fn algorithms_are_kept_side_by_side() {
    let gateway = Running::start().await;
    let asked = [probe("/srv/a", 1, MTIME)];
    let mut other = upsert("/srv/a", 1, MTIME);
    (other["data"]["algo"], other["data"]["hash"]) = (json!("xxh64"), json!(XXH64));
    gateway.tell(&[], &[upsert("/srv/a", 1, MTIME)]).await;
    gateway.tell(&[], &[other]).await;
    assert_eq!(gateway.known(&[], &asked).await, [format!("xxh64 {XXH64}")], "the last, while no scan said which");
    for (algorithm, found) in [("sha1", hit()), ("xxh64", format!("xxh64 {XXH64}")), ("sha256", "MISS".to_owned())] {
        gateway.tell(&[], &[started(algorithm)]).await;
        assert_eq!(gateway.known(&[], &asked).await, [found], "in a scan with {algorithm}");
    }
    // What cannot be a hash of its algorithm is not remembered.
    for (algorithm, hash) in
        [("sha1", "abc"), ("sha1", XXH64), ("md5", &*"0".repeat(32)), ("xxh64", "44bc2cf5ad77099z")]
    {
        let mut wrong = upsert("/srv/w", 99, MTIME);
        (wrong["data"]["algo"], wrong["data"]["hash"]) = (json!(algorithm), json!(hash));
        gateway.tell(&[], &[started(algorithm), wrong]).await;
        assert_eq!(gateway.known(&[], &[probe("/srv/w", 99, MTIME)]).await, ["MISS"], "{algorithm} {hash}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_remembered_of_an_inode_is_bounded() {
    let gateway = Running::start().await;
    for step in 0..20 {
        gateway.tell(&[], &[upsert("/srv/log", 1, MTIME + step * 1000)]).await;
    }
    let probes: Vec<Value> = (0..20).map(|step| probe("/srv/log", 1, MTIME + step * 1000)).collect();
    let found = gateway.known(&[], &probes).await;
    assert!(found[..12].iter().all(|answer| answer == "MISS"), "{found:?}");
    assert!(found[12..].iter().all(|answer| *answer == hit()), "{found:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn many_probes_are_answered_in_their_order() {
    let gateway = Running::start().await;
    let told: Vec<Value> = (0..20_000).step_by(2).map(|n| upsert(&format!("/srv/{n}"), n + 1, MTIME)).collect();
    for part in told.chunks(5000) {
        gateway.tell(&[], part).await;
    }
    let probes: Vec<Value> = (0..20_000).map(|n| probe("/", n + 1, MTIME)).collect();
    let found = gateway.known(&[], &probes).await;
    assert_eq!(found.len(), 20_000);
    assert!(found.iter().enumerate().all(|(n, answer)| (answer == "MISS") == (n % 2 == 1)));
    gateway.stop().await;
}

/// The one problem of an answer: its type and where it is.
fn problem(answer: &Answer) -> (String, Value) {
    assert_eq!(answer.status, 422, "{answer:?}");
    let detail = answer.json()["detail"].clone();
    assert_eq!(detail.as_array().unwrap().len(), 1, "{detail}");
    assert!(detail[0]["msg"].is_string() && detail[0].get("input").is_some(), "{detail}");
    (detail[0]["type"].as_str().unwrap().to_owned(), detail[0]["loc"].clone())
}

#[tokio::test]
async fn probes_that_are_wrong_are_told_what_is_wrong() {
    let gateway = Running::start().await;
    let deep = format!(r#"[{{"path":"/a","size":1,"mtime":1,"x":{}1{}}}]"#, "[".repeat(200), "]".repeat(200));
    let very_deep = "[".repeat(1_000_000);
    for (body, kind, at) in [
        (r#"{"path":"/a"}"#, "list_type", json!(["body"])),
        ("7", "list_type", json!(["body"])),
        (r#"[["/a",1,2]]"#, "model_attributes_type", json!(["body", 0])),
        (r#"[7]"#, "model_attributes_type", json!(["body", 0])),
        (r#"[{"path":"/a","mtime":1}]"#, "missing", json!(["body", 0, "size"])),
        (r#"[{"path":"/a","size":1,"mtime":1790000000.5}]"#, "int_from_float", json!(["body", 0, "mtime"])),
        (r#"[{"path":"/a","size":null,"mtime":1}]"#, "int_type", json!(["body", 0, "size"])),
        (r#"[{"path":"/a","size":"x","mtime":1}]"#, "int_parsing", json!(["body", 0, "size"])),
        (r#"[{"path":"/a","size":[],"mtime":1}]"#, "int_type", json!(["body", 0, "size"])),
        (r#"[{"path":"/a","size":-1,"mtime":1}]"#, "greater_than_equal", json!(["body", 0, "size"])),
        (r#"[{"path":"/a","size":9223372036854775808,"mtime":1}]"#, "less_than_equal", json!(["body", 0, "size"])),
        (r#"[{"path":"/a","size":1,"mtime":1,"inode":{}}]"#, "int_type", json!(["body", 0, "inode"])),
        (r#"[{"path":null,"size":1,"mtime":1}]"#, "string_type", json!(["body", 0, "path"])),
        (r#"[{"path":5,"size":1,"mtime":1}]"#, "string_type", json!(["body", 0, "path"])),
        (r#"[{"path":"a\u0000b","size":1,"mtime":1}]"#, "value_error", json!(["body", 0, "path"])),
        ("", "missing", json!(["body"])),
        ("[", "json_invalid", json!(["body", 1])),
        ("[] x", "json_invalid", json!(["body", 4])),
        (r#"[{"path":"/a","size":NaN,"mtime":1}]"#, "json_invalid", json!(["body", 22])),
        (r#"[{"path":"/a","size":1,"mtime":Infinity}]"#, "json_invalid", json!(["body", 32])),
        (&deep, "json_invalid", json!(["body", 135])),
        (&very_deep, "json_invalid", json!(["body", 100])),
    ] {
        let answer = gateway.post("/api/cache/batch", &[], body).await;
        let shown = &body[..body.len().min(80)];
        assert_eq!(problem(&answer), (kind.to_owned(), at), "{shown}: {answer:?}");
    }
    // These are as lax as upstream is.
    let lax = r#"[{"path":"/a","size":true,"mtime":" 5 ","inode":18446744073709551616,"dev":-1,"path":"/b"},
        {"path":"/bad\udcff\udcfe\ud83d\ude00\ud800","size":4,"mtime":1790000000000,"inode":5242899,"dev":2049}]"#;
    assert_eq!(gateway.post("/cache/batch", &[], lax).await.json().as_array().unwrap().len(), 2);

    // What is wrong is repeated as it came, and bounded.
    let answer = gateway.post("/cache/batch", &[], r#"[{"path":"/\udcff","mtime": 1}]"#).await;
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains(r#""input":{"path":"/\udcff","mtime": 1}"#), "{text}");
    let long = format!(r#"[{{"path":"{}"}}]"#, "x".repeat(5000));
    let answer = gateway.post("/cache/batch", &[], &long).await;
    assert!(answer.body.len() < 1000 && answer.json()["detail"][0]["input"].is_null(), "{answer:?}");
    let many = format!("[{}{{}}]", "{},".repeat(10_000));
    let answer = gateway.post("/cache/batch", &[], &many).await;
    assert_eq!(answer.json()["detail"].as_array().unwrap().len(), 100);
    gateway.stop().await;
}

#[tokio::test]
async fn events_that_are_wrong_are_told_what_is_wrong() {
    let gateway = Running::start().await;
    let deep = format!(r#"{{"events":[{{"type":"x","data":{{"x":{}1{}}}}}]}}"#, "[".repeat(200), "]".repeat(200));
    for (body, kind, at) in [
        ("[]", "model_attributes_type", json!(["body"])),
        ("[[]]", "model_attributes_type", json!(["body"])),
        (r#"{"events":[["x",{}]]}"#, "model_attributes_type", json!(["body", "events", 0])),
        (r#"{"events":[{"type":"file.upsert","data":["/x"]}]}"#, "dict_type", json!(["body", "events", 0, "data"])),
        ("{}", "missing", json!(["body", "events"])),
        (r#"{"events":{}}"#, "list_type", json!(["body", "events"])),
        (r#"{"events":[1]}"#, "model_attributes_type", json!(["body", "events", 0])),
        (r#"{"events":[{"data":{}}]}"#, "missing", json!(["body", "events", 0, "type"])),
        (r#"{"events":[{"type":"x"}]}"#, "missing", json!(["body", "events", 0, "data"])),
        (r#"{"events":[{"type":5,"data":{}}]}"#, "string_type", json!(["body", "events", 0, "type"])),
        (r#"{"events":[{"type":"x","data":[]}]}"#, "dict_type", json!(["body", "events", 0, "data"])),
        ("", "missing", json!(["body"])),
        (r#"{"events":[]"#, "json_invalid", json!(["body", 12])),
        (&deep, "json_invalid", json!(["body", 131])),
    ] {
        let answer = gateway.post("/api/ingest", &[], body).await;
        assert_eq!(problem(&answer), (kind.to_owned(), at), "{body}: {answer:?}");
    }
    for subject in ["a%20b", "a%2Fb", "%00", &"x".repeat(257), "gr%C3%B6sse"] {
        let answer = gateway.post(&format!("/ingest?subject={subject}"), &[], r#"{"events":[]}"#).await;
        assert_eq!(problem(&answer).1, json!(["query", "subject"]), "{subject}");
    }
    // Unknown types, missing fields and wrong types in the data are the consumers' to judge.
    let odd = json!({"events": [
        {"type": "no.such.type", "data": {"anything": [1, {"goes": null}]}},
        {"type": "file.upsert", "data": {}},
        {"type": "file.upsert", "data": {"path": 5, "size": "x", "mtime": null, "owner": ["y"]}},
        {"type": "scan.started", "data": {"scan_id": 7, "hostname": {}}},
        {"type": "scan.telemetry", "data": {}},
    ]});
    let answer = gateway.post("/ingest?subject=snapfs.events", &[], &odd.to_string()).await;
    assert_eq!((answer.status, answer.json()["received"].clone()), (200, json!(5)), "{answer:?}");
    // A file of which one field is odd is remembered all the same.
    let mut file = upsert("/srv/odd", 5, MTIME);
    (file["data"]["owner"], file["data"]["nlinks"]) = (json!(1000), json!([1]));
    gateway.tell(&[], &[file]).await;
    assert_eq!(gateway.known(&[], &[probe("/srv/odd", 5, MTIME)]).await, [hit()]);
    gateway.stop().await;
}

#[tokio::test]
async fn bodies_and_subjects_are_bounded() {
    let gateway = Running::start().await;
    let mut large = String::from(r#"{"events":["#);
    while large.len() < 30 << 20 {
        let _ = write!(large, r#"{{"type":"x","data":{{"text":"{}"}}}},"#, "y".repeat(1 << 20));
    }
    let fits = format!("{}]}}", large.trim_end_matches(','));
    assert_eq!(gateway.post("/ingest", &[], &fits).await.status, 200, "bodies of 32 MiB are taken");
    let answer = gateway.post("/ingest", &[], &format!("{fits}{}", " ".repeat(4 << 20))).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    for n in 0..98 {
        let answer = gateway.post(&format!("/ingest?subject=s{n}"), &[], r#"{"events":[]}"#).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let answer = gateway.post("/ingest?subject=one.more", &[], r#"{"events":[]}"#).await;
    assert_eq!(problem(&answer).1, json!(["query", "subject"]));
    for subject in ["snapfs.files", "snapfs.events", "s0"] {
        assert_eq!(gateway.post(&format!("/ingest?subject={subject}"), &[], r#"{"events":[]}"#).await.status, 200);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn other_methods_and_queries_are_answered_as_clients_know_it() {
    let gateway = Running::start().await;
    for path in ["/cache/batch", "/api/cache/batch", "/ingest", "/api/ingest", "/api/auth/token", "/query/sql"] {
        let answer = gateway.request("GET", path, &[], "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{path}: {answer:?}");
        assert_eq!(answer.json(), json!({"detail": "Method Not Allowed"}));
    }
    let answer = gateway.post("/query/sql", &[], r#"{"sql":"delete from files","params":{"n":1}}"#).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"rows": []})));
    for (body, kind) in
        [("{}", "missing"), (r#"{"sql":1}"#, "string_type"), (r#"{"sql":"x","params":[]}"#, "dict_type")]
    {
        assert_eq!(problem(&gateway.post("/query/sql", &[], body).await).0, kind, "{body}");
    }
    gateway.stop().await;
}

/// A token's header.
async fn token(gateway: &Running, key: &str, body: &str) -> String {
    let answer = gateway.post("/api/auth/token", &[key], body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    assert_eq!(answer["tokenType"], "Bearer");
    assert!(answer["expiresIn"].as_u64().unwrap() >= 86_400, "it outlives a long scan: {answer}");
    format!("authorization: Bearer {}", answer["accessToken"].as_str().unwrap())
}

#[tokio::test]
async fn keys_become_tokens_with_the_rights_they_ask_for() {
    let gateway = Running::start().await;
    let (operator, id) = gateway.key("scanner", "operator").await;
    let (viewer, _) = gateway.key("reader", "viewer").await;
    let wrong = format!("authorization: Bearer hst_{}", "0".repeat(32));
    for headers in [&[][..], &[wrong.as_str()], &["authorization: Basic abc"], &["authorization: Bearer "]] {
        let answer = gateway.post("/api/auth/token", headers, "{}").await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")), "{headers:?}");
    }
    let refused = gateway.post("/api/auth/token", &[&viewer], r#"{"scopes":["ingest:write"]}"#).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    let refused = gateway.post("/api/auth/token", &[&operator], r#"{"scopes":["all:do"]}"#).await;
    assert_eq!(refused.status, 403, "{refused:?}");

    let write = token(&gateway, &operator, r#"{"scopes":["ingest:write"]}"#).await;
    let read = token(&gateway, &operator, r#"{"scopes":["stream:read"]}"#).await;
    let own = token(&gateway, &operator, "{}").await;
    let viewers = token(&gateway, &viewer, "{}").await;
    let nothing = r#"{"events":[]}"#;
    for (who, credential, writes, reads) in [
        ("an operator's key", &operator, 200, 200),
        ("a viewer's key", &viewer, 403, 200),
        ("a token to write", &write, 200, 403),
        ("a token to read", &read, 403, 200),
        ("a token for everything", &own, 200, 200),
        ("a viewer's token", &viewers, 403, 200),
    ] {
        for (path, body) in [("/api/ingest", nothing), ("/cache/batch", "[]")] {
            let answer = gateway.post(path, &[credential], body).await;
            assert_eq!(answer.status, writes, "{who} on {path}: {answer:?}");
        }
        let answer = gateway.post("/query/sql", &[credential], r#"{"sql":"select 1"}"#).await;
        assert_eq!(answer.status, reads, "{who}: {answer:?}");
    }
    // A token is nothing to the rest of the gateway, and cannot be exchanged.
    assert_eq!(gateway.request("GET", "/api/v1/hosts", &[&own], "").await.status, 401);
    assert_eq!(gateway.post("/api/auth/token", &[&own], "{}").await.status, 401);

    let log = gateway.audit("&action=snapfs.token").await;
    assert!(log.iter().any(|line| line["who"] == "key scanner" && line["result"] == "ok"), "{log:?}");
    assert!(log.iter().any(|line| line["who"] == "key reader" && line["result"] == "refused"), "{log:?}");
    let before = gateway.audit("").await.len();
    gateway.post("/api/ingest", &[&operator], nothing).await;
    assert_eq!(gateway.audit("").await.len(), before, "what clients tell all the time is not written down");

    let gateway = gateway.restart().await;
    assert_eq!(gateway.post("/api/ingest", &[&write], nothing).await.status, 200, "a token survives a restart");
    assert_eq!(gateway.admin("DELETE", &format!("/api/v1/api-keys/{id}"), "").await.status, 204);
    for credential in [&operator, &write, &own] {
        let answer = gateway.post("/api/ingest", &[credential], nothing).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")), "{answer:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn without_credentials_only_programs_on_this_machine_come_in() {
    let trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    let gateway = Running::start_with(Settings { trusted_proxies, ..Settings::default() }).await;
    let nothing = r#"{"events":[]}"#;
    let (key, _) = gateway.key("scanner", "operator").await;
    let tell = async |headers: &[&str]| gateway.request("POST", "/ingest", headers, nothing).await;
    assert_eq!(tell(&[JSON]).await.status, 200);
    assert_eq!(gateway.admin("POST", "/ingest", nothing).await.status, 415, "the local socket is this machine");
    // A page in a browser of this machine.
    for header in ["origin: http://gateway", "sec-fetch-site: same-origin", "sec-fetch-site: cross-site"] {
        assert_eq!(tell(&[JSON, header]).await.status, 403, "{header}");
        let (status, _) = Socket::open(gateway.address(), "/stream?subject=snapfs.files&durable=d", &[header])
            .await
            .err()
            .unwrap_or_default();
        assert_eq!(status, 403, "{header}");
    }
    assert_eq!(tell(&["content-type: text/plain"]).await.status, 415);
    assert_eq!(tell(&["content-type: text/plain", &key]).await.status, 200, "a key says enough");
    // Behind a proxy there is anybody.
    let far = tell(&[JSON, "x-forwarded-for: 203.0.113.5"]).await;
    assert_eq!((far.status, far.header("www-authenticate")), (401, Some("Bearer")), "{far:?}");
    assert_eq!(tell(&[JSON, "x-forwarded-for: 203.0.113.5", &key]).await.status, 200);
    gateway.stop().await;

    // A proxy that nobody trusts may have anybody behind it.
    let gateway = Running::start().await;
    for header in ["x-forwarded-for: 127.0.0.1", "via: 1.1 proxy", "forwarded: for=127.0.0.1"] {
        let answer = gateway.request("POST", "/ingest", &[JSON, header], nothing).await;
        assert_eq!(answer.status, 401, "{header}");
    }
    gateway.stop().await;

    let gateway = Running::start_with(Settings { snapfs_require_key: true, ..Settings::default() }).await;
    let (key, _) = gateway.key("scanner", "operator").await;
    for (path, body) in [("/ingest", nothing), ("/api/cache/batch", "[]"), ("/query/sql", r#"{"sql":""}"#)] {
        assert_eq!(gateway.post(path, &[], body).await.status, 401, "{path}");
        assert_eq!(gateway.post(path, &[&key], body).await.status, 200, "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn no_answer_has_a_word_that_ends_a_scan() {
    let gateway = Running::start().await;
    let (viewer, _) = gateway.key("reader", "viewer").await;
    let wrong = format!("authorization: Bearer hst_{}", "0".repeat(32));
    let answers = [
        gateway.post("/api/ingest", &[&viewer], r#"{"events":[]}"#).await,
        gateway.post("/api/ingest", &[&wrong], r#"{"events":[]}"#).await,
        gateway.post("/api/ingest", &[], "nonsense").await,
        gateway.post("/api/cache/batch", &["origin: http://x"], "[]").await,
        gateway.post("/api/auth/token", &[&viewer], r#"{"scopes":["ingest:write"]}"#).await,
        gateway.request("PUT", "/api/ingest", &[], "").await,
    ];
    for answer in answers {
        let text = String::from_utf8(answer.body).unwrap().to_lowercase();
        assert!(!text.contains("unauthorized") && !text.contains("forbidden"), "{text}");
        assert!(answer.status >= 400);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let gateway = Running::start().await;
    let (key, id) = gateway.key("reader", "viewer").await;
    let with_token = token(&gateway, &key, r#"{"scopes":["stream:read"]}"#).await;
    let path = "/stream?subject=snapfs.files&durable=index";
    let mut by_key = Socket::open(gateway.address(), path, &[&key]).await.ok().unwrap();
    let mut by_token = Socket::open(gateway.address(), path, &[&with_token]).await.ok().unwrap();
    assert!(by_key.is_silent_for(Duration::from_millis(200)).await);
    gateway.admin("DELETE", &format!("/api/v1/api-keys/{id}"), "").await;
    assert_eq!((by_key.next().await, by_token.next().await), (Frame::End, Frame::End));
    let (status, _) = Socket::open(gateway.address(), path, &[&key]).await.err().unwrap();
    assert_eq!(status, 401);
    gateway.stop().await;
}
