//! Clients that are slow, rude or lie: they get an answer or lose their connection, and others are served meanwhile.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hostler_testkit::http::read_answer;
use hostler_testkit::{Http, eventually};
use serde_json::json;

use crate::permissions::Site;

/// Connections that say nothing.
const SILENT: usize = 300;
/// How long an ordinary request may take beside them on a busy machine.
const SERVED: Duration = Duration::from_secs(10);

fn served(http: &Http, beside: &str) {
    let begun = Instant::now();
    assert_eq!(http.get("/api/v1/hosts").status, 200, "beside {beside}");
    assert!(begun.elapsed() < SERVED, "beside {beside} an answer took {:?}", begun.elapsed());
}

/// Waits until the other end closes, and returns what it said before; none is left open for ever.
fn until_closed(mut connection: TcpStream, what: &str) -> Vec<u8> {
    connection.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    let mut said = Vec::new();
    match connection.read_to_end(&mut said) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{what} is left open: {error}"),
    }
    said
}

#[test]
fn slow_clients_are_let_go_and_others_are_served() {
    let site = Site::new(&[]);
    let http = site.admin.clone();
    let silent: Vec<TcpStream> = (0..SILENT).map(|_| http.connect().unwrap()).collect();
    served(&http, "connections that say nothing");

    // A head that comes a byte at a time and never ends, and one that stops half way.
    let mut slow = http.connect().unwrap();
    let mut half = http.connect().unwrap();
    half.write_all(b"GET /api/v1/hosts HTTP/1.1\r\nHost: x\r\n").unwrap();
    // A body that was announced and never ends.
    let mut body = http.connect().unwrap();
    let head =
        http.with("Content-Type", "application/json").with("Content-Length", "100").head("POST", "/api/v1/scans");
    body.write_all(format!("{head}\r\n{{\"root\":").as_bytes()).unwrap();
    served(&http, "requests that do not end");

    let begun = Instant::now();
    slow.set_nodelay(true).unwrap();
    let dripped = loop {
        if slow.write_all(b"G").is_err() || begun.elapsed() > Duration::from_secs(40) {
            break begun.elapsed();
        }
        std::thread::sleep(Duration::from_millis(250));
    };
    assert!(dripped < Duration::from_secs(40), "a head may take for ever");
    println!("a head that does not end was cut off after {dripped:?}");
    until_closed(half, "half a head");
    for (n, connection) in silent.into_iter().enumerate().step_by(50) {
        until_closed(connection, &format!("silent connection {n}"));
    }
    served(&http, "what is left of them");
    drop(body);
}

/// A gateway with a certificate of its own, which it makes beyond loopback only.
#[test]
fn handshakes_that_do_not_end_hold_nobody_up() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let files = [certificate.to_str().unwrap(), key.to_str().unwrap()];
    let site = Site::new(&["--tls-cert", files[0], "--tls-key", files[1]]);
    let address: SocketAddr = site.hostler.url.trim_start_matches("https://").parse().unwrap();

    let connect = || TcpStream::connect(address).unwrap();
    let silent: Vec<TcpStream> = (0..SILENT).map(|_| connect()).collect();
    // The first bytes of a ClientHello that announces 512 bytes.
    let mut begun: Vec<TcpStream> = (0..200).map(|_| connect()).collect();
    for connection in &mut begun {
        connection.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00]).unwrap();
    }
    let pin = hostler_identity::CertificateFacts::read(made.cert.der()).unwrap().pin;
    let client = hostler_testkit::http_client(&hostler_link::Trust::Pinned(pin)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let waited = Instant::now();
    let answer = runtime.block_on(client.get(format!("{}/healthz", site.hostler.url)).send()).unwrap();
    assert_eq!(answer.status(), 200);
    println!("beside {SILENT} silent connections and 200 half handshakes an answer took {:?}", waited.elapsed());
    assert!(waited.elapsed() < Duration::from_secs(5), "it took {:?}", waited.elapsed());

    // Plain HTTP and nonsense get an answer or an end.
    let mut plain = connect();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    plain.shutdown(std::net::Shutdown::Write).unwrap();
    let said = String::from_utf8_lossy(&until_closed(plain, "plain HTTP")).into_owned();
    assert!(said.contains("400") && said.contains("https"), "{said}");
    let mut nonsense = connect();
    nonsense.write_all(&[0x16; 4096]).unwrap();
    until_closed(nonsense, "nonsense");
    for connection in silent.into_iter().step_by(100).chain(begun.into_iter().step_by(100)) {
        until_closed(connection, "a handshake that does not end");
    }
}

