use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use crate::disk::{Disk, Outcome};
use crate::read::Cursor;
use crate::view::View;
use crate::{Batch, Durability, JournalError, JournalId, JournalSettings, MAX_PAYLOAD, Status, lock, open, record};

/// An appender that fills the buffer to this writes it itself: no one may be faster than the disk for long.
const BUFFER: usize = 1 << 20;

/// A bounded log of events on disk. A cheap clone; the last one that is dropped closes the journal.
#[derive(Clone)]
pub struct Journal(Arc<Owner>);

/// Ends the writer thread when the last [`Journal`] is dropped.
struct Owner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What appenders, readers and the writer thread share. Locks are taken in the order disk, front or view.
pub struct Shared {
    pub dir: PathBuf,
    id: JournalId,
    flush_every: Duration,
    front: Mutex<Front>,
    /// The writer thread waits here for something to do.
    work: Condvar,
    /// Appenders wait here for their batch.
    flushed: Condvar,
    disk: Mutex<Disk>,
    pub view: Mutex<View>,
    pub cursors: Mutex<VecDeque<Cursor>>,
    durable: watch::Sender<u64>,
    /// The directory's lock.
    _lock: File,
}

/// Where appenders put their records.
struct Front {
    buffer: Vec<u8>,
    next: u64,
    /// Tells those who wait for this batch what became of it.
    ticket: Arc<OnceLock<Outcome>>,
    /// Somebody waits.
    urgent: bool,
    /// The acknowledged position is to be kept.
    acknowledged: bool,
    closed: bool,
}

impl Journal {
    /// Opens the journal in `settings.dir`, or makes one there, and repairs what a crash left.
    ///
    /// # Errors
    /// [`JournalError::InUse`] when it is open already; [`JournalError::Io`] when the directory or its last segment cannot be used.
    /// A full disk is no error: events are then lost, and counted, until there is space.
    pub fn open(settings: JournalSettings) -> Result<Self, JournalError> {
        let opened = open::open(&settings)?;
        let front = Front {
            buffer: Vec::new(),
            next: opened.next,
            ticket: Arc::default(),
            urgent: false,
            acknowledged: false,
            closed: false,
        };
        let shared = Arc::new(Shared {
            dir: settings.dir.clone(),
            id: opened.disk.id,
            flush_every: settings.flush_every,
            front: Mutex::new(front),
            work: Condvar::new(),
            flushed: Condvar::new(),
            durable: watch::Sender::new(opened.view.durable()),
            disk: Mutex::new(opened.disk),
            view: Mutex::new(opened.view),
            cursors: Mutex::default(),
            _lock: opened.lock,
        });
        let writer = shared.clone();
        let thread = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run())
            .map_err(JournalError::io("start the writer of", settings.dir))?;
        Ok(Self(Arc::new(Owner { shared, thread: Mutex::new(Some(thread)) })))
    }

    /// Made at random with the journal; another one when its directory was lost.
    pub fn id(&self) -> JournalId {
        self.0.shared.id
    }

    /// Appends an event and returns its number. Numbers begin at 1 and grow by 1; those of events that could not be written
    /// are used up. Blocks: with [`Durability::Flushed`] until the event is on disk, else only when the disk is slower than
    /// the appenders.
    ///
    /// # Errors
    /// [`JournalError::TooLarge`]; [`JournalError::Closed`]; [`JournalError::Io`] when a flushed event could not be written. A buffered
    /// event that cannot be written later is counted in [`Status::lost`].
    pub fn append(&self, payload: &[u8], durability: Durability) -> Result<u64, JournalError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(JournalError::TooLarge { bytes: payload.len() });
        }
        let shared = &self.0.shared;
        let mut front = lock(&shared.front);
        if front.closed {
            return Err(JournalError::Closed);
        }
        let (seq, idle) = (front.next, front.buffer.is_empty());
        front.next += 1;
        record::encode(&mut front.buffer, seq, payload);
        match durability {
            Durability::Buffered => {
                let full = front.buffer.len() >= BUFFER;
                drop(front);
                if full {
                    shared.flush();
                } else if idle {
                    shared.work.notify_one();
                }
                Ok(seq)
            }
            Durability::Flushed => {
                let ticket = front.ticket.clone();
                front.urgent = true;
                shared.work.notify_one();
                loop {
                    match ticket.get() {
                        Some(Outcome { through, error: Some(error) }) if seq > *through => return Err(error.clone()),
                        Some(_) => return Ok(seq),
                        None => front = shared.flushed.wait(front).unwrap_or_else(PoisonError::into_inner),
                    }
                }
            }
        }
    }

    /// Events with numbers above `after` that are on disk, in order: as many as fit into `max_bytes`, one at least.
    ///
    /// A number that is missing belongs to an event that was lost. Go on with [`Batch::through`], not with the last record:
    /// lost events at the end are in it. Blocks for the disk.
    ///
    /// # Errors
    /// [`JournalError::Io`]. Damaged events are no error but lost.
    pub fn read(&self, after: u64, max_bytes: usize) -> Result<Batch, JournalError> {
        self.0.shared.read(after, max_bytes)
    }

    /// Waits until [`Journal::read`] has something after `after`, which may be a loss only.
    pub async fn wait(&self, after: u64) {
        let mut durable = self.0.shared.durable.subscribe();
        // The sender lives as long as this journal.
        let _ = durable.wait_for(|last| *last > after).await;
    }

    /// The reader needs nothing up to `seq` any more: whole segments up to it are deleted. Numbers that go back change nothing.
    pub fn acknowledge(&self, seq: u64) {
        let shared = &self.0.shared;
        let gone = {
            let mut view = lock(&shared.view);
            view.acknowledged = seq.min(view.durable()).max(view.acknowledged);
            view.forget_acknowledged()
        };
        for first in gone {
            shared.delete(first);
        }
        lock(&shared.front).acknowledged = true;
        shared.work.notify_one();
    }

    /// The next event gets a number above `seq`, and so it stays over a restart. For a journal that went back in time with
    /// its directory, such as in a restored snapshot: the reader has seen numbers that it would give again.
    ///
    /// # Errors
    /// [`JournalError::Io`] when the jump cannot be kept.
    pub fn skip_to(&self, seq: u64) -> Result<(), JournalError> {
        self.0.shared.skip_to(seq)
    }

    /// What the journal holds.
    pub fn status(&self) -> Status {
        let next = lock(&self.0.shared.front).next;
        let view = lock(&self.0.shared.view);
        Status {
            first: view.segments.front().map_or(next, |s| s.first),
            next,
            acknowledged: view.acknowledged,
            bytes: view.bytes(),
            lost: view.lost,
        }
    }

    /// Flushes what is buffered and takes no more. Reading goes on.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Owner {
    fn close(&self) {
        lock(&self.shared.front).closed = true;
        self.shared.work.notify_one();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // A writer that panicked has nothing left to flush.
            let _ = thread.join();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("dir", &self.0.shared.dir).field("id", &self.id()).finish()
    }
}

