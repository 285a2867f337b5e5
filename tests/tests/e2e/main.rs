//! The real binary on real directories.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test that cannot go on has failed")]

mod api;
mod changes;
mod clean_up;
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
mod schedules;
mod smoke;
mod snapfs_clients;
mod snapfs_drop_in;
mod storms;
mod support;
mod trust;
mod webhooks;
