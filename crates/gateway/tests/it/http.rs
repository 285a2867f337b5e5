//! The gateway as its clients see it: who may come in, who may do what, and what is written down of it.

use std::path::Path;
use std::time::Duration;

use hostler_gateway::{GatewaySettings, TlsSettings};
use hostler_identity::{HostKey, JoinToken, join_proof};
use hostler_model::HostId;
use serde_json::{Value, json};

use crate::client::{Running, ends};

const PASSWORD: &str = "correct-horse-battery";

pub fn settings(data: &Path) -> GatewaySettings {
    GatewaySettings {
        data: data.to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        insecure_http: false,
        tls: TlsSettings::Off,
        external_url: None,
        trusted_proxies: Vec::new(),
        agent_binaries: None,
        webhooks_anywhere: false,
        snapfs_require_key: false,
    }
}

#[tokio::test]
async fn a_user_signs_in_by_password_and_is_who_they_are() {
    let gateway = Running::start().await;
    let id = gateway.user("ada", "operator", PASSWORD).await;
    let signed_in = gateway.sign_in("ADA", PASSWORD).await;
    assert_eq!((signed_in.status, signed_in.header("location")), (303, Some("/")), "{signed_in:?}");
    let cookie = signed_in.cookie();
    let me = gateway.request("GET", "/api/v1/me", &[&cookie], "").await.json();
    assert_eq!(
        (&me["name"], &me["role"], &me["via"], &me["user"]),
        (&json!("ada"), &json!("operator"), &json!("web"), &json!(id))
    );
    assert_eq!(me["from"], "127.0.0.1");
    let socket = gateway.admin("GET", "/api/v1/me", "").await.json();
    assert_eq!(
        (&socket["role"], &socket["via"], &socket["from"]),
        (&json!("admin"), &json!("socket"), &json!("local socket"))
    );

    // A cookie alone changes nothing, whatever the role.
    let refused = gateway.request("POST", "/api/v1/scans", &[&cookie], r#"{"root":"/"}"#).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "csrf"));
    // Another site's form signs nobody in.
    let foreign = ["content-type: application/x-www-form-urlencoded", "sec-fetch-site: cross-site"];
    let body = format!("name=ada&password={PASSWORD}");
    assert_eq!(gateway.request("POST", "/sign-in", &foreign, &body).await.status, 403);

    // Wrong name and wrong password look the same, and are written down without what was typed.
    let (wrong, nobody) =
        (gateway.sign_in("ada", "wrong-password").await, gateway.sign_in("hunter2hunter2", "x").await);
    assert_eq!((wrong.status, nobody.status), (401, 401));
    for answer in [wrong, nobody] {
        let page = String::from_utf8(answer.body).unwrap();
        assert!(page.contains("Name or password is wrong."), "{page}");
    }
    let log = gateway.audit("&action=sign-in").await;
    let told: Vec<_> = log.iter().map(|e| (e["who"].as_str().unwrap(), e["result"].as_str().unwrap())).collect();
    assert_eq!(told, [("(unknown)", "refused"), ("ada", "refused"), ("ada", "ok")]);
    assert!(log.iter().all(|e| e["from"] == "127.0.0.1" && e["via"] == "sign-in"), "{log:?}");
    gateway.stop().await;
}

#[tokio::test]
async fn guessing_is_limited() {
    let gateway = Running::start().await;
    gateway.user("ada", "viewer", PASSWORD).await;
    for _ in 0..10 {
        assert_eq!(gateway.sign_in("ada", "wrong-password").await.status, 401);
    }
    let refused = gateway.sign_in("ada", PASSWORD).await;
    assert_eq!(refused.status, 429, "the right password does not help any more");
    assert!((1..=600).contains(&refused.header("retry-after").unwrap().parse::<u64>().unwrap()), "{refused:?}");
    assert_eq!(gateway.audit("&action=sign-in").await.len(), 10, "what the limit refuses does not fill the log");

    let wrong = format!("authorization: Bearer hst_{}", "0".repeat(32));
    for _ in 0..60 {
        let answer = gateway.request("GET", "/api/v1/hosts", &[&wrong], "").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "bad_key"));
    }
    let (right, _) = gateway.key("works", "viewer").await;
    let answer = gateway.request("GET", "/api/v1/hosts", &[&right], "").await;
    assert_eq!(answer.status, 200, "somebody's old key locks out nobody: keys cannot be guessed");
    gateway.stop().await;
}

