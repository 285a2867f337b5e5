//! Scans that come again and again.

use std::ffi::OsString;

use clap::{Args, Subcommand};
use hostler_model::ScheduleId;

use super::{Connection, Limit, ScanFlags};

#[derive(Args)]
#[group(id = "cadence", required = true, multiple = false, args = ["every", "at", "cron"])]
pub struct Schedule {
    /// Directory to scan; relative to the current one
    pub path: OsString,
    /// Host that holds it: name or id; may be left out when there is one
    #[arg(long)]
    pub host: Option<String>,
    /// So long after each other, such as 15m, 6h or 1d
    #[arg(long, value_name = "SPAN")]
    pub every: Option<String>,
    /// At these times: 'daily 03:30', 'weekly sun 03:30', 'monthly 1 03:30' or hourly
    #[arg(long, value_name = "TIMES")]
    pub at: Option<String>,
    /// At the times of five fields of cron(5), such as '30 3 * * 1-5'
    #[arg(long, value_name = "FIELDS")]
    pub cron: Option<String>,
    /// Time zone whose clocks count, such as Europe/Vienna [default: the gateway's]
    #[arg(long, value_name = "NAME")]
    pub zone: Option<String>,
    /// Only within these hours, such as 22:00-06:00 or 'mon-fri 22:00-06:00'; outside, the scan pauses
    #[arg(long, value_name = "HOURS")]
    pub window: Option<String>,
    /// Begin up to 10 minutes later, so that many hosts do not begin at once [default: true with --every and hourly]
    #[arg(long, value_name = "true|false")]
    pub spread: Option<bool>,
    #[command(flatten)]
    pub options: ScanFlags,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Schedules {
    #[command(subcommand)]
    pub command: Option<SchedulesCommand>,
    /// Only of this host: name or id
    #[arg(long)]
    pub host: Option<String>,
    #[command(flatten)]
    pub limit: Limit,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Subcommand)]
pub enum SchedulesCommand {
    /// Switch a schedule on
    Enable(ScheduleRef),
    /// Switch a schedule off; a scan that runs goes on
    Disable(ScheduleRef),
    /// Run a schedule now, whatever its hours
    Run(ScheduleRef),
}

#[derive(Args)]
pub struct ScheduleRef {
    /// The schedule's id
    pub id: ScheduleId,
    #[command(flatten)]
    pub connection: Connection,
}
