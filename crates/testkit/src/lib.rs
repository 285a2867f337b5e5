//! What the end-to-end tests share: the real binary as processes ([`hostler`]), a small HTTP client that can misbehave
//! ([`http`]), machines of their own ([`machine`], [`netns`]), bad networks ([`proxy`]), trees of files that are
//! hard to bear ([`tree`]), and whether an index is its tree ([`agreement`], [`storm`]).

pub mod agent;
pub mod agreement;
pub mod fleet;
pub mod hostler;
pub mod http;
pub mod machine;
pub mod netns;
pub mod proxy;
pub mod storm;
pub mod tree;

pub use agent::{AgentProcess, only_host};
pub use hostler::{Hostler, Output, eventually};
pub use http::client as http_client;
pub use http::{Answer, Http};
