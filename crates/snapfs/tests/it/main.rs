//! The client against a gateway of its own.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, which clippy.toml's allowance does not see")]

mod agent_config;
mod cancel;
mod credentials;
mod faults;
mod fields;
mod spool;
mod support;
