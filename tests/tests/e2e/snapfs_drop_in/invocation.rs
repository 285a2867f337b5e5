//! Called by another name, and without arguments in a container.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use hostler_testkit::hostler::{binary, run};
use hostler_testkit::{Output, left_out, snapfs};
use rustix::process::Signal;

use super::{Agent, GENERATIONS, Generation, Scene};

/// A link of this name to the binary.
fn link(scene: &Scene, name: &str) -> std::path::PathBuf {
    let path = scene.beside(name);
    symlink(binary().unwrap().canonicalize().unwrap(), &path).unwrap();
    path
}

fn out(command: &mut Command) -> Output {
    run(command).unwrap()
}

#[test]
fn a_link_acts_as_its_name_says() {
    let scene = Scene::new();
    let scanned =
        out(scene.program(&link(&scene, "hostler-snapfs-scan"), &["-g", &scene.gateway.http()]).arg(&scene.tree));
    assert_eq!(scanned.code, Some(0), "{scanned:?}");
    assert!(scanned.stdout.starts_with("[scanner] done. files=5 "), "{scanned:?}");

    let mut command = scene.program(&link(&scene, "hostler-snapfs-agent"), &["-g", &scene.gateway.http(), "--root"]);
    command.arg(&scene.tree);
    let agent = Agent::start(&scene, command);
    assert_eq!(scene.gateway.wait_socket(1).path, "/ws/agents");
    assert_eq!(agent.end(Signal::TERM), Some(0));

    // As the old scanner, `--gateway` is the socket's URL, in either scheme.
    let scanner = link(&scene, "snapfs-agent-scanner");
    let url = scene.gateway.http();
    let mut command =
        scene.program(&scanner, &["--gateway", &url, "--agent-id", "old", "--ws-path", "/agents/k", "--scan-root"]);
    command.arg(&scene.tree);
    let agent = Agent::start(&scene, command);
    let seen = scene.gateway.wait_socket(2);
    assert_eq!((seen.path.as_str(), &seen.frames[0]["agent_id"]), ("/agents/k", &"old".into()));
    assert_eq!(agent.end(Signal::TERM), Some(0));
    let version = out(&mut scene.program(&scanner, &["--version"]));
    assert!(version.code == Some(0) && version.stdout.contains(env!("CARGO_PKG_VERSION")), "{version:?}");
}

#[test]
fn a_container_needs_no_arguments() {
    let scene = Scene::new();
    let contained = || {
        let mut command = scene.hostler(&[]);
        command.env("HOSTLER_CONTAINER", "1").env("SNAPFS_SCAN_ROOT", &scene.tree);
        command
    };
    for (count, variables, path) in [
        (1, &[("GATEWAY_WS", scene.gateway.ws())][..], "/agents"),
        (2, &[("HOSTLER_MODE", "snapfs-agent".into()), ("SNAPFS_GATEWAY", scene.gateway.http())], "/ws/agents"),
        (3, &[("GATEWAY_WS", scene.gateway.ws()), ("SNAPFS_GATEWAY", scene.gateway.http())], "/agents"),
    ] {
        let mut command = contained();
        command.envs(variables.iter().cloned());
        let agent = Agent::start(&scene, command);
        assert_eq!(scene.gateway.wait_socket(count).path, path, "{variables:?}");
        assert_eq!(agent.end(Signal::TERM), Some(0));
    }
    // Without a word of a gateway, the image's own default: it is named, and nothing answers there.
    let mut command = contained();
    command.env("HOSTLER_MODE", "snapfs-agent");
    let agent = Agent::start(&scene, command);
    agent.wait_printed("ws://gateway:8000");
    assert_eq!(agent.end(Signal::TERM), Some(0));
    let unknown = out(contained().env("HOSTLER_MODE", "snapfs"));
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.stderr.contains("HOSTLER_MODE") && unknown.stderr.contains("snapfs-agent"), "{unknown:?}");
    let help = out(contained().env("HOSTLER_LOG", "warn"));
    assert!(help.stderr.contains("Usage: hostler"), "{help:?}");
}

