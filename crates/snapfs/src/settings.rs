//! Where the gateway is, and how to scan: the same for one scan and for the agent.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use hostler_model::{Algorithm, ByteStr};

/// A key or a token; never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes it as it was given.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the header it goes into.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What proves who the host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Nothing: gateways that ask for nothing.
    None,
    /// Sent as it is.
    Token(Secret),
    /// Exchanged for a token at `/api/auth/token`.
    ApiKey(Secret),
}

/// A SnapFS gateway's HTTP side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Base URL without a trailing slash; its path comes before every route.
    pub http: String,
    /// What proves who the host is.
    pub credentials: Credentials,
    /// Scopes to ask for with an API key; none are asked for when empty.
    pub scopes: Vec<String>,
    /// Subject of file events and of a scan's start and end.
    pub subject: String,
    /// Subject of telemetry and errors.
    pub events_subject: String,
    /// Directory that keeps what could not be published yet; made when missing.
    pub spool: PathBuf,
    /// Bytes it may hold.
    pub spool_bytes: u64,
    /// How long the client waits for the gateway.
    pub waits: Waits,
}

/// How long the client waits for a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// One call in all; 30 s.
    pub call: Duration,
    /// The exchange of a key for a token; 15 s.
    pub token: Duration,
    /// Before the first repetition of a failed call, which it doubles each time; 500 ms.
    pub first_retry: Duration,
    /// Between two repetitions at most; 15 s.
    pub longest_retry: Duration,
    /// For a gateway that is away, once a scan has nothing else left to do; 60 s.
    pub give_up: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(30),
            token: Duration::from_secs(15),
            first_retry: Duration::from_millis(500),
            longest_retry: Duration::from_secs(15),
            give_up: Duration::from_secs(60),
        }
    }
}

/// How to scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanSettings {
    /// SHA-1, SHA-256 or XXH64.
    pub algorithm: Algorithm,
    /// Threads that hash, 1 or more.
    pub workers: usize,
    /// Told in events; content is read in buffers of our own.
    pub hash_chunk_size: u64,
    /// Files a probe asks for.
    pub probe_batch: usize,
    /// Files a call publishes.
    pub publish_batch: usize,
    /// How often telemetry is sent; `None` for never.
    pub telemetry_interval: Option<Duration>,
    /// Patterns in gitignore syntax of what is left out.
    pub excludes: Vec<String>,
    /// Stay on the root's filesystem.
    pub one_file_system: bool,
}

/// Who asked for a scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trigger {
    /// A person.
    #[default]
    Manual,
    /// A schedule.
    Schedule,
    /// A program.
    Api,
}

impl Trigger {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Schedule => "schedule",
            Self::Api => "api",
        }
    }

    /// The word on the wire; anything unknown is manual.
    pub fn from_word(word: &str) -> Self {
        match word {
            "schedule" => Self::Schedule,
            "api" => Self::Api,
            _ => Self::Manual,
        }
    }
}

/// One scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanTarget {
    /// Absolute, with symbolic links resolved.
    pub root: ByteStr,
    /// Names the scan in all its events.
    pub scan_id: String,
    /// Who asked.
    pub trigger: Trigger,
    /// Which schedule.
    pub schedule_id: Option<String>,
    /// Hash also what the gateway knows.
    pub force: bool,
}
