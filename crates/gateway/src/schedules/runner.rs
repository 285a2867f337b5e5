//! Asks [`super::step`] what to do, keeps the answer, and does it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use hostler_model::{ByteStr, HostId, ScanId, Timestamp};
use serde_json::json;
use tokio::sync::{Semaphore, broadcast};
use tokio::time::{Instant, MissedTickBehavior};

use super::step::{Action, Facts, Notice, Plan, Run, step};
use super::{Inner, Schedules};
use crate::clock;
use crate::events::Event;
use crate::scans::{SetPausedError, StartScanError};
use crate::store::{LastRun, NewEvent, RunOutcome, Schedule, Severity, StepScope, StoreError};

/// How often the store is asked what is due.
const TICK: Duration = Duration::from_secs(1);
/// How often runs that wait or run are looked at when nothing is heard of them, in ticks.
const AT_WORK_TICKS: u32 = 5;
/// Runs that are begun at a time: each asks its host first.
const STARTS: usize = 64;
/// After a try that may succeed later.
const AGAIN: Duration = Duration::from_secs(30);
/// The clock was moved when it and the time that passed differ by more, microseconds.
const MOVED: i64 = 30_000_000;

impl Schedules {
    /// Runs schedules until the gateway stops.
    pub async fn run(&self) {
        let mut events = self.0.events.subscribe();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut scope = StepScope::All;
        let mut clock = ClockWatch::default();
        let starts = Arc::new(Semaphore::new(STARTS));
        let mut quiet = 0;
        loop {
            tokio::select! {
                biased;
                () = self.0.stopping.cancelled() => return,
                event = events.recv() => {
                    if concerns_runs(&event) {
                        scope = scope.max(StepScope::AtWork);
                    }
                    if matches!(event, Err(broadcast::error::RecvError::Closed)) {
                        return;
                    }
                }
                _ = tick.tick() => {
                    let now = clock::now();
                    quiet += 1;
                    if quiet >= AT_WORK_TICKS {
                        scope = scope.max(StepScope::AtWork);
                    }
                    if clock.moved(now, Instant::now()) {
                        tracing::warn!("the clock was moved; the next times of all schedules are looked at again");
                        scope = StepScope::All;
                    }
                    match self.sweep(now, scope, &starts).await {
                        Ok(()) => {
                            if scope >= StepScope::AtWork {
                                quiet = 0;
                            }
                            scope = StepScope::Due;
                        }
                        Err(StoreError::Closed) => return,
                        Err(error) => tracing::error!(%error, "schedules could not be looked at"),
                    }
                }
            }
        }
    }

    async fn sweep(&self, now: Timestamp, scope: StepScope, starts: &Arc<Semaphore>) -> Result<(), StoreError> {
        let schedules = self.0.store.schedules_to_step(now, scope).await?;
        if schedules.is_empty() {
            return Ok(());
        }
        let mut active: HashSet<(HostId, ByteStr)> = HashSet::new();
        let mut live: HashSet<ScanId> = HashSet::new();
        for update in self.0.scans.active() {
            live.insert(update.scan.id);
            active.insert((update.scan.host, update.scan.root));
        }
        for schedule in schedules {
            let plan = match Plan::of(&schedule) {
                Ok(plan) => plan,
                Err(error) => {
                    self.0.give_up(&schedule, error).await?;
                    continue;
                }
            };
            let root_busy = active.contains(&(schedule.host, schedule.root.clone()));
            let facts = self.0.facts(&schedule, now, root_busy, &live, scope == StepScope::All).await?;
            // Scans that the gateway's end cut short look as if they had failed; the next start knows better.
            if self.0.stopping.is_cancelled() {
                return Ok(());
            }
            let step = step(&schedule, &plan, &facts);
            let missed = step.notices.iter().find_map(|notice| missed(&schedule, notice));
            let kept = step.state == schedule.state
                || self.0.store.schedule_stepped(schedule.id, schedule.revision, step.state, missed).await?;
            if !kept {
                // Somebody changed it just now: the next look decides by that.
                continue;
            }
            for notice in step.notices {
                self.0.tell(&schedule, notice).await;
            }
            if step.action == Some(Action::Start) {
                // Another schedule of the same directory waits for this one.
                active.insert((schedule.host, schedule.root.clone()));
            }
            if let Some(action) = step.action {
                self.act(schedule, action, starts);
            }
        }
        Ok(())
    }

