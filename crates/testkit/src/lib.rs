//! What the end-to-end tests share: the real binary as processes ([`hostler`]), trees of files that are hard to bear
//! ([`tree`]).

pub mod hostler;
pub mod tree;

pub use hostler::{Hostler, Output};
