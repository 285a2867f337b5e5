//! In the place of another program, with its flags and its environment.

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};
use hostler_model::Algorithm;

#[derive(Subcommand)]
#[allow(clippy::enum_variant_names, reason = "each has the name of the program whose place it takes")]
pub enum DropIn {
    /// Scan when a SnapFS gateway says so, in the place of `snapfs agent`
    SnapfsAgent(SnapfsAgent),
    /// As `snapfs-agent-scanner`, whose --gateway is the socket's URL
    #[command(hide = true)]
    SnapfsAgentScanner(SnapfsAgent),
    /// Scan once and tell a SnapFS gateway, in the place of `snapfs scan`
    SnapfsScan(SnapfsScan),
}

impl DropIn {
    /// What is logged unless `HOSTLER_LOG` says otherwise.
    pub const fn log_filter(&self) -> &'static str {
        match self {
            Self::SnapfsAgent(args) | Self::SnapfsAgentScanner(args) if args.snapfs.verbose > 0 => {
                "warn,hostler_snapfs=info"
            }
            _ => "warn",
        }
    }
}

/// What both take
#[derive(Args)]
pub struct Snapfs {
    /// URL of the gateway [env: SNAPFS_GATEWAY]
    #[arg(short, long, value_name = "URL")]
    pub gateway: Option<String>,
    /// Token for the gateway; wins over an API key, in the agent only over a typed one [env: SNAPFS_TOKEN]
    #[arg(short, long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// API key, exchanged for a token [env: SNAPFS_API_KEY]
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Hash: sha1, sha256 or xxh64 [env: SNAPFS_HASH_ALGO] [default: sha1]
    #[arg(long, value_name = "ALGO", value_parser = algorithm)]
    pub algo: Option<Algorithm>,
    /// Threads that hash [env: SNAPFS_HASH_WORKERS] [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: Option<u16>,
    /// Told to the gateway; content is read in buffers of our own [env: SNAPFS_HASH_CHUNK_SIZE] [default: 1048576]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub hash_chunk_size: Option<u64>,
    /// Print what is hashed; twice, also what the gateway knew
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Leave out what matches this pattern in gitignore syntax; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Stay on the directory's filesystem
    #[arg(long)]
    pub one_file_system: bool,
    /// Directory that keeps what could not be published yet [default: snapfs in the data directory]
    #[arg(long, value_name = "DIR")]
    pub spool: Option<PathBuf>,
    /// Bytes it may hold, such as 512M
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = hostler_model::size::parse)]
    pub spool_size: u64,
}

#[derive(Args)]
#[command(
    after_help = "SNAPFS_GATEWAY or -g means the protocol of `snapfs agent`, GATEWAY_WS or --gateway-ws that of `snapfs-agent-scanner`; with both, the socket is that of GATEWAY_WS and files are published at SNAPFS_GATEWAY. Variables without a flag: SNAPFS_ALLOW_INSECURE_GATEWAY, SNAPFS_SUBJECT, SNAPFS_EVENTS_SUBJECT, SNAPFS_SCANNER_TOKEN_SCOPES, SNAPFS_PROBE_BATCH, SNAPFS_PUBLISH_BATCH, SNAPFS_SCAN_TELEMETRY_INTERVAL_SEC, SNAPFS_AGENT_PING_INTERVAL, SNAPFS_SCANNER_TYPE, SNAPFS_SCANNER_MAX_CONCURRENCY, SNAPFS_SCANNER_ROOT."
)]
pub struct SnapfsAgent {
    /// What the gateway knows it by [env: SNAPFS_AGENT_ID] [default: scanner-01]
    #[arg(long, value_name = "ID")]
    pub agent_id: Option<String>,
    /// Directory to scan; nothing outside is scanned [env: SNAPFS_SCAN_ROOT]
    #[arg(long, visible_alias = "scan-root", value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// URL of the socket, for the protocol of snapfs-agent-scanner [env: GATEWAY_WS]
    #[arg(long, value_name = "URL")]
    pub gateway_ws: Option<String>,
    /// Path of the socket, which may hold a key [env: SNAPFS_AGENT_WS_PATH] [default: /ws/agents, or /agents with GATEWAY_WS]
    #[arg(long, value_name = "PATH")]
    pub ws_path: Option<String>,
    #[command(flatten)]
    pub snapfs: Snapfs,
}

#[derive(Args)]
#[command(
    after_help = "The exit code is 0 when all was published, 1 when something was not, 2 when the directory or a flag cannot be used. Variables without a flag: SNAPFS_SUBJECT, SNAPFS_EVENTS_SUBJECT, SNAPFS_SCANNER_TOKEN_SCOPES, SNAPFS_PROBE_BATCH, SNAPFS_PUBLISH_BATCH, SNAPFS_SCAN_TELEMETRY_INTERVAL_SEC."
)]
pub struct SnapfsScan {
    /// Directory to scan; a symbolic link is followed
    pub path: PathBuf,
    /// Hash also what the gateway knows
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub snapfs: Snapfs,
}

/// One that SnapFS knows; in any case, as `snapfs` has it.
fn algorithm(text: &str) -> Result<Algorithm, String> {
    match text.trim().to_ascii_lowercase().parse() {
        Ok(Algorithm::Blake3) | Err(_) => Err("use sha1, sha256 or xxh64".to_owned()),
        Ok(algorithm) => Ok(algorithm),
    }
}
