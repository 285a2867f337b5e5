//! Gateways that come and go, and what an agent makes of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hostler_testkit::snapfs_gateway::Sockets;
use hostler_testkit::{Hostler, SnapfsGateway, eventually};
use rustix::process::Signal;
use serde_json::json;

use super::{Agent, GENERATIONS, Generation, Scene};

#[test]
fn a_gateway_that_closes_every_socket_at_once_is_not_hammered() {
    for generation in GENERATIONS {
        let scene = Scene::new();
        scene.gateway.on_socket(Sockets::CloseAtOnce);
        let agent = scene.agent(generation);
        eventually("a socket", || (!scene.gateway.sockets().is_empty()).then_some(()));
        std::thread::sleep(Duration::from_secs(5));
        let count = scene.gateway.sockets().len();
        assert!((2..=7).contains(&count), "{generation:?}: {count} sockets in 5 s");
        scene.gateway.on_socket(Sockets::Hold);
        scene.gateway.wait_socket(scene.gateway.sockets().len() + 1);
        assert_eq!(agent.end(Signal::TERM), Some(0));
    }
}

#[test]
fn refusals_on_the_upgrade_are_outlived_and_tell_no_key() {
    for status in [401, 403, 404, 500, 302] {
        let scene = Scene::new();
        scene.gateway.on_socket(Sockets::Refuse(status));
        let mut command = scene.hostler(&["drop-in", "snapfs-agent", "-v"]);
        command.env("GATEWAY_WS", scene.gateway.ws()).env("SNAPFS_AGENT_WS_PATH", "/agents/hst_secret");
        let agent = Agent::start(&scene, {
            command.env("SNAPFS_SCAN_ROOT", &scene.tree);
            command
        });
        agent.wait_printed(&status.to_string());
        eventually("another attempt", || (scene.gateway.sockets().len() >= 2).then_some(()));
        scene.gateway.on_socket(Sockets::Hold);
        let count = scene.gateway.sockets().len();
        eventually("a socket that stands", || scene.gateway.sockets().iter().skip(count).any(|s| s.open).then_some(()));
        scene.target("c1");
        scene.gateway.wait_reply("SCAN_COMPLETE", "c1");
        assert!(scene.gateway.sockets().iter().all(|seen| seen.path == "/agents/hst_secret"));
        assert!(!agent.printed().contains("hst_secret"), "{}", agent.printed());
    }
}

#[test]
fn a_scan_goes_on_without_its_socket_and_is_told_of_on_the_next() {
    for generation in GENERATIONS {
        let scene = Scene::new();
        scene.gateway.hold_probes();
        let _agent = scene.agent(generation);
        scene.gateway.wait_socket(1);
        scene.target("c1");
        scene.gateway.wait_call("/cache/batch");
        scene.gateway.cut();
        let second = scene.gateway.wait_socket(2);
        if generation == Generation::Second {
            assert_eq!(
                (&second.frames[0]["busy"], &second.frames[0]["active_scan_ids"]),
                (&json!(true), &json!(["c1"]))
            );
        }
        // The scan ends while there is no socket.
        scene.gateway.on_socket(Sockets::Refuse(503));
        scene.gateway.cut();
        eventually("a refused socket", || (scene.gateway.sockets().len() >= 3).then_some(()));
        scene.gateway.release();
        eventually("the scan to end", || (!scene.gateway.events_of("scan.completed").is_empty()).then_some(()));
        assert!(scene.gateway.frames().iter().all(|frame| frame["type"] != "SCAN_COMPLETE"));
        scene.gateway.on_socket(Sockets::Hold);
        let reply = scene.gateway.wait_reply("SCAN_COMPLETE", "c1");
        assert_eq!(reply["summary"]["published"], 5);
        let last = scene.gateway.sockets().last().unwrap().clone();
        assert_eq!(last.frames[0]["type"], "AGENT_HELLO");
        if generation == Generation::Second {
            assert_eq!((&last.frames[0]["busy"], &last.frames[0]["active_scan_ids"]), (&json!(false), &json!([])));
        }
        // What has arrived is not told again.
        scene.target("c2");
        scene.gateway.wait_reply("SCAN_COMPLETE", "c2");
        scene.gateway.close();
        scene.gateway.wait_socket(scene.gateway.sockets().len() + 1);
        scene.target("c3");
        scene.gateway.wait_reply("SCAN_COMPLETE", "c3");
        let told =
            scene.gateway.frames().iter().filter(|f| f["command_id"] == "c1" && f["type"] == "SCAN_COMPLETE").count();
        assert_eq!(told, 1);
    }
}

