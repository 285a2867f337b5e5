//! The real binary on real directories.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot go on has failed")]

mod api;
mod cli;
mod find;
mod link;
mod names;
mod scans;
mod smoke;
mod support;