    fn act(&self, schedule: Schedule, action: Action, starts: &Arc<Semaphore>) {
        let inner = self.0.clone();
        match action {
            Action::Start => {
                if !inner.memory().starting.insert(schedule.id) {
                    return;
                }
                let starts = starts.clone();
                tokio::spawn(async move {
                    if let Ok(_permit) = starts.acquire_owned().await {
                        inner.start(&schedule).await;
                    }
                    inner.memory().starting.remove(&schedule.id);
                });
            }
            Action::Pause(scan) | Action::Resume(scan) => {
                let pause = matches!(action, Action::Pause(_));
                // Noted first, so that no second call is made while this one is under way.
                match pause {
                    true => inner.memory().window_paused.insert(scan),
                    false => inner.memory().window_paused.remove(&scan),
                };
                tokio::spawn(async move { inner.set_paused(scan, pause).await });
            }
        }
    }
}

impl Inner {
    async fn facts(
        &self,
        schedule: &Schedule,
        now: Timestamp,
        root_busy: bool,
        live: &HashSet<ScanId>,
        check_clock: bool,
    ) -> Result<Facts, StoreError> {
        let running = schedule.state.running;
        let run = match running.filter(|scan| !live.contains(scan)) {
            None => Run::Live,
            Some(scan) => self.run_that_ended(schedule.host, scan).await?,
        };
        let mut memory = self.memory();
        if let (Some(scan), false) = (running, run == Run::Live) {
            memory.window_paused.remove(&scan);
            memory.ours.remove(&scan);
        }
        let waits = memory.not_before.get(&schedule.id).is_some_and(|until| *until > Instant::now());
        if !waits {
            memory.not_before.remove(&schedule.id);
        }
        Ok(Facts {
            now,
            linked: self.fleet.linked(schedule.host),
            root_busy,
            starting: waits || memory.starting.contains(&schedule.id),
            run,
            window_paused: running.is_some_and(|scan| memory.window_paused.contains(&scan)),
            check_clock,
        })
    }

    async fn run_that_ended(&self, host: HostId, id: ScanId) -> Result<Run, StoreError> {
        let scan = match self.store.scan(id).await {
            Ok(scan) if scan.state.is_final() => scan,
            // It ended between two looks.
            Ok(_) => return Ok(Run::Live),
            Err(StoreError::NotFound { .. }) => return Ok(Run::Unknown),
            Err(error) => return Err(error),
        };
        let link = self.fleet.status(host);
        let newer = link.linked_at.zip(scan.started_at).is_some_and(|(linked, started)| linked > started);
        let cut_short = !self.memory().ours.contains(&id) || !link.linked || newer;
        Ok(Run::Ended { state: scan.state, error: scan.error.unwrap_or_default(), cut_short })
    }

    async fn start(&self, schedule: &Schedule) {
        // Nobody else begins it now; it may have been begun, changed or removed since it was looked at.
        let schedule = match self.store.schedule(schedule.id).await {
            Ok(fresh) if fresh.enabled && fresh.state.due_at.is_some() && fresh.state.running.is_none() => fresh,
            _ => return,
        };
        let by = format!("schedule of {}", schedule.created_by);
        let Err(error) = self.begin(&schedule, by, true).await else { return };
        match error {
            StartScanError::NotLinked(_) | StartScanError::Stopping => {}
            StartScanError::QueueFull | StartScanError::Unreachable(_) | StartScanError::Store(StoreError::Full) => {
                tracing::info!(schedule = %schedule.id, %error, "a scheduled scan is begun a little later");
                self.memory().not_before.insert(schedule.id, Instant::now() + AGAIN);
            }
            error => {
                let message = format!("a scheduled scan could not be begun: {error}");
                let last =
                    LastRun { at: clock::now(), scan: None, outcome: RunOutcome::Failed, message: error.to_string() };
                let altered = self.alter(schedule.id, |state| {
                    (state.due_at, state.waits_for, state.cut_short, state.told_late) = (None, None, 0, false);
                    state.last_run = Some(last.clone());
                });
                if let Err(error) = altered.await {
                    tracing::error!(schedule = %schedule.id, %error, "a schedule's end was not kept");
                }
                let notice = Notice { kind: "schedule.failed", severity: Severity::Error, message, missed: None };
                self.tell(&schedule, notice).await;
            }
        }
    }

