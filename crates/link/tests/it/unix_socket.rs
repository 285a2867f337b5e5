//! The agent's unix socket, and descriptors that cannot carry a link.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;

use connectrpc::client::CallOptions;
use hostler_link::stdio::{StdioError, from_fds, stdio_peer};
use hostler_link::{LinkClient, Peer, Settings, UnixError, UnixServer};
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use crate::support::{Echo, Live, routes, soon};

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_and_knows_who_calls() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    let shutdown = CancellationToken::new();
    let server = UnixServer::bind(&path).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let running = tokio::spawn(server.run(routes(Live::default()), Settings::default(), shutdown.clone()));

    let mut links = Vec::new();
    for _ in 0..3 {
        let (client, _) = LinkClient::connect(UnixStream::connect(&path).await.unwrap()).await.unwrap();
        let seen = Echo::new(&client).unary("peer", CallOptions::default()).await.unwrap();
        let uid = rustix::process::getuid().as_raw();
        assert_eq!(String::from_utf8(seen).unwrap(), format!("local user {uid} (process {})", std::process::id()));
        links.push(client);
    }

    shutdown.cancel();
    soon("the server's end", running).await.unwrap();
    assert!(!path.exists(), "the name goes with the server");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing else is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_stale_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");

    std::fs::write(&path, "precious").unwrap();
    assert!(matches!(UnixServer::bind(&path).await, Err(UnixError::NotASocket { .. })));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    std::fs::remove_file(&path).unwrap();

    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let first = UnixServer::bind(&path).await.unwrap();
    assert!(matches!(UnixServer::bind(&path).await, Err(UnixError::InUse { .. })));

    // A server that lost its name does not take its successor's away.
    std::fs::remove_file(&path).unwrap();
    let _second = UnixServer::bind(&path).await.unwrap();
    drop(first);
    assert!(path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_no_byte_streams() {
    let file = || OwnedFd::from(tempfile::tempfile().unwrap());
    let null = || OwnedFd::from(std::fs::File::options().read(true).write(true).open("/dev/null").unwrap());
    for (fd, word) in [(file(), "a file"), (null(), "a device")] {
        let error = from_fds(fd, null()).err().unwrap();
        assert!(matches!(&error, StdioError::Kind { what, .. } if *what == word), "{error}");
    }
    let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    let error = from_fds(OwnedFd::from(socket), file()).err().unwrap();
    assert!(error.to_string().starts_with("standard output is a file"), "{error}");
    assert!(matches!(stdio_peer(), Peer::Stdio { parent_pid } if parent_pid > 0));
}
