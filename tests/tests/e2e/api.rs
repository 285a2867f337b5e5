//! The REST routes as strangers, as wrong clients and as browsers meet them.

use std::io::{BufReader, Write};
use std::net::Shutdown;

use hostler_testkit::http::read_answer;
use hostler_testkit::{Hostler, Http, eventually};
use serde_json::{Value, json};

use crate::support::{Bench, write};

/// Routes whose body is the credential.
const PUBLIC: [&str; 1] = ["/api/v1/join"];
/// What only an admin reads.
const FOR_ADMINS: [&str; 5] =
    ["/api/v1/audit", "/api/v1/backup", "/api/v1/doctor", "/api/v1/join-tokens", "/api/v1/users"];

/// Every method and path of the OpenAPI document that wants credentials, with something that parses in the place of ids.
fn routes(http: &Http) -> Vec<(String, String)> {
    let document = http.get("/api/openapi.json").json();
    let mut all = Vec::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "01890000-0000-7000-8000-000000000000").replace("{host}", "nobody");
        if PUBLIC.contains(&path.as_str()) {
            continue;
        }
        for method in operations.as_object().unwrap().keys() {
            all.push((method.to_uppercase(), path.clone()));
        }
    }
    assert!(all.len() >= 18, "the document lost routes: {all:?}");
    all
}