    async fn set_paused(&self, scan: ScanId, paused: bool) {
        match self.scans.set_paused(scan, paused).await {
            // One that cannot be paused goes on outside its window; asking again would change nothing.
            Ok(_) | Err(SetPausedError::Ended(_) | SetPausedError::Ending | SetPausedError::Never) => {}
            Err(error) => {
                tracing::warn!(%scan, paused, %error, "a scan did not follow its time window; it is tried again");
                let mut memory = self.memory();
                match paused {
                    true => memory.window_paused.remove(&scan),
                    false => memory.window_paused.insert(scan),
                };
            }
        }
    }

    /// A schedule that cannot be understood any more, such as one of a time zone that was abolished.
    async fn give_up(&self, schedule: &Schedule, why: String) -> Result<(), StoreError> {
        let known = |last: &LastRun| last.message == why;
        if schedule.state.next_run_at.is_none() && schedule.state.last_run.as_ref().is_some_and(known) {
            return Ok(());
        }
        let mut state = schedule.state.clone();
        (state.next_run_at, state.due_at) = (None, None);
        state.last_run =
            Some(LastRun { at: clock::now(), scan: None, outcome: RunOutcome::Failed, message: why.clone() });
        if self.store.schedule_stepped(schedule.id, schedule.revision, state, None).await? {
            let message = format!("this schedule does not run any more: {why}");
            let notice = Notice { kind: "schedule.failed", severity: Severity::Error, message, missed: None };
            self.tell(schedule, notice).await;
        }
        Ok(())
    }

    async fn tell(&self, schedule: &Schedule, notice: Notice) {
        let mut event = NewEvent::of_host(schedule.host, notice.kind, notice.severity, notice.message);
        event.subject = schedule.root.display().into_owned();
        event.data = json!({ "schedule": schedule.id }).to_string();
        match self.store.append_gateway_event(event).await {
            Ok(event) => self.events.send(Event::Activity(Box::new(event))),
            Err(error) => tracing::error!(schedule = %schedule.id, %error, "an event was not kept"),
        }
    }
}

/// What webhooks are told of a missed run.
fn missed(schedule: &Schedule, notice: &Notice) -> Option<String> {
    let due = notice.missed?;
    Some(
        json!({
            "schedule": schedule.id,
            "host": { "id": schedule.host, "name": schedule.host_name },
            "root": schedule.root,
            "due_at": due,
            "message": notice.message,
        })
        .to_string(),
    )
}

fn concerns_runs(event: &Result<Event, broadcast::error::RecvError>) -> bool {
    match event {
        Ok(Event::Scan(update)) => update.scan.state.is_final(),
        Ok(Event::Activity(event)) => event.kind == "host.linked",
        // A host that proves itself again was linked before.
        Ok(Event::Host { .. }) => false,
        Err(_) => true,
    }
}

/// Compares the clock with the time that passes.
#[derive(Default)]
struct ClockWatch(Option<(Timestamp, Instant)>);

impl ClockWatch {
    fn moved(&mut self, now: Timestamp, passed: Instant) -> bool {
        let before = self.0.replace((now, passed));
        before.is_some_and(|(then, at)| {
            let expected = i64::try_from(passed.duration_since(at).as_micros()).unwrap_or(i64::MAX);
            (now.micros() - then.micros()).saturating_sub(expected).abs() > MOVED
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moved_clock_is_noticed_and_a_slow_one_is_not() {
        let start = Instant::now();
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let mut clock = ClockWatch::default();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(!clock.moved(at(1000), after(0)));
        assert!(!clock.moved(at(1060), after(58)), "two seconds in a minute");
        assert!(clock.moved(at(460), after(59)), "ten minutes back");
        assert!(!clock.moved(at(461), after(60)));
        assert!(clock.moved(at(90_461), after(61)), "a day forward");
    }
}
