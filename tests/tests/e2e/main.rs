//! The real binary on real directories.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot go on has failed")]

mod api;
mod cli;
mod faults;
mod find;
mod join;
mod limits;
mod link;
mod names;
mod nginx;
mod permissions;
mod proxies;
mod scans;
mod smoke;
mod support;
mod trust;
