//! Disks that are full, and two processes that want the same data.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hostler_testkit::agreement::disagreements;
use hostler_testkit::hostler::{command, run};
use hostler_testkit::{AgentProcess, Hostler, Output, eventually, only_host};
use serde_json::json;

use crate::support::{files, found, linked, scan_to_end};

/// A filesystem of 64 MiB; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` when this machine cannot make one, which is told.
    fn new(path: PathBuf) -> Option<Self> {
        std::fs::create_dir(&path).unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs"];
        let mounted = Command::new("mount").args(mount).arg(&path).stderr(Stdio::null()).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(path));
        }
        println!("LEFT OUT: a full disk: mounting a small filesystem needs root");
        None
    }

    /// Leaves no room for one more page.
    fn fill(&self) {
        let mut file = File::create(self.0.join("filler")).unwrap();
        let mut piece = vec![0; 1 << 20];
        while !piece.is_empty() {
            if file.write_all(&piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process of the test may still be there.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn start_gateway(data: &Path) -> Hostler {
    Hostler::start_command(data, ["gateway", "--listen", "127.0.0.1:0"]).unwrap()
}

#[test]
fn a_gateway_whose_disk_is_full_says_so_and_goes_on_when_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::new(dir.path().join("disk")) else { return };
    let tree = dir.path().canonicalize().unwrap().join("tree");
    files(&tree, 50);
    let gateway = start_gateway(&disk.0.join("data"));
    let admin = gateway.http_as("admin");
    let agent = AgentProcess::join(&gateway, &gateway.url, &dir.path().join("agent"), &[&tree]).unwrap();
    let before = only_host(&gateway, "linked", linked);
    assert_eq!(scan_to_end(&gateway, &tree)["state"], "completed");

    disk.fill();
    files(&tree, 5000);
    // What is small may still fit into pages that are there; soon nothing does.
    let mut kept = Vec::new();
    let refused = eventually("a write to be refused", || {
        let name = format!("key-{}-{}", kept.len(), "x".repeat(40));
        let answer = admin.post("/api/v1/api-keys", &json!({ "name": name, "role": "viewer" }));
        if answer.status == 201 {
            kept.push(name);
            return None;
        }
        Some(answer)
    });
    let said = refused.error(507);
    assert!(said.contains("full") && said.contains("free"), "it says what to do: {said}");
    let started = gateway.run(["scan".as_ref(), tree.as_os_str()]).unwrap();
    assert!(!started.success && started.stderr.contains("full"), "{started:?}");
    // Reading goes on, also for those whose key was never used before, and the host stays linked.
    assert_eq!(admin.get("/api/v1/hosts").status, 200);
    assert_eq!(found(&gateway), 50);
    let during = only_host(&gateway, "there", |_| true);
    assert_eq!((&during["linked"], &during["generation"]), (&json!(true), &before["generation"]), "{during}");

    disk.make_room();
    eventually("writes to work again", || {
        let answer = admin.post("/api/v1/api-keys", &json!({ "name": "after", "role": "viewer" }));
        (answer.status == 201).then_some(())
    });
    let listed = admin.get("/api/v1/api-keys").text();
    assert!(kept.iter().all(|name| listed.contains(name)), "what was said to be kept is kept");
    let done = scan_to_end(&gateway, &tree);
    assert_eq!((done["state"].as_str(), found(&gateway)), (Some("completed"), 5000), "{done}");
    assert_eq!(disagreements(&admin, &tree).unwrap(), Vec::<String>::new(), "index and tree agree");
    let after = only_host(&gateway, "there", |_| true);
    assert_eq!(after["generation"], before["generation"], "the link of before is the link of now");

    // Nothing is damaged: a backup is checked as a whole before it is restored.
    let backup = admin.get("/api/v1/backup");
    assert_eq!(backup.status, 200);
    let restored = admin.with("Content-Type", "application/octet-stream").send("POST", "/api/v1/restore", &backup.body);
    assert_eq!(restored.status, 204, "{}", restored.text());
    agent.stop().unwrap();
    gateway.stop().unwrap();
}

#[test]
fn an_agent_whose_disk_is_full_stays_linked_and_its_lost_events_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::new(dir.path().join("disk")) else { return };
    let tree = dir.path().canonicalize().unwrap().join("tree");
    files(&tree, 50);
    let gateway = start_gateway(&dir.path().join("data"));
    let agent = AgentProcess::join(&gateway, &gateway.url, &disk.0.join("agent"), &[&tree]).unwrap();
    let before = only_host(&gateway, "linked", linked);
    assert_eq!(scan_to_end(&gateway, &tree)["state"], "completed");

    disk.fill();
    files(&tree, 500);
    let failed = scan_to_end(&gateway, &tree);
    assert_eq!(failed["state"], "failed", "{failed}");
    let why = failed["error"].as_str().unwrap_or_default();
    assert!(why.contains("space"), "it says what happened: {why}");
    assert_eq!(found(&gateway), 50, "the index is what it was");

    // Each refusal is an event with a long message: some fit into the page that is there, the rest are lost.
    let outside = format!("/{}", format!("{}/", "x".repeat(200)).repeat(4));
    for _ in 0..8 {
        let refused = gateway.run(["scan", &outside]).unwrap();
        assert!(!refused.success, "{refused:?}");
        // Refusals within a second are one event.
        std::thread::sleep(Duration::from_millis(1100));
    }
    disk.make_room();
    let begun = Instant::now();
    eventually("the gap to be told", || {
        gateway.run(["scan", &outside]).unwrap();
        let events = gateway.ok(["events", "--kind", "journal.gap", "--json"]).json();
        let gap = events.as_array().unwrap().first().cloned();
        if gap.is_none() {
            std::thread::sleep(Duration::from_millis(500));
        }
        gap
    });
    println!("the gap was told after {:?}", begun.elapsed());
    let after = only_host(&gateway, "there", |_| true);
    assert_eq!((&after["linked"], &after["generation"]), (&json!(true), &before["generation"]), "{after}");
    assert_eq!((scan_to_end(&gateway, &tree)["state"].as_str(), found(&gateway)), (Some("completed"), 500));
    assert_eq!(disagreements(&gateway.http_as("viewer"), &tree).unwrap(), Vec::<String>::new(), "index and tree agree");
    agent.stop().unwrap();
}

/// Runs it to its end on a data directory.
fn on(data: &Path, args: &[&str]) -> Output {
    run(command().unwrap().args(args).arg("--data").arg(data)).unwrap()
}

#[test]
fn a_second_one_on_the_same_data_is_told_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = start_gateway(&dir.path().join("gateway"));
    for args in [&["gateway", "--listen", "127.0.0.1:0"][..], &["up", "--listen", "127.0.0.1:0"]] {
        let second = on(gateway.data(), args);
        assert_eq!(second.code, Some(1), "{args:?}: {second:?}");
        assert!(second.stderr.contains("another gateway uses") && second.stderr.contains("--data"), "{second:?}");
    }
    assert_eq!(gateway.http().get("/healthz").status, 200);
    gateway.ok(["hosts", "list"]);

    let agent = AgentProcess::join(&gateway, &gateway.url, &dir.path().join("agent"), &[]).unwrap();
    let before = only_host(&gateway, "linked", linked);
    for args in [&["agent"][..], &["agent", "--gateway", &gateway.url, "--token", &token(&gateway)]] {
        let second = on(agent.data(), args);
        assert_eq!(second.code, Some(1), "{args:?}: {second:?}");
        assert!(second.stderr.contains("in use by another process"), "{args:?}: {second:?}");
    }
    // As ssh would start it: on pipes.
    let mut piped = command().unwrap();
    piped.args(["agent", "--stdio", "--data"]).arg(agent.data());
    let child = piped.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("in use by another process"), "{said}");
    assert!(output.stdout.is_empty(), "nothing that a gateway could take for a link");

    let after = only_host(&gateway, "there", |_| true);
    assert_eq!(
        (&after["linked"], &after["generation"]),
        (&json!(true), &before["generation"]),
        "the first is left alone"
    );
    assert!(agent.data().join("agent/agent.sock").exists(), "and so is its socket");
    agent.stop().unwrap();
}

fn token(gateway: &Hostler) -> String {
    gateway.ok(["hosts", "token", "--json"]).json()["token"].as_str().unwrap().to_owned()
}
