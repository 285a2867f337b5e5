//! A gateway behind nginx as many have it: TLS ends there, answers are buffered, idle connections are closed.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hostler_identity::CertificateFacts;
use hostler_link::Trust;
use hostler_testkit::{AgentProcess, Hostler, eventually, only_host};
use reqwest::{Client, Response, header};
use serde_json::json;

/// nginx closes connections on which nothing came for this long; the default is 60 s.
const IDLE: Duration = Duration::from_secs(20);
/// The address of people's client; nginx has another one.
const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The address the client has for whoever believes it.
const ELSEWHERE: &str = "203.0.113.5";

/// A running nginx with a certificate of its own for `localhost`.
struct Nginx {
    child: Child,
    port: u16,
    certificate: PathBuf,
    client: Client,
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Nginx {
    /// `https://localhost:PORT` leads to `root`, `https://localhost:PORT/hostler/` to `prefixed`.
    fn start(dir: &Path, port: u16, root: &str, prefixed: &str) -> Option<Self> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (dir.join("nginx.pem"), dir.join("nginx.key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let pin = CertificateFacts::read(made.cert.der()).unwrap().pin;
        let tls = hostler_link::tls::client_config(&Trust::Pinned(pin)).unwrap();
        let client = Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let client = client
            .local_address(std::net::IpAddr::from(CLIENT))
            .tls_backend_preconfigured(tls)
            .timeout(Duration::from_secs(60))
            .build()
            .unwrap();
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {}/{what};\n", dir.display()))
            .concat();
        let (dir, idle) = (dir.display(), IDLE.as_secs());
        let config = format!(
            "{user} daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/nginx.log;
            events {{}}
            http {{
                access_log off; {temporary}
                map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
                proxy_http_version 1.1;
                proxy_read_timeout {idle}s;
                proxy_set_header Host $http_host;
                proxy_set_header Upgrade $http_upgrade;
                proxy_set_header Connection $connection_upgrade;
                proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                server {{
                    listen 127.0.0.1:{port} ssl;
                    ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.2 TLSv1.3;
                    location / {{ proxy_pass {root}; }}
                    location /hostler/ {{ proxy_pass {prefixed}/; }}
                }}
            }}",
            certificate.display(),
            key.display()
        );
        let file = certificate.with_file_name("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("nginx");
        command.env("PATH", path).arg("-c").arg(&file).arg("-e").arg(file.with_extension("log"));
        match command.stdin(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(child) => Some(Self { child, port, certificate, client }),
            Err(error) => {
                println!("LEFT OUT: a gateway behind nginx ({error}); as root on Debian: apt-get install nginx-light");
                None
            }
        }
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    async fn get(&self, path: &str, cookie: &str) -> Response {
        self.client.get(self.url(path)).header(header::COOKIE, cookie).send().await.unwrap()
    }

    async fn post(&self, path: &str, cookie: &str, form: String) -> Response {
        let request =
            self.client.post(self.url(path)).header(header::COOKIE, cookie).header("x-forwarded-for", ELSEWHERE);
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.body(form).send().await.unwrap()
    }

    async fn page(&self, path: &str, cookie: &str) -> String {
        let response = self.get(path, cookie).await;
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn gateway(dir: &Path, external: &str) -> Hostler {
    let args = ["gateway", "--listen", "127.0.0.1:0", "--external-url", external, "--trusted-proxy", "127.0.0.1"];
    Hostler::start_command(dir, args).unwrap()
}

/// What comes after `start` in a page, up to the next quote.
fn quoted<'a>(page: &'a str, start: &str) -> &'a str {
    let rest = page.split_once(start).unwrap_or_else(|| panic!("no {start} in {page}")).1;
    rest.split_once('"').unwrap().0
}

fn location(response: &Response) -> Option<String> {
    Some(response.headers().get(header::LOCATION)?.to_str().unwrap().to_owned())
}

fn set_cookie(response: &Response) -> String {
    response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_hosts_reach_a_gateway_through_nginx() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let at_root = gateway(&dir.path().join("people"), &format!("https://localhost:{port}"));
    let below_a_path = gateway(&dir.path().join("hosts"), &format!("https://localhost:{port}/hostler/"));
    let Some(nginx) = Nginx::start(dir.path(), port, &at_root.url, &below_a_path.url) else { return };
    eventually("nginx to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    people(&at_root, &nginx, "").await;
    people(&below_a_path, &nginx, "/hostler").await;
    hosts(&below_a_path, &nginx, dir.path()).await;
}

/// `prefix` is what nginx takes from paths: nothing, or `/hostler`.
async fn people(gateway: &Hostler, nginx: &Nginx, prefix: &str) {
    // The printed link leads through nginx, and the cookie is for TLS only.
    assert!(gateway.sign_in.starts_with(&nginx.url(&format!("{prefix}/sign-in/"))), "{}", gateway.sign_in);
    let link = nginx.client.get(&gateway.sign_in).header("x-forwarded-for", ELSEWHERE).send().await.unwrap();
    assert_eq!((link.status().as_u16(), location(&link)), (303, Some(format!("{prefix}/"))));
    assert!(link.headers().contains_key(header::STRICT_TRANSPORT_SECURITY));
    let cookie = set_cookie(&link);
    assert!(cookie.ends_with("; Secure") && cookie.contains(&format!("; Path={prefix}/;")), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();

    // Links, assets and forms stay at nginx, below the prefix: none names the address behind it.
    let behind = gateway.url.trim_start_matches("http://");
    let mut links = BTreeSet::new();
    for path in
        ["/", "/welcome", "/hosts", "/files", "/files/duplicates", "/settings/account", "/settings/users", "/none"]
    {
        let response = nginx.get(&format!("{prefix}{path}"), cookie).await;
        let location = location(&response);
        assert!(location.is_none_or(|to| to.starts_with(&format!("{prefix}/"))), "{path} leads elsewhere");
        let page = response.text().await.unwrap();
        assert!(!page.contains(behind), "{path} names {behind}");
        links.extend(paths(&page, prefix));
    }
    assert!(links.len() > 15, "{links:?}");
    for link in links {
        let response = nginx.get(&link, cookie).await;
        let led = location(&response).is_some_and(|to| to.starts_with(&format!("{prefix}/")));
        // Addresses of forms are there, but not for this method.
        let there = [200, 405].contains(&response.status().as_u16());
        assert!(there || (response.status() == 303 && led), "{link}: {response:?}");
    }
    let page = nginx.page(&format!("{prefix}/settings/account"), cookie).await;
    for asset in [quoted(&page, "rel=\"stylesheet\" href=\""), quoted(&page, "<script src=\"")] {
        let response = nginx.get(asset, "").await;
        assert_eq!(response.status(), 200, "{asset}");
        assert!(response.headers()[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"), "{asset}");
    }
    assert_eq!(quoted(&page, "<html lang=\"en\" data-base=\""), format!("{prefix}/"), "the script asks there");

    // Forms, by the addresses they name.
    let csrf = quoted(&page, "name=\"csrf\" value=\"");
    let users = nginx.page(&format!("{prefix}/settings/users"), cookie).await;
    let add = paths(&users, prefix).into_iter().find(|to| to.ends_with("/settings/users")).unwrap();
    let form = format!("csrf={csrf}&name=ada&role=viewer&password=correct+horse+battery");
    let made = nginx.post(&add, cookie, form).await;
    assert_eq!((made.status().as_u16(), location(&made)), (303, Some(format!("{prefix}/settings/users"))));
    let theme = quoted(&page, "class=\"theme-form\" method=\"post\" action=\"");
    let themed = nginx.post(theme, cookie, format!("csrf={csrf}&theme=dark&back=/files")).await;
    assert_eq!(location(&themed), Some(format!("{prefix}/files")), "{themed:?}");
    assert!(set_cookie(&themed).starts_with(&format!("theme=dark; Path={prefix}/;")), "{themed:?}");

    // With a password too, and out again.
    let page = nginx.page(&format!("{prefix}/sign-in"), "").await;
    let sign_in = quoted(&page, "method=\"post\" action=\"");
    let signed_in = nginx.post(sign_in, "", "name=ada&password=correct+horse+battery".to_owned()).await;
    assert_eq!((signed_in.status().as_u16(), location(&signed_in)), (303, Some(format!("{prefix}/"))));
    assert!(set_cookie(&signed_in).ends_with("; Secure"));
    let adas = set_cookie(&signed_in).split(';').next().unwrap().to_owned();
    let page = nginx.page(&format!("{prefix}/settings/account"), &adas).await;
    let csrf = quoted(&page, "name=\"csrf\" value=\"");
    let out = nginx.post(&format!("{prefix}/sign-out"), &adas, format!("csrf={csrf}")).await;
    assert_eq!(location(&out), Some(format!("{prefix}/sign-in")));
    assert!(set_cookie(&out).contains(&format!("; Path={prefix}/;")), "the cookie that was set goes: {out:?}");
    assert_eq!(location(&nginx.get(&format!("{prefix}/hosts"), &adas).await), Some(format!("{prefix}/sign-in")));

    // The client's own word for its address does not count: nginx adds the one it sees, and only nginx is believed.
    let audit = gateway.ok(["audit", "--json"]).stdout;
    assert!(audit.contains(&format!("\"from\":\"{CLIENT}\"")) && audit.contains("users.create"), "{audit}");
    assert!(!audit.contains(ELSEWHERE), "{audit}");
}

/// The paths that a page links to, asks for or sends forms to: all values that begin with a slash, but those that are
/// shown or sent. Panics when one is not below `prefix`.
fn paths(page: &str, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in page.match_indices("=\"/") {
        let name = page[..at].rsplit([' ', '<']).next().unwrap();
        if ["value", "placeholder", "title", "aria-label", "data-copy"].contains(&name) {
            continue;
        }
        let path = page[at + 2..].split('"').next().unwrap();
        assert!(path.starts_with(&format!("{prefix}/")), "{name} leads to {path}");
        // A backup is large.
        if !path.contains("/api/v1/backup") {
            found.insert(path.replace("&amp;", "&"));
        }
    }
    found
}

/// Events of hosts link to them below the prefix.
async fn live(gateway: &Hostler, nginx: &Nginx, host: &str) {
    let link = gateway.ok(["sign-in"]).stdout;
    let link = link.split_whitespace().find(|word| word.contains("/sign-in/")).unwrap();
    let cookie = set_cookie(&nginx.client.get(link).send().await.unwrap());
    let cookie = cookie.split(';').next().unwrap();
    let page = nginx.page("/hostler/activity", cookie).await;
    assert!(page.contains(&format!("href=\"/hostler/hosts/{host}\"")), "{page}");
    let mut stream = nginx.get("/hostler/live?topics=activity%3Fafter%3D0", cookie).await;
    assert_eq!(stream.status(), 200);
    let mut seen = String::new();
    let rows = async {
        while !seen.contains(&format!(r#"href=\"/hostler/hosts/{host}\""#)) {
            seen += &String::from_utf8_lossy(&stream.chunk().await.unwrap().expect("the stream goes on"));
        }
    };
    let came = tokio::time::timeout(Duration::from_secs(30), rows).await;
    assert!(came.is_ok(), "no row with a link to the host: {seen}");
    assert!(!seen.contains(r#"=\"/hosts/"#), "{seen}");
}

async fn hosts(gateway: &Hostler, nginx: &Nginx, dir: &Path) {
    let made = gateway.ok(["hosts", "token"]).stdout;
    assert!(made.contains(&nginx.url("/hostler/install.sh")), "the line leads through nginx: {made}");
    let key = gateway.key("viewer");

    // An event comes when it happens, not when nginx has a buffer full of them.
    let stream = nginx.client.get(nginx.url("/hostler/api/v1/events/stream")).bearer_auth(&key);
    let mut stream = stream.send().await.unwrap();
    assert_eq!(stream.status(), 200);
    let url = nginx.url("/hostler");
    let (data, certificate) = (dir.join("agent"), nginx.certificate.clone());
    let token = gateway.ok(["hosts", "token", "--json"]).json()["token"].as_str().unwrap().to_owned();
    let trusted = [("SSL_CERT_FILE", certificate.as_os_str())];
    let _agent = AgentProcess::start(&data, ["--gateway", &url, "--token", &token], trusted).unwrap();
    let mut seen = String::new();
    let events = async {
        while !seen.contains("\"linked\":true") {
            let chunk = stream.chunk().await.unwrap().expect("the stream goes on");
            seen += &String::from_utf8_lossy(&chunk);
        }
    };
    tokio::time::timeout(Duration::from_secs(30), events).await.expect("the event comes while the stream is open");
    drop(stream);

    // Pings keep the link over nginx's idle limit.
    let linked = only_host(gateway, "linked through nginx", |host| host["linked"] == true);
    live(gateway, nginx, linked["id"].as_str().unwrap()).await;
    tokio::time::sleep(IDLE + Duration::from_secs(5)).await;
    let later = only_host(gateway, "there", |_| true);
    assert_eq!((&later["linked"], &later["generation"]), (&json!(true), &linked["generation"]), "{later}");
}
