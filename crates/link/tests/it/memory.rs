//! Trap 2: an idle link is cheap.

use hostler_link::Settings;

use crate::support::{Echo, Gateway, Pair, hello};

const LINKS: usize = 1000;

/// Both ends of a link, in this process. Measured: 69 KiB; 326 KiB with the WebSocket's default read buffers.
const BOUND: usize = 100 * 1024;

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size()
}

async fn links(n: usize) -> Vec<Pair> {
    let gateway = Gateway::start().await;
    let mut links = Vec::with_capacity(n);
    for _ in 0..n {
        let pair = gateway.link(&hello(0), &Settings::default()).await;
        // One call, so that a link is measured which has been in use.
        Echo::new(&pair.client).unary("hello", Default::default()).await.unwrap();
        links.push(pair);
    }
    links
}

/// Not a test by itself: it needs a process of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "run by idle_links_are_cheap"]
async fn measure() {
    let _warm = links(50).await;
    let before = resident();
    let _links = links(LINKS).await;
    let each = resident().saturating_sub(before) / LINKS;
    println!("{each} bytes a link");
    assert!(each < BOUND, "an idle link costs {each} bytes");
}

#[test]
fn idle_links_are_cheap() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "memory::measure", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("bytes a link"),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