fn alive(hostler: &Hostler) {
    let answer = hostler.http().get("/healthz");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn nothing(_: &std::path::Path) {}

#[test]
fn every_route_wants_credentials() {
    let bench = Bench::new(nothing);
    let http = bench.hostler.http();
    let wrong = format!("hst_{}", "0".repeat(32));
    for (method, path) in routes(&http) {
        assert!(http.send(&method, &path, b"").error(401).contains("api-keys create"), "{method} {path}");
        for key in [wrong.as_str(), "hst_short", "", "\u{e9}"] {
            http.key(key).send(&method, &path, b"").error(401);
            http.with("X-API-Key", key).send(&method, &path, b"").error(401);
        }
        http.with("Cookie", &format!("hostler_session={}", "0".repeat(64))).send(&method, &path, b"").error(401);
    }
    alive(&bench.hostler);
}

#[test]
fn a_revoked_key_is_useless_at_once() {
    let bench = Bench::new(nothing);
    let made = bench.hostler.ok(["api-keys", "create", "short-lived", "--role", "admin", "--json"]).json();
    let http = bench.hostler.http().with("X-API-Key", made["key"].as_str().unwrap());
    assert_eq!(http.get("/api/v1/hosts").status, 200);
    let mut events = http.events("/api/v1/events/stream").unwrap();
    bench.hostler.ok(["api-keys", "revoke", made["id"].as_str().unwrap()]);
    for (method, path) in routes(&http) {
        assert!(http.send(&method, &path, b"").error(401).contains("revoked"), "{method} {path}");
    }
    let listed = bench.hostler.ok(["api-keys", "list", "--json"]).stdout;
    assert!(!listed.contains("short-lived"), "{listed}");
    bench.hostler.stop().unwrap();
    while events.next_event().unwrap().is_some() {}
}

#[test]
fn a_viewer_only_reads_and_an_operator_only_acts() {
    let bench = Bench::new(nothing);
    let http = bench.hostler.http();
    let (viewer, operator) = (bench.hostler.http_as("viewer"), bench.hostler.http_as("operator"));
    for (method, path) in routes(&http) {
        let body = match path.as_str() {
            "/api/v1/scans" => json!({ "root": "/" }),
            "/api/v1/schedules" => json!({ "root": "/", "cadence": "daily 03:00" }),
            "/api/v1/webhooks" => json!({ "url": "https://example.com/", "events": ["scan.completed"] }),
            "/api/v1/api-keys" => json!({ "name": "more", "role": "admin" }),
            "/api/v1/users" => json!({ "name": "more", "role": "admin", "password": "correct horse" }),
            _ if path.ends_with("/password") => json!({ "password": "correct horse" }),
            _ if path.contains("/users/") => json!({ "role": "admin" }),
            _ => json!({}),
        };
        let body = if method == "GET" { String::new() } else { body.to_string() };
        // Everybody may end sessions of their own; others are not found.
        let own = path.contains("/sessions/");
        let acts = ["/scans", "/schedules"].iter().any(|part| path.contains(part)) || path.ends_with("/probe");
        match method.as_str() {
            "GET" if path.ends_with("/stream") => {}
            "GET" => {
                let refused = viewer.get(&path).status == 403;
                let for_admins = FOR_ADMINS.contains(&path.as_str()) || path.starts_with("/api/v1/webhooks");
                assert_eq!(refused, for_admins, "{path}");
            }
            _ if own => drop(viewer.send(&method, &path, body.as_bytes()).error(404)),
            _ => {
                assert!(viewer.send(&method, &path, body.as_bytes()).error(403).contains("viewer"), "{method} {path}");
                if !acts {
                    let refused = operator.send(&method, &path, body.as_bytes()).error(403);
                    assert!(refused.contains("admin"), "{method} {path}");
                }
            }
        }
    }
    let keys = bench.hostler.ok(["api-keys", "list", "--json"]).json();
    assert_eq!(keys.as_array().unwrap().len(), 2, "nobody made another");
    assert!(!keys.to_string().contains("key\""), "no secret is listed: {keys}");
}

#[test]
fn bodies_that_are_wrong_are_refused_in_one_shape() {
    let bench = Bench::new(nothing);
    let admin = bench.hostler.http_as("admin");
    for path in ["/api/v1/scans", "/api/v1/api-keys"] {
        for body in [
            "",
            "{",
            "null",
            "[]",
            "\"text\"",
            "{\"root\": 7}",
            "{\"root\": \"/\", \"unknown\": 1}",
            "{\"root\": \"/\", \"options\": {\"unknown\": 1}}",
            "{\"root\": \"/\", \"options\": {\"hash_min_size\": -1}}",
            "{\"root\": \"/\", \"options\": {\"algorithm\": \"md5\"}}",
            "{\"root\": \"/a\\u0000b\"}",
            "{\"name\": \"x\", \"role\": \"king\"}",
            "{\"name\": \"x\", \"role\": \"viewer\", \"more\": true}",
            "{\"name\": \"x\", \"role\": \"viewer\"} trailing",
            &"[".repeat(100_000),
            &"{\"root\":".repeat(10_000),
        ] {
            let message = admin.send("POST", path, body.as_bytes()).error(400);
            assert!(message.contains("the body is not what this route takes"), "{path} {body:.80}: {message:.300}");
        }
        let binary = [b"{\"root\": \"".as_slice(), &[0xff, 0xfe], b"\"}"].concat();
        admin.send("POST", path, &binary).error(400);
        let large = format!("{{\"root\": \"/{}\"}}", "x".repeat(256 * 1024));
        assert!(admin.send("POST", path, large.as_bytes()).error(413).contains("256 KiB"));
        alive(&bench.hostler);
    }
    // A name of Windows, and no absolute path.
    assert!(admin.send("POST", "/api/v1/scans", br#"{"root": "\ud800"}"#).error(422).contains("absolute path"));
    for name in ["", "   ", &"x".repeat(65), "bell\u{7}"] {
        admin.post("/api/v1/api-keys", &json!({ "name": name, "role": "viewer" })).error(422);
    }
    let twice = json!({ "name": "twice", "role": "viewer" });
    assert_eq!(admin.post("/api/v1/api-keys", &twice).status, 201);
    assert!(admin.post("/api/v1/api-keys", &twice).error(409).contains("\"twice\" exists already"));
}

#[test]
fn addresses_that_are_wrong_are_refused_in_one_shape() {
    let bench = Bench::new(nothing);
    let admin = bench.hostler.http_as("admin");
    for bad in ["x", "%00", "%ff", "01890000", "..%2f..", "%7Bid%7D"] {
        admin.get(&format!("/api/v1/scans/{bad}")).error(400);
        admin.get(&format!("/api/v1/scans/{bad}/changes")).error(400);
        admin.send("POST", &format!("/api/v1/scans/{bad}/cancel"), b"").error(400);
        admin.send("DELETE", &format!("/api/v1/api-keys/{bad}"), b"").error(400);
    }
    let absent = "01890000-0000-7000-8000-000000000000";
    for path in ["", "/changes", "/errors"] {
        assert!(admin.get(&format!("/api/v1/scans/{absent}{path}")).error(404).contains(absent), "{path}");
    }
    admin.send("POST", &format!("/api/v1/scans/{absent}/cancel"), b"").error(404);
    admin.send("DELETE", &format!("/api/v1/api-keys/{absent}"), b"").error(404);
    for host in ["nobody", absent, "%1b%5b31m"] {
        admin.get(&format!("/api/v1/hosts/{host}")).error(404);
    }
    admin.get("/api/v1/hosts/%ff").error(400);
    for path in ["/api/v1/nothing", "/api/v1/", "/api/v1/scans/", "/api/v1/files/ls/deeper", "/api/v1/%ff"] {
        admin.get(path).error(404);
    }
    for (method, path) in
        [("PUT", "/api/v1/scans"), ("DELETE", "/api/v1/hosts"), ("POST", "/api/v1/files"), ("PATCH", "/api/v1/roots")]
    {
        let answer = admin.send(method, path, b"");
        answer.error(405);
    }
    for (path, parameter) in [
        ("/api/v1/hosts?x=1", "x"),
        ("/api/v1/files?naem=a", "naem"),
        ("/api/v1/files?name=a&name=b", "name"),
        ("/api/v1/scans?state=lost", "state"),
        ("/api/v1/scans?limit=0", "limit"),
        ("/api/v1/files/ls", "path"),
        ("/api/v1/files/stat?path=relative", "path"),
        ("/api/v1/scans?cursor=%00%ff", "cursor"),
        ("/api/v1/scans?cursor=nonsense", "cursor"),
    ] {
        let message = admin.get(path).error(400);
        assert!(message.contains(parameter), "{path}: {message}");
    }
    let many = format!("/api/v1/files?{}", "ext=a&".repeat(65));
    assert!(admin.get(&many).error(400).contains("64"));
    alive(&bench.hostler);
}

#[test]
fn clients_that_break_off_or_dawdle_harm_nobody() {
    let bench = Bench::new(nothing);
    let admin = bench.hostler.http_as("admin");
    // More is promised than comes, and the other end waits for an answer all the same.
    let mut cut = admin.connect().unwrap();
    cut.write_all(format!("{}Content-Length: 1000\r\n\r\n{{\"root\":", admin.head("POST", "/api/v1/scans")).as_bytes())
        .unwrap();
    cut.shutdown(Shutdown::Write).unwrap();
    if let Ok(answer) = read_answer(&mut BufReader::new(cut), false) {
        answer.error(400);
    }
    assert_eq!(admin.get("/api/v1/scans").json()["items"], json!([]));

    // Half a head, held open by many.
    let slow: Vec<_> = (0..50)
        .map(|_| {
            let mut slow = admin.connect().unwrap();
            slow.write_all(b"GET /api/v1/hosts HTTP/1.1\r\nHost: x\r\nX-Slo").unwrap();
            slow
        })
        .collect();
    assert_eq!(admin.get("/api/v1/hosts").status, 200);
    alive(&bench.hostler);
    drop(slow);

    for head in [
        format!("{}X-Large: {}\r\n\r\n", admin.head("GET", "/api/v1/hosts"), "x".repeat(200_000)),
        format!("{}{}\r\n", admin.head("GET", "/api/v1/hosts"), "X-Many: y\r\n".repeat(5000)),
        format!("GET /api/v1/files?name={} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(200_000)),
    ] {
        let mut connection = admin.connect().unwrap();
        // The server may have answered and closed before it took everything.
        let _ = connection.write_all(head.as_bytes());
        if let Ok(answer) = read_answer(&mut BufReader::new(connection), false) {
            assert!([400, 414, 431].contains(&answer.status), "{}", answer.status);
        }
        alive(&bench.hostler);
    }
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n\r\n",
        b"\0\0\0",
    ] {
        let mut connection = admin.connect().unwrap();
        connection.write_all(bytes).unwrap();
        connection.shutdown(Shutdown::Write).unwrap();
        if let Ok(answer) = read_answer(&mut BufReader::new(connection), false) {
            assert!(answer.status >= 400, "{}", answer.status);
        }
    }
    alive(&bench.hostler);
    bench.hostler.stop().unwrap();
}

/// The path of a sign-in link.
fn link_path(link: &str) -> String {
    format!("/sign-in/{}", link.rsplit('/').next().unwrap())
}

/// Signs in as a browser does: its cookie, and the token its forms carry.
fn browser(hostler: &Hostler) -> (Http, String) {
    let answer = hostler.http().get(&link_path(&hostler.sign_in));
    assert_eq!(answer.status, 303);
    let cookie = answer.header("set-cookie").unwrap();
    for attribute in ["HttpOnly", "SameSite=Lax", "Path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let http = hostler.http().with("Cookie", cookie.split(';').next().unwrap());
    let page = http.get("/settings/keys").text();
    let token = page.split("name=\"csrf\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
    (http.clone(), token.unwrap_or_else(|| panic!("no token: {page}")).to_owned())
}

#[test]
fn a_cookie_alone_changes_nothing() {
    let bench = Bench::new(|tree| write(tree.join("a"), "a"));
    let (http, token) = browser(&bench.hostler);
    assert_eq!(http.get("/api/v1/hosts").status, 200);
    let keys = || bench.hostler.ok(["api-keys", "list", "--json"]).json().as_array().unwrap().len();

    let new = json!({ "name": "by-rest", "role": "viewer" });
    for wrong in ["", "0", &"0".repeat(token.len())] {
        let message = http.with("X-CSRF-Token", wrong).post("/api/v1/api-keys", &new).error(403);
        assert!(message.contains("CSRF"), "{message}");
        let answer = http.form("/settings/keys", &format!("csrf={wrong}&name=by-form&role=viewer"));
        assert_eq!(answer.status, 403);
    }
    for (method, path) in routes(&http).iter().filter(|(method, _)| method != "GET") {
        http.send(method, path, b"{}").error(403);
    }
    let host = http.get("/api/v1/hosts").json()["items"][0]["id"].as_str().unwrap().to_owned();
    let root = bench.tree.to_str().unwrap();
    assert_eq!(http.form("/files/scans", &format!("host={host}&root={root}")).status, 403);
    assert_eq!(http.form("/sign-out", "").status, 403);
    assert_eq!(keys(), 0);
    assert_eq!(http.get("/api/v1/scans").json()["items"], json!([]));

    assert_eq!(http.with("X-CSRF-Token", &token).post("/api/v1/api-keys", &new).status, 201);
    let made = http.form("/settings/keys", &format!("csrf={token}&name=by-form&role=viewer"));
    assert!(made.status < 400, "{}", made.text());
    assert_eq!(keys(), 2);
    assert_eq!(http.form("/sign-out", &format!("csrf={token}")).status, 303);
    http.get("/api/v1/hosts").error(401);
    assert_eq!(http.get("/hosts").status, 303, "the pages lead to the sign-in page");
}

#[test]
fn a_sign_in_link_works_once_and_only_when_opened() {
    let bench = Bench::new(nothing);
    let http = bench.hostler.http();
    let link = link_path(&bench.hostler.sign_in);
    let head = http.send("HEAD", &link, b"");
    assert_eq!(head.header("set-cookie"), None, "a preview signs nobody in");
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        assert_eq!(http.send(method, &link, b"").header("set-cookie"), None);
    }
    assert_eq!(http.get(&link).status, 303);
    let again = http.get(&link);
    assert_eq!(again.status, 401);
    assert_eq!(again.header("set-cookie"), None);
    assert!(again.text().contains("hostler sign-in"), "it says how to get another");
    assert_eq!(http.get("/sign-in/short").status, 401);
    assert_eq!(http.get(&format!("/sign-in/{}", "0".repeat(64))).status, 401);
    let more = bench.hostler.ok(["sign-in"]).stdout;
    assert_eq!(http.get(&link_path(more.trim())).status, 303);
}

#[test]
fn every_answer_carries_the_security_headers() {
    let bench = Bench::new(nothing);
    let http = bench.hostler.http();
    let viewer = bench.hostler.http_as("viewer");
    let answers = [
        http.get("/"),
        http.get("/sign-in"),
        http.get("/nowhere"),
        http.get("/healthz"),
        http.get("/metrics"),
        http.get("/api/docs"),
        http.get("/api/openapi.json"),
        http.get("/api/v1/hosts"),
        http.get("/api/v1/link"),
        http.get("/favicon.svg"),
        http.send("POST", "/sign-in", b""),
        http.send("DELETE", "/healthz", b""),
        viewer.get("/api/v1/hosts"),
        viewer.get("/api/v1/nowhere"),
        viewer.get("/hosts"),
        viewer.get("/files"),
    ];
    for (i, answer) in answers.iter().enumerate() {
        let csp = answer.header("content-security-policy").unwrap_or_default();
        assert!(csp.contains("default-src 'none'") && csp.contains("frame-ancestors 'none'"), "{i}: {csp}");
        assert!(!csp.contains("unsafe"), "{csp}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{i}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{i}");
        assert_eq!(answer.header("referrer-policy"), Some("same-origin"), "{i}");
        assert!(answer.header("cache-control").is_some(), "{i}");
    }
}

#[test]
fn health_and_metrics_tell_of_the_gateway() {
    let bench = Bench::new(|tree| write(tree.join("a"), "a"));
    let http = bench.hostler.http();
    let health = http.get("/healthz").json();
    assert_eq!((&health["status"], &health["env"]), (&json!("ok"), &json!("prod")));
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    bench.scan();
    let metrics = eventually("the scan to be counted", || {
        let text = http.get("/metrics").text();
        text.contains("hostler_scans_total{state=\"completed\"} 1").then_some(text)
    });
    for line in ["hostler_hosts_linked 1", "hostler_scans_active 0"] {
        assert!(metrics.lines().any(|l| l == line), "{line} is missing: {metrics}");
    }
}

#[test]
fn events_follow_a_scan_to_its_end() {
    let bench = Bench::new(|tree| (0..50).for_each(|i| write(tree.join(format!("f{i}")), i.to_string())));
    let viewer = bench.hostler.http_as("viewer");
    let mut events = viewer.events("/api/v1/events/stream").unwrap();
    let scan = bench.hostler.start_scan(&bench.tree, [""; 0]);
    let mut states = Vec::new();
    let last = loop {
        let (name, data) = events.next_event().unwrap().expect("the stream goes on");
        let data: Value = serde_json::from_str(&data).unwrap();
        if name == "scan" && data["id"] == scan.as_str() {
            let state = data["state"].as_str().unwrap().to_owned();
            states.push(state.clone());
            if state == "completed" {
                break data;
            }
        }
    };
    states.dedup();
    assert_eq!(states, ["queued", "running", "completed"]);
    assert_eq!(last["counters"]["files"], 50);
    bench.hostler.stop().unwrap();
    while events.next_event().expect("the stream is ended, not cut").is_some() {}
}
