//! Webhooks: what every store must do with them, and what receivers and admins see.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hostler_gateway::store::{
    Delivery, DeliveryState, HappenedWhat, Hidden, KEPT_DELIVERIES, MAX_PENDING, ScheduleState, Store, StoreError,
    Tried, Webhook, WebhookEvent,
};
use hostler_model::{DeliveryId, HostId, ScanCounters, ScanState, Timestamp, WebhookId};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::client::Running;
use crate::conformance::{all_pages, at, commit, first_page, new_host, queued, running};
use crate::schedules::schedule;

/// Runs the checks of webhooks on one store.
pub async fn conformance(store: &dyn Store) {
    what_happens_is_noted_with_it(store).await;
    queues_are_bounded(store).await;
    tries_are_kept(store).await;
    a_removed_hosts_webhooks_go(store).await;
}

fn webhook(host: Option<HostId>) -> Webhook {
    Webhook {
        id: WebhookId::new(),
        target: Hidden::new("https://ada:hunter2@example.com/hook"),
        secret: Hidden::new("whsec_c2VjcmV0"),
        url: "https://…@example.com/hook".into(),
        events: vec![WebhookEvent::ScanCompleted, WebhookEvent::ScanFailed],
        host,
        root: Some("/srv".into()),
        enabled: true,
        disabled_because: None,
        created_by: "ada".into(),
        created_at: at(0),
        delivered_at: None,
        failing_since: None,
        pending: 0,
        dropped: 0,
    }
}

fn delivery(webhook: WebhookId, body: &str) -> Delivery {
    Delivery {
        id: DeliveryId::new(),
        webhook,
        event: WebhookEvent::ScanCompleted,
        body: body.into(),
        state: DeliveryState::Pending,
        created_at: at(10),
        attempts: 0,
        next_at: Some(at(10)),
        tried_at: None,
        response: None,
        error: None,
    }
}

async fn taken_up(store: &dyn Store) -> Vec<HappenedWhat> {
    let mut all = Vec::new();
    loop {
        let happened = store.happened().await.unwrap();
        if happened.is_empty() {
            return all;
        }
        for each in happened {
            store.enqueue_deliveries(Some(each.number), Vec::new()).await.unwrap();
            all.push(each.what);
        }
    }
}

