//! Traps 3 and 4: how links end, and what their calls say.

use std::time::Duration;

use connectrpc::ErrorCode;
use connectrpc::client::CallOptions;
use hostler_link::{CloseReason, LinkClient, LinkError, Peer, Settings, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use crate::support::{Echo, Kind, Live, Over, Pair, open, routes, soon};

/// Starts one call of each kind that hangs; gives their errors when they have ended.
async fn four_calls(pair: &Pair) -> tokio::task::JoinSet<(Kind, connectrpc::ConnectError)> {
    let mut calls = tokio::task::JoinSet::new();
    for kind in Kind::ALL {
        let echo = Echo::new(&pair.client);
        calls.spawn(async move { (kind, echo.hang(kind, CallOptions::default()).await) });
    }
    pair.live.reach(4).await;
    // The streaming calls shall be reading when the link is lost.
    tokio::time::sleep(Duration::from_millis(100)).await;
    calls
}

async fn all_unavailable(calls: tokio::task::JoinSet<(Kind, connectrpc::ConnectError)>, over: Over, word: &str) {
    for (kind, error) in soon("ending the calls", calls.join_all()).await {
        assert_eq!(error.code, ErrorCode::Unavailable, "{over:?} {kind:?}: {error}");
        let text = error.message.unwrap();
        assert!(text.starts_with("the link to the host was lost") && text.contains(word), "{over:?} {kind:?}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_ends_every_call_on_both_ends() {
    for over in Over::ALL {
        let mut pair = open(over).await;
        let calls = four_calls(&pair).await;
        pair.client.kill(CloseReason::Revoked);
        all_unavailable(calls, over, "revoked").await;
        pair.live.reach(0).await;
        assert_eq!(soon("the reason", &mut pair.closed).await, CloseReason::Revoked);
        soon("the agent's end", pair.server).await.unwrap().unwrap();

        let error = Echo::new(&pair.client).unary("new", CallOptions::default()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable);
        assert!(pair.client.is_closed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_on_a_lost_link_are_unavailable() {
    for over in Over::ALL {
        let pair = open(over).await;
        let calls = four_calls(&pair).await;
        pair.server.abort();
        all_unavailable(calls, over, "").await;
        pair.live.reach(0).await;
        let reason = soon("the reason", pair.closed).await;
        assert!(matches!(reason, CloseReason::PeerClosed | CloseReason::Lost(_)), "{over:?}: {reason:?}");
        let error = Echo::new(&pair.client).unary("new", CallOptions::default()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_service_is_not_taken_for_a_lost_link() {
    let pair = open(Over::Unix).await;
    let echo = Echo::new(&pair.client);
    let mut stream = echo.down("no number", CallOptions::default()).await.unwrap();
    let error = stream.message().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    pair.client.kill(CloseReason::Evicted);
    assert_eq!(pair.client.map_error(error).code, ErrorCode::InvalidArgument);
    let internal = connectrpc::ConnectError::internal("a bug in a handler");
    assert_eq!(pair.client.map_error(internal).code, ErrorCode::Internal);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_is_found_by_both_ends() {
    let quick = Duration::from_millis(200);
    let settings = Settings { keep_alive_interval: quick, keep_alive_timeout: quick, ..Settings::default() };
    let (agent, mut near) = tokio::io::duplex(1 << 20);
    let (gateway, mut far) = tokio::io::duplex(1 << 20);
    let stop = CancellationToken::new();
    let relay = tokio::spawn({
        let stop = stop.clone();
        async move {
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                () = stop.cancelled() => {}
            }
            // Both ends stay open, and nothing moves.
            std::future::pending::<()>().await;
            drop((near, far));
        }
    });
    let pair = Pair::new(agent, gateway, Peer::Stdio { parent_pid: 1 }, &settings).await;
    let calls = four_calls(&pair).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!pair.client.is_closed(), "an idle link that answers pings stays up");
    stop.cancel();
    all_unavailable(calls, Over::Unix, "stopped answering").await;
    assert_eq!(soon("the gateway's end", pair.closed).await, CloseReason::Silent);
    assert_eq!(soon("the agent's end", pair.server).await.unwrap().unwrap(), CloseReason::Silent);
    pair.live.reach(0).await;
    relay.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_works_while_the_other_end_reads_nothing() {
    // Takes the preface, and no more than the first pings.
    let (gateway, agent) = tokio::io::duplex(128);
    let quick = Duration::from_millis(50);
    let settings =
        Settings { keep_alive_interval: quick, keep_alive_timeout: Duration::from_secs(3600), ..Settings::default() };
    let (client, closed) = LinkClient::connect_with(gateway, &settings).await.unwrap();
    let echo = Echo::new(&client);
    let call = tokio::spawn(async move { echo.unary("hello", CallOptions::default()).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    client.kill(CloseReason::Replaced { by: 2 });
    let error = soon("the call", call).await.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
    assert_eq!(soon("the reason", closed).await, CloseReason::Replaced { by: 2 });
    let mut agent = agent;
    let mut rest = Vec::new();
    soon("the end of the stream", agent.read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_instead_of_http2_is_told() {
    let garbage = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".repeat(10);

    let (gateway, mut other) = tokio::io::duplex(1 << 16);
    let (client, closed) = LinkClient::connect(gateway).await.unwrap();
    other.write_all(&garbage).await.unwrap();
    let reason = soon("the reason", closed).await;
    assert!(matches!(reason, CloseReason::Protocol(_)), "{reason:?}");
    let error = Echo::new(&client).unary("hello", CallOptions::default()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);

    let (agent, mut other) = tokio::io::duplex(1 << 16);
    other.write_all(&garbage).await.unwrap();
    let peer = Peer::Stdio { parent_pid: 1 };
    let served = soon("serving", serve(agent, routes(Live::default()), peer, CancellationToken::new())).await;
    assert!(matches!(served, Err(LinkError::Protocol(_))), "{served:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_nobody_holds_is_released() {
    let pair = open(Over::WebSocket).await;
    Echo::new(&pair.client).unary("hello", CallOptions::default()).await.unwrap();
    drop(pair.client);
    assert_eq!(soon("the reason", pair.closed).await, CloseReason::Released);
    soon("the agent's end", pair.server).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_byte_stream_that_takes_nothing_is_given_up() {
    let (gateway, _agent) = tokio::io::duplex(16);
    let settings = Settings { handshake_timeout: Duration::from_millis(200), ..Settings::default() };
    let error = soon("connecting", LinkClient::connect_with(gateway, &settings)).await.err().unwrap();
    assert!(matches!(error, LinkError::Stuck { .. }), "{error}");
}
