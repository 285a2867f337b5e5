//! `hostler drop-in snapfs-scan`: what it prints, and its exit codes.

use hostler_testkit::Output;
use hostler_testkit::hostler::{run, send_signal};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Agent, Scene};
use crate::support::write;

fn scan(scene: &Scene, args: &[&str]) -> Output {
    let mut command = scene.hostler(&["drop-in", "snapfs-scan"]);
    run(command.arg(&scene.tree).args(args).env("SNAPFS_GATEWAY", scene.gateway.http())).unwrap()
}

#[test]
fn it_prints_what_snapfs_prints() {
    let scene = Scene::new();
    let quiet = scan(&scene, &[]);
    assert_eq!((quiet.code, quiet.stderr.as_str()), (Some(0), ""), "{quiet:?}");
    let summary = "[scanner] done. files=5 cache_hits=0 hashed=5 hash_errors=0 walk_errors=0 permission_errors=0 published=5 bytes_published=45\n";
    assert_eq!(quiet.stdout, summary);
    let told = scan(&scene, &["-v"]);
    let lines: Vec<&str> = told.stdout.lines().collect();
    let root = scene.tree.display();
    assert!(lines[0].starts_with(&format!("[scanner] scan.started root={root} scan_id=")), "{lines:?}");
    // SHA-1 of "content 0", as `printf 'content 0' | sha1sum` prints it.
    let hashed = format!("hash:  {root}/sub/file-0 sha1:fcc1350f03cad8acfc7c13bf8e1cc70485825bda");
    assert!(lines.contains(&hashed.as_str()), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.starts_with("hash:  ")).count(), 5);
    let id = lines[0].rsplit_once('=').unwrap().1;
    let end = &lines[lines.len() - 3..];
    assert_eq!(end[0], format!("[scanner] scan.completed root={root} scan_id={id} files=5"));
    assert_eq!(format!("{}\n", end[1]), summary);
    let last =
        format!(r#"{{"bytes": 45, "cache_hits": 0, "files": 5, "hashed": 5, "published": 5, "scan_id": "{id}"}}"#);
    assert_eq!(end[2], last);
    assert_eq!(scene.gateway.events_of("scan.completed").last().unwrap()["scan_id"], id);
}

#[test]
fn flags_reach_the_scan() {
    let scene = Scene::new();
    write(scene.tree.join("left/out.tmp"), "x");
    let args = ["--algo", "SHA256", "--workers", "3", "--hash-chunk-size", "4096", "--exclude", "*.tmp", "--force"];
    let output = scan(&scene, &[&args[..], &["--one-file-system", "-t", "tok", "--api-key", "ignored"]].concat());
    assert_eq!(output.code, Some(0), "{output:?}");
    let started = &scene.gateway.events_of("scan.started")[0];
    assert_eq!(
        (&started["hash_algo"], &started["hash_workers"], &started["hash_chunk_size"]),
        (&json!("sha256"), &json!(3), &json!(4096))
    );
    let upserts = scene.gateway.events_of("file.upsert");
    assert_eq!(upserts.len(), 5);
    assert!(upserts.iter().all(|u| u["algo"] == "sha256" && u["hash"].as_str().unwrap().len() == 64), "{upserts:?}");
    let calls = scene.gateway.calls();
    assert!(calls.iter().all(|call| call.authorization.as_deref() == Some("Bearer tok")), "{calls:?}");
}

#[test]
fn exit_codes_tell_what_was_typed_wrong_what_was_refused_and_what_was_lost() {
    let scene = Scene::new();
    let run = |args: &[&str]| run(&mut scene.hostler(&[&["drop-in", "snapfs-scan"], args].concat())).unwrap();
    let (tree, url) = (scene.tree.to_str().unwrap(), scene.gateway.http());
    let missing = scene.tree.join("missing");
    let file = scene.tree.join("sub/file-0");
    for wrong in [
        &["-g", &url][..],
        &["-g", &url, missing.to_str().unwrap()],
        &["-g", &url, file.to_str().unwrap()],
        &["-g", &url, tree, "--algo", "blake3"],
        &["-g", &url, tree, "--workers", "0"],
    ] {
        let output = run(wrong);
        assert_eq!(output.code, Some(2), "{wrong:?}: {output:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty(), "{output:?}");
    }
    let output = run(&[tree]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("SNAPFS_GATEWAY") && output.stderr.contains("-g"), "{output:?}");
    assert!(scene.gateway.calls().is_empty());
    for status in [401, 403] {
        scene.gateway.answer("/api/auth/token", status);
        let output = run(&[tree, "-g", &url, "--api-key", "hst_secret"]);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(!format!("{output:?}").contains("hst_secret"), "{output:?}");
        scene.gateway.answer("/api/cache", status);
        let output = run(&[tree, "-g", &url, "-t", "hst_secret"]);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(!format!("{output:?}").contains("hst_secret"), "{output:?}");
        scene.gateway.answer("/api/cache", 200);
    }
}

#[test]
fn ctrl_c_cancels_and_the_gateway_is_told() {
    let scene = Scene::new();
    scene.gateway.hold_probes();
    let mut command = scene.hostler(&["drop-in", "snapfs-scan", "-g", &scene.gateway.http()]);
    command.arg(&scene.tree);
    let mut running = Agent::start(&scene, command);
    scene.gateway.wait_call("/cache/batch");
    send_signal(running.child.id(), Signal::INT).unwrap();
    assert_eq!(running.wait(), Some(1));
    assert!(running.printed().contains("Scan interrupted"), "{}", running.printed());
    let cancelled = scene.gateway.events_of("scan.cancelled");
    assert_eq!((cancelled.len(), &cancelled[0]["error"]), (1, &json!("scan interrupted")));
    assert_eq!(scene.gateway.events_of("scan.completed"), Vec::<Value>::new());
}

#[test]
fn names_cannot_reach_the_terminal_as_commands() {
    let scene = Scene::new();
    write(scene.tree.join("red\u{1b}[31m\nline"), "x");
    let output = scan(&scene, &["-vv"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(!output.stdout.contains('\u{1b}') && output.stdout.contains("red"), "{output:?}");
    assert_eq!(output.stdout.lines().filter(|line| line.starts_with("hash:  ")).count(), 6);
}
