//! What became of files: duplicates, changes, growth.

use std::ffi::OsString;

use clap::{ArgGroup, Args};
use hostler_gateway::duplicates::{Action, Keep};

use super::{Connection, Limit};

#[derive(Args)]
#[command(group(ArgGroup::new("what").args(["plan", "script"])))]
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
    /// The name ends in a dot and this; may be repeated
    #[arg(long, value_name = "EXTENSION")]
    pub ext: Vec<String>,
    /// Show which copies would stay and which would go
    #[arg(long, help_heading = "Clean up")]
    pub plan: bool,
    /// Print a shell script for one host that does it; nothing is done until you run it there with --run
    #[arg(long, help_heading = "Clean up", conflicts_with = "json")]
    pub script: bool,
    /// Which copy stays: oldest, newest, shortest-path, longest-path or first; between equals the first by path
    #[arg(long, value_name = "RULE", default_value_t = Keep::Oldest, requires = "what", help_heading = "Clean up")]
    pub keep: Keep,
    /// Keep a copy below this directory when there is one, before the rule; may be repeated, the most preferred first
    #[arg(long, value_name = "DIR", requires = "what", help_heading = "Clean up")]
    pub prefer: Vec<OsString>,
    /// Never touch names below this directory; may be repeated
    #[arg(long, value_name = "DIR", requires = "what", help_heading = "Clean up")]
    pub protect: Vec<OsString>,
    /// What becomes of the others: remove, hardlink or reflink
    #[arg(long, value_name = "ACTION", default_value_t = Action::Remove, requires = "what", help_heading = "Clean up")]
    pub action: Action,
    /// Let a copy on another host count as the one that stays; by default each host keeps one
    #[arg(long, requires = "what", help_heading = "Clean up")]
    pub across_hosts: bool,
    #[command(flatten)]
    pub limit: Limit,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct Changes {
    /// Indexed directory, or one below it; may be left out when there is one
    pub path: Option<OsString>,
    /// Host: name or id; may be left out when there is one
    #[arg(long)]
    pub host: Option<String>,
    /// Earlier scan: its id, or an age such as 7d for the last one before that [default: the one before the later scan]
    #[arg(long, value_name = "SCAN|AGE")]
    pub from: Option<String>,
    /// Later scan, in the same words [default: the last one]
    #[arg(long, value_name = "SCAN|AGE")]
    pub to: Option<String>,
    /// Only created, modified, metadata, deleted or moved; several between commas
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub op: Vec<String>,
    #[command(flatten)]
    pub limit: Limit,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct Growth {
    /// Directory; the current one by default
    pub path: Option<OsString>,
    /// Host: name or id; may be left out when there is one
    #[arg(long)]
    pub host: Option<String>,
    /// Since this age, such as 7d, or this RFC 3339 time
    #[arg(long, value_name = "AGE", default_value = "30d")]
    pub since: String,
    #[command(flatten)]
    pub connection: Connection,
}
