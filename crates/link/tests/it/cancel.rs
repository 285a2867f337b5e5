//! A call that is given up, or out of time, stops its handler.

use std::time::Duration;

use connectrpc::ErrorCode;
use connectrpc::client::CallOptions;

use crate::support::{Echo, Kind, Over, open, soon};

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_stops_its_handler() {
    for over in Over::ALL {
        let pair = open(over).await;
        let echo = Echo::new(&pair.client);
        for kind in Kind::ALL {
            let call = tokio::spawn({
                let echo = echo.clone();
                async move { echo.hang(kind, CallOptions::default()).await }
            });
            pair.live.reach(1).await;
            call.abort();
            pair.live.reach(0).await;
        }
        assert_eq!(echo.unary("still up", CallOptions::default()).await.unwrap(), b"still up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_the_call_and_its_handler() {
    for over in Over::ALL {
        let pair = open(over).await;
        let echo = Echo::new(&pair.client);
        for kind in Kind::ALL {
            let options = CallOptions::default().with_timeout(Duration::from_millis(200));
            let error = soon("the deadline", echo.hang(kind, options)).await;
            assert_eq!(error.code, ErrorCode::DeadlineExceeded, "{over:?} {kind:?}: {error}");
            pair.live.reach(0).await;
        }
    }
}

/// More cancelled calls than every limit on resets that h2 has (20 pending, 50 remembered, 1,024 in all).
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_cancelled_downloads_do_not_wear_a_link_out() {
    let pair = open(Over::Unix).await;
    let echo = Echo::new(&pair.client);
    for _ in 0..40 {
        let mut streams = Vec::new();
        for _ in 0..50 {
            let mut stream = echo.down("flood", CallOptions::default()).await.unwrap();
            echo.next(&mut stream).await.unwrap();
            streams.push(stream);
        }
    }
    pair.live.reach(0).await;
    assert_eq!(echo.unary("still up", CallOptions::default()).await.unwrap(), b"still up");
}
