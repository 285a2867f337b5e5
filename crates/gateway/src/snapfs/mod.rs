//! The edge for SnapFS clients, of both generations of their wire.
//!
//! ```text
//! cache/batch ─ probe ─────────────> hashes, by scope
//! ingest ────── ingest ─> sessions ─> store: message, hashes, files ── scan.completed ─> index
//! agents ────── agents <─ jobs <──── scans
//! stream ────── stream <──────────── store: messages, positions
//! ```

pub mod access;
pub mod agents;
mod body;
pub mod cache_key;
pub mod events;
mod ingest;
mod json;
pub mod paths;
pub mod places;
mod probe;
mod problems;
mod query;
pub mod reply;
mod router;
pub mod session;
pub mod sessions;
pub mod socket;
mod stream;
mod token;

pub use body::Room;
pub use router::router;
pub use sessions::Snapfs;
pub use stream::Turns;
