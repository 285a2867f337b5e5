//! Scans by SnapFS clients: jobs given to their agents, and scans that people start on their hosts.
//!
//! The client tells of its files in calls of its own, which the edge keeps; here the scan is followed to its end and
//! committed. What a scan told is true however it ended, so files of one that broke off are committed too; only a scan that
//! completed and vouches for it makes what it did not tell of be gone.

use std::sync::Arc;
use std::time::Duration;

use hostler_model::{ByteStr, ScanCounters, ScanId, ScanOptions, ScanState};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio_util::sync::CancellationToken;

use super::rates::Rates;
use super::{Ended, Inner, Live, Scans, StartScanError, still};
use crate::clock;
use crate::events::ScanUpdate;
use crate::fleet::NotLinked;
use crate::snapfs::agents::{Agent, Generation, Job};
use crate::snapfs::session::{End, Known, Session};
use crate::store::{Extent, IndexCommit, Scan, StoreError, Told};

/// An agent that took a job begins it within this time.
const BEGINS: Duration = Duration::from_secs(60);
/// Silence after which a scan is lost: of one that sends telemetry, which comes every 10 s, and of one that does not.
const SILENCE: Duration = Duration::from_secs(5 * 60);
const SILENCE_WITHOUT_TELEMETRY: Duration = Duration::from_secs(60 * 60);
/// The same when the agent came back and does not know the scan.
const SILENCE_OF_ORPHANS: Duration = Duration::from_secs(30);
/// Silence that ends the scan of a client which gives no id to its scans, and tells of no end.
const LOOSE: Duration = Duration::from_secs(30);
/// An agent that is asked to stop has this long to say that it did.
const STOPS: Duration = Duration::from_secs(10);
/// One that most likely does not know how.
const STOPS_QUICKLY: Duration = Duration::from_secs(1);
/// Said of a cancelled scan whose client was not heard to stop.
const GOES_ON: &str =
    "this client may go on by itself, as it cannot be told to stop; what it still tells of is kept and indexed";

impl Scans {
    /// Follows a scan that a client began, or goes on to follow it after a restart.
    pub(crate) fn follow_client(&self, scan: Scan, session: Arc<Session>) {
        let inner = &self.0;
        let cancel = inner.stopping.child_token();
        let (paused, pauses) = watch::channel(false);
        let update = ScanUpdate { pausable: false, ..still(scan.clone()) };
        inner.live().insert(scan.id, Live { update, cancel: cancel.clone(), paused });
        inner.announce(scan.id);
        inner.tasks.spawn(inner.clone().client_job(scan, session, None, cancel, pauses));
    }

    /// Commits files that were told after their scan's end.
    pub(crate) async fn commit_late(&self, session: &Session) -> Result<(), StoreError> {
        self.0.commit_told(session, &session.known(), Extent::Part, None).await
    }
}

/// Who asks for a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trigger {
    /// A person or a program.
    #[default]
    Manual,
    /// A schedule: its id. It waits for its turn.
    Schedule(String),
}

/// A job and the agent that is to do it.
pub(super) struct AgentJob {
    pub agent: Arc<Agent>,
    pub trigger: Trigger,
}

/// What SnapFS agents cannot be told.
pub(super) fn check_options(options: &ScanOptions) -> Result<(), StartScanError> {
    let known = ScanOptions { algorithm: options.algorithm, force: options.force, ..ScanOptions::default() };
    match *options == known {
        true => Ok(()),
        false => Err(StartScanError::Invalid(
            "this host has a SnapFS agent, which knows no excludes, bounds or limits: leave out all options but force"
                .into(),
        )),
    }
}

impl Inner {
    /// The agent of a host, and the root as it is asked for.
    pub(super) fn snapfs_agent(&self, scan: &Scan) -> Result<Arc<Agent>, StartScanError> {
        check_options(&scan.options)?;
        Ok(self.agents.of(scan.host).ok_or(NotLinked)?)
    }