#[tokio::test]
async fn every_changing_route_is_recorded_refused_or_not() {
    let gateway = Running::start().await;
    let (viewer, _) = gateway.key("looker", "viewer").await;
    let document: Value = serde_json::from_str(&hostler_gateway::rest::openapi()).unwrap();
    let mut routes = 0;
    let id = "0198b2c0-6d2e-7c3a-9f00-2b1c3d4e5f60";
    for (path, operations) in document["paths"].as_object().unwrap() {
        for method in operations.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            if method == "GET" && path != "/api/v1/backup" {
                continue;
            }
            routes += 1;
            let path = path.replace("{id}", id).replace("{host}", id).replace("{delivery}", id);
            let before = gateway.audit("").await.len();
            let refused = gateway.request(&method, &path, &[&viewer], "{}").await;
            assert!((400..500).contains(&refused.status), "{method} {path} as a viewer: {refused:?}");
            let log = gateway.audit("").await;
            assert_eq!(log.len(), before + 1, "{method} {path} as a viewer left no line");
            let action = log[0]["action"].as_str().unwrap();
            assert!(!action.contains('/'), "{method} {path} has no action in the table of the audit log");
            assert_eq!(log[0]["result"], "refused", "{method} {path}");
            if path.contains(id) {
                assert_eq!(log[0]["target"], id, "{method} {path}");
            }
            if path != "/api/v1/join" {
                assert_eq!(
                    (&log[0]["who"], &log[0]["role"]),
                    (&json!("key looker"), &json!("viewer")),
                    "{method} {path}"
                );
            }
            let tried = gateway.admin(&method, &path, "{}").await;
            let log = gateway.audit("").await;
            assert_eq!(log.len(), before + 2, "{method} {path} as an admin left no line: {tried:?}");
            assert_eq!(log[0]["result"] == "ok", tried.status < 400, "{method} {path}");
        }
    }
    assert!(routes > 12, "only {routes} changing routes are known");
    // Nobody at all changes nothing and fills no log.
    let before = gateway.audit("").await.len();
    assert_eq!(gateway.request("POST", "/api/v1/scans", &[], "{}").await.status, 401);
    assert_eq!(gateway.audit("").await.len(), before);
    gateway.stop().await;
}

