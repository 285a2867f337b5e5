//! Every call kind over every byte stream, with volume.

use connectrpc::client::CallOptions;
use futures_util::stream;

use crate::support::{Echo, Over, bytes, open};

const MIB: usize = 1024 * 1024;

async fn all_kinds(over: Over) {
    let pair = open(over).await;
    let echo = Echo::new(&pair.client);
    let plain = CallOptions::default;

    assert_eq!(echo.unary("hello", plain()).await.unwrap(), b"hello");

    let mut down = echo.down("20000", plain()).await.unwrap();
    for i in 0..20_000_u64 {
        assert_eq!(echo.next(&mut down).await.unwrap().unwrap(), i.to_be_bytes());
    }
    assert_eq!(echo.next(&mut down).await.unwrap(), None);

    let chunks = stream::iter((0..64).map(|_| bytes(vec![1; MIB])));
    assert_eq!(echo.up(chunks, plain()).await.unwrap(), (64 * MIB).to_string());

    let mut both = echo.both(plain()).await.unwrap();
    for i in 0..500_u32 {
        both.send(bytes(i.to_be_bytes())).await.unwrap();
        assert_eq!(echo.next_both(&mut both).await.unwrap().unwrap(), i.to_be_bytes());
    }
    both.close_send();
    assert_eq!(echo.next_both(&mut both).await.unwrap(), None);

    pair.live.reach(0).await;
    assert!(!pair.client.is_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_websocket() {
    all_kinds(Over::WebSocket).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_unix_socket() {
    all_kinds(Over::Unix).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_pipes() {
    all_kinds(Over::Pipes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_one_socket_as_input_and_output() {
    all_kinds(Over::Socketpair).await;
}