    /// Follows a scan to its end.
    pub(super) async fn client_job(
        self: Arc<Self>,
        scan: Scan,
        session: Arc<Session>,
        job: Option<AgentJob>,
        cancel: CancellationToken,
        mut pauses: watch::Receiver<bool>,
    ) {
        let result = async {
            let _turn = match &job {
                Some(job) => self.client_turn(&scan, job, &cancel, &mut pauses).await?,
                None => None,
            };
            self.run_by_client(&scan, &session, job.as_ref(), &cancel).await
        };
        let result = result.await;
        // The client goes on when the gateway stops: the next start follows it again.
        if result.is_err() && self.stopping.is_cancelled() && session.get(|known| known.end.is_none()) {
            self.live().remove(&scan.id);
            return;
        }
        if let Err(ended) = result {
            session.end(match &ended {
                Ended::Cancelled(_) => End::Cancelled,
                Ended::Failed(text) => End::Failed(text.clone()),
            });
            self.end(scan.id, ended).await;
        }
        self.finished(scan.id).await;
    }

    /// A scheduled scan waits for its host's turn. One that a person asks for goes to the agent at once, which says when it
    /// is busy.
    async fn client_turn(
        &self,
        scan: &Scan,
        job: &AgentJob,
        cancel: &CancellationToken,
        pauses: &mut watch::Receiver<bool>,
    ) -> Result<Option<OwnedSemaphorePermit>, Ended> {
        match &job.trigger {
            Trigger::Manual => Ok(self.turns_of(scan.host).try_acquire_owned().ok()),
            Trigger::Schedule(_) => tokio::select! {
                biased;
                () = cancel.cancelled() => Err(Ended::Cancelled(None)),
                permit = self.turn(scan, pauses) => match permit {
                    Some(permit) => Ok(Some(permit)),
                    None => Err(Ended::Failed("the gateway is stopping".into())),
                },
            },
        }
    }