#[test]
fn packed_bodies_and_large_heads_are_refused() {
    let site = Site::new(&[]);
    // 64 MiB of zeros in 64 KiB.
    let zeros = vec![b' '; 64 << 20];
    let packed = gzip(&zeros);
    for body in [packed.as_slice(), &gzip(br#"{"name":"packed","role":"admin"}"#)] {
        let before = memory(site.hostler.pid());
        for path in ["/api/v1/api-keys", "/api/v1/scans", "/api/v1/join"] {
            let http = site.admin.with("Content-Encoding", "gzip").with("Content-Type", "application/json");
            let answer = http.send("POST", path, body);
            assert!((400..500).contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
        }
        let grown = memory(site.hostler.pid()).saturating_sub(before);
        assert!(grown < 32 << 20, "it took {grown} bytes of memory");
    }
    let keys = site.admin.get("/api/v1/api-keys").text();
    assert!(!keys.contains("packed"), "what is packed is not unpacked: {keys}");

    // Heads: one large header, many small ones, a long address.
    let large = site.admin.with("X-Large", &"x".repeat(512 * 1024));
    let many = (0..1000).fold(site.admin.clone(), |http, n| http.with(&format!("X-Many-{n}"), "x"));
    let cookie = site.admin.with("Cookie", &"a=b; ".repeat(100_000));
    for (what, http, path) in [
        ("one large header", &large, "/api/v1/hosts".to_owned()),
        ("many headers", &many, "/api/v1/hosts".to_owned()),
        ("large cookies", &cookie, "/hosts".to_owned()),
        ("a long address", &site.admin, format!("/api/v1/hosts/{}", "x".repeat(512 * 1024))),
    ] {
        // An end without an answer does too.
        if let Ok(answer) = http.try_send("GET", &path, b"") {
            assert!([400, 414, 431].contains(&answer.status), "{what}: {}", answer.status);
        }
        served(&site.admin, what);
    }
    // A body in chunks counts as much as an announced one.
    let mut chunked = site.admin.connect().unwrap();
    let head = site.admin.with("Transfer-Encoding", "chunked").with("Content-Type", "application/json");
    chunked.write_all(format!("{}\r\n", head.head("POST", "/api/v1/scans")).as_bytes()).unwrap();
    let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
    for _ in 0..64 {
        if chunked.write_all(&chunk).is_err() {
            break;
        }
    }
    let _ = chunked.write_all(b"0\r\n\r\n");
    if let Ok(answer) = read_answer(&mut BufReader::new(chunked), false) {
        assert_eq!(answer.status, 413, "{}", answer.text());
    }
    served(&site.admin, "all of that");
}

/// As gzip(1) packs it.
fn gzip(data: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip").arg("-9").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut packed = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(data).unwrap());
        child.stdout.take().unwrap().read_to_end(&mut packed).unwrap();
    });
    assert!(child.wait().unwrap().success());
    packed
}

/// Resident memory of a process, bytes.
fn memory(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: usize = status.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}

#[test]
fn what_is_no_backup_is_not_restored() {
    let site = Site::new(&[]);
    let kept = json!({ "name": "kept", "role": "viewer" });
    let backup = site.admin.get("/api/v1/backup");
    assert_eq!(backup.status, 200);
    assert_eq!(site.admin.post("/api/v1/api-keys", &kept).status, 201);
    let upload = |what: &str, body: &[u8], status: u16| {
        let http = site.admin.with("Content-Type", "application/octet-stream");
        let message = http.send("POST", "/api/v1/restore", body).error(status);
        assert!(message.contains("nothing was changed") || message.contains("schema"), "{what}: {message}");
        assert!(site.admin.get("/api/v1/api-keys").text().contains("\"kept\""), "after {what} all is as it was");
    };
    upload("nothing", b"", 422);
    upload("text", b"this is no backup", 422);
    upload("zeros", &vec![0; 1 << 20], 422);
    upload("a header only", &backup.body[..100], 422);
    upload("half of one", &backup.body[..backup.body.len() / 2], 422);
    let mut damaged = backup.body.clone();
    let page = damaged.len() / 2 / 4096 * 4096;
    damaged[page..page + 4096].fill(0xa5);
    upload("a damaged one", &damaged, 422);
    // The format's own number is in the header (bytes 60 to 63 are user_version).
    let mut newer = backup.body.clone();
    newer[60..64].copy_from_slice(&9999_u32.to_be_bytes());
    upload("one of a newer Hostler", &newer, 422);

    // An upload that breaks off.
    let mut connection = site.admin.connect().unwrap();
    let head = site.admin.with("Content-Length", &backup.body.len().to_string()).head("POST", "/api/v1/restore");
    connection.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    connection.write_all(&backup.body[..backup.body.len() / 2]).unwrap();
    drop(connection);
    eventually("the upload that broke off to be in the log", || {
        let audit = site.admin.get("/api/v1/audit?limit=100").json();
        let restores = audit["items"].as_array()?.iter().filter(|entry| entry["action"] == "gateway.restore");
        (restores.count() == 8).then_some(())
    });
    assert!(site.admin.get("/api/v1/api-keys").text().contains("\"kept\""));
    no_leftovers(site.hostler.data());

    // The real one is, and takes back what came after it.
    let restored =
        site.admin.with("Content-Type", "application/octet-stream").send("POST", "/api/v1/restore", &backup.body);
    assert_eq!(restored.status, 204, "{}", restored.text());
    let keys = site.admin.get("/api/v1/api-keys");
    assert!(keys.status == 200 && !keys.text().contains("\"kept\""), "{}", keys.text());
    no_leftovers(site.hostler.data());
}

fn no_leftovers(data: &Path) {
    for name in ["restore.db", "restoring.db", "backup.db"] {
        assert!(!data.join(name).exists(), "{name} is left");
    }
}
