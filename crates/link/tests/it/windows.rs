//! Trap 1: streams that nobody reads never block the others.

use connectrpc::client::CallOptions;
use futures_util::{StreamExt as _, stream};

use crate::support::{Echo, Over, bytes, open, soon};

#[tokio::test(flavor = "multi_thread")]
async fn stalled_streams_do_not_block_calls() {
    for over in Over::ALL {
        let pair = open(over).await;
        let echo = Echo::new(&pair.client);
        let mut downloads = Vec::new();
        for _ in 0..8 {
            let mut stream = echo.down("flood", CallOptions::default()).await.unwrap();
            echo.next(&mut stream).await.unwrap().unwrap();
            downloads.push(stream);
        }
        let uploads: Vec<_> = (0..4)
            .map(|_| {
                let echo = echo.clone();
                let endless = stream::iter([bytes("hang")]).chain(stream::repeat(bytes([7; 64 * 1024])));
                tokio::spawn(async move { echo.up(endless, CallOptions::default()).await })
            })
            .collect();
        pair.live.reach(12).await;
        // Enough for every stream to fill its window.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        for _ in 0..20 {
            let answer = soon("a call beside stalled streams", echo.unary("me", CallOptions::default())).await;
            assert_eq!(answer.unwrap(), b"me");
        }
        drop(downloads);
        uploads.iter().for_each(|upload| upload.abort());
        pair.live.reach(0).await;
    }
}