async fn what_happens_is_noted_with_it(store: &dyn Store) {
    let host = new_host(store, "happens").await;
    taken_up(store).await;
    let unheard = running(store, host, "/srv", true).await;
    store.commit_index(commit(unheard, host, "/srv", 1, true)).await.unwrap();
    assert_eq!(taken_up(store).await, [], "nobody wants to know");

    let new = webhook(None);
    store.create_webhook(new.clone()).await.unwrap();
    let kept = store.webhook(new.id).await.unwrap();
    assert_eq!((kept.target.reveal(), kept.secret.reveal()), (new.target.reveal(), new.secret.reveal()));
    assert_eq!(kept, new);
    assert!(!format!("{kept:?}").contains("hunter2") && !format!("{kept:?}").contains("whsec"), "{kept:?}");
    let scan = running(store, host, "/srv", false).await;
    store.commit_index(commit(scan, host, "/srv", 2, false)).await.unwrap();
    let failed = running(store, host, "/srv", false).await;
    let none = ScanCounters::default();
    store.scan_ended(failed, ScanState::Failed, Some("why".into()), none, at(20)).await.unwrap();
    let cancelled = queued(host, "/srv", 5);
    store.create_scan(cancelled.clone()).await.unwrap();
    store.scan_ended(cancelled.id, ScanState::Cancelled, None, none, at(20)).await.unwrap();
    let due = schedule(host, "/srv");
    store.create_schedule(due.clone()).await.unwrap();
    let missed = || Some(r#"{"x":1}"#.to_owned());
    assert!(store.schedule_stepped(due.id, 0, due.state.clone(), missed()).await.unwrap());
    assert!(!store.schedule_stepped(due.id, 0, ScheduleState::default(), missed()).await.unwrap());
    assert_eq!(
        taken_up(store).await,
        [HappenedWhat::Scan(scan), HappenedWhat::Scan(failed), HappenedWhat::ScheduleMissed(missed().unwrap())]
    );
    store.change_webhook(Webhook { enabled: false, ..new.clone() }).await.unwrap();
    let scan = running(store, host, "/srv", false).await;
    store.commit_index(commit(scan, host, "/srv", 3, false)).await.unwrap();
    assert_eq!(taken_up(store).await, []);
    store.delete_webhook(new.id).await.unwrap();
    for error in [store.webhook(new.id).await.unwrap_err(), store.delete_webhook(new.id).await.unwrap_err()] {
        assert!(matches!(error, StoreError::NotFound { what: "webhook", .. }), "{error}");
    }
}

async fn queues_are_bounded(store: &dyn Store) {
    let (full, other) = (webhook(None), webhook(None));
    store.create_webhook(full.clone()).await.unwrap();
    store.create_webhook(other.clone()).await.unwrap();
    store.enqueue_deliveries(None, vec![delivery(other.id, "other")]).await.unwrap();
    let many = (0..MAX_PENDING + 3).map(|i| delivery(full.id, &i.to_string())).collect();
    store.enqueue_deliveries(None, many).await.unwrap();
    let found = store.webhook(full.id).await.unwrap();
    assert_eq!((found.pending, found.dropped), (MAX_PENDING, 3));
    assert_eq!(store.next_delivery(full.id).await.unwrap().unwrap().body, "3", "the oldest went");
    let found = store.webhook(other.id).await.unwrap();
    assert_eq!((found.pending, found.dropped), (1, 0));
    // One that is gone takes nothing.
    store.delete_webhook(other.id).await.unwrap();
    store.enqueue_deliveries(None, vec![delivery(other.id, "late")]).await.unwrap();
    assert_eq!(store.next_delivery(other.id).await.unwrap(), None);
    // Of what ended only the newest are kept.
    for _ in 0..KEPT_DELIVERIES + 3 {
        let next = store.next_delivery(full.id).await.unwrap().unwrap();
        store.delivery_tried(tried(&next, None, None)).await.unwrap();
    }
    let mut kept = all_pages(99, async |page| store.deliveries(full.id, page).await.unwrap()).await;
    kept.retain(|delivery| delivery.state == DeliveryState::Delivered);
    assert_eq!((kept.len() as u64, kept[0].body.as_str()), (KEPT_DELIVERIES, "205"));
    store.delete_webhook(full.id).await.unwrap();
}

fn tried(delivery: &Delivery, error: Option<&str>, next_at: Option<Timestamp>) -> Tried {
    Tried {
        id: delivery.id,
        webhook: delivery.webhook,
        at: at(30),
        response: Some(if error.is_some() { 500 } else { 204 }),
        error: error.map(str::to_owned),
        next_at,
        disable: None,
    }
}

async fn tries_are_kept(store: &dyn Store) {
    let new = webhook(None);
    store.create_webhook(new.clone()).await.unwrap();
    let (first, second) = (delivery(new.id, "first"), delivery(new.id, "second"));
    store.enqueue_deliveries(None, vec![first.clone(), second.clone()]).await.unwrap();
    assert_eq!(store.next_delivery(new.id).await.unwrap(), Some(first.clone()));
    store.delivery_tried(tried(&first, Some("no"), Some(at(60)))).await.unwrap();
    assert_eq!(store.next_delivery(new.id).await.unwrap(), Some(second.clone()), "what failed lets others pass");
    assert_eq!(store.webhook(new.id).await.unwrap().failing_since, Some(at(30)));
    store.delivery_tried(tried(&second, None, None)).await.unwrap();
    let found = store.webhook(new.id).await.unwrap();
    assert_eq!((found.delivered_at, found.failing_since, found.pending), (Some(at(30)), None, 1));
    let again = store.next_delivery(new.id).await.unwrap().unwrap();
    assert_eq!((again.id, again.attempts, again.response, again.next_at), (first.id, 1, Some(500), Some(at(60))));
    let gone = Tried { disable: Some("410".into()), ..tried(&first, Some("gone"), None) };
    store.delivery_tried(gone).await.unwrap();
    let found = store.webhook(new.id).await.unwrap();
    assert_eq!((found.enabled, found.disabled_because.as_deref(), found.pending), (false, Some("410"), 0));
    store.change_webhook(Webhook { enabled: true, ..found }).await.unwrap();
    let found = store.webhook(new.id).await.unwrap();
    assert_eq!((found.enabled, found.disabled_because, found.failing_since), (true, None, None));

    let again = store.redeliver(new.id, first.id, at(99)).await.unwrap();
    assert_eq!((again.state, again.attempts, again.next_at), (DeliveryState::Pending, 0, Some(at(99))));
    let error = store.redeliver(new.id, DeliveryId::new(), at(99)).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "delivery", .. }), "{error}");
    store.delete_webhook(new.id).await.unwrap();
    assert!(store.deliveries(new.id, first_page(9)).await.is_err());
}