    async fn run_by_client(
        &self,
        scan: &Scan,
        session: &Session,
        job: Option<&AgentJob>,
        cancel: &CancellationToken,
    ) -> Result<(), Ended> {
        if cancel.is_cancelled() {
            return Err(Ended::Cancelled(None));
        }
        if let Some(AgentJob { agent, trigger }) = job {
            let schedule = match trigger {
                Trigger::Manual => None,
                Trigger::Schedule(id) => Some(id.clone()),
            };
            let given = Job { scan: scan.id, root: &scan.root, force: scan.options.force, schedule };
            if !agent.give(&given) {
                return Err(Ended::Failed(
                    "the agent's socket closed before it took the job; start the scan again".into(),
                ));
            }
        }
        let mut changes = session.changes();
        let mut rates = Rates::default();
        let mut began = scan.started_at.is_some();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let end = loop {
            let known = session.known();
            if known.started && !began {
                began = true;
                self.client_began(scan, &known).await?;
            }
            if let Some(end) = known.end {
                break end;
            }
            self.show(scan.id, &known, &mut rates);
            tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    if self.stopping.is_cancelled() {
                        // The client goes on, and so does what it told: nothing is committed before its end.
                        return Err(Ended::Cancelled(None));
                    }
                    let stopped = self.stop_client(session).await;
                    return match session.get(|known| known.end.clone()) {
                        // It was quicker.
                        Some(end @ End::Completed { .. }) => self.close(scan, session, end).await,
                        _ if stopped => self.broke_off(session, Ended::Cancelled(None)).await,
                        _ => self.broke_off(session, Ended::Cancelled(Some(GOES_ON.to_owned()))).await,
                    };
                }
                _ = changes.changed() => {}
                _ = tick.tick() => {
                    if let Some(end) = self.silence(session, !began) {
                        session.end(end);
                    }
                }
            }
        };
        self.close(scan, session, end).await
    }

    async fn client_began(&self, scan: &Scan, known: &Known) -> Result<(), Ended> {
        let first = self.store.generation(scan.host, &known.root).await? == 0;
        let started = clock::now();
        self.store.scan_started(scan.id, known.root.clone(), first, started).await?;
        self.update(scan.id, |u| {
            u.scan.state = ScanState::Running;
            u.scan.root = known.root.clone();
            u.scan.started_at = Some(started);
            u.scan.first = first;
            u.scan.options.algorithm = known.algorithm.unwrap_or(u.scan.options.algorithm);
        });
        self.announce(scan.id);
        Ok(())
    }

    fn show(&self, scan: ScanId, known: &Known, rates: &mut Rates) {
        let rate = rates.add(std::time::Instant::now(), &known.counters, false);
        self.update(scan, |u| {
            u.scan.counters = known.counters;
            u.rate = rate;
            u.current = known.current.clone();
        });
        if known.started && rates.announce_due() {
            self.announce(scan);
        }
    }

    /// The end that silence means, if it has lasted long enough.
    fn silence(&self, session: &Session, is_to_begin: bool) -> Option<End> {
        let silent = session.silent();
        let known = session.known();
        let linked = self.agents.of(session.host).is_some();
        if is_to_begin {
            return (silent > BEGINS).then(|| {
                End::Failed(format!(
                    "the agent took the job, and no scan of {} has begun at this gateway; is its SNAPFS_GATEWAY this gateway's URL?",
                    known.root.display()
                ))
            });
        }
        if known.loose {
            return (silent > LOOSE).then_some(End::Completed { seen: None, sent: 0, authoritative: false });
        }
        let allowed = match (known.orphaned, known.telemetry) {
            (true, _) => SILENCE_OF_ORPHANS,
            // An agent that is there and knows its scan says when it ends; generation A does not.
            (false, true) if !linked => SILENCE,
            (false, _) => SILENCE_WITHOUT_TELEMETRY,
        };
        (silent > allowed).then(|| {
            let minutes = silent.as_secs().div_ceil(60);
            End::Failed(format!(
                "the client was not heard for {minutes} min: it was stopped, or it lost its way to this gateway"
            ))
        })
    }

    /// Asks a client to stop, by its agent's socket; false when it was not heard to do so. Agents of generation A know no such
    /// message, but Hostler's does in either. Refusing the calls of those without a socket would make `snapfs` 0.4.3 hang for
    /// ever: its walk waits for a consumer that has ended.
    async fn stop_client(&self, session: &Session) -> bool {
        let Some(agent) = self.agents.of(session.host).filter(|agent| agent.cancel(session.scan)) else { return false };
        let patience = match agent.generation {
            Generation::A => STOPS_QUICKLY,
            Generation::B => STOPS,
        };
        let mut changes = session.changes();
        let ended = async { while session.get(|known| known.end.is_none()) && changes.changed().await.is_ok() {} };
        tokio::time::timeout(patience, ended).await.is_ok()
    }

    async fn close(&self, scan: &Scan, session: &Session, end: End) -> Result<(), Ended> {
        let (seen, sent, authoritative) = match end {
            End::Completed { seen, sent, authoritative } => (seen, sent, authoritative),
            End::Cancelled => return self.broke_off(session, Ended::Cancelled(None)).await,
            End::Failed(text) => return self.broke_off(session, Ended::Failed(text)).await,
        };
        let known = session.known();
        let told = self.store.told_files(session.number).await?;
        // Calls may have been lost that the client thinks were taken. Further names of hard links are seen, and not told of by
        // the upstream client.
        let all_came =
            told.files >= sent && seen.is_none_or(|seen| seen.saturating_sub(told.files) <= told.further_names);
        let extent = if authoritative && all_came { Extent::Whole } else { Extent::Part };
        let counters = ScanCounters { files: told.files, dirs: told.dirs, ..known.counters };
        Ok(self.commit_told(session, &known, extent, Some((scan.id, counters))).await?)
    }

    async fn broke_off(&self, session: &Session, ended: Ended) -> Result<(), Ended> {
        let known = session.known();
        if known.forgotten {
            return Err(ended);
        }
        if let Err(error) = self.commit_told(session, &known, Extent::Part, None).await {
            tracing::error!(scan = %session.scan, %error, "the files of a scan that broke off were not kept");
        }
        Err(ended)
    }

    /// Commits what was told; with counters, the scan completes.
    async fn commit_told(
        &self,
        session: &Session,
        known: &Known,
        extent: Extent,
        completes: Option<(ScanId, ScanCounters)>,
    ) -> Result<(), StoreError> {
        if completes.is_none() && self.store.told_files(session.number).await?.files == 0 {
            return Ok(());
        }
        let at = clock::now();
        self.store
            .commit_index(IndexCommit {
                scan: session.scan,
                host: session.host,
                root: known.root.clone(),
                told: Told::Files(session.number),
                extent,
                completes: completes.is_some(),
                generation: at.micros().unsigned_abs(),
                algorithm: known.algorithm.unwrap_or(hostler_model::Algorithm::Sha1),
                owners: Vec::new(),
                counters: completes.map(|(_, counters)| counters).unwrap_or_default(),
                at,
            })
            .await
    }
}

/// A root as a SnapFS job names it.
pub(super) fn client_root(root: &ByteStr) -> ByteStr {
    let bytes = root.as_bytes();
    let end = bytes.iter().rposition(|b| *b != b'/').map_or(1, |at| at + 1);
    ByteStr::from(&bytes[..end.min(bytes.len())])
}
