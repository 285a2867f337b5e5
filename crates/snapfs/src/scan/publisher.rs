//! Sends a scan's calls, one after the other.
//!
//! While the gateway answers, a call waits for the one before, and the walk with it. While it is away calls go to the
//! spool, the walk goes on, and the oldest call is tried again with back-off. When the spool takes nothing the walk waits
//! for the gateway, and goes on with losses when that stays away.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::events::{Identity, Phase};
use super::tally::Tally;
use super::trouble::Trouble;
use crate::gateway::{Backoff, CallError, Events, Gateway, Outbox, Taken};
use crate::outcome::Listener;

/// Bytes of events in a call, beyond which fewer than asked for go into one.
const CALL_BYTES: usize = 4 << 20;

/// Calls in memory that are made ready while one is on its way.
const AHEAD: usize = 2;

/// How long telemetry and errors may hold up a scan, and how long they are left out after they did.
const ASIDE: Duration = Duration::from_secs(10);

/// How long a cancelled scan waits for the call on its way.
const GRACE: Duration = Duration::from_millis(200);

/// Why the publisher stopped.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// Everything arrived, or never will.
    Done,
    /// The gateway stays away.
    GaveUp,
    /// On request.
    Cancelled,
    /// The gateway refuses the credentials.
    Unauthorized(String),
}

/// See the module's notes.
pub struct Publisher {
    pub gateway: Gateway,
    pub outbox: Outbox,
    pub identity: Arc<Identity>,
    pub tally: Arc<Tally>,
    pub trouble: Arc<Trouble>,
    pub listener: Arc<dyn Listener>,
    pub cancel: CancellationToken,
    /// The gateway refused the credentials elsewhere.
    pub refused: Refused,
    /// Set once the first call was tried.
    pub begun: CancellationToken,
    /// Events in a call.
    pub batch: usize,
    /// How often telemetry is sent.
    pub telemetry: Option<Duration>,
    /// The gateway has taken `scan.started`.
    pub started: bool,
    state: State,
}

/// How the gateway is, and what is due.
struct State {
    away: bool,
    backoff: Backoff,
    retry_at: Instant,
    telemetry_at: Instant,
    aside_at: Instant,
    /// The last time that something moved, or could have.
    moved: Instant,
    /// Files among the events that the gateway will never take.
    dropped_files: u64,
    /// Events likewise.
    dropped: u64,
}

/// Where others tell that the gateway refuses the credentials.
#[derive(Clone, Default)]
pub struct Refused {
    token: CancellationToken,
    why: Arc<std::sync::OnceLock<String>>,
}

impl Refused {
    /// The first reason counts.
    pub fn set(&self, why: String) {
        let _ = self.why.set(why);
        self.token.cancel();
    }

    async fn wait(&self) -> String {
        self.token.cancelled().await;
        self.why.get().cloned().unwrap_or_default()
    }
}

/// A call on its way.
struct Flight {
    /// Telemetry or errors: nothing depends on it.
    aside: bool,
    result: Pin<Box<dyn Future<Output = Result<Taken, CallError>> + Send>>,
}

impl Publisher {
    /// Ready for `scan.started`.
    #[expect(clippy::too_many_arguments, reason = "what a scan consists of")]
    pub fn new(
        gateway: Gateway,
        outbox: Outbox,
        identity: Arc<Identity>,
        tally: Arc<Tally>,
        trouble: Arc<Trouble>,
        listener: Arc<dyn Listener>,
        cancel: CancellationToken,
        batch: usize,
        telemetry: Option<Duration>,
    ) -> Self {
        let now = Instant::now();
        let state = State {
            away: false,
            backoff: Backoff::new(&gateway.settings().waits),
            retry_at: now,
            telemetry_at: now,
            aside_at: now,
            moved: now,
            dropped_files: 0,
            dropped: 0,
        };
        Self {
            gateway,
            outbox,
            identity,
            tally,
            trouble,
            listener,
            cancel,
            refused: Refused::default(),
            begun: CancellationToken::new(),
            batch: batch.max(1),
            telemetry,
            started: false,
            state,
        }
    }

