//! Scans that come again and again.
//!
//! [`step`] decides, [`runner`] does: it looks at the store once a second for what is due, and every few seconds, or when a
//! host links or a scan ends, at the runs that wait or run. All that counts is in the store, so a gateway that was killed
//! goes on where it was.

pub mod cadence;
mod calendar;
mod runner;
pub mod step;
#[cfg(test)]
mod tests;
pub mod window;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hostler_model::{ByteStr, HostId, ScanId, ScanOptions, ScheduleId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::events::Events;
use crate::fleet::Fleet;
use crate::scans::{self, Scans, StartScan, StartScanError, Trigger};
use crate::store::{Scan, Schedule, ScheduleState, Store, StoreError};
use step::Plan;

/// A schedule as somebody wants it.
#[derive(Clone, Debug)]
pub struct NewSchedule {
    /// The host that walks.
    pub host: HostId,
    /// Absolute path.
    pub root: ByteStr,
    /// How.
    pub options: ScanOptions,
    /// How often; see [`cadence`].
    pub cadence: String,
    /// IANA name; the gateway's own zone when there is none.
    pub zone: Option<String>,
    /// When it may run; see [`window`].
    pub window: Option<String>,
    /// Spread the runs of many schedules; when nothing is said, where no exact time was typed.
    pub spread: Option<bool>,
    /// Off or on.
    pub enabled: bool,
    /// Who makes it.
    pub created_by: String,
}

/// What is to be different; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct ScheduleChange {
    /// See [`NewSchedule::root`].
    pub root: Option<ByteStr>,
    /// See [`NewSchedule::options`].
    pub options: Option<ScanOptions>,
    /// See [`NewSchedule::cadence`].
    pub cadence: Option<String>,
    /// See [`NewSchedule::zone`].
    pub zone: Option<String>,
    /// See [`NewSchedule::window`]; an empty one takes it away.
    pub window: Option<String>,
    /// See [`NewSchedule::spread`].
    pub spread: Option<bool>,
    /// Off or on.
    pub enabled: Option<bool>,
}

