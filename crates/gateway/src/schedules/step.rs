//! What a schedule does next: a function of where it is and of what is known now. It reads no clock and asks nobody.
//!
//! ```text
//!          next_run_at comes                window open, host linked, root free
//! idle ────────────────────> due (waits) ─────────────────────────────────────> running ── ends ──> idle
//!   └─ the run before still waits or runs: skipped          ^                      │
//!                                                           └── cut short, once ───┘
//! ```
//!
//! - A time that passed while the gateway was down, or that comes while the host is away, is made up for by one run, however
//!   many times passed.
//! - A run that a stopped gateway or a lost link cut short is begun again, once.
//! - A clock that goes back does not run a time twice: the next time lies after the last one that was dealt with. When that
//!   lies more than a day ahead, the clock was wrong then, and counts no more.

use hostler_model::{ScanId, ScanState, Timestamp};

use super::cadence::{self, Cadence, Grid};
use super::window::Window;
use crate::store::{LastRun, RunOutcome, Schedule, ScheduleState, Severity, WaitsFor};

/// A run that begins later than this is told to be late, seconds.
const LATE: u64 = 60;
/// Missed times are counted up to this.
const MAX_COUNTED: u64 = 1000;
/// A time that was dealt with and lies further ahead is one of a clock that was wrong; microseconds.
const PLAUSIBLE: i64 = 86_400_000_000;
/// How often a run that was cut short is begun again.
const MAX_CUT_SHORT: u32 = 1;

/// A schedule's texts, understood.
#[derive(Clone, Debug)]
pub struct Plan {
    cadence: Cadence,
    grid: Grid,
    window: Option<Window>,
}

impl Plan {
    /// Reads what was typed.
    ///
    /// # Errors
    /// What is wrong, with examples.
    pub fn of(schedule: &Schedule) -> Result<Self, String> {
        let cadence: Cadence = schedule.cadence.parse().map_err(|e: cadence::BadCadence| e.to_string())?;
        let zone = cadence::zone(&schedule.zone)?;
        let window = schedule.window.as_deref().map(|text| text.parse::<Window>().map_err(|e| e.to_string()));
        let delay_seconds = if schedule.spread { cadence.spread(schedule.id, &zone) } else { 0 };
        let grid = Grid { zone, anchor: schedule.anchor, delay_seconds };
        Ok(Self { cadence, grid, window: window.transpose()? })
    }

    /// The first time after this one.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.cadence.next(after, &self.grid)
    }

    /// Whether scans may run now.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.window.as_ref().is_none_or(|window| window.is_open(now, &self.grid.zone))
    }

    /// When the window opens after `now`; `None` without one.
    pub fn opens_after(&self, now: Timestamp) -> Option<Timestamp> {
        self.window.as_ref()?.opens_after(now, &self.grid.zone)
    }

    /// The cadence as it is kept.
    pub fn cadence(&self) -> &Cadence {
        &self.cadence
    }

    /// The window as it is kept.
    pub fn window(&self) -> Option<&Window> {
        self.window.as_ref()
    }
}

/// What is known.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The time.
    pub now: Timestamp,
    /// The host has a link.
    pub linked: bool,
    /// Another scan of the directory waits or runs.
    pub root_busy: bool,
    /// It is being begun just now, or was tried a moment ago.
    pub starting: bool,
    /// The scan that was begun for it.
    pub run: Run,
    /// The window paused that scan.
    pub window_paused: bool,
    /// The next time may be one of a wrong clock: the gateway was started, or its clock was moved.
    pub check_clock: bool,
}

/// A scan that was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Run {
    /// It waits or runs; or there is none.
    Live,
    /// It ended.
    Ended {
        /// How.
        state: ScanState,
        /// Why it failed.
        error: String,
        /// The gateway was stopped or the link was lost in the middle of it.
        cut_short: bool,
    },
    /// Nobody knows it: its record was removed.
    Unknown,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Begin the run.
    Start,
    /// The window has closed.
    Pause(ScanId),
    /// The window is open again.
    Resume(ScanId),
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `schedule.missed`, ...
    pub kind: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// One sentence.
    pub message: String,
    /// The time that was missed.
    pub missed: Option<Timestamp>,
}

/// A step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Where the schedule is after it.
    pub state: ScheduleState,
    /// What is to be done once that is kept.
    pub action: Option<Action>,
    /// What is to be told once that is kept.
    pub notices: Vec<Notice>,
}

/// Decides.
pub fn step(schedule: &Schedule, plan: &Plan, facts: &Facts) -> Step {
    let mut step = Step { state: schedule.state.clone(), action: None, notices: Vec::new() };
    if let Some(scan) = step.state.running {
        step.settle(scan, schedule.enabled, facts);
    }
    if schedule.enabled {
        step.fall_due(plan, facts);
    }
    match (step.state.due_at, step.state.running) {
        (Some(due), None) if !facts.starting => step.begin_or_wait(due, plan, facts),
        (due, Some(scan)) => {
            // A run by hand has no due time and heeds no window.
            let open = due.is_none() || plan.is_open(facts.now);
            step.action = match (open, facts.window_paused) {
                (false, false) => Some(Action::Pause(scan)),
                (true, true) => Some(Action::Resume(scan)),
                _ => None,
            };
        }
        _ => {}
    }
    step
}