async fn a_removed_hosts_webhooks_go(store: &dyn Store) {
    let host = new_host(store, "hooked").await;
    let new = webhook(Some(host));
    store.create_webhook(new.clone()).await.unwrap();
    store.remove_host(host).await.unwrap().await.unwrap().unwrap();
    assert!(store.webhook(new.id).await.is_err());
    let error = store.create_webhook(webhook(Some(HostId::new()))).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "host", .. }), "{error}");
}

/// A receiver that answers with these statuses, then with 200; 0 means that it never answers.
struct Receiver {
    url: String,
    seen: Arc<Mutex<Vec<(String, String)>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    async fn start(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (kept, statuses) = (seen.clone(), statuses.to_vec());
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                let number = {
                    let mut seen = kept.lock().unwrap();
                    seen.push(request);
                    seen.len() - 1
                };
                match statuses.get(number).copied().unwrap_or(200) {
                    0 => open.push(stream),
                    status => {
                        let answer = format!(
                            "HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                        );
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                }
            }
        });
        Self { url, seen, task }
    }

    /// Heads and bodies of the requests so far.
    fn seen(&self) -> Vec<(String, String)> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read_request(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
            let length: usize = header(&head, "content-length").parse().unwrap();
            if bytes.len() >= end + 4 + length {
                return (head, String::from_utf8(bytes[end + 4..].to_vec()).unwrap());
            }
        }
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "the request ended early");
    }
}

fn header(head: &str, name: &str) -> String {
    let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("{name} is missing: {head}")).to_owned()
}

/// Checks as a receiver does.
fn is_signed(secret: &str, original_head: &str, body: &str, signature: &str) -> bool {
    let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
    let text = format!("{}.{}.{body}", header(original_head, "webhook-id"), header(original_head, "webhook-timestamp"));
    let tag = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
    ring::hmac::verify(&key, text.as_bytes(), &tag).is_ok()
}

