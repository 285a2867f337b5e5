//! What can be typed.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use hostler_model::{Algorithm, ApiKeyId, Role, ScanId, ScanState, size};

/// One agent per host, one gateway for the fleet
#[derive(Parser)]
#[command(
    name = "hostler",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "Start with `hostler up`, then `hostler scan PATH`.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "a process makes one of these")]
pub enum Command {
    /// Run the gateway and this host's agent in one process, and print a sign-in link
    Up(Up),
    /// Serve this host's agent on standard input and output
    Agent(Agent),
    /// Scan a directory and follow it to the end
    Scan(Scan),
    /// Search, browse and compare the indexed files
    #[command(subcommand)]
    Files(Files),
    /// List, show and cancel scans
    #[command(subcommand)]
    Scans(Scans),
    /// List and show hosts
    #[command(subcommand)]
    Hosts(Hosts),
    /// Make, list and revoke API keys
    #[command(subcommand)]
    ApiKeys(ApiKeys),
    /// Print a new one-time sign-in link
    SignIn(SignIn),
    /// Print a shell's completions
    Completions(Completions),
    /// Write the man pages into a directory
    Man(Man),
}

#[derive(Args)]
pub struct Up {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7440")]
    pub listen: SocketAddr,
    /// Data directory [default: /var/lib/hostler for root, else $XDG_DATA_HOME/hostler]
    #[arg(long, value_name = "DIR", env = "HOSTLER_DATA")]
    pub data: Option<PathBuf>,
    /// Serve plain HTTP to other machines too
    #[arg(long)]
    pub insecure_http: bool,
}

#[derive(Args)]
pub struct Agent {
    /// Serve the link on standard input and output, as `ssh HOST hostler agent --stdio` does
    #[arg(long, required = true)]
    pub stdio: bool,
    /// Data directory [default: /var/lib/hostler for root, else $XDG_DATA_HOME/hostler]
    #[arg(long, value_name = "DIR", env = "HOSTLER_DATA")]
    pub data: Option<PathBuf>,
}

/// How a client command reaches the gateway
#[derive(Args, Clone)]
#[command(next_help_heading = "Gateway")]
pub struct Connection {
    /// URL of the gateway [default: the local socket in the data directory]
    #[arg(long, value_name = "URL", env = "HOSTLER_URL")]
    pub gateway: Option<String>,
    /// API key
    #[arg(long, value_name = "KEY", env = "HOSTLER_API_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// Data directory whose local socket is used [default: as for `hostler up`]
    #[arg(long, value_name = "DIR", env = "HOSTLER_DATA")]
    pub data: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct Scan {
    /// Directory to scan; relative to the current one
    pub path: OsString,
    /// Host that holds it: name or id; may be left out when there is one
    #[arg(long)]
    pub host: Option<String>,
    /// Hash every file again
    #[arg(long)]
    pub force: bool,
    /// Leave out what matches this gitignore pattern; may be repeated
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Stay on the root's filesystem
    #[arg(long)]
    pub one_file_system: bool,
    /// Enter .zfs and .snapshots too
    #[arg(long)]
    pub snapshots: bool,
    /// Hash algorithm: blake3, sha1, sha256 or xxh64
    #[arg(long, default_value_t = Algorithm::Blake3, value_name = "NAME")]
    pub algorithm: Algorithm,
    /// Hash only files of at least this size
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "0")]
    pub hash_min_size: u64,
    /// Hash only files of at most this size; 0 for no bound
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "0")]
    pub hash_max_size: u64,
    /// Print the scan's id and return at once
    #[arg(long)]
    pub detach: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "a process makes one of these")]
pub enum Files {
    /// Search all indexes by name, size, age, owner and hash
    Find(Find),
    /// List a directory with the sizes of all below it
    Ls(Ls),
    /// Groups of files with equal content, and what they could free
    Dups(Dups),
    /// Show one entry
    Stat(Stat),
}

