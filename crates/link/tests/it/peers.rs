//! Handlers know who calls, connection by connection.

use connectrpc::client::CallOptions;
use hostler_link::{Peer, Settings};

use crate::support::{Echo, Gateway, hello};

#[tokio::test(flavor = "multi_thread")]
async fn two_links_have_two_identities() {
    let gateway = Gateway::start().await;
    let first = gateway.link(&hello(0), &Settings::default()).await;
    let second = gateway.link(&hello(41), &Settings::default()).await;
    for (pair, generation) in [(&first, 1), (&second, 42), (&first, 1)] {
        let seen = Echo::new(&pair.client).unary("peer", CallOptions::default()).await.unwrap();
        assert_eq!(String::from_utf8(seen).unwrap(), format!("gateway {} (link {generation})", gateway.address));
    }
}

#[test]
fn peers_read_well() {
    let cases = [
        (Peer::Gateway { authority: "gw:7440".to_owned(), generation: 3 }, "gateway gw:7440 (link 3)"),
        (Peer::Local { uid: 1000, gid: 100, pid: Some(7) }, "local user 1000 (process 7)"),
        (Peer::Local { uid: 0, gid: 0, pid: None }, "local user 0"),
        (Peer::Stdio { parent_pid: 12 }, "standard input of process 12"),
    ];
    for (peer, text) in cases {
        assert_eq!(peer.to_string(), text);
    }
}
