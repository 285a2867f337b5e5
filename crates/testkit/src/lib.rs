//! What the end-to-end tests share: the real binary as processes ([`hostler`]), a small HTTP client that can misbehave
//! ([`http`]), trees of files that are hard to bear ([`tree`]).

pub mod hostler;
pub mod http;
pub mod tree;

pub use hostler::{Hostler, Output, eventually};
pub use http::{Answer, Http};
