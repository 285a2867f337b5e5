//! Graceful end of the agent.

use std::time::Duration;

use connectrpc::ErrorCode;
use connectrpc::client::CallOptions;
use hostler_link::{CloseReason, Settings};

use crate::support::{Echo, Kind, Over, open, open_with, soon};

#[tokio::test(flavor = "multi_thread")]
async fn calls_in_flight_finish_and_new_ones_are_unavailable() {
    for over in Over::ALL {
        let pair = open(over).await;
        let echo = Echo::new(&pair.client);
        let slow = tokio::spawn({
            let echo = echo.clone();
            async move { echo.unary("slow", CallOptions::default()).await }
        });
        pair.live.reach(1).await;
        pair.shutdown.cancel();
        soon("the agent's goodbye", async {
            while !pair.client.is_closed() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        let error = echo.unary("new", CallOptions::default()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable, "{over:?}: {error}");
        assert_eq!(soon("the call in flight", slow).await.unwrap().unwrap(), b"slow");
        assert_eq!(soon("the agent's end", pair.server).await.unwrap().unwrap(), CloseReason::Shutdown);
        assert_eq!(soon("the reason", pair.closed).await, CloseReason::PeerClosed, "{over:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_do_not_end_are_cut_when_the_drain_is_over() {
    let settings = Settings { drain: Duration::from_millis(200), ..Settings::default() };
    let pair = open_with(Over::WebSocket, &settings).await;
    let echo = Echo::new(&pair.client);
    let call = tokio::spawn(async move { echo.hang(Kind::Down, CallOptions::default()).await });
    pair.live.reach(1).await;
    pair.shutdown.cancel();
    assert_eq!(soon("the call", call).await.unwrap().code, ErrorCode::Unavailable);
    assert_eq!(soon("the agent's end", pair.server).await.unwrap().unwrap(), CloseReason::Shutdown);
    pair.live.reach(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_link_ends_at_once() {
    for over in Over::ALL {
        let pair = open(over).await;
        Echo::new(&pair.client).unary("hello", CallOptions::default()).await.unwrap();
        pair.shutdown.cancel();
        assert_eq!(soon("the agent's end", pair.server).await.unwrap().unwrap(), CloseReason::Shutdown);
        soon("the reason", pair.closed).await;
    }
}
