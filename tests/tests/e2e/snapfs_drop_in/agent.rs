//! What the agent answers on its socket.

use std::os::unix::fs::symlink;

use hostler_testkit::eventually;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Agent, GENERATIONS, Generation, Scene};

/// A message without the keys that differ from run to run.
fn without(mut message: Value, keys: &[&str]) -> Value {
    for key in keys {
        assert!(message.as_object_mut().unwrap().remove(*key).is_some(), "{key} is missing: {message}");
    }
    message
}

#[test]
fn the_hello_is_that_of_the_program_whose_place_is_taken() {
    let scene = Scene::new();
    let first = scene.agent(Generation::First);
    let seen = scene.gateway.wait_socket(1);
    assert_eq!((seen.path.as_str(), seen.authorization), ("/agents", None));
    assert_eq!(
        without(seen.frames[0].clone(), &["version"]),
        json!({
            "type": "AGENT_HELLO", "agent_id": "scanner-01", "agent_type": "scanner",
            "capabilities": [{"id": "default-fs", "kind": "fs", "root": scene.root()}],
        })
    );
    assert_eq!(first.end(Signal::TERM), Some(0));

    let mut command = scene.hostler(&["drop-in", "snapfs-agent", "--agent-id", "store1", "-g", &scene.gateway.http()]);
    command.env("SNAPFS_SCAN_ROOT", &scene.tree).env("SNAPFS_API_KEY", "hst_secret").env("SNAPFS_TOKEN", "other");
    let second = Agent::start(&scene, command);
    let seen = scene.gateway.wait_socket(2);
    assert_eq!((seen.path.as_str(), seen.authorization.as_deref()), ("/ws/agents", Some("Bearer exchanged")));
    let exchange = scene.gateway.wait_call("/api/auth/token");
    assert_eq!(exchange.authorization.as_deref(), Some("Bearer hst_secret"));
    assert_eq!(exchange.body, json!({"scopes": ["ingest:write"]}));
    assert_eq!(
        without(seen.frames[0].clone(), &["version"]),
        json!({
            "type": "AGENT_HELLO", "agent_id": "store1", "agent_type": "scanner", "capabilities": ["scan.fs"],
            "root_path": scene.root(), "scanner_type": "fs", "max_concurrency": 1, "busy": false, "active_scan_ids": [],
        })
    );
    assert!(!second.printed().contains("hst_secret") && !second.printed().contains("exchanged"));
    assert_eq!(second.end(Signal::INT), Some(0));
}

#[test]
fn a_scan_is_run_published_and_told_of() {
    for generation in GENERATIONS {
        let scene = Scene::new();
        let agent = scene.agent(generation);
        scene.gateway.wait_socket(1);
        scene.gateway.say(&json!({
            "type": "SCAN_TARGET", "command_id": "d1", "options": {"force": true},
            "target": {"root": scene.tree.join("sub"), "scan_id": "job-77", "trigger_type": "schedule", "schedule_id": "s1"},
        }));
        let reply = scene.gateway.wait_reply("SCAN_COMPLETE", "d1");
        assert!(reply["took_s"].as_f64().unwrap() >= 0.0);
        let bytes = 5 * "content 0".len();
        assert_eq!(
            without(reply, &["took_s"]),
            json!({
                "type": "SCAN_COMPLETE", "command_id": "d1", "scan_id": "job-77", "root": scene.tree.join("sub"),
                "summary": {"files": 5, "bytes": bytes, "cache_hits": 0, "hashed": 5, "published": 5, "scan_id": "job-77"},
                "trigger_type": "schedule", "schedule_id": "s1",
            }),
            "{generation:?}"
        );
        let upserts = scene.gateway.events_of("file.upsert");
        assert_eq!(upserts.len(), 5);
        assert!(upserts.iter().all(|u| u["scan_id"] == "job-77" && u["hash"].is_string()), "{upserts:?}");
        let completed = &scene.gateway.events_of("scan.completed")[0];
        assert_eq!((&completed["trigger_type"], &completed["schedule_id"]), (&json!("schedule"), &json!("s1")));
        assert!(agent.printed().contains("[scanner] done. files=5 cache_hits=0 hashed=5 "), "{}", agent.printed());
    }
}

