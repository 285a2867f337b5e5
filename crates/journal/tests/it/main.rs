//! The journal as its users see it.

#![allow(clippy::unwrap_used, reason = "clippy's own exception for tests does not reach their helpers")]

mod bound;
mod damage;
mod full_disk;
mod kill;
mod log;
mod support;
