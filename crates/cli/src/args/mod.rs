//! What can be typed.

mod drop_in;
mod files;
mod fleet;
mod inventory;
mod people;
mod schedules;
mod server;
mod webhooks;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use hostler_identity::Pin;

pub use drop_in::*;
pub use files::*;
pub use fleet::*;
pub use inventory::*;
pub use people::*;
pub use schedules::*;
pub use server::*;
pub use webhooks::*;

/// One agent per host, one gateway for the fleet
#[derive(Parser)]
#[command(
    name = "hostler",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Start with `hostler up`, then `hostler scan PATH`. Join another host with `hostler hosts token`."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "a process makes one of these")]
pub enum Command {
    /// Run the gateway and this host's agent in one process, and print a sign-in link
    Up(Up),
    /// Run the gateway alone, or back it up and restore it
    Gateway(Gateway),
    /// Run this host's agent
    Agent(Agent),
    /// Join this host to a gateway and install its agent as a service
    Join(Join),
    /// Find out what is wrong between this host and its gateway
    Doctor(Doctor),
    /// Scan a directory and follow it to the end
    Scan(Scan),
    /// Search, browse and compare the indexed files
    #[command(subcommand)]
    Files(Files),
    /// List, show, pause and cancel scans, and schedule them
    #[command(subcommand)]
    Scans(Scans),
    /// List, show, join and remove hosts
    #[command(subcommand)]
    Hosts(Hosts),
    /// List and revoke the tokens that join hosts
    #[command(subcommand)]
    JoinTokens(JoinTokens),
    /// What happened on all hosts
    Events(Events),
    /// Who changed what, on which host, from where
    Audit(Audit),
    /// Make, list, change and delete users
    #[command(subcommand)]
    Users(Users),
    /// List and end browsers' sessions
    #[command(subcommand)]
    Sessions(Sessions),
    /// Tell other programs by HTTP when scans end or find changes
    #[command(subcommand)]
    Webhooks(Webhooks),
    /// Make, list and revoke API keys
    #[command(subcommand)]
    ApiKeys(ApiKeys),
    /// Print a new one-time sign-in link
    SignIn(SignIn),
    /// Take the place of another program, with its flags and its environment
    #[command(subcommand)]
    DropIn(DropIn),
    /// Print a shell's completions
    Completions(Completions),
    /// Write the man pages into a directory
    Man(Man),
}

impl Command {
    /// What is logged unless `HOSTLER_LOG` says otherwise.
    pub const fn log_filter(&self) -> &'static str {
        match self {
            Self::DropIn(drop_in) => drop_in.log_filter(),
            _ => "warn",
        }
    }
}

/// How a client command reaches the gateway
#[derive(Args, Clone)]
#[command(next_help_heading = "Gateway")]
pub struct Connection {
    /// URL of the gateway [default: the local socket in the data directory]
    #[arg(long, value_name = "URL", env = "HOSTLER_URL")]
    pub gateway: Option<String>,
    /// SHA-256 of the gateway's public key, when its certificate is self-made
    #[arg(long, value_name = "sha256//BASE64", env = "HOSTLER_PIN")]
    pub pin: Option<Pin>,
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
pub struct Limit {
    /// At most this many rows
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub limit: u64,
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
