//! The client side of SnapFS: what a host says to a SnapFS gateway, in both generations of the wire.
//!
//! [`scan`] is one scan in the place of `snapfs scan`; the agent in the place of `snapfs agent` and
//! `snapfs-agent-scanner` runs such scans when its gateway asks for them.

mod agent;
mod config;
mod gateway;
mod outcome;
mod scan;
mod settings;
mod spool;

pub use agent::run_agent;
pub use config::{AgentFlags, AgentSettings, ConfigError, Environment, Flags, Generation, SocketUrl, scan_settings};
pub use gateway::{Drained, Gateway, GatewayError};
pub use outcome::{Listener, ScanEnd, ScanOutcome, ScanReport};
pub use scan::scan;
pub use settings::{Credentials, GatewaySettings, ScanSettings, ScanTarget, Secret, Trigger, Waits};
