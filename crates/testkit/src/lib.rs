//! What the end-to-end tests share: the real binary as processes ([`hostler`]), a small HTTP client that can misbehave
//! ([`http`]), machines of their own ([`machine`], [`netns`]), bad networks ([`proxy`]), trees of files that are hard to
//! bear ([`tree`]), the real SnapFS programs ([`snapfs`]) and a gateway for them ([`snapfs_gateway`]), and whether an
//! index is its tree ([`agreement`], [`storm`]).

pub mod agent;
pub mod agreement;
pub mod fleet;
pub mod hostler;
pub mod http;
pub mod machine;
pub mod netns;
pub mod proxy;
pub mod snapfs;
pub mod snapfs_gateway;
pub mod storm;
pub mod tree;

pub use agent::{AgentProcess, only_host};
pub use hostler::{Hostler, Output, eventually};
pub use http::client as http_client;
pub use http::{Answer, Http};
pub use snapfs_gateway::SnapfsGateway;

/// Says that a test leaves something out, and why: on standard output, and in the file `$HOSTLER_LEFT_OUT`, from which
/// `cargo xtask test` takes it.
pub fn left_out(what: &str) {
    use std::io::Write;
    println!("left out: {what}");
    let Some(list) = std::env::var_os("HOSTLER_LEFT_OUT") else { return };
    // A list that cannot be written makes no test fail.
    if let Ok(mut list) = std::fs::File::options().append(true).create(true).open(list) {
        let _ = list.write_all(format!("{}\n", what.replace('\n', " ")).as_bytes());
    }
}
