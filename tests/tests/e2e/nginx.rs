//! A gateway behind nginx as many have it: TLS ends there, answers are buffered, idle connections are closed.

use std::net::TcpListener;
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
        let client = client.tls_backend_preconfigured(tls).timeout(Duration::from_secs(60)).build().unwrap();
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

fn set_cookie(response: &Response) -> String {
    response.headers()[header::SET_COOKIE].to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_and_hosts_reach_a_gateway_through_nginx() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let for_people = gateway(&dir.path().join("people"), &format!("https://localhost:{port}"));
    let for_hosts = gateway(&dir.path().join("hosts"), &format!("https://localhost:{port}/hostler/"));
    let Some(nginx) = Nginx::start(dir.path(), port, &for_people.url, &for_hosts.url) else { return };
    eventually("nginx to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    tokio::join!(people(&for_people, &nginx), hosts(&for_hosts, &nginx, dir.path()));
}

async fn people(gateway: &Hostler, nginx: &Nginx) {
    // The printed link leads through nginx, and the cookie is for TLS only.
    assert!(gateway.sign_in.starts_with(&nginx.url("/sign-in/")), "{}", gateway.sign_in);
    let link = nginx.client.get(&gateway.sign_in).header("x-forwarded-for", ELSEWHERE).send().await.unwrap();
    assert_eq!(link.status(), 303);
    assert!(link.headers().contains_key(header::STRICT_TRANSPORT_SECURITY));
    let cookie = set_cookie(&link);
    assert!(cookie.ends_with("; Secure"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();

    // Links, assets and forms stay at nginx: none names the address behind it.
    let behind = gateway.url.trim_start_matches("http://");
    for path in ["/", "/hosts", "/files", "/settings/account", "/settings/users"] {
        let response = nginx.get(path, cookie).await;
        let location = response.headers().get(header::LOCATION).map(|value| value.to_str().unwrap().to_owned());
        assert!(location.is_none_or(|location| location.starts_with('/')), "{path} leads elsewhere");
        let page = response.text().await.unwrap();
        assert!(!page.contains(behind), "{path} names {behind}");
    }
    let page = nginx.page("/settings/account", cookie).await;
    for asset in [quoted(&page, "rel=\"stylesheet\" href=\""), quoted(&page, "<script src=\"")] {
        let response = nginx.get(asset, "").await;
        assert_eq!(response.status(), 200, "{asset}");
        assert!(response.headers()[header::CACHE_CONTROL].to_str().unwrap().contains("immutable"), "{asset}");
    }
    let csrf = quoted(&page, "name=\"csrf\" value=\"");
    let form = format!("csrf={csrf}&name=ada&role=viewer&password=correct+horse+battery");
    let request = nginx.client.post(nginx.url("/settings/users")).header(header::COOKIE, cookie);
    let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
    let made = request.send().await.unwrap();
    assert_eq!((made.status().as_u16(), made.headers()[header::LOCATION].to_str().unwrap()), (303, "/settings/users"));

    // With a password too.
    let request = nginx.client.post(nginx.url("/sign-in")).header("x-forwarded-for", ELSEWHERE);
    let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let signed_in = request.body("name=ada&password=correct+horse+battery").send().await.unwrap();
    assert_eq!(signed_in.status(), 303);
    assert!(set_cookie(&signed_in).ends_with("; Secure"));

    // The client's own word for its address does not count: nginx adds the one it sees, and only nginx is believed.
    let audit = gateway.ok(["audit", "--json"]).stdout;
    assert!(audit.contains("\"from\":\"127.0.0.1\"") && audit.contains("users.create"), "{audit}");
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
    tokio::time::sleep(IDLE + Duration::from_secs(5)).await;
    let later = only_host(gateway, "there", |_| true);
    assert_eq!((&later["linked"], &later["generation"]), (&json!(true), &linked["generation"]), "{later}");
}