#[derive(Args)]
pub struct Find {
    /// The name holds this text, or matches it as a whole when it has * or ? in it
    pub name: Option<OsString>,
    /// Only below this directory
    #[arg(long, value_name = "PATH")]
    pub root: Option<OsString>,
    /// Only on this host: name or id
    #[arg(long)]
    pub host: Option<String>,
    /// The name ends in a dot and this; may be repeated
    #[arg(long, value_name = "EXTENSION")]
    pub ext: Vec<String>,
    /// file, dir, symlink or other; may be repeated
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<String>,
    /// At least this size, such as 10M
    #[arg(long, value_name = "SIZE")]
    pub min_size: Option<String>,
    /// At most this size
    #[arg(long, value_name = "SIZE")]
    pub max_size: Option<String>,
    /// Modified within this age, such as 7d, or after this RFC 3339 time
    #[arg(long, value_name = "AGE")]
    pub newer: Option<String>,
    /// Modified before this age or time
    #[arg(long, value_name = "AGE")]
    pub older: Option<String>,
    /// Owner's name or number
    #[arg(long)]
    pub owner: Option<String>,
    /// The content's hash in hex
    #[arg(long, value_name = "HEX")]
    pub hash: Option<String>,
    /// name, size or changed
    #[arg(long, value_name = "KEY", default_value = "name")]
    pub sort: String,
    /// Greatest first
    #[arg(long)]
    pub desc: bool,
    #[command(flatten)]
    pub limit: Limit,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct Limit {
    /// At most this many rows
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub limit: u64,
}

#[derive(Args)]
pub struct Ls {
    /// Directory; the current one by default
    pub path: Option<OsString>,
    /// Host: name or id; may be left out when there is one
    #[arg(long)]
    pub host: Option<String>,
    /// name, size, files or changed
    #[arg(long, value_name = "KEY", default_value = "name")]
    pub sort: String,
    /// Greatest first
    #[arg(long)]
    pub desc: bool,
    #[command(flatten)]
    pub limit: Limit,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct Dups {
    /// Only below this directory
    #[arg(long, value_name = "PATH")]
    pub root: Option<OsString>,
    /// Only on this host: name or id
    #[arg(long)]
    pub host: Option<String>,
    /// Only files of at least this size
    #[arg(long, value_name = "SIZE")]
    pub min_size: Option<String>,
    #[command(flatten)]
    pub limit: Limit,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct Stat {
    /// The entry's path
    pub path: OsString,
    /// Host: name or id; may be left out when there is one
    #[arg(long)]
    pub host: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Subcommand)]
pub enum Scans {
    /// Scans, newest first
    List(ScansList),
    /// One scan with its changes and errors
    Show(ScanRef),
    /// Stop a scan; the index stays as it was
    Cancel(ScanRef),
}

#[derive(Args)]
pub struct ScansList {
    /// Only on this host: name or id
    #[arg(long)]
    pub host: Option<String>,
    /// Only in this state: queued, running, completed, cancelled or failed; may be repeated
    #[arg(long)]
    pub state: Vec<ScanState>,
    #[command(flatten)]
    pub limit: Limit,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct ScanRef {
    /// The scan's id
    pub id: ScanId,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Subcommand)]
pub enum Hosts {
    /// All hosts with their last proof
    List(HostsList),
    /// One host with its capabilities and indexed directories
    Show(HostRef),
}

#[derive(Args)]
pub struct HostsList {
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct HostRef {
    /// Name or id
    pub host: String,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Subcommand)]
pub enum ApiKeys {
    /// Make a key; its secret is printed this once
    Create(ApiKeyCreate),
    /// All keys, without their secrets
    List(ApiKeysList),
    /// Make a key useless at once
    Revoke(ApiKeyRevoke),
}

#[derive(Args)]
pub struct ApiKeyCreate {
    /// What to call it
    pub name: String,
    /// viewer, operator or admin
    #[arg(long)]
    pub role: Role,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct ApiKeysList {
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct ApiKeyRevoke {
    /// The key's id
    pub id: ApiKeyId,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct SignIn {
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct Completions {
    /// bash, elvish, fish, powershell or zsh
    pub shell: clap_complete::Shell,
}

#[derive(Args)]
pub struct Man {
    /// Where to write them; made when missing
    pub dir: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        super::Cli::command().debug_assert();
    }
}