#[test]
fn a_gateway_that_was_restarted_has_the_agent_back_and_what_was_spooled() {
    for generation in GENERATIONS {
        let mut scene = Scene::new();
        scene.gateway.hold_probes();
        let agent = scene.agent(generation);
        scene.gateway.wait_socket(1);
        scene.target("c1");
        scene.gateway.wait_call("/cache/batch");
        let address = scene.gateway.address();
        let started = scene.gateway.events_of("scan.started").len();
        drop(std::mem::replace(&mut scene.gateway, SnapfsGateway::start().unwrap()));
        agent.wait_printed("trying again");
        assert_eq!(started, 1);
        scene.gateway = eventually("the port to be free", || SnapfsGateway::start_at(address).ok());
        let begun = Instant::now();
        scene.gateway.wait_socket(1);
        println!("{generation:?}: back after {:?}", begun.elapsed());
        scene.gateway.wait_reply("SCAN_COMPLETE", "c1");
        eventually("every file", || (scene.gateway.events_of("file.upsert").len() >= 5).then_some(()));
        eventually("the end", || (!scene.gateway.events_of("scan.completed").is_empty()).then_some(()));
    }
}

#[test]
fn what_a_scan_left_in_the_spool_is_sent_after_the_agent_has_connected() {
    let scene = Scene::new();
    let spool = scene.beside("spool");
    scene.gateway.answer("/api/ingest", 503);
    let args = ["drop-in", "snapfs-scan", "--spool", spool.to_str().unwrap(), "-g", &scene.gateway.http()];
    let mut command = scene.hostler(&args);
    let output = hostler_testkit::hostler::run(command.arg(&scene.tree)).unwrap();
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("5 of 5 files were not published"), "{output:?}");
    assert!(output.stderr.contains(spool.to_str().unwrap()), "{output:?}");
    assert!(scene.gateway.events().is_empty());
    scene.gateway.answer("/api/ingest", 200);
    let args = ["drop-in", "snapfs-agent", "--spool", spool.to_str().unwrap(), "-g", &scene.gateway.http(), "--root"];
    let _agent = Agent::start(&scene, {
        let mut c = scene.hostler(&args);
        c.arg(&scene.tree);
        c
    });
    eventually("every file", || (scene.gateway.events_of("file.upsert").len() >= 5).then_some(()));
    eventually("the end", || (!scene.gateway.events_of("scan.completed").is_empty()).then_some(()));
    let kinds: Vec<String> = scene.gateway.events().iter().map(|e| e["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!((kinds.first().unwrap().as_str(), kinds.last().unwrap().as_str()), ("scan.started", "scan.completed"));
}

#[test]
fn a_refused_key_ends_the_agent_at_the_start_and_not_later() {
    let scene = Scene::new();
    let agent = |status| {
        scene.gateway.answer("/api/auth/token", status);
        let mut command = scene.hostler(&["drop-in", "snapfs-agent", "-g", &scene.gateway.http()]);
        Agent::start(&scene, {
            command.env("SNAPFS_SCAN_ROOT", &scene.tree).env("SNAPFS_API_KEY", "hst_secret");
            command
        })
    };
    for status in [401, 403] {
        let mut refused = agent(status);
        assert_eq!(refused.wait(), Some(1), "{}", refused.printed());
        assert!(!refused.printed().contains("hst_secret"), "{}", refused.printed());
    }
    let taken = agent(200);
    scene.gateway.wait_socket(1);
    scene.gateway.answer("/api/auth/token", 401);
    scene.gateway.close();
    taken.wait_printed("no token");
    scene.gateway.answer("/api/auth/token", 200);
    scene.gateway.wait_socket(2);
    // A gateway that is only away ends nothing.
    let waiting = agent(503);
    eventually("an attempt", || (waiting.printed().matches("no token").count() >= 3).then_some(()));
    scene.gateway.answer("/api/auth/token", 200);
    scene.gateway.wait_socket(3);
}

/// Takes a socket and its hello, says `text`, then reads on and answers nothing, not even pings. Returns at its end.
fn mute_gateway(listener: &TcpListener, text: &str) {
    let (mut tcp, _) = listener.accept().unwrap();
    let mut lines = BufReader::new(tcp.try_clone().unwrap()).lines().map(Result::unwrap);
    let key = lines
        .find_map(|line| line.to_lowercase().starts_with("sec-websocket-key:").then(|| line[18..].trim().to_owned()));
    let digest = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key.unwrap());
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, digest.as_bytes());
    let accept = BASE64_STANDARD.encode(digest);
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    tcp.write_all(head.as_bytes()).unwrap();
    // RFC 6455, 5.2: final, text, a length of two bytes, no mask.
    tcp.write_all(&[0x81, 126]).unwrap();
    tcp.write_all(&u16::try_from(text.len()).unwrap().to_be_bytes()).unwrap();
    tcp.write_all(text.as_bytes()).unwrap();
    let _ = tcp.read_to_end(&mut Vec::new());
}