/// Why a schedule was not kept or not run.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// A part of it makes no sense.
    #[error("{text}")]
    Invalid {
        /// Which part: `cadence`, `zone`, `window` or `root`.
        field: &'static str,
        /// What is wrong.
        text: String,
    },
    /// A run of it waits or runs.
    #[error("a scan of this schedule waits or runs already; let it end or cancel it")]
    Busy,
    /// The scan was not begun, or the host refuses the directory.
    #[error(transparent)]
    Start(#[from] StartScanError),
    /// The store failed, or does not know it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Keeps schedules and runs them. Cheap to clone.
#[derive(Clone)]
pub struct Schedules(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    fleet: Fleet,
    scans: Scans,
    events: Events,
    stopping: CancellationToken,
    memory: Mutex<Memory>,
}

/// What a new start need not know.
#[derive(Default)]
struct Memory {
    /// A call to begin their run is under way.
    starting: HashSet<ScheduleId>,
    /// Tried in vain; not before then again.
    not_before: HashMap<ScheduleId, Instant>,
    /// Scans that this process began for a schedule.
    ours: HashSet<ScanId>,
    /// Scans that a closed window paused.
    window_paused: HashSet<ScanId>,
}

impl Schedules {
    /// Runs nothing before [`Schedules::run`].
    pub fn new(store: Arc<dyn Store>, fleet: Fleet, scans: Scans, events: Events, stopping: CancellationToken) -> Self {
        Self(Arc::new(Inner { store, fleet, scans, events, stopping, memory: Mutex::default() }))
    }

    /// Keeps a new schedule. A host that is linked is asked whether it grants the directory.
    pub async fn create(&self, new: NewSchedule) -> Result<Schedule, ScheduleError> {
        let now = clock::now();
        let host = self.0.store.host(new.host).await?;
        let mut schedule = Schedule {
            id: ScheduleId::new(),
            host: host.id,
            host_name: host.name,
            root: new.root,
            options: new.options,
            cadence: new.cadence,
            zone: new.zone.filter(|zone| !zone.is_empty()).unwrap_or_else(cadence::local_zone),
            window: new.window.filter(|window| !window.trim().is_empty()),
            spread: new.spread.unwrap_or(false),
            enabled: new.enabled,
            created_by: new.created_by,
            created_at: now,
            anchor: now,
            revision: 0,
            state: ScheduleState::default(),
        };
        let plan = understand(&mut schedule)?;
        schedule.spread = new.spread.unwrap_or_else(|| plan.cadence().spreads());
        self.check_root(&mut schedule).await?;
        schedule.state.next_run_at = next(&schedule)?;
        self.0.store.create_schedule(schedule.clone()).await?;
        Ok(schedule)
    }

    /// Changes a schedule. A new cadence or zone counts from now, and so does one that is switched on.
    pub async fn change(&self, id: ScheduleId, change: ScheduleChange) -> Result<Schedule, ScheduleError> {
        let mut schedule = self.0.store.schedule(id).await?;
        let before = schedule.clone();
        let asks_host = change.root.is_some();
        schedule.root = change.root.unwrap_or(schedule.root);
        schedule.options = change.options.unwrap_or(schedule.options);
        schedule.cadence = change.cadence.unwrap_or(schedule.cadence);
        schedule.zone = change.zone.filter(|zone| !zone.is_empty()).unwrap_or(schedule.zone);
        schedule.window = change.window.or(schedule.window).filter(|window| !window.trim().is_empty());
        schedule.spread = change.spread.unwrap_or(schedule.spread);
        schedule.enabled = change.enabled.unwrap_or(schedule.enabled);
        understand(&mut schedule)?;
        if asks_host {
            self.check_root(&mut schedule).await?;
        }
        let of_time = |s: &Schedule| (s.cadence.clone(), s.zone.clone(), s.spread, s.enabled);
        if schedule.cadence != before.cadence {
            schedule.anchor = clock::now();
        }
        if of_time(&schedule) != of_time(&before) {
            schedule.state.next_run_at = next(&schedule)?;
        }
        self.0.store.change_schedule(schedule).await?;
        Ok(self.0.store.schedule(id).await?)
    }

    /// Runs it now, whatever its window says. The run takes the place of one that waits.
    pub async fn run_now(&self, id: ScheduleId, requested_by: String) -> Result<Scan, ScheduleError> {
        let schedule = self.0.store.schedule(id).await?;
        let running = schedule.state.running.is_some_and(|scan| self.0.scans.live(scan).is_some());
        if running || !self.0.memory().starting.insert(id) {
            return Err(ScheduleError::Busy);
        }
        let begun = self.0.begin(&schedule, requested_by, false).await;
        self.0.memory().starting.remove(&id);
        Ok(begun?)
    }

    /// Stores the directory as the host resolves it, when the host is there to say.
    async fn check_root(&self, schedule: &mut Schedule) -> Result<(), ScheduleError> {
        let host = self.0.store.host(schedule.host).await?;
        match self.0.scans.check_root(host.id, host.protocol, &schedule.root).await {
            Ok(resolved) => schedule.root = resolved,
            Err(StartScanError::Unreachable(_) | StartScanError::NotLinked(_)) => {}
            Err(error) => return Err(ScheduleError::Invalid { field: "root", text: error.to_string() }),
        }
        Ok(())
    }
}

impl Inner {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the scan and keeps that it runs; `due` when it is the run that is due.
    async fn begin(&self, schedule: &Schedule, requested_by: String, due: bool) -> Result<Scan, StartScanError> {
        let request = StartScan {
            host: schedule.host,
            root: schedule.root.clone(),
            options: schedule.options.clone(),
            requested_by,
            trigger: Trigger::Schedule(schedule.id.to_string()),
        };
        let scan = self.scans.start(request).await?;
        self.memory().ours.insert(scan.id);
        self.alter(schedule.id, |state| {
            state.running = Some(scan.id);
            state.waits_for = None;
            if !due {
                state.due_at = None;
            }
        })
        .await?;
        Ok(scan)
    }

    /// Changes where a schedule is; again from the start when somebody changed the schedule meanwhile.
    async fn alter(&self, id: ScheduleId, change: impl Fn(&mut ScheduleState)) -> Result<(), StoreError> {
        loop {
            let schedule = match self.store.schedule(id).await {
                Ok(schedule) => schedule,
                // Its scan goes on without it.
                Err(StoreError::NotFound { .. }) => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut state = schedule.state;
            change(&mut state);
            if self.store.schedule_stepped(id, schedule.revision, state, None).await? {
                return Ok(());
            }
        }
    }
}

/// Checks every part, and writes cadence and window as they are kept.
fn understand(schedule: &mut Schedule) -> Result<Plan, ScheduleError> {
    let invalid = |field: &'static str, text: String| ScheduleError::Invalid { field, text };
    let request = StartScan {
        host: schedule.host,
        root: schedule.root.clone(),
        options: schedule.options.clone(),
        requested_by: String::new(),
        trigger: Trigger::default(),
    };
    scans::check(&request).map_err(|error| invalid("root", error.to_string()))?;
    schedule.cadence.parse::<cadence::Cadence>().map_err(|error| invalid("cadence", error.to_string()))?;
    cadence::zone(&schedule.zone).map_err(|text| invalid("zone", text))?;
    let plan = Plan::of(schedule).map_err(|text| invalid("window", text))?;
    schedule.cadence = plan.cadence().to_string();
    schedule.window = plan.window().map(ToString::to_string);
    Ok(plan)
}

fn next(schedule: &Schedule) -> Result<Option<hostler_model::Timestamp>, ScheduleError> {
    let plan = Plan::of(schedule).map_err(|text| ScheduleError::Invalid { field: "cadence", text })?;
    Ok(plan.next(clock::now()).filter(|_| schedule.enabled))
}
