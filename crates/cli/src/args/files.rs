//! Scans and the file index.

use std::ffi::OsString;

use clap::{Args, Subcommand};
use hostler_model::{Algorithm, ScanId, ScanLimits, ScanOptions, ScanState, size};

use super::{Changes, Connection, Dups, Growth, Limit, Schedule, ScheduleRef, Schedules};

#[derive(Args)]
pub struct Scan {
    /// Directory to scan; relative to the current one
    pub path: OsString,
    /// Host that holds it: name or id; may be left out when there is one
    #[arg(long)]
    pub host: Option<String>,
    #[command(flatten)]
    pub options: ScanFlags,
    /// Print the scan's id and return at once
    #[arg(long)]
    pub detach: bool,
    #[command(flatten)]
    pub connection: Connection,
}

/// How to scan
#[derive(Args)]
pub struct ScanFlags {
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
    /// Use at most this percentage of one core; 200 are two cores
    #[arg(long, value_name = "PERCENT", default_value = "0", hide_default_value = true)]
    pub cpu: u32,
    /// Read at most so many bytes a second, such as 50M
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "0", hide_default_value = true)]
    pub rate: u64,
    /// Read only when nobody else does
    #[arg(long)]
    pub idle: bool,
}

impl ScanFlags {
    /// What was typed.
    pub fn options(&self) -> ScanOptions {
        ScanOptions {
            algorithm: self.algorithm,
            force: self.force,
            excludes: self.exclude.clone(),
            one_file_system: self.one_file_system,
            snapshots: self.snapshots,
            hash_min_size: self.hash_min_size,
            hash_max_size: self.hash_max_size,
            limits: ScanLimits { cpu_percent: self.cpu, bytes_per_second: self.rate, idle: self.idle },
        }
    }
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
    /// What changed between two scans of a directory
    Changes(Changes),
    /// How a directory and its subdirectories grew, and how much was exchanged
    Growth(Growth),
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
#[allow(clippy::large_enum_variant, reason = "a process makes one of these")]
pub enum Scans {
    /// Scans, newest first
    List(ScansList),
    /// One scan with its changes and errors
    Show(ScanRef),
    /// Stop a scan; the index stays as it was
    Cancel(ScanRef),
    /// Halt a scan that waits or runs
    Pause(ScanRef),
    /// Let a paused scan go on
    Resume(ScanRef),
    /// Scan a directory again and again
    Schedule(Schedule),
    /// List schedules with their next and last run; switch them on and off, run them
    Schedules(Schedules),
    /// Delete a schedule; its scans stay
    Unschedule(ScheduleRef),
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
