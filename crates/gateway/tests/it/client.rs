//! A gateway that runs, and a client that speaks HTTP/1.1 to it over TCP or the local socket, byte for byte.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hostler_gateway::{Gateway, GatewaySettings, socket_path};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

/// A gateway on a directory of its own.
pub struct Running {
    address: SocketAddr,
    socket: PathBuf,
    stop: CancellationToken,
    served: Option<tokio::task::JoinHandle<()>>,
    data: tempfile::TempDir,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// `error.code`.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The session cookie that the answer sets, as a request header.
    pub fn cookie(&self) -> String {
        let cookie = self.header("set-cookie").unwrap_or_else(|| panic!("no cookie: {self:?}"));
        format!("cookie: {}", cookie.split(';').next().unwrap())
    }
}

/// How a gateway is not as usual.
#[derive(Default)]
pub struct Settings {
    pub trusted_proxies: Vec<std::net::IpAddr>,
    pub snapfs_require_key: bool,
}

impl Running {
    pub async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    pub async fn start_with(settings: Settings) -> Self {
        Self::start_on(tempfile::tempdir().unwrap(), settings).await
    }

    /// On what a directory holds.
    pub async fn start_in(data: tempfile::TempDir) -> Self {
        Self::start_on(data, Settings::default()).await
    }

    async fn start_on(data: tempfile::TempDir, settings: Settings) -> Self {
        let Settings { trusted_proxies, snapfs_require_key } = settings;
        let usual = crate::http::settings(data.path());
        let gateway = Gateway::open(GatewaySettings { trusted_proxies, snapfs_require_key, ..usual }).await.unwrap();
        let (address, stop) = (gateway.address(), CancellationToken::new());
        let served = Some(tokio::spawn(gateway.run(stop.clone())));
        Self { address, socket: socket_path(data.path()), stop, served, data }
    }

    /// Stops it, and starts another on the same directory.
    pub async fn restart(mut self) -> Self {
        self.stop.cancel();
        self.served.take().unwrap().await.unwrap();
        Self::start_in(self.data).await
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub async fn stop(mut self) {
        self.stop.cancel();
        self.served.take().unwrap().await.unwrap();
    }

    /// As an admin, over the local socket.
    pub async fn admin(&self, method: &str, path: &str, body: &str) -> Answer {
        self.raw_admin(method, path, body.as_bytes()).await
    }

    pub async fn raw_admin(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        exchange(UnixStream::connect(&self.socket).await.unwrap(), method, path, &[], body).await
    }

    /// Over TCP with these headers.
    pub async fn request(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        exchange(TcpStream::connect(self.address).await.unwrap(), method, path, headers, body.as_bytes()).await
    }

    /// A new API key's header and id.
    pub async fn key(&self, name: &str, role: &str) -> (String, String) {
        let made = self.admin("POST", "/api/v1/api-keys", &format!(r#"{{"name":"{name}","role":"{role}"}}"#)).await;
        assert_eq!(made.status, 201, "{made:?}");
        let made = made.json();
        (format!("authorization: Bearer {}", made["key"].as_str().unwrap()), made["id"].as_str().unwrap().to_owned())
    }

    /// A new user's id.
    pub async fn user(&self, name: &str, role: &str, password: &str) -> String {
        let body = format!(r#"{{"name":"{name}","role":"{role}","password":"{password}"}}"#);
        let made = self.admin("POST", "/api/v1/users", &body).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["id"].as_str().unwrap().to_owned()
    }

    pub async fn sign_in(&self, name: &str, password: &str) -> Answer {
        let form = "content-type: application/x-www-form-urlencoded";
        self.request("POST", "/sign-in", &[form], &format!("name={name}&password={password}")).await
    }

    /// The audit log, newest first.
    pub async fn audit(&self, query: &str) -> Vec<Value> {
        let answer = self.admin("GET", &format!("/api/v1/audit?limit=1000{query}"), "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["items"].as_array().unwrap().clone()
    }

    /// Opens an event stream; returns once it is open.
    pub async fn stream(&self, path: &str, header: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: gateway\r\n{header}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut seen = Vec::new();
        while !seen.windows(4).any(|w| w == b"\r\n\r\n") {
            assert!(stream.read_buf(&mut seen).await.unwrap() > 0, "the stream ended at once");
        }
        assert!(seen.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&seen));
        stream
    }
}

/// Whether a stream is ended by the other side within a few seconds.
pub async fn ends(stream: &mut TcpStream, within: Duration) -> bool {
    let mut seen = Vec::new();
    let end = async {
        loop {
            match stream.read_buf(&mut seen).await {
                Ok(0) | Err(_) => return,
                // The last chunk of a body that ended.
                Ok(_) if seen.ends_with(b"\r\n0\r\n\r\n") || seen == b"0\r\n\r\n" => return,
                Ok(_) => {}
            }
        }
    };
    tokio::time::timeout(within, end).await.is_ok()
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &[u8],
) -> Answer {
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A gateway that refuses does not read what it will not take.
    let _ = stream.write_all(body).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or_else(|| panic!("{method} {path}: no answer"));
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: bytes[end + 4..].to_vec() }
}