impl Step {
    fn tell(&mut self, kind: &'static str, severity: Severity, message: String, missed: Option<Timestamp>) {
        self.notices.push(Notice { kind, severity, message, missed });
    }

    fn settle(&mut self, scan: ScanId, enabled: bool, facts: &Facts) {
        let (ended, error, cut_short) = match &facts.run {
            Run::Live => return,
            Run::Ended { state, error, cut_short } => (*state, error.as_str(), *cut_short),
            Run::Unknown => (ScanState::Failed, "its scan is not known any more", false),
        };
        let state = &mut self.state;
        state.running = None;
        let outcome = match ended {
            ScanState::Completed => RunOutcome::Completed,
            ScanState::Cancelled => RunOutcome::Cancelled,
            _ => RunOutcome::Failed,
        };
        let message = if outcome == RunOutcome::Failed { error.to_owned() } else { String::new() };
        state.last_run = Some(LastRun { at: facts.now, scan: Some(scan), outcome, message });
        let again = outcome == RunOutcome::Failed && cut_short && enabled && state.cut_short < MAX_CUT_SHORT;
        if let (true, Some(due)) = (again, state.due_at) {
            state.cut_short += 1;
            state.told_late = true;
            let text = format!("the run due at {} was cut short ({error}); it is begun again, once", due.exact());
            self.tell("schedule.missed", Severity::Warning, text, Some(due));
            return;
        }
        self.forget_run();
        if outcome == RunOutcome::Failed {
            self.tell("schedule.failed", Severity::Error, format!("a scheduled scan failed: {error}"), None);
        }
    }

    fn forget_run(&mut self) {
        let state = &mut self.state;
        (state.due_at, state.waits_for, state.cut_short, state.told_late) = (None, None, 0, false);
    }

    fn fall_due(&mut self, plan: &Plan, facts: &Facts) {
        let now = facts.now;
        let Some(mut due) = self.state.next_run_at else {
            self.state.next_run_at = plan.next(now);
            return;
        };
        if facts.check_clock {
            let plausible = self.state.last_slot.filter(|slot| slot.micros().saturating_sub(now.micros()) <= PLAUSIBLE);
            let earliest = plan.next(plausible.map_or(now, |slot| slot.max(now)));
            due = earliest.map_or(due, |earliest| due.min(earliest));
            self.state.next_run_at = Some(due);
        }
        if due > now {
            return;
        }
        let (mut last, mut times) = (due, 1);
        while let Some(next) = plan.next(last).filter(|next| *next <= now && times < MAX_COUNTED) {
            (last, times) = (next, times + 1);
        }
        let state = &mut self.state;
        state.next_run_at = plan.next(last.max(now));
        state.last_slot = Some(last.max(state.last_slot.filter(|slot| *slot <= now).unwrap_or(last)));
        if state.due_at.is_some() && state.running.is_none() {
            // The run that waits already makes up for this time too.
            return;
        }
        if state.running.is_some() || facts.root_busy {
            let message = format!("the run due at {} was skipped: the scan before it still waits or runs", due.exact());
            let scan = state.running;
            state.last_run = Some(LastRun { at: now, scan, outcome: RunOutcome::Skipped, message: message.clone() });
            self.tell("schedule.skipped", Severity::Warning, message, None);
            return;
        }
        state.due_at = Some(due);
        if now.seconds_since(due) > LATE {
            state.told_late = true;
            let text = match times {
                1 => format!(
                    "the run due at {} was missed: the gateway did not run, or its clock was moved",
                    due.exact()
                ),
                _ => format!(
                    "{times} runs since {} were missed: the gateway did not run, or its clock was moved",
                    due.exact()
                ),
            };
            self.tell("schedule.missed", Severity::Warning, format!("{text}; one scan makes up for it"), Some(due));
        }
    }

    fn begin_or_wait(&mut self, due: Timestamp, plan: &Plan, facts: &Facts) {
        let waits = match () {
            () if !plan.is_open(facts.now) => Some(WaitsFor::Window),
            () if !facts.linked => Some(WaitsFor::Host),
            () if facts.root_busy => Some(WaitsFor::Root),
            () => None,
        };
        self.state.waits_for = waits;
        if waits.is_none() {
            self.action = Some(Action::Start);
        }
        if waits == Some(WaitsFor::Host) && !self.state.told_late && facts.now.seconds_since(due) > LATE {
            self.state.told_late = true;
            let text = format!(
                "the run due at {} waits: the host is not linked; it begins when the host is back",
                due.exact()
            );
            self.tell("schedule.missed", Severity::Warning, text, Some(due));
        }
    }
}