async fn make(gateway: &Running, url: &str) -> (String, String) {
    let body = json!({ "url": url }).to_string();
    let made = gateway.admin("POST", "/api/v1/webhooks", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

/// The newest delivery, once it is so.
async fn delivery_that(gateway: &Running, id: &str, check: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    for _ in 0..200 {
        let answer = gateway.admin("GET", &format!("/api/v1/webhooks/{id}/deliveries"), "").await;
        last = answer.json()["items"][0].clone();
        if check(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no such delivery: {last}");
}

#[tokio::test]
async fn a_receiver_is_told_until_it_accepts_and_can_check_who_tells() {
    let gateway = Running::start().await;
    let receiver = Receiver::start(&[500]).await;
    let (id, secret) = make(&gateway, &receiver.url).await;
    let sent = gateway.admin("POST", &format!("/api/v1/webhooks/{id}/test"), "").await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let failed = delivery_that(&gateway, &id, |d| d["attempts"] == 1).await;
    assert_eq!((&failed["state"], &failed["response"]), (&json!("pending"), &json!(500)));
    assert!(failed["next_at"].is_string() && failed["error"].as_str().unwrap().contains("500"), "{failed}");
    let done = delivery_that(&gateway, &id, |d| d["state"] == "delivered").await;
    assert_eq!((&done["attempts"], &done["response"], &done["error"]), (&json!(2), &json!(200), &Value::Null));

    let seen = receiver.seen();
    let ids: Vec<_> = seen.iter().map(|(head, _)| header(head, "webhook-id")).collect();
    assert_eq!(ids, vec![sent.json()["id"].as_str().unwrap(); 2], "the same message");
    for (head, body) in &seen {
        assert!(head.starts_with("post /hook http/1.1") && head.contains("content-type: application/json"), "{head}");
        let body_json: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body_json["type"], "test");
        assert!(body_json["timestamp"].is_string() && body_json["data"].is_object());
    }
    // Heads are in lower case here, which base64 does not survive: a receiver of its own reads one as it came.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (id, other_secret) = make(&gateway, &format!("http://{}/", listener.local_addr().unwrap())).await;
    assert_ne!(secret, other_secret);
    gateway.admin("POST", &format!("/api/v1/webhooks/{id}/test"), "").await;
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = vec![0; 64 * 1024];
    let mut length = 0;
    while !String::from_utf8_lossy(&bytes[..length]).ends_with('}') {
        length += stream.read(&mut bytes[length..]).await.unwrap();
    }
    let text = String::from_utf8(bytes[..length].to_vec()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let signature = header(head, "webhook-signature");
    assert!(is_signed(&other_secret, head, body, &signature));
    assert!(!is_signed(&secret, head, body, &signature) && !is_signed(&other_secret, head, "{}", &signature));
    stream.write_all(b"HTTP/1.1 204 X\r\n\r\n").await.unwrap();
    drop(stream);
    delivery_that(&gateway, &id, |d| d["response"] == 204).await;

    let redelivered = gateway
        .admin("POST", &format!("/api/v1/webhooks/{id}/deliveries/{}/redeliver", header(head, "webhook-id")), "")
        .await;
    assert_eq!((redelivered.status, &redelivered.json()["state"]), (202, &json!("pending")));
    gateway.stop().await;
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_nobody_and_redirects_are_not_followed() {
    let gateway = Running::start().await;
    let (hangs, redirects, works) =
        (Receiver::start(&[0]).await, Receiver::start(&[302]).await, Receiver::start(&[]).await);
    let mut ids = Vec::new();
    for receiver in [&hangs, &redirects, &works] {
        let (id, _) = make(&gateway, &receiver.url).await;
        assert_eq!(gateway.admin("POST", &format!("/api/v1/webhooks/{id}/test"), "").await.status, 202);
        ids.push(id);
    }
    delivery_that(&gateway, &ids[2], |d| d["state"] == "delivered").await;
    let redirected = delivery_that(&gateway, &ids[1], |d| d["attempts"] == 1).await;
    assert!(redirected["error"].as_str().unwrap().contains("redirects"), "{redirected}");
    let waits = delivery_that(&gateway, &ids[0], |_| true).await;
    assert_eq!((&waits["state"], &waits["attempts"]), (&json!("pending"), &json!(0)), "it still hangs");
    gateway.stop().await;
}

#[tokio::test]
async fn webhooks_are_for_admins_and_show_no_credentials() {
    let gateway = Running::start().await;
    let (operator, _) = gateway.key("doer", "operator").await;
    for (method, path) in [("GET", "/api/v1/webhooks"), ("POST", "/api/v1/webhooks")] {
        let body = r#"{"url":"http://example.com/"}"#;
        assert_eq!(gateway.request(method, path, &[&operator], body).await.status, 403, "{method}");
    }
    let secretive = "https://ada:hunter2@127.0.0.1:1/hook?token=hunter3";
    let (id, secret) = make(&gateway, secretive).await;
    assert!(secret.starts_with("whsec_"));
    gateway.admin("POST", &format!("/api/v1/webhooks/{id}/test"), "").await;
    delivery_that(&gateway, &id, |d| d["attempts"] == 1).await;
    let mut all = String::new();
    for path in [
        "/api/v1/webhooks".to_owned(),
        format!("/api/v1/webhooks/{id}"),
        format!("/api/v1/webhooks/{id}/deliveries"),
        "/api/v1/audit".into(),
    ] {
        let answer = gateway.admin("GET", &path, "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        all.push_str(&String::from_utf8(answer.body).unwrap());
    }
    assert!(all.contains("https://…@127.0.0.1:1/hook?…"), "{all}");
    for hidden in ["hunter2", "hunter3", &secret] {
        assert!(!all.contains(hidden), "{all}");
    }
    for (url, events) in [("ftp://x/", json!([])), ("nonsense", json!([])), ("http://x/", json!(["test"]))] {
        let body = json!({ "url": url, "events": events }).to_string();
        let answer = gateway.admin("POST", "/api/v1/webhooks", &body).await;
        assert_eq!((answer.status, answer.code().as_str()), (422, "invalid"), "{answer:?}");
    }
    let off = gateway.admin("PATCH", &format!("/api/v1/webhooks/{id}"), r#"{"enabled":false}"#).await;
    assert_eq!((off.status, &off.json()["enabled"]), (200, &json!(false)));
    let test = gateway.admin("POST", &format!("/api/v1/webhooks/{id}/test"), "").await;
    assert_eq!((test.status, test.code().as_str()), (409, "disabled"));
    assert_eq!(gateway.admin("DELETE", &format!("/api/v1/webhooks/{id}"), "").await.status, 204);
    gateway.stop().await;
}

#[tokio::test]
async fn the_gateway_does_not_call_itself_or_a_cloud() {
    let gateway = Running::start().await;
    for url in [
        format!("{}/metrics", gateway.url()),
        "http://169.254.169.254/latest/meta-data".into(),
        "http://[fe80::1]/".into(),
    ] {
        let (id, _) = make(&gateway, &url).await;
        gateway.admin("POST", &format!("/api/v1/webhooks/{id}/test"), "").await;
        let refused = delivery_that(&gateway, &id, |d| d["attempts"] == 1).await;
        assert!(refused["error"].as_str().unwrap().starts_with("refused: it leads to"), "{url}: {refused}");
        assert!(refused["response"].is_null());
    }
    gateway.stop().await;
}

#[tokio::test]
async fn webhooks_on_pages() {
    let gateway = Running::start().await;
    gateway.user("ada", "admin", "correct-horse-battery").await;
    gateway.user("eve", "operator", "correct-horse-battery").await;
    let receiver = Receiver::start(&[]).await;
    let other = gateway.sign_in("eve", "correct-horse-battery").await.cookie();
    assert_eq!(gateway.request("GET", "/settings/webhooks", &[&other], "").await.status, 403);
    let cookie = gateway.sign_in("ada", "correct-horse-battery").await.cookie();
    let page = async |path: &str| String::from_utf8(gateway.request("GET", path, &[&cookie], "").await.body).unwrap();
    let list = page("/settings/webhooks").await;
    assert!(list.contains("hostler webhooks create"), "{list}");
    let csrf = list.split(r#"name="csrf" value=""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let post = async |path: &str, body: &str| {
        let form = "content-type: application/x-www-form-urlencoded";
        gateway.request("POST", path, &[&cookie, form], &format!("csrf={csrf}&{body}")).await
    };
    let wrong = post("/settings/webhooks", "url=https%3A%2F%2Fada%3Ahunter2%40x%2F").await;
    assert_eq!(wrong.status, 422);
    let text = String::from_utf8(wrong.body).unwrap();
    assert!(text.contains("Choose what is told") && !text.contains("hunter2"), "{text}");
    let made = post("/settings/webhooks", &format!("failed=on&url={}", receiver.url)).await;
    let text = String::from_utf8(made.body).unwrap();
    assert!(made.status == 200 && text.contains("whsec_"), "{text}");
    let list = page("/settings/webhooks").await;
    assert!(list.contains(&receiver.url) && !list.contains("whsec_"), "{list}");
    let id = gateway.admin("GET", "/api/v1/webhooks", "").await.json()["items"][0]["id"].as_str().unwrap().to_owned();
    let own = format!("/settings/webhooks/{id}");
    assert_eq!(post(&format!("{own}/test"), "").await.status, 303);
    let done = delivery_that(&gateway, &id, |d| d["state"] == "delivered").await;
    let shown = page(&own).await;
    assert!(shown.contains("Delivered") && shown.contains(done["id"].as_str().unwrap()), "{shown}");
    assert_eq!(post(&format!("{own}/deliveries/{}/redeliver", done["id"].as_str().unwrap()), "").await.status, 303);
    assert_eq!(post(&format!("{own}/disable"), "").await.status, 303);
    assert!(page("/settings/webhooks").await.contains("Switch on"));
    assert_eq!(post(&format!("{own}/delete"), "").await.status, 303);
    assert!(!page("/settings/webhooks").await.contains(&receiver.url));
    gateway.stop().await;
}
