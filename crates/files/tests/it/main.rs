//! The crate as its users see it: real trees, real scans, one binary.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, which clippy.toml's allowance does not see")]

mod changes;
mod control;
mod damage;
mod hard;
mod kinds;
mod limits;
mod model;
mod options;
mod promote;
mod roots;
mod support;
mod walk;
