//! Who may do what: each route with each role, credentials that end while they are in use, forms of other sites, guessing.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use hostler_model::Role;
use hostler_testkit::http::EventStream;
use hostler_testkit::{Answer, Hostler, Http, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

const PASSWORD: &str = "correct horse battery";
const NOBODY: &str = "01890000-0000-7000-8000-000000000000";
/// Shorter than the time between two keep-alive comments of a stream, far longer than it takes.
const SOON: Duration = Duration::from_secs(10);

/// A gateway without an agent, on plain HTTP.
pub struct Site {
    pub hostler: Hostler,
    pub admin: Http,
    _dir: TempDir,
}

/// A browser that is signed in.
#[derive(Clone)]
pub struct Browser {
    http: Http,
    csrf: String,
}

impl Site {
    pub fn new(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let args = ["gateway", "--listen", "127.0.0.1:0"].iter().chain(more);
        let hostler = Hostler::start_command(&dir.path().join("data"), args).unwrap();
        let admin = hostler.http_as("admin");
        Self { hostler, admin, _dir: dir }
    }

    /// Makes a user; the id.
    pub fn user(&self, name: &str, role: Role) -> String {
        let made = self.admin.post("/api/v1/users", &json!({ "name": name, "role": role, "password": PASSWORD }));
        assert_eq!(made.status, 201, "{}", made.text());
        made.json()["id"].as_str().unwrap().to_owned()
    }

    /// Signs in as a user with the password all have.
    pub fn browser(&self, name: &str) -> Browser {
        Browser::begin(&self.hostler.http(), &sign_in(&self.hostler.http(), name, PASSWORD))
    }
}

impl Browser {
    fn begin(http: &Http, signed_in: &Answer) -> Self {
        assert_eq!(signed_in.status, 303, "{}", signed_in.text());
        let cookie = signed_in.header("set-cookie").unwrap();
        let http = http.with("Cookie", cookie.split(';').next().unwrap());
        let page = http.get("/settings/account");
        assert_eq!(page.status, 200, "{}", page.text());
        let text = page.text();
        let csrf = text.split_once("name=\"csrf\" value=\"").expect("a form with its token").1;
        let csrf = csrf.split_once('"').unwrap().0.to_owned();
        Self { http, csrf }
    }

    /// Sends a form as the browser would; `fields` without the token.
    fn form(&self, path: &str, fields: &str) -> Answer {
        self.http.form(path, &format!("csrf={}&{fields}", self.csrf))
    }

    /// REST as the pages' script calls it.
    fn rest(&self) -> Http {
        self.http.with("X-CSRF-Token", &self.csrf)
    }

    fn signed_in(&self) -> bool {
        let rest = self.http.get("/api/v1/me").status;
        let page = self.http.get("/settings/account");
        match (rest, page.status) {
            (200, 200) => true,
            (401, 303) if page.header("location") == Some("/sign-in") => false,
            other => panic!("neither in nor out: {other:?}"),
        }
    }
}

fn sign_in(http: &Http, name: &str, password: &str) -> Answer {
    http.form("/sign-in", &format!("name={name}&password={}", password.replace(' ', "+")))
}

/// Every method and path of the document.
fn routes(http: &Http) -> Vec<(String, String)> {
    let document = http.get("/api/openapi.json").json();
    let paths = document["paths"].as_object().unwrap();
    paths.iter().flat_map(|(p, o)| o.as_object().unwrap().keys().map(|m| (m.to_uppercase(), p.clone()))).collect()
}

/// The least role that may use a route; `None` for those whose body is the credential.
fn least_role(method: &str, path: &str) -> Option<Role> {
    let secrets = ["/api/v1/audit", "/api/v1/backup", "/api/v1/doctor", "/api/v1/users", "/api/v1/join-tokens"];
    match (method, path) {
        ("POST", "/api/v1/join") => None,
        ("GET", path) if secrets.contains(&path) || path.starts_with("/api/v1/webhooks") => Some(Role::Admin),
        ("GET", _) => Some(Role::Viewer),
        // Others' are not found.
        ("DELETE", "/api/v1/sessions/{id}") => Some(Role::Viewer),
        (_, path) if path.starts_with("/api/v1/schedules") => Some(Role::Operator),
        ("POST", path) if path.starts_with("/api/v1/scans") || path.ends_with("/probe") => Some(Role::Operator),
        _ => Some(Role::Admin),
    }
}

/// A body that the route understands, so that only the role can be the reason of a refusal.
fn body(path: &str) -> Value {
    match path {
        "/api/v1/scans" => json!({ "root": "/nowhere" }),
        "/api/v1/schedules" => json!({ "root": "/nowhere", "cadence": "daily 03:00" }),
        "/api/v1/webhooks" => json!({ "url": "https://example.com/", "events": ["scan.completed"] }),
        "/api/v1/api-keys" => json!({ "name": "more", "role": "admin" }),
        "/api/v1/users" => json!({ "name": "more", "role": "admin", "password": PASSWORD }),
        "/api/v1/users/{id}" => json!({ "role": "admin" }),
        "/api/v1/users/{id}/password" => json!({ "password": PASSWORD }),
        "/api/v1/join-tokens" => json!({ "note": "", "expires_in_seconds": 60 }),
        _ => json!({}),
    }
}

#[test]
fn each_route_is_for_its_role_and_above() {
    let site = Site::new(&[]);
    let (viewer, operator) = (site.hostler.http_as("viewer"), site.hostler.http_as("operator"));
    let mut changing = 0;
    for (method, path) in routes(&site.admin) {
        let Some(least) = least_role(&method, &path) else { continue };
        if method == "GET" && path.ends_with("/stream") {
            continue;
        }
        changing += usize::from(method != "GET");
        let address = path.replace("{id}", NOBODY).replace("{host}", NOBODY);
        let body = if method == "GET" { String::new() } else { body(&path).to_string() };
        for (role, http) in [(Role::Viewer, &viewer), (Role::Operator, &operator), (Role::Admin, &site.admin)] {
            let answer = http.with("Content-Type", "application/json").send(&method, &address, body.as_bytes());
            let what = format!("{method} {path} as {role}: {} {}", answer.status, answer.text());
            if role < least {
                assert_eq!(answer.status, 403, "{what}");
                assert!(answer.error(403).contains(&least.to_string()), "it says what it needs: {what}");
            } else {
                assert!(![401, 403, 405].contains(&answer.status) && answer.status < 500, "{what}");
            }
        }
    }
    assert!(changing >= 14, "the document lost routes: {changing}");

    // Nobody below an admin made anything on the way, nor did anybody see a secret.
    let count = |path: &str| site.admin.get(path).json()["items"].as_array().unwrap().len();
    let made = [count("/api/v1/users"), count("/api/v1/join-tokens"), count("/api/v1/api-keys")];
    assert_eq!(made, [1, 1, 4], "the admin's, and three keys for the roles");
    let listed = viewer.get("/api/v1/api-keys").text();
    assert!(!listed.contains("\"key\"") && !listed.contains("hash"), "{listed}");
}

#[test]
fn forms_are_for_their_role_and_above() {
    let site = Site::new(&[]);
    site.user("eve", Role::Viewer);
    let ada = site.user("ada", Role::Viewer);
    let eve = site.browser("eve");
    for (path, fields) in [
        ("/files/scans".to_owned(), format!("host={NOBODY}&root=/")),
        (format!("/files/scans/{NOBODY}/cancel"), String::new()),
        ("/hosts/join".into(), "note=mine&expires=3600".into()),
        (format!("/hosts/join/{NOBODY}/revoke"), String::new()),
        (format!("/hosts/{NOBODY}/probe"), String::new()),
        (format!("/hosts/{NOBODY}/remove"), "typed=nobody".into()),
        ("/settings/users".into(), format!("name=mallory&role=admin&password={}", PASSWORD.replace(' ', "+"))),
        (format!("/settings/users/{ada}/role"), "role=admin".into()),
        (format!("/settings/users/{ada}/password"), "password=another+password&again=another+password".into()),
        (format!("/settings/users/{ada}/delete"), String::new()),
        ("/settings/keys".into(), "name=mine&role=admin".into()),
        (format!("/settings/keys/{NOBODY}/revoke"), String::new()),
    ] {
        let answer = eve.form(&path, &fields);
        assert_eq!(answer.status, 403, "{path}: {}", answer.text());
        assert!(answer.text().contains("role"), "{path} says why: {}", answer.text());
    }
    let page = eve.http.get("/settings/users").text();
    assert!(!page.contains("ada"), "who the users are is the admins' business");
    assert_eq!(eve.http.get("/hosts/join").status, 403, "nor does she see join tokens");
    let audit = eve.http.get("/settings/audit").text();
    assert!(!audit.contains("users.create"), "so is what they did");
    let users = site.admin.get("/api/v1/users").json();
    let roles: Vec<&str> = users["items"].as_array().unwrap().iter().map(|u| u["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["viewer", "viewer"], "{users}");
    let of_ada = site.browser("ada");
    assert!(of_ada.signed_in(), "her password is what it was");

    // Another's session is not there for her.
    let sessions = site.admin.get("/api/v1/sessions").json();
    let session = sessions["items"].as_array().unwrap().iter().find(|s| s["user"] == ada.as_str()).unwrap();
    let session = session["id"].as_str().unwrap();
    eve.rest().send("DELETE", &format!("/api/v1/sessions/{session}"), b"").error(404);
    assert_eq!(eve.form(&format!("/settings/sessions/{session}/end"), "").status, 404);
    assert!(!eve.http.get("/api/v1/sessions").text().contains(session));
    assert!(of_ada.signed_in());
}

/// Reads a stream to its end; how long that took.
fn end_of(mut stream: EventStream, what: &str) -> Duration {
    let begun = Instant::now();
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || {
        while matches!(stream.next_event(), Ok(Some(_))) {}
        let _ = sender.send(());
    });
    assert!(ended.recv_timeout(SOON).is_ok(), "{what}: the stream goes on after {SOON:?}");
    begun.elapsed()
}

/// No route knows the credential any more.
fn refused_everywhere(http: &Http, what: &str) {
    for (method, path) in routes(http) {
        if least_role(&method, &path).is_some() {
            let address = path.replace("{id}", NOBODY).replace("{host}", NOBODY);
            assert_eq!(http.send(&method, &address, b"").status, 401, "{what}: {method} {path}");
        }
    }
    for page in ["/hosts", "/live?topics=hosts", "/settings/users"] {
        assert!([401, 303].contains(&http.get(page).status), "{what}: {page}");
    }
}

#[test]
fn a_key_that_ends_ends_its_streams() {
    let site = Site::new(&[]);
    let key = |expires: Value| {
        let name = format!("{:?}", Instant::now());
        let body = json!({ "name": name, "role": "viewer", "expires_in_seconds": expires });
        let made = site.admin.post("/api/v1/api-keys", &body);
        assert_eq!(made.status, 201, "{}", made.text());
        (made.json()["id"].as_str().unwrap().to_owned(), site.hostler.http().key(made.json()["key"].as_str().unwrap()))
    };
    let (_, expiring) = key(json!(3));
    let (id, revoked) = key(Value::Null);
    let (_, other) = key(Value::Null);
    let streams: Vec<_> = ["/api/v1/events/stream", "/live?topics=hosts"]
        .iter()
        .flat_map(|path| {
            [(&expiring, "expired"), (&revoked, "revoked")].map(|(h, what)| (h.events(path).unwrap(), what))
        })
        .collect();
    let stays = other.events("/api/v1/events/stream").unwrap();
    assert_eq!(site.admin.send("DELETE", &format!("/api/v1/api-keys/{id}"), b"").status, 204);
    refused_everywhere(&revoked, "revoked");
    for (stream, what) in streams {
        println!("{what}: the stream ended within {:?}", end_of(stream, what));
    }
    refused_everywhere(&expiring, "expired");
    drop(stays);
    assert_eq!(other.get("/api/v1/me").status, 200, "others' keys work on");
}

#[test]
fn who_is_deleted_or_changed_is_signed_out_at_once() {
    let site = Site::new(&[]);
    let gone = site.user("gone", Role::Operator);
    let changed = site.user("changed", Role::Admin);
    let renewed = site.user("renewed", Role::Viewer);
    site.user("stays", Role::Viewer);
    let browsers = ["gone", "changed", "renewed", "stays"].map(|name| site.browser(name));
    let [of_gone, of_changed, of_renewed, of_stays] = &browsers;
    let open = |browser: &Browser| {
        ["/api/v1/events/stream", "/live?topics=hosts"].map(|path| browser.http.events(path).unwrap())
    };
    let streams =
        [(open(of_gone), "deleted"), (open(of_changed), "another role"), (open(of_renewed), "another password")];

    assert_eq!(site.admin.send("DELETE", &format!("/api/v1/users/{gone}"), b"").status, 204);
    let patch = site.admin.with("Content-Type", "application/json");
    let answer = patch.send("PATCH", &format!("/api/v1/users/{changed}"), br#"{"role":"viewer"}"#);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let set = site.admin.post(&format!("/api/v1/users/{renewed}/password"), &json!({ "password": "another password" }));
    assert_eq!(set.status, 204, "{}", set.text());

    for (streams, what) in streams {
        for stream in streams {
            println!("{what}: the stream ended within {:?}", end_of(stream, what));
        }
    }
    assert!(!of_gone.signed_in() && !of_renewed.signed_in());
    refused_everywhere(&of_gone.http, "deleted");
    assert_eq!(sign_in(&site.hostler.http(), "gone", PASSWORD).status, 401);
    assert_eq!(sign_in(&site.hostler.http(), "renewed", PASSWORD).status, 401);
    assert_eq!(sign_in(&site.hostler.http(), "renewed", "another password").status, 303);
    if of_changed.signed_in() {
        of_changed.rest().get("/api/v1/users").error(403);
    }
    assert!(of_stays.signed_in());

    // Signing out ends the session, not only the cookie.
    assert_eq!(of_stays.form("/sign-out", "").status, 303);
    assert!(!of_stays.signed_in());
}

#[test]
fn a_form_works_with_its_own_sessions_token_only() {
    let site = Site::new(&[]);
    site.user("ada", Role::Admin);
    site.user("eve", Role::Admin);
    let (ada, eve) = (site.browser("ada"), site.browser("eve"));
    let again = site.browser("ada");
    let password = PASSWORD.replace(' ', "+");
    let fields = |name: &str| format!("name={name}&role=admin&password={password}");
    for (what, token) in [
        ("none", String::new()),
        ("an empty one", "csrf=&".into()),
        ("another user's", format!("csrf={}&", eve.csrf)),
        ("another browser's", format!("csrf={}&", again.csrf)),
        ("half of it", format!("csrf={}&", &ada.csrf[..16])),
    ] {
        let answer = ada.http.form("/settings/users", &format!("{token}{}", fields("mallory")));
        assert_eq!(answer.status, 403, "{what}: {}", answer.text());
        assert!(answer.text().contains("nothing was changed"), "{what}: {}", answer.text());
        for path in ["/sign-out", "/theme", "/settings/account/password", "/settings/keys"] {
            assert_eq!(ada.http.form(path, &token).status, 403, "{what}: {path}");
        }
    }
    assert!(ada.signed_in(), "nobody else signs her out");
    assert_eq!(ada.form("/settings/users", &fields("bob")).status, 303, "her own works");

    // REST with a browser's cookie wants the token too.
    let body = json!({ "name": "from a page", "role": "viewer" });
    ada.http.post("/api/v1/api-keys", &body).error(403);
    ada.http.with("X-CSRF-Token", &eve.csrf).post("/api/v1/api-keys", &body).error(403);
    assert_eq!(ada.rest().post("/api/v1/api-keys", &body).status, 201);

    // Nobody is signed in from another site's form.
    for site_header in ["cross-site", "same-site"] {
        let elsewhere = site.hostler.http().with("Sec-Fetch-Site", site_header);
        assert_eq!(sign_in(&elsewhere, "ada", PASSWORD).status, 403, "{site_header}");
    }
    let users = site.admin.get("/api/v1/users").text();
    assert!(users.contains("bob") && !users.contains("mallory"), "{users}");
}

#[test]
fn no_page_can_be_framed_or_kept() {
    let site = Site::new(&[]);
    site.user("ada", Role::Admin);
    let ada = site.browser("ada");
    let stylesheet = ada.http.get("/sign-in").text();
    let stylesheet =
        stylesheet.split_once("rel=\"stylesheet\" href=\"").unwrap().1.split_once('"').unwrap().0.to_owned();
    for path in [
        "/",
        "/hosts",
        "/hosts/nobody",
        "/files",
        "/files/search",
        "/files/scans",
        "/files/duplicates",
        "/search",
        "/settings/account",
        "/settings/users",
        "/settings/sessions",
        "/settings/keys",
        "/settings/audit",
        "/settings/gateway",
        "/sign-in",
        "/sign-in/wrong",
        "/nowhere",
        "/api/docs",
        "/api/openapi.json",
        "/api/v1/hosts",
        "/api/v1/nowhere",
        "/healthz",
        stylesheet.as_str(),
    ] {
        for http in [&ada.http, &site.hostler.http()] {
            let answer = http.get(path);
            assert!(answer.status < 500, "{path}: {}", answer.status);
            let header = |name: &str| answer.header(name).unwrap_or_else(|| panic!("{path} has no {name}"));
            assert_eq!(header("x-frame-options"), "DENY", "{path}");
            assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
            let policy = header("content-security-policy");
            for part in ["frame-ancestors 'none'", "default-src 'none'", "script-src 'self'", "form-action 'self'"] {
                assert!(policy.contains(part), "{path}: {policy}");
            }
            let kept = header("cache-control");
            assert!(path.starts_with("/assets/") || kept.contains("no-store"), "{path}: {kept}");
        }
    }
    let cookie = sign_in(&site.hostler.http(), "ada", PASSWORD);
    let cookie = cookie.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
}

#[test]
fn guessing_is_limited_and_shuts_out_nobody_else() {
    let site = Site::new(&["--trusted-proxy", "127.0.0.1"]);
    for name in ["ada", "bob"] {
        site.user(name, Role::Viewer);
    }
    let from = |address: &str| site.hostler.http().with("X-Forwarded-For", address);
    let guesser = from("203.0.113.5");
    let refused = eventually("the guesser to be told to wait", || {
        let answer = sign_in(&guesser, "ada", "wrong password");
        match answer.status {
            401 => {
                assert!(answer.text().contains("Name or password is wrong"), "{}", answer.text());
                None
            }
            429 => Some(answer),
            other => panic!("{other}: {}", answer.text()),
        }
    });
    let seconds: u64 = refused.header("retry-after").expect("when to come back").parse().unwrap();
    assert!((1..=1200).contains(&seconds), "{seconds}");
    assert!(refused.text().contains("try again in"), "{}", refused.text());
    assert_eq!(sign_in(&guesser, "ada", PASSWORD).status, 429, "the right one is not tried either");
    assert_eq!(sign_in(&guesser, "ADA", PASSWORD).status, 429, "nor under another spelling");
    assert_eq!(sign_in(&guesser, "bob", PASSWORD).status, 303, "others behind that address get in");
    assert_eq!(sign_in(&from("198.51.100.7"), "ada", PASSWORD).status, 303, "so does she from elsewhere");
    let me = site.admin.with("X-Forwarded-For", "203.0.113.5").get("/api/v1/me");
    assert_eq!((me.status, me.json()["from"].as_str()), (200, Some("203.0.113.5")), "keys are not shut out");

    // The log says who tried from where, and never what.
    let audit = site.admin.get("/api/v1/audit?limit=1000").json();
    let entries = audit["items"].as_array().unwrap();
    let tried =
        entries.iter().filter(|e| e["action"] == "sign-in" && e["from"] == "203.0.113.5" && e["result"] == "refused");
    assert!(tried.count() >= 10, "{audit}");
    assert!(!audit.to_string().contains("wrong password") && !audit.to_string().contains(PASSWORD));
}

#[test]
fn an_address_that_nobody_trusted_says_is_not_believed() {
    let site = Site::new(&[]);
    site.user("ada", Role::Viewer);
    let liar = site.hostler.http().with("X-Forwarded-For", "203.0.113.5");
    assert_eq!(sign_in(&liar, "ada", PASSWORD).status, 303);
    let sessions = site.admin.get("/api/v1/sessions").json();
    assert_eq!(sessions["items"][0]["address"], "127.0.0.1", "{sessions}");
    let audit = site.admin.get("/api/v1/audit").json();
    assert!(!audit.to_string().contains("203.0.113.5"), "{audit}");
}
