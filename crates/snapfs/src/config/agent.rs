//! How the agent finds its gateway, and what it may scan.
//!
//! | given | socket | HTTP |
//! |---|---|---|
//! | `GATEWAY_WS` | first generation, `/agents` behind that URL | host and port of that URL |
//! | `SNAPFS_GATEWAY` | second generation, `/ws/agents` on that URL's host | that URL |
//! | both | first generation, as `GATEWAY_WS` says | `SNAPFS_GATEWAY` |

use std::path::PathBuf;
use std::time::Duration;

use hostler_model::ByteStr;

use super::common::{self, Flags, number};
use super::urls::{Base, SocketUrl};
use super::{ConfigError, Environment, text};
use crate::settings::{Credentials, GatewaySettings, ScanSettings};

/// A `PING` is never sent more often.
const PING_MIN: u64 = 5;
/// Where a container finds its gateway when nothing was said.
const CONTAINER_GATEWAY: &str = "ws://gateway:8000";
/// What a container scans when nothing was said.
const CONTAINER_ROOT: &str = "/data";

/// What the agent was told on its command line.
#[derive(Clone, Debug, Default)]
pub struct AgentFlags {
    /// Shared with a scan.
    pub flags: Flags,
    /// `--agent-id`
    pub agent_id: Option<String>,
    /// `--root`, `--scan-root`
    pub root: Option<PathBuf>,
    /// `--gateway-ws`
    pub gateway_ws: Option<String>,
    /// `--ws-path`
    pub ws_path: Option<String>,
    /// Called as `snapfs-agent-scanner`, whose `--gateway` is the socket's and wins over `--gateway-ws`.
    pub as_scanner: bool,
    /// Runs in a container, where there are defaults.
    pub in_container: bool,
}

impl AgentFlags {
    /// The directory outside of which nothing is scanned, absolute. `SNAPFS_SCANNER_ROOT` is what `snapfs agent` tells
    /// its gateway when it has no other.
    ///
    /// # Errors
    /// [`ConfigError::NoRoot`].
    pub fn root(&self, env: Environment<'_>) -> Result<ByteStr, ConfigError> {
        let of = |name| env(name).map(PathBuf::from);
        let named = self.root.clone().into_iter().chain(of("SNAPFS_SCAN_ROOT")).chain(of("SNAPFS_SCANNER_ROOT"));
        let named = named.chain(self.in_container.then(|| PathBuf::from(CONTAINER_ROOT)));
        let root = named.into_iter().find(|root| !root.as_os_str().is_empty()).ok_or(ConfigError::NoRoot)?;
        // It fails only without a current directory; then what is there is told when it is scanned.
        let root = std::path::absolute(&root).unwrap_or(root);
        Ok(ByteStr::from(root.as_os_str().as_encoded_bytes()))
    }
}

/// Which of the two protocols an agent speaks on its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// That of `snapfs-agent-scanner`.
    First,
    /// That of `snapfs agent`.
    Second,
}

/// All the agent needs to know.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// What is spoken on the socket.
    pub generation: Generation,
    /// Where the socket is.
    pub socket: SocketUrl,
    /// The HTTP side.
    pub gateway: GatewaySettings,
    /// How it scans.
    pub scan: ScanSettings,
    /// What the gateway knows it by.
    pub agent_id: String,
    /// Nothing outside may be scanned; absolute, links not resolved.
    pub root: ByteStr,
    /// Told to the gateway.
    pub scanner_type: String,
    /// Told to the gateway; one scan runs at a time whatever it says.
    pub max_concurrency: u64,
    /// Between two `PING`s.
    pub ping_interval: Duration,
}

impl AgentSettings {
    /// From flags, environment and, in a container, its defaults.
    ///
    /// # Errors
    /// [`ConfigError`]: no gateway, no directory, a gateway in the clear, or a value that cannot be used.
    pub fn new(given: &AgentFlags, env: Environment<'_>) -> Result<Self, ConfigError> {
        let flags = &given.flags;
        let (gateway_flag, ws_flag) = match given.as_scanner {
            true => (&None, flags.gateway.as_ref().or(given.gateway_ws.as_ref())),
            false => (&flags.gateway, given.gateway_ws.as_ref()),
        };
        let of = |flag: Option<&String>, name| match flag {
            Some(value) => Ok(Some(value.clone())),
            None => text(env, name),
        };
        let http = of(gateway_flag.as_ref(), "SNAPFS_GATEWAY")?;
        let mut ws = of(ws_flag, "GATEWAY_WS")?;
        if http.is_none() && ws.is_none() && given.in_container {
            ws = Some(CONTAINER_GATEWAY.to_owned());
        }
        let http = http.map(|url| Base::parse(&url, "-g or SNAPFS_GATEWAY")).transpose()?;
        let ws = ws.map(|url| Base::parse(&url, "--gateway-ws or GATEWAY_WS")).transpose()?;
        let path = of(given.ws_path.as_ref(), "SNAPFS_AGENT_WS_PATH")?;
        let path = |default: &'static str| path.clone().unwrap_or_else(|| default.to_owned());
        let (generation, socket, http) = match (ws, http) {
            (Some(ws), http) => {
                let http = http.map_or_else(|| ws.http_origin(), |http| http.http());
                (Generation::First, ws.socket(&path("/agents"), true)?, http)
            }
            (None, Some(http)) => {
                if !http.is_safe() && !allows_insecure(env)? {
                    return Err(ConfigError::Insecure(http.http_origin()));
                }
                (Generation::Second, http.socket(&path("/ws/agents"), false)?, http.http())
            }
            (None, None) => return Err(ConfigError::NoAgentGateway),
        };
        Ok(Self {
            generation,
            socket,
            gateway: common::gateway(flags, env, http, credentials(flags, env)?)?,
            scan: common::scan(flags, env)?,
            agent_id: of(given.agent_id.as_ref(), "SNAPFS_AGENT_ID")?.unwrap_or_else(|| "scanner-01".to_owned()),
            root: given.root(env)?,
            scanner_type: text(env, "SNAPFS_SCANNER_TYPE")?.map_or_else(|| "fs".to_owned(), |t| t.to_lowercase()),
            max_concurrency: number(env, "SNAPFS_SCANNER_MAX_CONCURRENCY")?.unwrap_or(1),
            ping_interval: Duration::from_secs(number(env, "SNAPFS_AGENT_PING_INTERVAL")?.unwrap_or(30).max(PING_MIN)),
        })
    }
}

/// An API key of the environment wins over a token; one that was typed does not.
fn credentials(flags: &Flags, env: Environment<'_>) -> Result<Credentials, ConfigError> {
    let token = common::token(flags, env)?;
    let of_environment = common::api_key(&Flags::default(), env)?;
    let typed = flags.api_key.clone().filter(|_| token.is_none());
    Ok(match (typed.or(of_environment), token) {
        (Some(key), _) => Credentials::ApiKey(key),
        (None, Some(token)) => Credentials::Token(token),
        (None, None) => Credentials::None,
    })
}

fn allows_insecure(env: Environment<'_>) -> Result<bool, ConfigError> {
    Ok(matches!(text(env, "SNAPFS_ALLOW_INSECURE_GATEWAY")?.as_deref(), Some("1" | "true" | "True")))
}
