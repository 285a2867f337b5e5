//! A scan of a SnapFS client, from its first event to its last.
//!
//! ```text
//! waiting ── scan.started or a first upsert ──> started ── the first of all ends ──> ended
//! ```
//!
//! The first end counts, whoever tells of it: events, the agent's socket, a person, or silence. What comes later changes
//! nothing but the index.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hostler_model::{Algorithm, ByteStr, HostId, ScanCounters, ScanId};
use tokio::sync::watch;

/// Scans that are remembered at the same time.
const MAX_SESSIONS: usize = 10_000;
/// One that ended is remembered so long for what comes late; later the store is asked.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);
/// Owners of one scan that are remembered as told.
const MAX_OWNERS: usize = 100_000;

/// How a scan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All was walked.
    Completed {
        /// Entries that were seen, when the client said so.
        seen: Option<u64>,
        /// Files that it was to tell of, as far as it said so.
        sent: u64,
        /// The client vouches that what it did not tell of is gone.
        authoritative: bool,
    },
    /// Stopped on request.
    Cancelled,
    /// Why it broke off.
    Failed(String),
}

/// What is known of a scan by now.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Whose client makes it.
    pub scope: String,
    /// `scan_id` in its events; empty while that is not known.
    pub wire_id: String,
    /// The root as the client has it, with symbolic links resolved.
    pub root: ByteStr,
    /// How it hashes.
    pub algorithm: Option<Algorithm>,
    /// Counters so far.
    pub counters: ScanCounters,
    /// What it works on.
    pub current: Option<ByteStr>,
    /// It has begun.
    pub started: bool,
    /// It sends telemetry, so that silence means more.
    pub telemetry: bool,
    /// Its client gives no id to its scans: silence is their end.
    pub loose: bool,
    /// Its agent came back and does not know it.
    pub orphaned: bool,
    /// The store does not have it any more: nothing of it is to be committed.
    pub forgotten: bool,
    /// How it ended.
    pub end: Option<End>,
    /// When files came that are not committed yet though the scan has ended.
    pub late: Option<Instant>,
}

struct State {
    known: Known,
    owners: HashSet<(bool, u32)>,
    heard: Instant,
    ended: Option<Instant>,
}

/// See the module's notes.
pub struct Session {
    /// The scan.
    pub scan: ScanId,
    /// Its host.
    pub host: HostId,
    /// What its files are kept under.
    pub number: i64,
    state: Mutex<State>,
    changes: watch::Sender<()>,
}

impl Session {
    /// One that waits for its first event.
    pub fn new(scan: ScanId, host: HostId, number: i64, known: Known) -> Self {
        let (heard, ended) = (Instant::now(), known.end.is_some().then(Instant::now));
        let state = Mutex::new(State { known, owners: HashSet::new(), heard, ended });
        Self { scan, host, number, state, changes: watch::Sender::new(()) }
    }

    /// A copy of what is known.
    pub fn known(&self) -> Known {
        self.lock().known.clone()
    }

    /// Reads something of what is known.
    pub fn get<T>(&self, read: impl FnOnce(&Known) -> T) -> T {
        read(&self.lock().known)
    }

    /// Notes that the client was heard, and what it said. Those who wait are told.
    pub fn heard(&self, change: impl FnOnce(&mut Known)) {
        {
            let mut state = self.lock();
            state.heard = Instant::now();
            state.known.orphaned = false;
            change(&mut state.known);
        }
        self.changes.send_replace(());
    }

    /// Notes something that the client did not say.
    pub fn note(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.lock().known);
        self.changes.send_replace(());
    }

    /// Ends the scan; false when it had ended before.
    pub fn end(&self, end: End) -> bool {
        let first = {
            let mut state = self.lock();
            let first = state.known.end.is_none();
            if first {
                state.known.end = Some(end);
                state.ended = Some(Instant::now());
            }
            first
        };
        self.changes.send_replace(());
        first
    }

    /// Changes when something is noted.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// How long nothing was heard.
    pub fn silent(&self) -> Duration {
        self.lock().heard.elapsed()
    }

    /// True for an owner that this scan did not name before.
    pub fn names_owner(&self, group: bool, id: u32) -> bool {
        let mut state = self.lock();
        if state.owners.len() >= MAX_OWNERS {
            state.owners.clear();
        }
        state.owners.insert((group, id))
    }

    /// Scope and the client's id.
    fn name(&self) -> (String, String) {
        self.get(|known| (known.scope.clone(), known.wire_id.clone()))
    }

    fn forgotten(&self) -> bool {
        self.over().is_some_and(|at| at.elapsed() > REMEMBERED)
    }

    /// When it ended, if nothing of it waits.
    fn over(&self) -> Option<Instant> {
        let state = self.lock();
        state.ended.filter(|_| state.known.late.is_none())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All scans of SnapFS clients that are remembered. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<All>>);

#[derive(Default)]
struct All {
    by_scan: HashMap<ScanId, Arc<Session>>,
    /// By scope and the client's id; where a session is not there any more, or has another name, nothing is meant.
    by_name: HashMap<(String, String), ScanId>,
}

impl Sessions {
    /// Adds one. Beyond the bound those that ended longest ago are forgotten first; the store still knows them.
    pub fn add(&self, session: Arc<Session>) {
        let mut all = self.lock();
        let All { by_scan, by_name } = &mut *all;
        by_scan.retain(|_, session| !session.forgotten());
        if by_scan.len() >= MAX_SESSIONS {
            let oldest = by_scan.iter().filter_map(|(id, s)| Some((s.over()?, *id))).min_by_key(|(at, _)| *at);
            if let Some((_, id)) = oldest {
                by_scan.remove(&id);
            }
        }
        by_name.retain(|_, scan| by_scan.contains_key(scan));
        by_name.insert(session.name(), session.scan);
        by_scan.insert(session.scan, session);
    }

    /// Says how a client calls a scan, once that is known.
    pub fn rename(&self, session: &Session, scope: &str, wire_id: String) {
        session.note(|known| (known.scope, known.wire_id) = (scope.to_owned(), wire_id));
        self.lock().by_name.insert(session.name(), session.scan);
    }

    /// The session of the scan that a client calls so.
    pub fn named(&self, scope: &str, wire_id: &str) -> Option<Arc<Session>> {
        let name = (scope.to_owned(), wire_id.to_owned());
        let all = self.lock();
        let session = all.by_scan.get(all.by_name.get(&name)?)?;
        (session.name() == name).then(|| session.clone())
    }

    /// A scan's session.
    pub fn of(&self, scan: ScanId) -> Option<Arc<Session>> {
        self.lock().by_scan.get(&scan).cloned()
    }

    /// Ends and forgets the scans of a host that was removed.
    pub fn forget(&self, host: HostId) {
        self.lock().by_scan.retain(|_, session| {
            let gone = session.host == host;
            if gone {
                session.note(|known| known.forgotten = true);
                session.end(End::Failed("its host was removed".to_owned()));
            }
            !gone
        });
    }

    /// Those for which `wanted` holds.
    pub fn which(&self, wanted: impl Fn(&Session) -> bool) -> Vec<Arc<Session>> {
        self.lock().by_scan.values().filter(|session| wanted(session)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_end_counts() {
        let session = Session::new(ScanId::new(), HostId::new(), 1, Known::default());
        assert!(session.end(End::Cancelled));
        assert!(!session.end(End::Completed { seen: None, sent: 0, authoritative: true }));
        assert_eq!(session.known().end, Some(End::Cancelled));
    }
}