impl Shared {
    /// The writer thread.
    fn run(&self) {
        loop {
            let front = lock(&self.front);
            let idle = |f: &mut Front| f.buffer.is_empty() && !f.acknowledged && !f.closed;
            let front = self.work.wait_while(front, idle).unwrap_or_else(PoisonError::into_inner);
            let nobody_waits = |f: &mut Front| !f.urgent && !f.closed;
            let waited = self.work.wait_timeout_while(front, self.flush_every, nobody_waits);
            let (mut front, _) = waited.unwrap_or_else(PoisonError::into_inner);
            front.acknowledged = false;
            let closed = front.closed;
            drop(front);
            self.flush();
            if closed {
                return;
            }
        }
    }

    /// Writes what is buffered, and tells those who wait.
    fn flush(&self) {
        let mut disk = lock(&self.disk);
        let (ticket, last) = {
            let mut front = lock(&self.front);
            std::mem::swap(&mut front.buffer, &mut disk.batch);
            front.urgent = false;
            (std::mem::take(&mut front.ticket), front.next - 1)
        };
        if !disk.batch.is_empty() {
            let outcome = disk.write_batch(&self.view, &self.durable);
            lock(&self.view).lost += last - outcome.through;
            // The ticket was made for this batch and is set here only.
            let _ = ticket.set(outcome);
            drop(lock(&self.front));
            self.flushed.notify_all();
        }
        let acknowledged = lock(&self.view).acknowledged;
        disk.keep_position(acknowledged);
    }

    /// Nothing more goes to the segment `first`, in which damage was found: the next number is kept in a new one.
    pub fn leave_segment(&self, first: u64) -> Result<(), JournalError> {
        let mut disk = lock(&self.disk);
        if lock(&self.view).segments.back().is_some_and(|s| s.first == first) {
            let next = lock(&self.view).durable() + 1;
            disk.active = Some(disk.begin_segment(next, &self.view)?);
        }
        Ok(())
    }

    fn skip_to(&self, seq: u64) -> Result<(), JournalError> {
        loop {
            let mut disk = lock(&self.disk);
            let mut front = lock(&self.front);
            if front.next > seq {
                return Ok(());
            }
            if front.buffer.is_empty() {
                front.next = seq.saturating_add(1);
                drop(front);
                disk.active = Some(disk.begin_segment(seq.saturating_add(1), &self.view)?);
                self.durable.send_replace(seq);
                return Ok(());
            }
            // What has a number already keeps it.
            drop((disk, front));
            self.flush();
        }
    }

    fn delete(&self, first: u64) {
        let path = crate::segment::path(&self.dir, first);
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::warn!(path = %path.display(), %error, "a journal segment was not deleted");
        }
    }
}
