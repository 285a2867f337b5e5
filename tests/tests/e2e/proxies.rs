//! Links through bad networks, and a gateway behind nginx.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hostler_testkit::proxy::{Proxy, Weather};
use hostler_testkit::{AgentProcess, Hostler, eventually, only_host};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::support::{files, found, linked, scan_to_end};

/// A gateway and an agent with a bad network between them.
struct Far {
    // The agent ends before the gateway: it would log that that one is gone.
    agent: AgentProcess,
    gateway: Hostler,
    proxy: Proxy,
    tree: PathBuf,
    _runtime: Runtime,
    _dir: TempDir,
}

impl Far {
    /// The proxy passes on at most `piece` bytes at once from the start.
    fn new(piece: usize, fill: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().canonicalize().unwrap().join("tree");
        std::fs::create_dir(&tree).unwrap();
        fill(&tree);
        let args = ["gateway", "--listen", "127.0.0.1:0"];
        let gateway = Hostler::start_command(&dir.path().join("gateway"), args).unwrap();
        let address: SocketAddr = gateway.url.trim_start_matches("http://").parse().unwrap();
        let runtime = Runtime::new().unwrap();
        let proxy = runtime.block_on(Proxy::start(address)).unwrap();
        proxy.cut_up(piece);
        let url = format!("http://{}", proxy.address());
        let agent = AgentProcess::join(&gateway, &url, &dir.path().join("far"), &[&tree]).unwrap();
        only_host(&gateway, "linked", linked);
        Self { agent, gateway, proxy, tree, _runtime: runtime, _dir: dir }
    }

    fn scan(&self) -> Value {
        scan_to_end(&self.gateway, &self.tree)
    }

    fn found(&self) -> usize {
        found(&self.gateway)
    }

    fn host(&self) -> Value {
        only_host(&self.gateway, "there", |_| true)
    }
}

#[test]
fn a_link_in_pieces_of_one_byte_works() {
    let far = Far::new(1, |tree| files(tree, 200));
    assert_eq!(far.scan()["state"], "completed");
    assert_eq!(far.found(), 200);
}

#[test]
fn a_thin_link_stays_while_a_scan_fills_it() {
    let far = Far::new(512, |tree| files(tree, 1000));
    let before = far.host();
    far.proxy.throttle(8 * 1024);
    let begun = Instant::now();
    let scan = far.scan();
    println!("a scan of 1,000 files over 8 KiB/s took {:?}", begun.elapsed());
    assert_eq!(scan["state"], "completed", "{scan}");
    far.proxy.throttle(0);
    assert_eq!(far.found(), 1000);
    let after = far.host();
    assert!(linked(&after));
    assert_eq!(after["generation"], before["generation"], "the link of before is the link of now");
}

#[test]
fn a_cut_during_a_scan_changes_nothing_and_is_over_when_it_is_over() {
    let far = Far::new(512, |tree| files(tree, 50));
    assert_eq!(far.scan()["state"], "completed");
    files(&far.tree, 2000);
    far.proxy.throttle(8 * 1024);
    let during = far.gateway.start_scan(&far.tree, [""; 0]);
    far.gateway.wait_scan(&during, &["running"]);
    let connections = far.proxy.accepted();

    far.proxy.set(Weather::Cut);
    far.proxy.throttle(0);
    let begun = Instant::now();
    let host = only_host(&far.gateway, "not linked after a cut", |host| !linked(host));
    println!("the cut was seen after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(10), "it was not noticed at once: {:?}", begun.elapsed());
    assert!(host["link"]["ended_because"].is_string(), "{host}");
    let scan = far.gateway.wait_scan(&during, &["failed", "completed", "cancelled"])["scan"].clone();
    assert_eq!(scan["state"], "failed", "{scan}");
    let why = scan["error"].as_str().unwrap_or_default();
    assert!(why.contains("link"), "it says what happened: {why}");
    assert_eq!(far.found(), 50, "the index is what it was");
    let refused = far.gateway.run(["scan".as_ref(), far.tree.as_os_str()]).unwrap();
    assert!(!refused.success && refused.stderr.contains("not linked"), "{refused:?}");
    // The agent tries again and again, and not without a pause.
    eventually("the agent to dial", || (far.proxy.accepted() > connections).then_some(()));

    far.proxy.set(Weather::Fair);
    let back = only_host(&far.gateway, "linked again by itself", linked);
    assert!(far.proxy.accepted() < connections + 30, "it dialled {} times", far.proxy.accepted() - connections);
    assert!(back["generation"].as_u64() > host["generation"].as_u64(), "{back}");
    assert_eq!(far.scan()["state"], "completed");
    assert_eq!(far.found(), 2000);

    // A cable that is pulled: no byte passes, and nobody is told.
    far.proxy.set(Weather::Stalled);
    let begun = Instant::now();
    let host = only_host(&far.gateway, "not linked after a stall", |host| !linked(host));
    println!("the stall was seen after {:?}", begun.elapsed());
    assert!(host["link"]["ended_because"].as_str().unwrap().contains("stopped answering"), "{host}");
    far.proxy.set(Weather::Fair);
    only_host(&far.gateway, "linked again after the stall", linked);
    assert_eq!(far.scan()["state"], "completed");
    let kinds = far.gateway.ok(["events", "--json"]).stdout;
    assert!(kinds.contains("host.unlinked") && kinds.contains("link.down"), "both ends tell: {kinds}");
    far.agent.stop().unwrap();
}