#[test]
fn the_own_root_is_scanned_when_none_is_named_and_the_command_names_the_scan() {
    for (generation, target) in GENERATIONS.into_iter().zip([json!({"root": ""}), Value::Null]) {
        let scene = Scene::new();
        let _agent = scene.agent(generation);
        scene.gateway.wait_socket(1);
        scene.gateway.say(&json!({"type": "SCAN_TARGET", "command_id": "c1", "target": target}));
        let reply = scene.gateway.wait_reply("SCAN_COMPLETE", "c1");
        assert_eq!((&reply["root"], reply.get("scan_id")), (&scene.root(), None), "{generation:?}");
        assert_eq!(scene.gateway.events_of("scan.started")[0]["scan_id"], "c1");
    }
}

#[test]
fn a_second_scan_is_refused_while_one_runs() {
    for (generation, refusal) in GENERATIONS.into_iter().zip([
        json!({"type": "SCAN_ERROR", "command_id": "c2", "agent_id": "scanner-01", "status": "busy", "error": "Scan already in progress"}),
        json!({"type": "SCAN_ERROR", "command_id": "c2", "error": "Agent is busy running another scan."}),
    ]) {
        let scene = Scene::new();
        scene.gateway.hold_probes();
        let _agent = scene.agent(generation);
        scene.gateway.wait_socket(1);
        scene.target("c1");
        scene.target("c2");
        assert_eq!(scene.gateway.wait_reply("SCAN_ERROR", "c2"), refusal, "{generation:?}");
        scene.gateway.release();
        scene.gateway.wait_reply("SCAN_COMPLETE", "c1");
        scene.target("c3");
        scene.gateway.wait_reply("SCAN_COMPLETE", "c3");
        assert!(scene.gateway.events_of("scan.started").iter().all(|started| started["scan_id"] != "c2"));
    }
}

#[test]
fn what_lies_outside_the_root_is_refused_in_the_same_words_whether_it_is_there_or_not() {
    for generation in GENERATIONS {
        let scene = Scene::new();
        std::fs::create_dir(scene.beside("outside")).unwrap();
        symlink(scene.beside("outside"), scene.tree.join("escape")).unwrap();
        let _agent = scene.agent(generation);
        scene.gateway.wait_socket(1);
        let wanted = [
            scene.beside("outside"),
            scene.beside("missing"),
            scene.tree.join("missing"),
            scene.tree.join("escape"),
            scene.tree.join("sub/file-0"),
            scene.tree.join(".."),
        ];
        for (i, root) in wanted.iter().enumerate() {
            let id = format!("o{i}");
            scene.gateway.say(&json!({"type": "SCAN_TARGET", "command_id": id, "target": {"root": root}}));
            let reply = scene.gateway.wait_reply("SCAN_ERROR", &id);
            let words = "Scan root does not exist or is not a directory below this agent's root: ";
            assert_eq!(
                (reply["error"].as_str().unwrap(), &reply["root"]),
                (format!("{words}{}", root.display()).as_str(), &json!(root))
            );
            assert_eq!(reply["status"] == "error", generation == Generation::First, "{reply}");
        }
        assert!(scene.gateway.events().is_empty(), "{:?}", scene.gateway.events());
        // A link that leads back in is no way out.
        symlink(scene.tree.join("sub"), scene.beside("back")).unwrap();
        scene
            .gateway
            .say(&json!({"type": "SCAN_TARGET", "command_id": "in", "target": {"root": scene.beside("back")}}));
        scene.gateway.wait_reply("SCAN_COMPLETE", "in");
        assert_eq!(scene.gateway.events_of("scan.started")[0]["root_path"], json!(scene.tree.join("sub")));
    }
}

#[test]
fn a_scan_is_cancelled_by_its_command_or_by_its_id_and_only_while_it_runs() {
    for generation in GENERATIONS {
        let scene = Scene::new();
        let _agent = scene.agent(generation);
        scene.gateway.wait_socket(1);
        let unmatched = |command_id: &str| {
            scene
                .gateway
                .say(&json!({"type": "SCAN_CANCEL", "command_id": command_id, "scan_id": format!("of-{command_id}")}));
            let reply = scene.gateway.wait_reply("SCAN_ERROR", command_id);
            assert_eq!(reply["error"], "No active scan matched cancel request.");
            assert_eq!(reply["scan_id"], format!("of-{command_id}"));
        };
        unmatched("early");
        for (id, cancel) in [
            ("by-command", json!({"type": "SCAN_CANCEL", "command_id": "by-command", "scan_id": "x"})),
            ("by-scan", json!({"type": "SCAN_CANCEL", "command_id": "x", "scan_id": "job-by-scan"})),
        ] {
            scene.gateway.hold_probes();
            let target = json!({"root": scene.tree, "scan_id": format!("job-{id}")});
            scene.gateway.say(&json!({"type": "SCAN_TARGET", "command_id": id, "target": target}));
            eventually("the scan to begin", || {
                scene
                    .gateway
                    .events_of("scan.started")
                    .iter()
                    .any(|s| s["scan_id"] == format!("job-{id}"))
                    .then_some(())
            });
            scene.gateway.say(&cancel);
            let reply = scene.gateway.wait_reply("SCAN_CANCELLED", id);
            assert_eq!((&reply["error"], &reply["root"]), (&json!("canceled by operator"), &scene.root()));
            assert_eq!(reply["scan_id"], format!("job-{id}"));
            scene.gateway.release();
        }
        let cancelled = scene.gateway.events_of("scan.cancelled");
        let ids: Vec<&Value> = cancelled.iter().map(|event| &event["scan_id"]).collect();
        assert_eq!(ids, ["job-by-command", "job-by-scan"]);
        scene.target("after");
        scene.gateway.wait_reply("SCAN_COMPLETE", "after");
        unmatched("after");
        assert_eq!(scene.gateway.sockets().len(), 1);
    }
}