#[tokio::test]
async fn pages_that_change_something_are_recorded() {
    let gateway = Running::start().await;
    let link = gateway.admin("POST", "/api/v1/sign-in-links", "").await.json()["url"].as_str().unwrap().to_owned();
    let path = link.split_at(link.find("/sign-in/").unwrap()).1.to_owned();
    let cookie = gateway.request("GET", &path, &[], "").await.cookie();
    let page = String::from_utf8(gateway.request("GET", "/settings/keys", &[&cookie], "").await.body).unwrap();
    let csrf = page.split(r#"name="csrf" value=""#).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let form = "content-type: application/x-www-form-urlencoded";
    let made = gateway
        .request("POST", "/settings/keys", &[&cookie, form], &format!("csrf={csrf}&name=paged&role=viewer"))
        .await;
    assert_eq!(made.status, 200, "{made:?}");
    let refused = gateway.request("POST", "/settings/keys", &[&cookie, form], "name=forged&role=admin").await;
    assert_eq!(refused.status, 403);
    let log = gateway.audit("").await;
    let told: Vec<_> = log
        .iter()
        .map(|e| [&e["action"], &e["who"], &e["target"], &e["result"]].map(|v| v.as_str().unwrap()))
        .collect();
    assert_eq!(
        told[..3],
        [
            ["api-keys.create", "admin (web)", "", "refused"],
            ["api-keys.create", "admin (web)", "paged", "ok"],
            ["sign-in", "admin (web)", "", "ok"],
        ]
    );
    let token = path.rsplit('/').next().unwrap();
    assert!(!serde_json::to_string(&log).unwrap().contains(token), "the link's secret is in the log");
    gateway.stop().await;
}

#[tokio::test]
async fn rights_that_end_end_at_once_on_open_streams_too() {
    let gateway = Running::start().await;
    let (key, id) = gateway.key("streams", "viewer").await;
    let (other, _) = gateway.key("goes-on", "viewer").await;
    let user = gateway.user("ada", "operator", PASSWORD).await;
    let cookie = gateway.sign_in("ada", PASSWORD).await.cookie();
    let mut by_key = gateway.stream("/api/v1/events/stream", &key).await;
    let mut goes_on = gateway.stream("/api/v1/events/stream", &other).await;
    let mut by_session = gateway.stream("/api/v1/events/stream", &cookie).await;
    let mut page = gateway.stream("/live?topics=hosts", &cookie).await;

    assert_eq!(gateway.admin("DELETE", &format!("/api/v1/api-keys/{id}"), "").await.status, 204);
    assert!(ends(&mut by_key, Duration::from_secs(5)).await, "a revoked key reads on");
    assert_eq!(gateway.request("GET", "/api/v1/hosts", &[&key], "").await.status, 401);
    let changed = gateway.admin("PATCH", &format!("/api/v1/users/{user}"), r#"{"role":"viewer"}"#).await;
    assert_eq!((changed.status, &changed.json()["role"]), (200, &json!("viewer")));
    assert!(ends(&mut by_session, Duration::from_secs(5)).await, "a stream goes on with another role");
    assert!(ends(&mut page, Duration::from_secs(5)).await, "a page's stream goes on with another role");
    assert_eq!(gateway.request("GET", "/api/v1/me", &[&cookie], "").await.json()["role"], "viewer");
    assert_eq!(gateway.admin("DELETE", &format!("/api/v1/users/{user}"), "").await.status, 204);
    assert_eq!(gateway.request("GET", "/api/v1/me", &[&cookie], "").await.status, 401);
    assert!(!ends(&mut goes_on, Duration::from_millis(200)).await, "another's rights are not touched");

    // An expiry needs nobody to do anything.
    let made =
        gateway.admin("POST", "/api/v1/api-keys", r#"{"name":"short","role":"viewer","expires_in_seconds":2}"#).await;
    let short = format!("x-api-key: {}", made.json()["key"].as_str().unwrap());
    let mut expiring = gateway.stream("/api/v1/events/stream", &short).await;
    assert!(ends(&mut expiring, Duration::from_secs(10)).await, "an expired key reads on");
    assert_eq!(gateway.request("GET", "/api/v1/hosts", &[&short], "").await.status, 401);
    gateway.stop().await;
}

#[tokio::test]
async fn a_changed_password_ends_the_other_sessions() {
    let gateway = Running::start().await;
    let id = gateway.user("ada", "viewer", PASSWORD).await;
    let (here, there) =
        (gateway.sign_in("ada", PASSWORD).await.cookie(), gateway.sign_in("ada", PASSWORD).await.cookie());
    let listed = gateway.request("GET", "/api/v1/sessions", &[&here], "").await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2);
    let page = String::from_utf8(gateway.request("GET", "/settings/keys", &[&here], "").await.body).unwrap();
    let csrf = page.split(r#"name="csrf" value=""#).nth(1).unwrap().split('"').next().unwrap();
    let token = format!("x-csrf-token: {csrf}");
    let path = format!("/api/v1/users/{id}/password");
    for (body, status, code) in [
        (r#"{"password":"another-password"}"#, 403, "wrong_password"),
        (r#"{"password":"short","current":"correct-horse-battery"}"#, 422, "invalid"),
    ] {
        let refused = gateway.request("POST", &path, &[&here, &token], body).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{body}");
    }
    let body = json!({"password": "another-password", "current": PASSWORD}).to_string();
    assert_eq!(gateway.request("POST", &path, &[&here, &token], &body).await.status, 204);
    assert_eq!(gateway.request("GET", "/api/v1/me", &[&here], "").await.status, 200, "this session goes on");
    assert_eq!(gateway.request("GET", "/api/v1/me", &[&there], "").await.status, 401, "the other has ended");
    assert_eq!(gateway.sign_in("ada", PASSWORD).await.status, 401);
    assert_eq!(gateway.sign_in("ada", "another-password").await.status, 303);
    gateway.stop().await;
}

#[tokio::test]
async fn a_host_joins_with_a_token_and_is_removed() {
    let gateway = Running::start().await;
    let (viewer, _) = gateway.key("looker", "viewer").await;
    assert_eq!(gateway.request("GET", "/api/v1/join-tokens", &[&viewer], "").await.status, 403);
    let made = gateway.admin("POST", "/api/v1/join-tokens", r#"{"note":"rack 4"}"#).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let text = made["token"].as_str().unwrap();
    let command = made["command"].as_str().unwrap();
    assert!(command.starts_with("curl -fsSL http://127.0.0.1:") && command.ends_with(text), "{command}");
    let token: JoinToken = text.parse().unwrap();
    let (key, host) = (HostKey::generate().unwrap(), HostId::new());
    let body = |key: &HostKey, host: HostId, token: &JoinToken| {
        json!({"token": token.expose(), "host": host, "name": "web1\u{7}", "public_key": key.public_key().to_string(),
            "proof": join_proof::sign(key, token, host), "agent_version": "1.0"})
        .to_string()
    };
    let join = async |body: String| gateway.request("POST", "/api/v1/join", &[], &body).await;

    let other = HostKey::generate().unwrap();
    let mut stolen: Value = serde_json::from_str(&body(&key, host, &token)).unwrap();
    stolen["public_key"] = json!(other.public_key().to_string());
    let refused = join(stolen.to_string()).await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "bad_proof"));
    let joined = join(body(&key, host, &token)).await;
    assert_eq!((joined.status, joined.json()["name"].as_str()), (201, Some("web1")), "{joined:?}");
    let again = join(body(&key, host, &token)).await;
    assert_eq!((again.status, again.json()), (200, joined.json()), "an interrupted join is repeated");
    let second = join(body(&other, HostId::new(), &token)).await;
    assert_eq!((second.status, second.code().as_str()), (409, "token_used"));
    let unknown = JoinToken::generate("http://127.0.0.1", None).unwrap();
    let refused = join(body(&other, HostId::new(), &unknown)).await;
    assert_eq!((refused.status, refused.code().as_str()), (401, "bad_token"));
    let listed = gateway.admin("GET", "/api/v1/join-tokens", "").await.json();
    assert_eq!((&listed["items"][0]["used_by"], &listed["items"][0]["used_by_name"]), (&json!(host), &json!("web1")));

    let revoked = gateway.admin("POST", "/api/v1/join-tokens", "{}").await.json();
    let path = format!("/api/v1/join-tokens/{}", revoked["id"].as_str().unwrap());
    assert_eq!(gateway.admin("DELETE", &path, "").await.status, 204);
    let refused = join(body(&other, HostId::new(), &revoked["token"].as_str().unwrap().parse().unwrap())).await;
    assert_eq!((refused.status, refused.code().as_str()), (410, "token_revoked"));

    assert_eq!(gateway.request("DELETE", "/api/v1/hosts/web1", &[&viewer], "").await.status, 403);
    assert_eq!(gateway.admin("DELETE", "/api/v1/hosts/web1", "").await.status, 204);
    assert_eq!(gateway.admin("GET", "/api/v1/hosts/web1", "").await.status, 404);
    let events = gateway.admin("GET", "/api/v1/events?kind=host", "").await.json();
    assert_eq!((&events["items"][0]["kind"], &events["items"][0]["subject"]), (&json!("host.removed"), &json!("web1")));
    let log = gateway.audit("").await;
    let removed = log.iter().find(|e| e["action"] == "hosts.remove" && e["result"] == "ok").unwrap();
    assert_eq!((&removed["host"], &removed["host_name"]), (&json!(host), &json!("web1")));
    assert!(gateway.audit(&format!("&host={host}")).await.len() >= 2, "a removed host's lines are found by its id");
    let text = serde_json::to_string(&log).unwrap();
    assert!(log.iter().any(|e| e["action"] == "hosts.join" && e["result"] == "ok") && !text.contains("hjt_"), "{text}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_backup_goes_out_and_comes_back_in() {
    let gateway = Running::start().await;
    gateway.user("ada", "viewer", PASSWORD).await;
    // More than a small body's limit.
    for n in 0..400 {
        gateway.admin("DELETE", &format!("/api/v1/hosts/{}", "x".repeat(900)), &n.to_string()).await;
    }
    let backup = gateway.admin("GET", "/api/v1/backup", "").await;
    assert_eq!((backup.status, backup.header("content-length")), (200, Some(backup.body.len().to_string().as_str())));
    assert!(backup.body.starts_with(b"SQLite format 3\0") && backup.body.len() > 256 * 1024, "{}", backup.body.len());

    gateway.user("bob", "viewer", PASSWORD).await;
    let bad = gateway.admin("POST", "/api/v1/restore", "no database").await;
    assert_eq!((bad.status, bad.code().as_str()), (422, "bad_backup"), "{bad:?}");
    let (viewer, _) = gateway.key("looker", "viewer").await;
    assert_eq!(gateway.request("POST", "/api/v1/restore", &[&viewer], "x").await.status, 403);
    let users = async || {
        let found = gateway.admin("GET", "/api/v1/users", "").await.json();
        found["items"].as_array().unwrap().iter().map(|u| u["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(users().await, ["ada", "bob"], "what failed changed nothing");
    let restored = gateway.raw_admin("POST", "/api/v1/restore", &backup.body).await;
    assert_eq!(restored.status, 204, "{restored:?}");
    assert_eq!(users().await, ["ada"]);
    assert_eq!(
        gateway.request("GET", "/api/v1/hosts", &[&viewer], "").await.status,
        401,
        "a key made after it is gone"
    );
    assert_eq!(gateway.audit("").await[0]["action"], "gateway.restore", "and the log says so");
    assert_eq!(gateway.sign_in("ada", PASSWORD).await.status, 303);
    gateway.stop().await;
}
