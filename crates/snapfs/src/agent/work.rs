//! What the agent does for its gateway: one scan at a time, whether a socket stands or not.
//!
//! ```text
//!            SCAN_TARGET                     scan ends
//!   idle ──────────────────► scanning ──────────────────► idle, the reply in the outbox
//!                            │      ▲
//!            SCAN_CANCEL ────┘      └── another SCAN_TARGET: busy
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hostler_model::ByteStr;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::messages::{Asked, ScanRequest, Words};
use super::outbox::Outbox;
use crate::config::AgentSettings;
use crate::gateway::Gateway;
use crate::outcome::{Listener, ScanEnd, ScanOutcome};
use crate::settings::ScanTarget;

pub(super) struct Work {
    pub(super) settings: Arc<AgentSettings>,
    gateway: Gateway,
    listener: Arc<dyn Listener>,
    active: Option<Active>,
    ends: mpsc::Receiver<End>,
    ended: mpsc::Sender<End>,
    pub(super) outbox: Outbox,
}

/// The scan that runs.
struct Active {
    asked: Asked,
    cancel: CancellationToken,
    /// The gateway cancelled it, not the agent's own end.
    by_operator: bool,
}

/// How it ended.
pub(super) enum End {
    /// It never began: the root is not there, or not the agent's.
    Outside,
    Scanned(Box<ScanOutcome>),
}

impl Work {
    pub(super) fn new(settings: Arc<AgentSettings>, gateway: Gateway, listener: Arc<dyn Listener>) -> Self {
        // One scan runs at a time, so one place is enough.
        let (ended, ends) = mpsc::channel(1);
        Self { settings, gateway, listener, active: None, ends, ended, outbox: Outbox::default() }
    }

    /// The ids of running scans, for the hello.
    pub(super) fn active_ids(&self) -> Vec<&str> {
        self.active.iter().map(|active| active.asked.scan_id.as_str()).collect()
    }

    /// `SCAN_TARGET`: begins, or says that the agent is busy.
    pub(super) fn begin(&mut self, request: ScanRequest) {
        if self.active.is_some() {
            let busy = Words(&self.settings).busy(request.command_id.as_deref());
            return self.outbox.push(busy);
        }
        let ScanRequest { command_id, root, scan_id, trigger, schedule_id, force } = request;
        let scan_id = scan_id.or_else(|| command_id.clone()).unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        let root = root.unwrap_or_else(|| self.settings.root.clone());
        let asked = Asked { command_id, scan_id, root, trigger, schedule_id };
        let cancel = CancellationToken::new();
        let job = Job {
            settings: Arc::clone(&self.settings),
            gateway: self.gateway.clone(),
            listener: Arc::clone(&self.listener),
            asked: asked.clone(),
            force,
            cancel: cancel.clone(),
        };
        let ended = self.ended.clone();
        tokio::spawn(async move {
            // A scan that panicked must not leave the agent busy for good.
            let end = tokio::spawn(job.run()).await.unwrap_or_else(|_| End::failed("the scan broke off in the agent"));
            // Without a receiver the agent has ended.
            let _ = ended.send(end).await;
        });
        self.active = Some(Active { asked, cancel, by_operator: false });
    }

    /// `SCAN_CANCEL`: by the command's id first, then by the scan's. What to say when neither is ours.
    pub(super) fn cancel(&mut self, command_id: Option<&str>, scan_id: Option<&str>) -> Option<String> {
        let is_ours = |asked: &Asked| {
            command_id.is_some() && asked.command_id.as_deref() == command_id || scan_id == Some(&asked.scan_id)
        };
        match self.active.as_mut().filter(|active| is_ours(&active.asked)) {
            Some(active) => {
                active.by_operator = true;
                active.cancel.cancel();
                None
            }
            None => Some(Words(&self.settings).unmatched(command_id, scan_id)),
        }
    }

    /// Waits for a scan to end; its reply is in the outbox then. Waits for ever when there is none. Loses nothing when
    /// it is dropped.
    pub(super) async fn next_end(&mut self) {
        // It holds a sender itself, so there is always another end to wait for.
        if let Some(end) = self.ends.recv().await {
            self.settle(end);
        }
    }

    /// Takes note of a scan that has ended meanwhile.
    pub(super) fn settle_ended(&mut self) {
        if let Ok(end) = self.ends.try_recv() {
            self.settle(end);
        }
    }

    /// The agent ends: cancels a running scan and waits for its end, which is in the outbox then; not longer than `most`.
    pub(super) async fn finish(&mut self, most: Duration) {
        let Some(active) = &self.active else { return };
        active.cancel.cancel();
        // A scan that hangs in a dead mount is left behind.
        let _ = tokio::time::timeout(most, self.next_end()).await;
    }