#[test]
fn a_gateway_that_answers_no_pings_is_left_and_told_again() {
    let scene = Scene::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut command = scene.hostler(&["drop-in", "snapfs-agent", "--gateway-ws", &format!("ws://{address}")]);
    let _agent = Agent::start(&scene, {
        command.arg("--root").arg(&scene.tree);
        command
    });
    mute_gateway(&listener, r#"{"type":"SCAN_TARGET","command_id":"c1","target":{"root":"/nowhere"}}"#);
    drop(listener);
    let gateway = eventually("the port to be free", || SnapfsGateway::start_at(address).ok());
    let reply = gateway.wait_reply("SCAN_ERROR", "c1");
    assert_eq!(reply["root"], "/nowhere");
}

#[test]
fn tls_is_spoken_to_a_real_gateway_whose_certificate_is_believed() {
    let scene = Scene::new();
    let (cert, key) = (scene.beside("cert.pem"), scene.beside("key.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let args = ["gateway", "--listen", "127.0.0.1:0", "--tls-cert"].map(Into::into);
    let args = args.into_iter().chain([cert.clone().into_os_string(), "--tls-key".into(), key.into_os_string()]);
    let gateway = Hostler::start_command(&scene.beside("gateway"), args).unwrap();
    let port = gateway.url.rsplit(':').next().unwrap().trim_end_matches('/').to_owned();
    let url = format!("https://localhost:{port}");
    let secret = gateway.key("operator");
    let agent = |roots: &std::path::Path| {
        let mut command = scene.hostler(&["drop-in", "snapfs-agent", "-v", "-g", &url]);
        command.env("SNAPFS_SCAN_ROOT", &scene.tree).env("SNAPFS_API_KEY", &secret).env("SSL_CERT_FILE", roots);
        Agent::start(&scene, command)
    };
    let believing = agent(&cert);
    believing.wait_printed("connected to wss://localhost:");
    assert_eq!(believing.end(Signal::TERM), Some(0));
    // Another root vouches for nothing here.
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(scene.beside("other.pem"), other.cert.pem()).unwrap();
    let doubting = agent(&scene.beside("other.pem"));
    doubting.wait_printed("no token");
    assert!(!doubting.printed().contains(&secret), "{}", doubting.printed());
    assert_eq!(doubting.printed().matches("connected to").count(), 1);
}
