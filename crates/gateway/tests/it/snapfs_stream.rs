//! What SnapFS clients told, as consumers read it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Running;
use crate::websocket::{Frame, Socket};

const JSON: &str = "content-type: application/json";

impl Running {
    async fn publish(&self, subject: &str, body: &str) {
        let answer = self.request("POST", &format!("/api/ingest?subject={subject}"), &[JSON], body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Messages of one event each, numbered.
    async fn publish_numbers(&self, numbers: std::ops::Range<u32>) {
        for n in numbers {
            self.publish("snapfs.files", &format!(r#"{{"events":[{{"type":"number","data":{{"n":{n}}}}}]}}"#)).await;
        }
    }

    async fn consumer(&self, durable: &str, batch: u32) -> Socket {
        let path = format!("/stream?subject=snapfs.files&durable={durable}&batch={batch}");
        Socket::open(self.address(), &path, &[]).await.unwrap_or_else(|refused| panic!("{refused:?}"))
    }

    /// `[durable, position, behind]` of all.
    async fn consumers(&self) -> Vec<Value> {
        let list = self.admin("GET", "/api/v1/snapfs/consumers", "").await.json();
        let of = |c: &Value| json!([c["durable"], c["position"], c["behind"]]);
        list["items"].as_array().unwrap().iter().map(of).collect()
    }

    /// Waits until a consumer is at this position: acks are not answered.
    async fn is_at(&self, durable: &str, position: u64) {
        for _ in 0..600 {
            if self.consumers().await.iter().any(|c| c[0] == durable && c[1] == position) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{durable} is not at {position}: {:?}", self.consumers().await);
    }
}

/// The numbers of a batch, and the ack of it.
fn batch(frame: &Value) -> (Vec<u64>, String) {
    assert_eq!(frame["type"], "events");
    let messages = frame["messages"].as_array().unwrap();
    let number = |(index, message): (usize, &Value)| {
        assert_eq!(message["index"], index);
        message["data"]["events"][0]["data"]["n"].as_u64().unwrap()
    };
    let numbers = messages.iter().enumerate().map(number).collect();
    (numbers, format!(r#"{{"type":"ack","batch":{}}}"#, frame["batch"]))
}

#[tokio::test]
async fn consumers_get_all_in_order_from_where_they_were() {
    let gateway = Running::start().await;
    gateway.publish_numbers(0..7).await;
    let mut socket = gateway.consumer("index", 3).await;
    let (numbers, ack) = batch(&socket.json().await);
    assert_eq!(numbers, [0, 1, 2], "a new one begins at the oldest");
    assert!(socket.is_silent_for(Duration::from_millis(300)).await, "one batch is in flight");
    socket.send(&ack).await;
    let (numbers, ack) = batch(&socket.json().await);
    assert_eq!(numbers, [3, 4, 5]);
    socket.send(&ack).await;
    let (numbers, _) = batch(&socket.json().await);
    assert_eq!(numbers, [6]);
    // Not acknowledged: it comes again, also to a gateway that was started anew, and to nobody else.
    gateway.is_at("index", 6).await;
    drop(socket);
    let gateway = gateway.restart().await;
    let mut socket = gateway.consumer("index", 100).await;
    let (numbers, ack) = batch(&socket.json().await);
    assert_eq!(numbers, [6]);
    socket.send(&ack).await;
    assert!(socket.is_silent_for(Duration::from_millis(300)).await);
    // What is published wakes it up.
    gateway.publish_numbers(7..8).await;
    assert_eq!(batch(&socket.json().await).0, [7]);
    let mut other = gateway.consumer("another", 100).await;
    assert_eq!(batch(&other.json().await).0, (0..8).collect::<Vec<_>>(), "positions are apart");
    gateway.stop().await;
}

#[tokio::test]
async fn what_clients_wrote_comes_out_as_it_went_in() {
    let gateway = Running::start().await;
    let events = r#"[ {"type": "file.upsert", "data": {"path": "/srv/bad\udcff\udcfe.txt", "n" : 1.50, "x": "caf\u00e9 \ud83d\ude00 \ud800"}},
        {"data": {"path": "\\\\srv\\\udcff//\ud800\u00e9/./x", "dir": "a//b", "root_path": "/r//"}, "type": "file.upsert", "more": 1},
        {"type": "no.such", "data": {"path": "/a//b"}} ]"#;
    gateway.publish("snapfs.files", &format!(r#"{{"events": {events} }}"#)).await;
    let mut socket = gateway.consumer("index", 1).await;
    let Frame::Text(text) = socket.next().await else { panic!() };
    let expected = events.replace(r#""\\\\srv\\\udcff//\ud800\u00e9/./x""#, r#""//srv/\udcff/\ud800\u00e9/x""#);
    assert!(text.contains(&format!(r#"{{"index":0,"data":{{"events":{expected}}}}}]}}"#)), "{text}");
    gateway.stop().await;
}

#[tokio::test]
async fn subjects_are_apart_and_exist_from_the_start() {
    let gateway = Running::start().await;
    let path = |subject: &str| format!("/stream?subject={subject}&durable=d");
    let mut events = Socket::open(gateway.address(), &path("snapfs.events"), &[]).await.ok().unwrap();
    let mut files = Socket::open(gateway.address(), &path("snapfs.files"), &[]).await.ok().unwrap();
    let mut own = Socket::open(gateway.address(), &path("my.own"), &[]).await.ok().unwrap();
    for (n, subject) in ["snapfs.events", "my.own", "snapfs.files"].into_iter().enumerate() {
        gateway.publish(subject, &format!(r#"{{"events":[{{"type":"number","data":{{"n":{n}}}}}]}}"#)).await;
    }
    for (n, socket) in [&mut events, &mut own, &mut files].into_iter().enumerate() {
        assert_eq!(batch(&socket.json().await).0, [n as u64]);
        assert!(socket.is_silent_for(Duration::from_millis(100)).await);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn parameters_that_are_wrong_refuse_the_upgrade() {
    let gateway = Running::start().await;
    for query in [
        "",
        "?subject=snapfs.files",
        "?durable=d",
        "?subject=snapfs.files&durable=",
        "?subject=a%20b&durable=d",
        "?subject=snapfs.files&durable=d&batch=0",
        "?subject=snapfs.files&durable=d&batch=-1",
        "?subject=snapfs.files&durable=d&batch=10001",
        "?subject=snapfs.files&durable=d&batch=x",
        "?subject=%FF&durable=d",
    ] {
        let (status, body) = Socket::open(gateway.address(), &format!("/stream{query}"), &[]).await.err().unwrap();
        assert_eq!(status, 403, "{query}");
        assert!(serde_json::from_str::<Value>(&body).unwrap()["detail"].is_string(), "{body}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_consumer_that_dies_frees_its_batch_at_once() {
    let gateway = Running::start().await;
    gateway.publish_numbers(0..2).await;
    let mut first = gateway.consumer("index", 100).await;
    assert_eq!(batch(&first.json().await).0, [0, 1]);
    let mut second = gateway.consumer("index", 100).await;
    assert!(second.is_silent_for(Duration::from_millis(300)).await, "the batch is the first one's");
    drop(first);
    let began = std::time::Instant::now();
    let (numbers, ack) = batch(&second.json().await);
    assert_eq!(numbers, [0, 1]);
    assert!(began.elapsed() < Duration::from_secs(20), "nobody waited for an ack of the dead one");
    // The turn is taken by turns.
    let mut third = gateway.consumer("index", 100).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    second.send(&ack).await;
    gateway.is_at("index", 2).await;
    gateway.publish_numbers(2..3).await;
    assert_eq!(batch(&third.json().await).0, [2]);
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_not_acknowledged_or_refused_comes_again() {
    let gateway = Running::start().await;
    gateway.publish_numbers(0..3).await;
    let mut silent = gateway.consumer("silent", 100).await;
    let mut refuses = gateway.consumer("refuses", 100).await;
    let mut shared = [gateway.consumer("shared", 100).await, gateway.consumer("shared", 100).await];
    let began = std::time::Instant::now();
    let (first, ack) = batch(&silent.json().await);
    assert_eq!(batch(&refuses.json().await).0, first);
    refuses.send(r#"{"type":"nack"}"#).await;
    let [one, two] = &mut shared;
    let (was_one, _) = tokio::select! { f = one.json() => (true, f), f = two.json() => (false, f) };

    let (again, second_ack) = batch(&silent.json().await);
    assert!(began.elapsed() > Duration::from_secs(25), "not before its time");
    assert_eq!(again, first);
    assert_ne!(ack, second_ack, "a batch has one name");
    assert_eq!(batch(&refuses.json().await).0, first, "what was refused comes again");
    let other = if was_one { two } else { one };
    assert_eq!(batch(&other.json().await).0, first, "what one did not acknowledge goes to the other");
    // An ack that comes late tells that it was applied.
    silent.send(&ack).await;
    gateway.is_at("silent", 3).await;
    gateway.publish_numbers(3..4).await;
    assert_eq!(batch(&silent.json().await).0, [3]);
    gateway.stop().await;
}

#[tokio::test]
async fn frames_stay_below_what_clients_take() {
    let gateway = Running::start().await;
    let message =
        |bytes: usize| format!(r#"{{"events":[{{"type":"x","data":{{"n":1,"t":"{}"}}}}]}}"#, "y".repeat(bytes));
    for bytes in [1 << 20, 1 << 20, 1 << 20, 1 << 20, 5 << 20, 10] {
        gateway.publish("snapfs.files", &message(bytes)).await;
    }
    let mut socket = gateway.consumer("index", 10_000).await;
    let mut counts = Vec::new();
    while counts.iter().sum::<usize>() < 6 {
        let Frame::Text(text) = socket.next().await else { panic!() };
        let (numbers, ack) = batch(&serde_json::from_str(&text).unwrap());
        assert!(text.len() < 3_700_000 || numbers.len() == 1, "{} bytes", text.len());
        counts.push(numbers.len());
        socket.send(&ack).await;
    }
    assert_eq!(counts, [3, 1, 1, 1]);
    gateway.stop().await;
}

#[tokio::test]
async fn consumers_are_listed_and_forgotten() {
    let gateway = Running::start().await;
    let (viewer, _) = gateway.key("looker", "viewer").await;
    gateway.publish_numbers(0..3).await;
    let mut socket = gateway.consumer("index", 1).await;
    let (_, ack) = batch(&socket.json().await);
    socket.send(&ack).await;
    gateway.is_at("index", 1).await;
    let list = gateway.request("GET", "/api/v1/snapfs/consumers", &[&viewer], "").await.json();
    let item = &list["items"][0];
    assert_eq!(
        (&item["subject"], &item["durable"], &item["behind"], &item["lost"]),
        (&json!("snapfs.files"), &json!("index"), &json!(2), &json!(0))
    );
    assert!(item["seen_at"].is_string(), "{item}");
    for page in ["/settings/snapfs", "/settings/snapfs/snapfs.files/index/forget"] {
        let page = gateway.admin("GET", page, "").await;
        let text = String::from_utf8(page.body).unwrap();
        assert!(page.status == 200 && text.contains("index") && text.contains("snapfs.files"), "{text}");
    }
    assert_eq!(gateway.admin("GET", "/settings/snapfs/snapfs.files/other/forget", "").await.status, 404);
    let path = "/api/v1/snapfs/consumers/snapfs.files/index";
    assert_eq!(gateway.request("DELETE", path, &[&viewer], "").await.status, 403);
    assert_eq!(gateway.admin("DELETE", path, "").await.status, 204);
    assert_eq!(gateway.admin("DELETE", path, "").await.status, 404);
    assert!(gateway.consumers().await.is_empty());
    // Whoever is connected is told, and begins anew.
    let (_, ack) = batch(&socket.json().await);
    socket.send(&ack).await;
    assert_eq!(socket.json().await["type"], "error");
    assert_eq!(socket.next().await, Frame::Close(1011));
    let mut socket = gateway.consumer("index", 10).await;
    assert_eq!(batch(&socket.json().await).0, [0, 1, 2]);
    gateway.stop().await;
}
