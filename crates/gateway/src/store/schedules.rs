//! Scans that come again and again, and what became of them.

use hostler_model::{ByteStr, HostId, ScanId, ScanOptions, ScheduleId, Timestamp};
use serde::{Deserialize, Serialize};

use super::words::words;

words! {
    /// How a scheduled run ended.
    RunOutcome, "outcome" {
        /// The scan completed.
        Completed = "completed",
        /// Somebody cancelled it.
        Cancelled = "cancelled",
        /// It could not be begun, or failed.
        Failed = "failed",
        /// It was due while the one before still waited or ran.
        Skipped = "skipped",
    }
}

words! {
    /// What a run that is due waits for.
    WaitsFor, "reason to wait" {
        /// The host is not linked.
        Host = "host",
        /// The time window is closed.
        Window = "window",
        /// Another scan of the same directory.
        Root = "root",
    }
}

/// A scan that is repeated.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Schedule {
    /// Its id.
    pub id: ScheduleId,
    /// The host that walks.
    pub host: HostId,
    /// The host's name.
    pub host_name: String,
    /// Absolute path of the directory.
    pub root: ByteStr,
    /// How it is scanned.
    pub options: ScanOptions,
    /// How often: `every 6h`, `hourly`, `daily 03:30`, `weekly sun 03:30`, `monthly 1 03:30` or five fields of cron(5).
    pub cadence: String,
    /// IANA name of the time zone whose clocks count.
    pub zone: String,
    /// When it may run: `22:00-06:00`, `mon-fri 22:00-06:00`. Outside, a scan waits or pauses.
    pub window: Option<String>,
    /// Runs come a little later than the cadence says, so that many schedules do not start at once.
    pub spread: bool,
    /// False while it is switched off.
    pub enabled: bool,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// What `every` counts from.
    #[serde(skip)]
    pub anchor: Timestamp,
    /// Grows with each write: who decided by what was there before must look again.
    #[serde(skip)]
    pub revision: u64,
    /// Where it is.
    #[serde(flatten)]
    pub state: ScheduleState,
}

/// Where a schedule is. A run that was begun by hand has no `due_at`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct ScheduleState {
    /// When it is due next; `None` while it is switched off.
    pub next_run_at: Option<Timestamp>,
    /// The run that waits or runs was due then.
    pub due_at: Option<Timestamp>,
    /// What that run waits for.
    pub waits_for: Option<WaitsFor>,
    /// The scan that runs for it.
    pub running: Option<ScanId>,
    /// The run that ended last.
    pub last_run: Option<LastRun>,
    /// The last time that was dealt with.
    #[serde(skip)]
    pub last_slot: Option<Timestamp>,
    /// How often the present run was begun and cut short.
    #[serde(skip)]
    pub cut_short: u32,
    /// It was told that the present run is late.
    #[serde(skip)]
    pub told_late: bool,
}

/// A scheduled run that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LastRun {
    /// When it ended.
    pub at: Timestamp,
    /// Its scan, when it came to one.
    pub scan: Option<ScanId>,
    /// How it ended.
    pub outcome: RunOutcome,
    /// Why, when it did not complete; else empty.
    pub message: String,
}

/// Which schedules a step looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepScope {
    /// Those whose next time has come.
    Due,
    /// Also those whose run waits or runs.
    AtWork,
    /// Also all others that are switched on.
    All,
}

/// Which schedules. Empty fields do not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduleFilter {
    /// Only of this host.
    pub host: Option<HostId>,
    /// Only of this directory.
    pub root: Option<ByteStr>,
}

/// Schedules that one gateway keeps.
pub const MAX_SCHEDULES: u64 = 50_000;