    /// Sends all that comes from `source` until it ends, and all that is in the outbox.
    pub async fn run(&mut self, mut source: Option<&mut mpsc::Receiver<Events>>) -> Stop {
        let mut open = Events::of_files();
        let mut flight: Option<Flight> = None;
        self.state.moved = Instant::now();
        loop {
            if let Some(complaint) = self.outbox.complaint() {
                self.listener.problem(&complaint);
            }
            if flight.is_none() && (!self.state.away || Instant::now() >= self.state.retry_at) {
                flight = self.next_flight().await;
                if flight.is_none() && source.is_none() {
                    return Stop::Done;
                }
            }
            let deadline = self.state.moved + self.gateway.settings().waits.give_up;
            if self.state.away && Instant::now() >= deadline {
                if source.is_none() {
                    return Stop::GaveUp;
                }
                self.outbox.be_lossy();
            }
            let room = match self.state.away {
                true => !self.outbox.is_stuck() || self.outbox.is_lossy(),
                false => self.outbox.in_memory() < AHEAD,
            };
            let receives = source.is_some() && room;
            let wake = self.wake(flight.is_some(), source.is_none() || !room, deadline);
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => {
                    self.land(flight).await;
                    return Stop::Cancelled;
                }
                why = self.refused.wait() => return Stop::Unauthorized(why),
                result = arrival(&mut flight) => {
                    if let Some(Flight { aside, .. }) = flight.take()
                        && let Err(why) = self.landed(aside, result).await
                    {
                        return Stop::Unauthorized(why);
                    }
                }
                events = next(&mut source), if receives => match events {
                    Some(events) => {
                        open.append(&events);
                        while open.len() >= self.batch || open.json.len() >= CALL_BYTES {
                            let call = open.split_to(self.batch);
                            self.push(call).await;
                        }
                    }
                    None => {
                        source = None;
                        self.push(std::mem::replace(&mut open, Events::of_files())).await;
                        self.state.moved = Instant::now();
                    }
                },
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Adds a call of this scan.
    async fn push(&mut self, events: Events) {
        if !events.is_empty() {
            let subject = self.gateway.settings().subject.clone();
            self.outbox.push(&subject, events, false).await;
        }
    }

    /// Adds the scan's first event.
    pub async fn begin(&mut self) {
        let started = self.identity.started(&self.tally);
        self.push(Events::one(started)).await;
    }

    /// Sends the scan's last event, and says whether the gateway took it. With `away` it is not tried, but kept for the next
    /// scan.
    pub async fn finish(&mut self, event: Vec<u8>, away: bool) -> (bool, Stop) {
        let subject = self.gateway.settings().subject.clone();
        self.outbox.push(&subject, Events::one(event), true).await;
        let dropped = self.state.dropped;
        let stop = if away { Stop::GaveUp } else { self.run(None).await };
        let taken = self.state.dropped == dropped && self.outbox.head().await.is_none();
        (taken, stop)
    }

    /// Sends telemetry for the last time, when the gateway answers. `None` when the scan may go on to its end.
    pub async fn last_telemetry(&mut self, phase: Phase, unpublished: u64) -> Option<Stop> {
        let due = self.telemetry.is_some() && self.started && !self.state.away;
        // Not in between any more.
        self.telemetry = None;
        if !due || Instant::now() < self.state.aside_at {
            return None;
        }
        let event = self.identity.telemetry(&self.tally, phase, unpublished);
        let mut flight = self.aside(Events::one(event));
        let result = tokio::select! {
            () = self.cancel.cancelled() => return Some(Stop::Cancelled),
            result = &mut flight.result => result,
        };
        self.landed(true, result).await.err().map(Stop::Unauthorized)
    }

    /// Files that will never arrive, as far as is known.
    pub fn lost(&self) -> u64 {
        self.outbox.lost() + self.state.dropped_files
    }

    /// The next call to make.
    async fn next_flight(&mut self) -> Option<Flight> {
        let now = Instant::now();
        if self.started && !self.state.away && now >= self.state.aside_at {
            if let Some(interval) = self.telemetry.filter(|_| now >= self.state.telemetry_at) {
                self.state.telemetry_at = now + interval;
                let event = self.identity.telemetry(&self.tally, Phase::Running, self.lost());
                return Some(self.aside(Events::one(event)));
            }
            if let Some(errors) = self.trouble.take() {
                return Some(self.aside(errors));
            }
        }
        let head = self.outbox.head().await?;
        let (gateway, listener) = (self.gateway.clone(), self.listener.clone());
        let result = Box::pin(async move {
            let problem = |text: &str| listener.problem(text);
            gateway.ingest(&head.subject, &head.events, &problem).await
        });
        Some(Flight { aside: false, result })
    }

    fn aside(&self, events: Events) -> Flight {
        let gateway = self.gateway.clone();
        let result = Box::pin(async move {
            let subject = gateway.settings().events_subject.clone();
            let sent = gateway.ingest(&subject, &events, &|_| {});
            tokio::time::timeout(ASIDE, sent).await.unwrap_or_else(|_| Err(CallError::Away("no answer".into())))
        });
        Flight { aside: true, result }
    }

    /// Lets a call that is on its way when the scan is cancelled come to its end, for a moment: otherwise it might arrive after
    /// the scan's last event.
    async fn land(&mut self, flight: Option<Flight>) {
        if let Some(mut flight) = flight
            && let Ok(result) = tokio::time::timeout(GRACE, &mut flight.result).await
        {
            // It is over either way.
            let _ = self.landed(flight.aside, result).await;
        }
    }

    /// A call has come to its end. The error is that the gateway refuses the credentials.
    async fn landed(&mut self, aside: bool, result: Result<Taken, CallError>) -> Result<(), String> {
        let now = Instant::now();
        match result {
            Err(CallError::Unauthorized(why)) => return Err(why),
            Ok(_) if aside => {}
            Err(error) if aside => {
                tracing::debug!("telemetry or errors of a scan did not arrive: {}", error.text());
                self.state.aside_at = now + ASIDE;
            }
            Ok(taken) => {
                if self.state.away {
                    tracing::info!(gateway = self.gateway.shown(), "the gateway answers again");
                }
                self.state.away = false;
                self.state.backoff.reset();
                self.state.moved = now;
                if self.outbox.done().await {
                    self.started = true;
                    self.tally.published.fetch_add(taken.files, Relaxed);
                    self.tally.bytes_published.fetch_add(taken.bytes, Relaxed);
                    self.state.dropped_files += taken.dropped_files;
                    self.state.dropped += taken.dropped;
                }
            }
            Err(error) => {
                if !self.state.away {
                    self.state.away = true;
                    self.listener
                        .problem(&format!("{}; it is tried again, and until then its calls are kept", error.text()));
                }
                self.state.retry_at = now + self.state.backoff.next();
            }
        }
        if !aside {
            self.begun.cancel();
        }
        Ok(())
    }

    /// When something is due, beside what arrives by itself. `waits`: nothing else is done until the gateway is back.
    fn wake(&self, flying: bool, waits: bool, deadline: Instant) -> Option<Instant> {
        let retry = (self.state.away && !flying).then_some(self.state.retry_at);
        let deadline = (waits && self.state.away).then_some(deadline);
        let aside = (self.telemetry.is_some() && self.started && !flying && !self.state.away)
            .then(|| self.state.telemetry_at.max(self.state.aside_at));
        [retry, deadline, aside].into_iter().flatten().min()
    }
}

/// The end of the call that is on its way; never without one.
async fn arrival(flight: &mut Option<Flight>) -> Result<Taken, CallError> {
    match flight {
        Some(flight) => flight.result.as_mut().await,
        None => std::future::pending().await,
    }
}

async fn next(source: &mut Option<&mut mpsc::Receiver<Events>>) -> Option<Events> {
    match source {
        Some(source) => source.recv().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake).await,
        None => std::future::pending().await,
    }
}
