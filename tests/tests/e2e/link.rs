//! The links: what the gateway refuses, and the agent by itself on its socket and on pipes.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use hostler_api::v1;
use hostler_link::{CloseReason, LinkClient, LinkClosed, stdio};
use hostler_testkit::hostler::binary;
use hostler_testkit::{Http, tree};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::support::{Bench, write};

const SOON: Duration = Duration::from_secs(30);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("{what} took longer than {SOON:?}"))
}

fn upgrade(http: &Http) -> Http {
    http.with("Upgrade", "websocket")
        .with("Connection", "Upgrade")
        .with("Sec-WebSocket-Version", "13")
        .with("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[test]
fn handshakes_that_are_wrong_are_refused_with_a_reason() {
    let bench = Bench::new(|_| {});
    let http = bench.hostler.http();
    let host = http.key(&bench.hostler.key("viewer")).get("/api/v1/hosts").json()["items"][0].clone();
    let id = host["id"].as_str().unwrap();
    let generation = host["generation"].as_u64().unwrap();

    let names = hello_headers();
    let [protocol, host_header, generation_header, version, instance] = names.each_ref().map(String::as_str);
    let good = |http: Http| {
        let http = http.with(host_header, id).with(generation_header, &generation.to_string());
        http.with(version, "0.1.0").with(instance, "0123456789abcdef")
    };
    let token = "Bearer not-the-token";
    let cases = [
        ("plain GET", http.clone(), 400, "no_upgrade"),
        ("no hello", upgrade(&http), 400, "hello"),
        ("wrong protocol", good(upgrade(&http)).with(protocol, "999").with("Authorization", token), 426, "protocol"),
        ("no protocol", good(upgrade(&http)).with("Authorization", token), 400, "hello"),
        ("no token", good(upgrade(&http)).with(protocol, "1"), 400, "hello"),
        ("wrong token", good(upgrade(&http)).with(protocol, "1").with("Authorization", token), 401, "assertion"),
        (
            "negative generation",
            upgrade(&http)
                .with(host_header, id)
                .with(generation_header, "-1")
                .with(instance, "0123456789abcdef")
                .with(version, "0.1.0")
                .with(protocol, "1")
                .with("Authorization", token),
            400,
            "hello",
        ),
        (
            "two tokens",
            good(upgrade(&http)).with(protocol, "1").with("Authorization", token).with("Authorization", token),
            400,
            "hello",
        ),
    ];
    for (what, client, status, code) in cases {
        let answer = client.get("/api/v1/link");
        let message = answer.error(status);
        assert!(!message.contains("not-the-token"), "{what}: {message}");
        let found = answer.json()["error"]["code"].as_str().unwrap().to_owned();
        assert!(found.contains(code), "{what}: {found}: {message}");
    }
    http.send("POST", "/api/v1/link", b"").error(405);
    let still = http.key(&bench.hostler.key("viewer")).get("/api/v1/hosts").json();
    assert_eq!(still["items"][0]["linked"], true, "the real agent keeps its link");
    assert_eq!(still["items"][0]["generation"], generation, "a refused link takes no number");
}

/// The names of the hello's headers, as the link's own code writes them.
fn hello_headers() -> [String; 5] {
    use hostler_link::handshake as h;
    [&h::PROTOCOL_HEADER, &h::HOST_HEADER, &h::GENERATION_HEADER, &h::AGENT_VERSION_HEADER, &h::INSTANCE_HEADER]
        .map(ToString::to_string)
}

async fn describe(client: &LinkClient) -> v1::DescribeResponse {
    let host = v1::HostServiceClient::new(client.clone(), client.config());
    let answer = soon("Describe", host.describe(v1::DescribeRequest::default())).await.unwrap();
    answer.into_view().to_owned_message()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agents_socket_knows_who_calls() {
    let bench = Bench::new(|_| {});
    let path = bench.hostler.data().join("agent/agent.sock");
    let stream = UnixStream::connect(&path).await.unwrap();
    let (client, closed) = LinkClient::connect(stream).await.unwrap();
    let described = describe(&client).await;
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(described.peer, format!("local user {uid} (process {})", std::process::id()));
    assert_eq!(described.generation, 0, "this is no gateway's link");
    assert!(described.cpus > 0 && described.memory_bytes > 0 && described.boot_time > 0, "{described:?}");
    let uname = rustix::system::uname();
    assert_eq!(described.hostname.as_bytes(), uname.nodename().to_bytes());
    bench.hostler.stop().unwrap();
    soon("the end of the socket", closed).await;
    assert!(!path.exists(), "the socket goes with the agent");
}

struct Piped {
    child: Child,
    client: LinkClient,
    closed: LinkClosed,
}

async fn agent_on_pipes(data: &Path, granted: &Path) -> Piped {
    write(data.join("agent/agent.toml"), format!("[files]\nroots = [{granted:?}]\n"));
    let mut child = Command::new(binary().unwrap())
        .args(["agent", "--stdio", "--data"])
        .arg(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let pipes = stdio::join(child.stdout.take().unwrap(), child.stdin.take().unwrap());
    let (client, closed) = LinkClient::connect(pipes).await.unwrap();
    Piped { child, client, closed }
}

fn scan_request(root: &Path) -> v1::ScanRequest {
    v1::ScanRequest {
        scan_id: "test".into(),
        root: root.as_os_str().as_bytes().to_vec(),
        algorithm: 3,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_on_pipes_answers_and_ends_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let Piped { mut child, client, closed } = agent_on_pipes(&dir.path().join("data"), dir.path()).await;
    let described = describe(&client).await;
    assert_eq!(described.peer, format!("standard input of process {}", std::process::id()));
    drop(client);
    client_gone(closed).await;
    let status = soon("the agent's end", child.wait()).await.unwrap();
    assert!(status.success(), "{status}");
}

async fn client_gone(closed: LinkClosed) {
    let reason: CloseReason = soon("the link's end", closed).await;
    assert!(!reason.to_string().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_over_pipes_streams_and_stops_when_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap().join("tree");
    for i in 0..2000 {
        write(root.join(format!("d{}/file-{i}", i % 10)), i.to_string());
    }
    let Piped { mut child, client, closed } = agent_on_pipes(&dir.path().join("data"), &root).await;
    let files = v1::FilesServiceClient::new(client.clone(), client.config());

    let mut stream = soon("the scan", files.scan(scan_request(&root))).await.unwrap();
    let (mut started, mut names, mut finished) = (false, 0, None);
    while let Some(message) = soon("a message", stream.message()).await.unwrap() {
        use v1::scan_event::Event;
        match message.to_owned_message().event {
            Some(Event::Started(event)) => {
                assert!(event.full);
                started = true;
            }
            Some(Event::Batch(batch)) => {
                assert!(started, "differences come after the beginning");
                names += batch.dirs.iter().map(|dir| dir.entries.len()).sum::<usize>();
            }
            Some(Event::Finished(event)) => finished = Some(*event),
            _ => {}
        }
    }
    drop(stream);
    let finished = finished.expect("the scan ends with a result");
    assert_eq!(names, 2000);
    let counters = finished.counters.as_option().unwrap();
    assert_eq!((counters.files, counters.dirs), (2000, 11));
    let promote = |generation| v1::PromoteRequest {
        root: root.as_os_str().as_bytes().to_vec(),
        generation,
        ..Default::default()
    };
    soon("Promote", files.promote(promote(finished.generation))).await.unwrap();
    soon("Promote again", files.promote(promote(finished.generation))).await.unwrap();
    assert!(soon("a wrong Promote", files.promote(promote(finished.generation + 7))).await.is_err());

    // Dropped in the middle of an endless file: the next scan of the same root is not told that one runs.
    tree::endless_file(&root.join("endless")).unwrap();
    let mut stream = soon("the scan", files.scan(scan_request(&root))).await.unwrap();
    soon("its first message", stream.message()).await.unwrap().expect("a message");
    drop(stream);
    std::fs::remove_file(root.join("endless")).unwrap();
    let begun = std::time::Instant::now();
    loop {
        let mut stream = soon("the next scan", files.scan(scan_request(&root))).await.unwrap();
        let mut last = Ok(());
        loop {
            match soon("a message", stream.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    last = Err(error);
                    break;
                }
            }
        }
        match last {
            Ok(()) => break,
            Err(error) => assert!(begun.elapsed() < SOON, "the dropped scan goes on: {error}"),
        }
    }

    let outside = soon("a scan outside", async {
        let mut stream = files.scan(scan_request(Path::new("/etc"))).await?;
        stream.message().await.map(drop)
    });
    let error = outside.await.unwrap_err();
    assert!(error.to_string().contains("is not granted"), "{error}");
    drop((files, client));
    client_gone(closed).await;
    assert!(soon("the agent's end", child.wait()).await.unwrap().success());
}

#[test]
fn an_agent_on_a_terminal_or_a_file_says_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = hostler_testkit::hostler::command().unwrap();
    command.args(["agent", "--stdio", "--data"]).arg(dir.path());
    let output = hostler_testkit::hostler::run(&mut command).unwrap();
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("standard input is a device, not a pipe"), "{output:?}");
}
