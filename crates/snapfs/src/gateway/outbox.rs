//! A scan's calls that the gateway has not taken yet, in order: what earlier scans left on disk, what this one put there, and
//! a little in memory.
//!
//! ```text
//!  push ──> memory ── more than a little ──> own lane on disk
//!  head <── older lanes, then the own lane, then memory
//! ```

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::{Events, Gateway};
use crate::spool::{Lane, Spool, SpooledCall};

/// Calls held in memory: a call that fails once needs no disk.
const MEMORY: usize = 8;

/// Bytes held in memory; one call may be larger.
const MEMORY_BYTES: usize = 4 << 20;

/// See the module's notes.
#[derive(Debug)]
pub struct Outbox {
    gateway: Gateway,
    /// Names of older lanes that were not looked at.
    older: VecDeque<String>,
    old: Option<Lane>,
    own: Option<Lane>,
    memory: VecDeque<Arc<SpooledCall>>,
    /// The oldest call, once it was read, and what takes it off its lane.
    head: Option<(Arc<SpooledCall>, Place)>,
    lost: u64,
    stuck: bool,
    lossy: bool,
    /// Why the disk could not be used, told once.
    complaint: Option<String>,
    complained: bool,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Old(u64),
    Own(u64),
    Memory,
}

impl Outbox {
    /// With what earlier scans left.
    pub async fn leftovers(gateway: Gateway) -> io::Result<Self> {
        let spool = gateway.spool().clone();
        let older = blocking(move || spool.lanes()).await?;
        Ok(Self::with(gateway, older))
    }

    /// For one scan: first comes what earlier ones left.
    pub async fn new(gateway: Gateway) -> Self {
        let spool = gateway.spool().clone();
        match blocking(move || spool.lanes()).await {
            Ok(older) => Self::with(gateway, older),
            Err(error) => {
                let mut outbox = Self::with(gateway, Vec::new());
                outbox.complain(&error);
                outbox
            }
        }
    }

    fn with(gateway: Gateway, older: Vec<String>) -> Self {
        Self {
            gateway,
            older: older.into(),
            old: None,
            own: None,
            memory: VecDeque::new(),
            head: None,
            lost: 0,
            stuck: false,
            lossy: false,
            complaint: None,
            complained: false,
        }
    }

    /// Adds a call behind all others. `last`: the scan's last one, for which there is always room on disk.
    pub async fn push(&mut self, subject: &str, events: Events, last: bool) {
        let call = Arc::new(SpooledCall { subject: subject.to_owned(), events });
        if self.stuck && self.lossy && !last {
            self.lost += call.events.files();
            return;
        }
        if self.own.is_some() && self.memory.is_empty() && !self.stuck {
            let unkept = self.keep(call, last).await;
            self.stuck = unkept.is_some();
            self.memory.extend(unkept);
            return;
        }
        self.memory.push_back(call);
        let bytes: usize = self.memory.iter().map(|call| call.events.json.len()).sum();
        let much = self.memory.len() > MEMORY || (bytes > MEMORY_BYTES && self.memory.len() > 1);
        if much && !self.stuck {
            self.spill(last).await;
        }
    }

    /// Puts what is in memory on disk, as far as there is room.
    async fn spill(&mut self, last: bool) {
        if self.own.is_none() {
            let spool = self.gateway.spool().clone();
            match blocking(move || spool.create()).await {
                Ok(lane) => self.own = Some(lane),
                Err(error) => {
                    self.stuck = true;
                    return self.complain(&error);
                }
            }
        }
        if matches!(self.head, Some((_, Place::Memory))) {
            self.head = None;
        }
        while let Some(call) = self.memory.pop_front() {
            let last = last && self.memory.is_empty();
            if let Some(unkept) = self.keep(call, last).await {
                self.memory.push_front(unkept);
                self.stuck = true;
                return;
            }
        }
    }

    /// Puts a call into the own lane; gives it back when there is no room for it.
    async fn keep(&mut self, call: Arc<SpooledCall>, last: bool) -> Option<Arc<SpooledCall>> {
        let Some(lane) = self.own.take() else { return Some(call) };
        let files = call.events.files();
        let spool = self.gateway.spool().clone();
        let limit = self.gateway.settings().spool_bytes;
        let kept = blocking(move || {
            let kept = if spool.has_room(call.events.json.len() + 12 * call.events.len(), last) {
                lane.append(&call).map_err(io::Error::other)
            } else {
                Err(io::Error::other(format!("it holds the {limit} bytes it may")))
            };
            Ok((lane, call, kept))
        });
        match kept.await {
            Ok((lane, call, kept)) => {
                self.own = Some(lane);
                let error = kept.err()?;
                self.complain(&error);
                Some(call)
            }
            Err(error) => {
                self.lost += files;
                self.complain(&error);
                None
            }
        }
    }

    /// True when neither memory nor disk take more; until the gateway takes something.
    pub fn is_stuck(&self) -> bool {
        self.stuck
    }

