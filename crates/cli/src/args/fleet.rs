//! Hosts, and what happens on them.

use clap::{Args, Subcommand};
use hostler_model::{JoinTokenId, time};

use super::{Connection, Limit};

#[derive(Subcommand)]
pub enum Hosts {
    /// All hosts with their last proof
    List(HostsList),
    /// One host with its link, its grants, its capabilities and its indexed directories
    Show(HostRef),
    /// Print the line that joins another host when it is pasted there
    Token(HostToken),
    /// Ask hosts to prove their capabilities now
    Probe(HostsProbe),
    /// Remove a host: its key is revoked, its link ends, its index goes
    Remove(HostRemove),
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

#[derive(Args)]
pub struct HostToken {
    /// A note for the list of tokens, such as the host it is meant for
    #[arg(long, default_value = "")]
    pub note: String,
    /// How long the token works, such as 1h or 7d
    #[arg(long, value_name = "AGE", value_parser = time::parse_age, default_value = "1h")]
    pub expires: u64,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct HostsProbe {
    /// Name or id; all linked hosts when left out
    pub host: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct HostRemove {
    /// Name or id
    pub host: String,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Subcommand)]
pub enum JoinTokens {
    /// All tokens, newest first, without their secrets
    List(JoinTokensList),
    /// Make a token useless at once; a host that joined with it stays
    Revoke(JoinTokenRevoke),
}

#[derive(Args)]
pub struct JoinTokensList {
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct JoinTokenRevoke {
    /// The token's id
    pub id: JoinTokenId,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct Events {
    /// Only of this host: name or id
    #[arg(long)]
    pub host: Option<String>,
    /// Only of this kind, such as host.linked, or the beginning of kinds, such as host
    #[arg(long)]
    pub kind: Option<String>,
    /// info, warning or error and worse
    #[arg(long, value_name = "SEVERITY")]
    pub severity: Option<String>,
    /// Only those whose text holds this
    #[arg(long)]
    pub text: Option<String>,
    /// Only those of this age or younger, such as 2h, or after this RFC 3339 time
    #[arg(long, value_name = "AGE")]
    pub since: Option<String>,
    /// Stay and print events as they come
    #[arg(long)]
    pub follow: bool,
    #[command(flatten)]
    pub limit: Limit,
    #[command(flatten)]
    pub connection: Connection,
}
