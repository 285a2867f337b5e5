//! The gateway: one place that knows the fleet.
//!
//! ```text
//!  agents ──WebSocket──> links ──> fleet (who is linked, what they proved) ─┐
//!                                                                            ├─> scans ──> store (trait; SQLite)
//!  people, clients ──HTTP──> auth ──> rest  (JSON, OpenAPI, events)  ────────┤
//!                                └──> pages (server-rendered HTML)   ────────┘
//! ```
//!
//! [`Gateway::open`] opens the data directory, [`Gateway::run`] serves until it is told to stop.

mod attempts;
mod audit;
pub mod auth;
mod backup;
pub mod clock;
pub mod compare;
mod dist;
pub mod doctor;
pub mod duplicates;
pub mod events;
pub mod fleet;
mod gateway;
mod http;
mod journal;
mod links;
mod operations;
pub mod pages;
pub mod rest;
pub mod scans;
pub mod schedules;
pub mod secret;
mod snapfs;
pub mod state;
pub mod store;
mod tls;
pub mod webhooks;

pub use gateway::{Gateway, GatewayError, GatewaySettings, OfflineError, socket_path};
pub use http::ConnectionInfo;
pub use tls::{TlsError, TlsSettings};