#[test]
fn pings_are_answered_and_strange_frames_ignored() {
    for generation in GENERATIONS {
        let scene = Scene::new();
        let agent = scene.agent(generation);
        scene.gateway.wait_socket(1);
        for text in
            ["[]", "7", "null", "not JSON", r#"{"type":"SCAN_PAUSE"}"#, r#"{"type":5}"#, "{}", r#"{"type":"PONG"}"#]
        {
            scene.gateway.say_text(text);
        }
        scene.gateway.say_binary(br#"{"type":"SCAN_TARGET","command_id":"binary"}"#);
        scene.gateway.say(&json!({"type": "PING"}));
        eventually("a PONG", || scene.gateway.frames().iter().any(|f| f["type"] == "PONG").then_some(()));
        assert!(scene.gateway.events().is_empty());
        assert_eq!(scene.gateway.sockets().len(), 1);
        agent.wait_printed("no JSON object");
    }
}

#[test]
fn the_second_generation_sends_pings_of_its_own() {
    let scene = Scene::new();
    let mut command = scene.hostler(&["drop-in", "snapfs-agent", "-g", &scene.gateway.http()]);
    command.env("SNAPFS_SCAN_ROOT", &scene.tree).env("SNAPFS_AGENT_PING_INTERVAL", "1");
    let _agent = Agent::start(&scene, command);
    let pings = eventually("two pings", || {
        Some(scene.gateway.frames().iter().filter(|f| f["type"] == "PING").count()).filter(|n| *n >= 2)
    });
    assert!(pings >= 2);
}

#[test]
fn ending_the_agent_cancels_its_scan_and_says_so() {
    for (generation, signal) in GENERATIONS.into_iter().zip([Signal::TERM, Signal::INT]) {
        let scene = Scene::new();
        scene.gateway.hold_probes();
        let agent = scene.agent(generation);
        scene.gateway.wait_socket(1);
        scene.target("c1");
        scene.gateway.wait_call("/cache/batch");
        assert_eq!(agent.end(signal), Some(0), "{generation:?}");
        let reply = scene.gateway.wait_reply("SCAN_CANCELLED", "c1");
        assert_eq!(reply["error"], "scan interrupted");
        assert_eq!(scene.gateway.events_of("scan.cancelled").len(), 1);
        assert!(!scene.gateway.sockets()[0].open);
    }
}

#[test]
fn a_name_that_is_not_utf8_can_be_the_root() {
    use std::os::unix::ffi::OsStrExt;
    let scene = Scene::new();
    let root = scene.tree.join(std::ffi::OsStr::from_bytes(b"b\xffd"));
    crate::support::write(root.join("a"), "a");
    let _agent = scene.agent(Generation::Second);
    scene.gateway.wait_socket(1);
    let root = format!(r"{}/b\udcffd", scene.tree.display());
    let text = format!(r#"{{"type":"SCAN_TARGET","command_id":"c1","target":{{"root":"{root}"}}}}"#);
    scene.gateway.say_text(&text);
    let reply = eventually("a reply", || {
        let frames = scene.gateway.frames();
        frames.iter().filter_map(Value::as_str).find(|f| f.contains("SCAN_COMPLETE")).map(str::to_owned)
    });
    assert!(reply.contains(&format!(r#""root":"{root}""#)) && reply.contains(r#""published":1"#), "{reply}");
    let calls = scene.gateway.calls();
    let upsert = calls.iter().filter_map(|call| call.body.as_str()).find(|body| body.contains("file.upsert")).unwrap();
    assert!(upsert.contains(&format!("{root}/a")), "{upsert}");
}
