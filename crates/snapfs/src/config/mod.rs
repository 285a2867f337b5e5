//! From flags and environment to settings: a flag wins over a variable, a variable over the default.
//!
//! Variables are those of the programs whose place is taken. An empty one counts as not set.

mod agent;
mod common;
mod urls;

use std::ffi::OsString;

pub use agent::{AgentFlags, AgentSettings, Generation};
pub use common::{Flags, scan_settings};
pub use urls::SocketUrl;

/// Looks up an environment variable.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Flags and environment cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A scan was not told where its gateway is.
    #[error("no gateway was given: use -g URL or set SNAPFS_GATEWAY, such as http://gateway.example.com:7440")]
    NoGateway,
    /// The agent was not told where its gateway is.
    #[error(
        "no gateway was given: use -g URL or set SNAPFS_GATEWAY, such as https://gateway.example.com:7440 (or, for the protocol of snapfs-agent-scanner, --gateway-ws URL or GATEWAY_WS, such as ws://gateway:8000)"
    )]
    NoAgentGateway,
    /// The agent was not told what it may scan.
    #[error("no directory to scan was given: use --root DIR or set SNAPFS_SCAN_ROOT")]
    NoRoot,
    /// A URL cannot be used; it is not repeated, since it may hold a key.
    #[error("{given}: {why}")]
    Url {
        /// The flag and the variable it may come from.
        given: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The gateway is on another machine and would be spoken to in the clear.
    #[error(
        "the gateway {0} is on another machine and not reached by https://; use https, or set SNAPFS_ALLOW_INSECURE_GATEWAY=1 where keys and file names may cross the network in the clear"
    )]
    Insecure(String),
    /// A variable's value cannot be used.
    #[error("{name} is {value:?}: {why}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// What it is set to.
        value: String,
        /// What it should be.
        why: &'static str,
    },
    /// A variable is not UTF-8; its value is not shown.
    #[error("{0} is not UTF-8")]
    NotUtf8(&'static str),
}

/// A variable's text; `None` when it is not set or empty.
fn text(env: Environment<'_>, name: &'static str) -> Result<Option<String>, ConfigError> {
    let Some(value) = env(name) else { return Ok(None) };
    let value = value.into_string().map_err(|_| ConfigError::NotUtf8(name))?;
    Ok(Some(value.trim().to_owned()).filter(|value| !value.is_empty()))
}