    fn settle(&mut self, end: End) {
        let Some(Active { asked, by_operator, .. }) = self.active.take() else { return };
        let words = Words(&self.settings);
        let outcome = match end {
            End::Outside => {
                tracing::warn!(
                    "refused a scan of {}: it is not there, or not below {}",
                    asked.root,
                    self.settings.root
                );
                return self.outbox.push(words.outside(&asked));
            }
            End::Scanned(outcome) => outcome,
        };
        tracing::info!("scan {} of {} ended: {:?}", asked.scan_id, asked.root, outcome.end);
        self.outbox.push(match &outcome.end {
            ScanEnd::Completed => words.complete(&asked, &outcome.report, outcome.seconds),
            ScanEnd::Cancelled => words.cancelled(&asked, by_operator),
            ScanEnd::Unauthorized(why) | ScanEnd::Failed(why) => words.failed(&asked, why),
        });
    }
}

impl End {
    fn failed(why: &str) -> Self {
        Self::Scanned(Box::new(ScanOutcome {
            report: crate::outcome::ScanReport::default(),
            end: ScanEnd::Failed(why.to_owned()),
            closed: false,
            seconds: 0.0,
        }))
    }
}

/// A scan on its own task.
struct Job {
    settings: Arc<AgentSettings>,
    gateway: Gateway,
    listener: Arc<dyn Listener>,
    asked: Asked,
    force: bool,
    cancel: CancellationToken,
}

impl Job {
    async fn run(self) -> End {
        let (own, wanted) = (path(&self.settings.root), path(&self.asked.root));
        // A dead mount keeps the thread, not the agent: a cancel ends the scan.
        let resolved = tokio::task::spawn_blocking(move || resolve(&own, &wanted));
        let root = tokio::select! {
            root = resolved => root,
            () = self.cancel.cancelled() => {
                let none = crate::outcome::ScanReport::default();
                return End::Scanned(Box::new(ScanOutcome { report: none, end: ScanEnd::Cancelled, closed: false, seconds: 0.0 }));
            }
        };
        let Ok(Some(root)) = root else { return End::Outside };
        let target = ScanTarget {
            root: ByteStr::from(root.as_os_str().as_encoded_bytes()),
            scan_id: self.asked.scan_id,
            trigger: self.asked.trigger,
            schedule_id: self.asked.schedule_id,
            force: self.force,
        };
        tracing::info!("scan {} of {} begins", target.scan_id, target.root);
        let outcome = crate::scan::scan(&self.gateway, &self.settings.scan, &target, self.cancel, self.listener).await;
        End::Scanned(Box::new(outcome))
    }
}

fn path(bytes: &ByteStr) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(bytes.as_bytes()).into()
}

/// The directory that is meant, links resolved; `None` when it is none, or not the agent's own or below it.
fn resolve(own: &Path, wanted: &Path) -> Option<PathBuf> {
    let own = own.canonicalize().ok()?;
    // A relative name would depend on where the agent was started.
    let wanted = wanted.is_absolute().then(|| wanted.canonicalize().ok())??;
    (wanted.starts_with(&own) && wanted.is_dir()).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_the_agents_own_or_below_it_after_links() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let own = base.join("own");
        for made in ["own/below/deep", "owner", "beside"] {
            std::fs::create_dir_all(base.join(made)).unwrap();
        }
        std::fs::write(own.join("file"), "").unwrap();
        let link = |to: &str, at: &str| std::os::unix::fs::symlink(base.join(to), base.join(at)).unwrap();
        link("own", "link-to-own");
        link("own/below", "link-to-below");
        link("beside", "own/escape");
        for (wanted, found) in [
            ("own", Some("own")),
            ("own/", Some("own")),
            ("own/below/../below/deep", Some("own/below/deep")),
            ("link-to-own", Some("own")),
            ("link-to-below/deep", Some("own/below/deep")),
            ("own/file", None),
            ("own/missing", None),
            ("own/escape", None),
            ("own/..", None),
            ("own/../beside", None),
            ("owner", None),
            ("missing", None),
            ("", None),
        ] {
            assert_eq!(resolve(&own, &base.join(wanted)), found.map(|f| base.join(f)), "{wanted}");
            let found = found.map(|f| base.join(f));
            assert_eq!(resolve(&base.join("link-to-own"), &base.join(wanted)), found, "{wanted} through a link");
        }
        assert_eq!(resolve(Path::new("/"), Path::new("usr")), None);
        assert_eq!(resolve(Path::new("/"), Path::new("/usr/..")), Some(PathBuf::from("/")));
    }
}