#[test]
fn without_a_gateway_or_a_root_the_agent_says_what_is_missing() {
    if ["/.dockerenv", "/run/.containerenv"].iter().any(|marker| Path::new(marker).exists()) {
        return left_out("an agent outside of a container: the tests run in one");
    }
    let scene = Scene::new();
    let agent = || scene.hostler(&["drop-in", "snapfs-agent"]);
    let output = out(agent().env("SNAPFS_SCAN_ROOT", &scene.tree));
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(["SNAPFS_GATEWAY", "GATEWAY_WS", "-g"].iter().all(|name| output.stderr.contains(name)), "{output:?}");
    let output = out(agent().env("GATEWAY_WS", scene.gateway.ws()));
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("SNAPFS_SCAN_ROOT"), "{output:?}");
    let insecure =
        out(agent().env("SNAPFS_SCAN_ROOT", &scene.tree).env("SNAPFS_GATEWAY", "http://gateway.example.com"));
    assert_eq!(insecure.code, Some(1), "{insecure:?}");
    assert!(insecure.stderr.contains("SNAPFS_ALLOW_INSECURE_GATEWAY"), "{insecure:?}");
    // Outside of a container the environment alone starts nothing.
    let help = out(scene.hostler(&[]).env("GATEWAY_WS", scene.gateway.ws()).env("HOSTLER_MODE", "snapfs-agent"));
    assert!(help.code == Some(2) && help.stderr.contains("Usage: hostler"), "{help:?}");
}

#[test]
fn the_programs_whose_place_is_taken_say_the_same() {
    let (tool, scanner) = match (snapfs::snapfs(), snapfs::snapfs_agent_scanner(), snapfs::bin()) {
        (Ok(tool), Ok(scanner), Ok(_)) => (tool, scanner),
        (Err(why), ..) | (_, Err(why), _) | (.., Err(why)) => {
            return left_out(&format!("the real SnapFS programs: {why}"));
        }
    };
    let scene = Scene::new();
    let of = |binary: &Path, args: &[&str]| out(scene.program(binary, args).arg(&scene.tree));
    let url = scene.gateway.http();
    let theirs = of(&tool, &["scan", "-g", &url]);
    let ours = of(&binary().unwrap(), &["drop-in", "snapfs-scan", "-g", &url]);
    assert_eq!((theirs.code, &theirs.stdout), (ours.code, &ours.stdout), "{theirs:?} {ours:?}");
    let upserts = scene.gateway.events_of("file.upsert");
    let (of_theirs, of_ours) = upserts.split_at(upserts.len() / 2);
    for theirs in of_theirs {
        let ours = of_ours.iter().find(|ours| ours["path"] == theirs["path"]).unwrap();
        for (key, value) in theirs.as_object().unwrap() {
            if !["scan_id", "seen_at", "atime"].contains(&key.as_str()) {
                assert_eq!(value, &ours[key], "{key} of {ours}");
            }
        }
    }

    // The hellos, but for the version.
    for (round, generation) in GENERATIONS.into_iter().enumerate() {
        let mut command = match generation {
            Generation::First => scene.program(&scanner, &[]),
            Generation::Second => scene.program(&tool, &["agent", "-g", &url]),
        };
        command.env("SNAPFS_SCAN_ROOT", &scene.tree);
        if generation == Generation::First {
            command.env("GATEWAY_WS", scene.gateway.ws());
        }
        let hello = |count| {
            let mut hello = scene.gateway.wait_socket(count).frames[0].clone();
            hello.as_object_mut().unwrap().remove("version").map(|_| hello).unwrap()
        };
        let theirs = Agent::start(&scene, command);
        let of_theirs = hello(2 * round + 1);
        drop(theirs);
        let _ours = scene.agent(generation);
        assert_eq!(hello(2 * round + 2), of_theirs);
    }
}