    /// From now on what finds no room is lost; until the gateway takes something.
    pub fn be_lossy(&mut self) {
        self.lossy = true;
    }

    /// See [`Outbox::be_lossy`].
    pub fn is_lossy(&self) -> bool {
        self.lossy
    }

    fn complain(&mut self, error: &io::Error) {
        if !self.complained {
            self.complained = true;
            let dir = self.gateway.settings().spool.display();
            self.complaint = Some(format!(
                "what the gateway does not take soon is lost, because the spool in {dir} cannot keep it: {error}; check its free space, permissions and bound"
            ));
        }
    }

    /// Why the disk cannot be used; once.
    pub fn complaint(&mut self) -> Option<String> {
        self.complaint.take()
    }

    /// The oldest call; the same until [`Outbox::done`].
    pub async fn head(&mut self) -> Option<Arc<SpooledCall>> {
        if self.head.is_none() {
            self.head = self.find_head().await;
        }
        self.head.as_ref().map(|(call, _)| call.clone())
    }

    async fn find_head(&mut self) -> Option<(Arc<SpooledCall>, Place)> {
        loop {
            if let Some(lane) = self.old.take() {
                match peek(lane).await {
                    Ok((lane, Some((call, through)))) => {
                        self.old = Some(lane);
                        return Some((Arc::new(call), Place::Old(through)));
                    }
                    Ok((lane, None)) => self.remove(lane).await,
                    Err(error) => tracing::error!(%error, "a lane of the spool cannot be read"),
                }
                continue;
            }
            let Some(name) = self.older.pop_front() else { break };
            let spool = self.gateway.spool().clone();
            match blocking(move || spool.claim(&name)).await {
                Ok(lane) => self.old = lane,
                Err(error) => tracing::error!(%error, "a lane of the spool cannot be opened"),
            }
        }
        if let Some(lane) = self.own.take() {
            match peek(lane).await {
                Ok((lane, Some((call, through)))) => {
                    self.own = Some(lane);
                    return Some((Arc::new(call), Place::Own(through)));
                }
                Ok((lane, None)) => self.remove(lane).await,
                Err(error) => tracing::error!(%error, "a lane of the spool cannot be read"),
            }
        }
        self.memory.front().map(|call| (call.clone(), Place::Memory))
    }

    /// The call that [`Outbox::head`] gave has arrived, also when others were pushed meanwhile. True when it was this scan's.
    pub async fn done(&mut self) -> bool {
        (self.stuck, self.lossy) = (false, false);
        // It may have gone to the disk since.
        let _ = self.head().await;
        match self.head.take() {
            Some((_, Place::Old(through))) => {
                if let Some(lane) = &mut self.old {
                    lane.done(through);
                }
                false
            }
            Some((_, Place::Own(through))) => {
                if let Some(lane) = &mut self.own {
                    lane.done(through);
                }
                true
            }
            Some((_, Place::Memory)) => {
                self.memory.pop_front();
                true
            }
            None => false,
        }
    }

    /// Calls in memory.
    pub fn in_memory(&self) -> usize {
        self.memory.len()
    }

    /// Files of this scan that nothing holds any more and that did not arrive.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Drops this scan's calls; those of earlier ones stay on disk.
    pub async fn discard(&mut self) {
        self.memory.clear();
        self.head = None;
        if let Some(lane) = self.own.take() {
            self.remove(lane).await;
        }
    }

    /// Leaves everything to the next scan: what is in memory goes to the disk.
    pub async fn close(&mut self, last: bool) {
        while !self.memory.is_empty() {
            self.spill(last).await;
            // What follows may be smaller, or the last call.
            if let Some(unkept) = self.memory.pop_front() {
                self.lost += unkept.events.files();
            }
        }
        self.head = None;
        // A lane that took nothing, as the spool is full, is not left behind.
        if let Some(lane) = self.own.take() {
            match peek(lane).await {
                Ok((lane, None)) => self.remove(lane).await,
                Ok((lane, Some(_))) => self.own = Some(lane),
                Err(error) => tracing::error!(%error, "a lane of the spool cannot be read"),
            }
        }
        let lanes = (self.old.take(), self.own.take());
        // Closing waits for the disk.
        let closed = blocking(move || {
            drop(lanes);
            Ok(())
        });
        let _ = closed.await;
    }

    async fn remove(&self, lane: Lane) {
        let spool: Spool = self.gateway.spool().clone();
        if let Err(error) = blocking(move || spool.remove(lane)).await {
            tracing::warn!(%error, "an empty lane of the spool was not removed");
        }
    }
}

/// A lane with its oldest call.
type Peeked = (Lane, Option<(SpooledCall, u64)>);

async fn peek(mut lane: Lane) -> io::Result<Peeked> {
    blocking(move || {
        let head = lane.peek().map_err(io::Error::other)?;
        Ok((lane, head))
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
