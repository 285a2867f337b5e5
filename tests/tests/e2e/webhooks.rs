//! Webhooks: a receiver that fails, a gateway that is killed, and the same message after all.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hostler_testkit::Hostler;
use serde_json::Value;

use crate::support::{Bench, write};

/// How long a message is waited for.
const PATIENCE: Duration = Duration::from_secs(90);

/// A request as it came.
struct Request {
    head: String,
    body: String,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        let line = self
            .head
            .lines()
            .find_map(|line| line.split_once(": ").filter(|(found, _)| found.eq_ignore_ascii_case(name)));
        line.unwrap_or_else(|| panic!("{name} is missing: {}", self.head)).1
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Checks as a receiver does.
    fn is_signed(&self, secret: &str) -> bool {
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
        let text = format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body);
        let tag = STANDARD.decode(self.header("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
        ring::hmac::verify(&key, text.as_bytes(), &tag).is_ok()
    }
}

/// Answers the first `fails` requests with 503, then with 204.
fn receiver(fails: usize) -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, requests) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let Ok(request) = read(&mut stream.unwrap(), if number < fails { 503 } else { 204 }) else { continue };
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    (url, requests)
}

fn read(stream: &mut TcpStream, status: u16) -> std::io::Result<Request> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let request = Request { head: head.to_owned(), body: body.to_owned() };
            if body.len() >= request.header("content-length").parse::<usize>().unwrap() {
                write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
                return Ok(request);
            }
        }
        match stream.read(&mut chunk)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => bytes.extend_from_slice(&chunk[..n]),
        }
    }
}

#[test]
fn a_receiver_that_fails_twice_is_told_after_all_though_the_gateway_was_killed() {
    let bench = Bench::new(|tree| write(tree.join("a.txt"), "a"));
    bench.scan();
    let (url, requests) = receiver(2);
    let made = bench.hostler.ok(["webhooks", "create", &url, "--event", "scan.changes", "--event", "scan.failed"]);
    let secret = made.stdout.trim().to_owned();
    write(bench.tree.join("new/b.txt"), "b");
    let scan = bench.scan();

    let first = requests.recv_timeout(PATIENCE).expect("a first try");
    let bench = bench.restart(Hostler::kill);
    let second = requests.recv_timeout(PATIENCE).expect("a second try");
    let third = requests.recv_timeout(PATIENCE).expect("a third try");
    for request in [&first, &second, &third] {
        assert!(request.is_signed(&secret) && !request.is_signed("whsec_AAAA"), "{}", request.head);
        assert_eq!(request.header("webhook-id"), first.header("webhook-id"));
        assert_eq!(request.body, first.body);
    }
    let body = first.json();
    assert_eq!((&body["type"], &body["data"]["scan"]["id"]), (&"scan.changes".into(), &scan["id"]));
    assert_eq!(body["data"]["counts"]["created"], 2);
    let paths: Vec<_> =
        body["data"]["changes"].as_array().unwrap().iter().map(|c| c["path"].as_str().unwrap()).collect();
    assert!(paths.contains(&"new") && paths.contains(&"new/b.txt"), "{paths:?}");

    // Nothing changed: nothing is told.
    bench.scan();
    let list = bench.hostler.ok(["webhooks", "list", "--json"]).json();
    let id = list[0]["id"].as_str().unwrap().to_owned();
    assert!(!list.to_string().contains("whsec_"), "{list}");
    let tested = bench.hostler.ok(["webhooks", "test", &id]);
    assert!(tested.stderr.contains("Accepted with 204"), "{tested:?}");
    let test = requests.recv_timeout(PATIENCE).expect("the test event");
    assert_eq!(test.json()["type"], "test");
    let deliveries = bench.hostler.ok(["webhooks", "deliveries", &id, "--json"]).json();
    let told: Vec<_> = deliveries
        .as_array()
        .unwrap()
        .iter()
        .map(|d| (d["event"].as_str().unwrap(), d["state"].as_str().unwrap()))
        .collect();
    assert_eq!(told, [("test", "delivered"), ("scan.changes", "delivered")]);
    assert!(deliveries[1]["attempts"].as_u64().unwrap() >= 2, "{deliveries}");

    bench.hostler.ok(["webhooks", "disable", &id]);
    let refused = bench.hostler.run(["webhooks", "test", &id]).unwrap();
    assert!(!refused.success && refused.stderr.contains("switched off"), "{refused:?}");
    bench.hostler.ok(["webhooks", "delete", &id]);
    assert_eq!(bench.hostler.ok(["webhooks", "list", "--json"]).json(), serde_json::json!([]));
    bench.hostler.stop().unwrap();
}
