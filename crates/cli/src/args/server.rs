//! The long-running sides, and joining them.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Connection;

/// How a gateway is reached
#[derive(Args, Clone)]
pub struct Serve {
    /// Address to listen on; beyond loopback with TLS
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7440")]
    pub listen: SocketAddr,
    /// Data directory [default: /var/lib/hostler for root, else $XDG_DATA_HOME/hostler]
    #[arg(long, value_name = "DIR", env = "HOSTLER_DATA")]
    pub data: Option<PathBuf>,
    /// Certificate chain in PEM [default: a self-made one when listening beyond loopback]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Serve plain HTTP to other machines too
    #[arg(long, conflicts_with = "tls_cert")]
    pub insecure_http: bool,
    /// URL under which people and hosts reach this gateway, such as https://hosts.example.com/hostler behind a proxy
    #[arg(long, value_name = "URL")]
    pub external_url: Option<String>,
    /// Address of a reverse proxy whose X-Forwarded-For is believed; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub trusted_proxy: Vec<IpAddr>,
    /// Directory with binaries for other architectures, named hostler-linux-ARCH
    #[arg(long, value_name = "DIR")]
    pub agent_binary: Option<PathBuf>,
    /// Let webhooks lead to link-local addresses, where clouds keep credentials, and to this gateway too
    #[arg(long)]
    pub webhooks_anywhere: bool,
    /// Ask SnapFS clients for an API key also on this machine
    #[arg(long)]
    pub snapfs_require_key: bool,
}

#[derive(Args)]
pub struct Up {
    #[command(flatten)]
    pub serve: Serve,
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Gateway {
    #[command(subcommand)]
    pub command: Option<GatewayCommand>,
    #[command(flatten)]
    pub serve: Serve,
    /// Where everything is kept: sqlite:DIR [default: the data directory]
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
}

#[derive(Subcommand)]
pub enum GatewayCommand {
    /// Write a backup of a running gateway into a file
    Backup(Backup),
    /// Replace what a gateway keeps by a backup, running or stopped
    Restore(Restore),
}

#[derive(Args)]
pub struct Backup {
    /// The file to write; it must not exist
    pub file: PathBuf,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct Restore {
    /// A file that `hostler gateway backup` wrote
    pub file: PathBuf,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct Agent {
    /// Serve the link on standard input and output, as `ssh HOST hostler agent --stdio` does
    #[arg(long, conflicts_with_all = ["gateway", "token"])]
    pub stdio: bool,
    /// Gateway to join at the first start; later starts know it
    #[arg(long, value_name = "URL", requires = "token")]
    pub gateway: Option<String>,
    /// Join token for the first start
    #[arg(long, value_name = "TOKEN", env = "HOSTLER_JOIN_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Data directory [default: /var/lib/hostler for root, else $XDG_DATA_HOME/hostler]
    #[arg(long, value_name = "DIR", env = "HOSTLER_DATA")]
    pub data: Option<PathBuf>,
}

#[derive(Args)]
pub struct Join {
    /// The gateway's URL
    pub url: String,
    /// The token that `hostler hosts token` made
    pub token: String,
    /// Data directory [default: /var/lib/hostler for root, else $XDG_DATA_HOME/hostler]
    #[arg(long, value_name = "DIR", env = "HOSTLER_DATA")]
    pub data: Option<PathBuf>,
    /// How the agent is kept running [default: system for root, else user]
    #[arg(long, value_name = "KIND")]
    pub service: Option<Service>,
    /// Name in the fleet [default: the host's name]
    #[arg(long)]
    pub name: Option<String>,
    /// Forget the identity that is there, as on a copy of another host
    #[arg(long)]
    pub new_identity: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// A systemd unit of the system
    System,
    /// A systemd unit of this user
    User,
    /// None: you run `hostler agent`
    None,
}

#[derive(Args)]
pub struct Doctor {
    /// Gateway to check [default: the one this host joined, or the one in the data directory]
    #[arg(long, value_name = "URL", env = "HOSTLER_URL")]
    pub gateway: Option<String>,
    /// Data directory [default: /var/lib/hostler for root, else $XDG_DATA_HOME/hostler]
    #[arg(long, value_name = "DIR", env = "HOSTLER_DATA")]
    pub data: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
