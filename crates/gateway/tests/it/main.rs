//! The gateway's tests from outside: what every store must do, and the documents that are made from code.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod activity;
mod backup;
mod client;
mod conformance;
mod contract;
mod history;
mod http;
mod index;
mod schedules;
mod scripts;
mod snapfs;
mod snapfs_scans;
mod snapfs_store;
mod snapfs_stream;
mod sqlite;
mod trust;
mod webhooks;
mod websocket;
