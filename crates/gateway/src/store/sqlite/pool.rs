//! One writer thread and a few readers over one database file.
//!
//! Writes queue to the writer, which takes as many as wait into one transaction: a flush to disk is shared by all of them.
//! Each runs in a savepoint of its own, so one that fails undoes only itself. A caller gets its answer after the commit.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hostler_model::bytestr;
use rusqlite::{Connection, InterruptHandle, OpenFlags};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::schema;
use crate::store::{Result, StoreError};

/// Writes that may wait; more wait in their callers.
const QUEUE: usize = 256;
/// Writes that share one transaction.
const GROUP: usize = 128;
/// Reads at the same time; more wait in their callers.
const READERS: usize = 4;

/// What the writer does.
enum Job {
    /// Runs in the open transaction; with the reason instead when there is none.
    Shared(SharedJob),
    /// Runs outside of any transaction, between two groups.
    Alone(LoneJob),
}
type LoneJob = Box<dyn FnOnce(&mut Connection) + Send>;
type SharedJob = Box<dyn FnOnce(Result<&mut Connection>) -> Answer + Send>;
/// Sends the result to the caller; called with the commit's error when it failed.
type Answer = Box<dyn FnOnce(Option<StoreError>) + Send>;

/// See the module's notes.
pub struct Pool {
    writer: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    readers: Arc<Readers>,
}

struct Readers {
    path: PathBuf,
    permits: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    /// Opens or makes the database and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Self> {
        let mut db = Connection::open(path)?;
        db.pragma_update(None, "journal_mode", "wal")?;
        // FULL: what a caller was told is kept survives a power cut.
        db.pragma_update(None, "synchronous", "full")?;
        configure(&db)?;
        schema::migrate(&mut db)?;
        let (writer, jobs) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || write_loop(db, jobs))
            .map_err(|source| StoreError::File {
                path: bytestr::display(path.as_os_str().as_encoded_bytes()).into(),
                source,
            })?;
        Ok(Self {
            writer: Mutex::new(Some(writer)),
            thread: Mutex::new(Some(thread)),
            readers: Arc::new(Readers {
                path: path.into(),
                permits: Arc::new(Semaphore::new(READERS)),
                idle: Mutex::new(Vec::new()),
            }),
        })
    }

    /// Runs `job` on the writer and returns after its commit.
    pub async fn write<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let writer = lock(&self.writer).clone().ok_or(StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        let job: SharedJob = Box::new(move |db| {
            let result = db.and_then(|db| in_savepoint(db, job));
            Box::new(move |commit_error| {
                // The caller may have given up; the write stands all the same.
                let _ = reply.send(match commit_error {
                    Some(error) => Err(error),
                    None => result,
                });
            })
        });
        writer.send(Job::Shared(job)).await.map_err(|_| StoreError::Closed)?;
        // The writer ends when the last of these is gone: who waits for an answer must not keep it.
        drop(writer);
        // The reply is gone when the job panicked, or when the writer ended before it.
        answer.await.map_err(|_| if lock(&self.writer).is_some() { StoreError::Broken } else { StoreError::Closed })?
    }

    /// Runs `job` on the writer while nothing else writes, outside of any transaction; it sees to its own.
    pub async fn write_alone<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    {
        let writer = lock(&self.writer).clone().ok_or(StoreError::Closed)?;
        let (reply, answer) = oneshot::channel();
        // The caller may have given up; what was done stands all the same.
        let job = Box::new(move |db: &mut Connection| drop(reply.send(job(db))));
        writer.send(Job::Alone(job)).await.map_err(|_| StoreError::Closed)?;
        drop(writer);
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Runs `job` on a reader: it sees the last commit as of its start.
    pub async fn read<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let readers = self.readers.clone();
        let permit = readers.permits.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let query = Arc::new(RunningQuery::default());
        let _abandon = AbandonOnDrop(query.clone());
        tokio::task::spawn_blocking(move || {
            // Held by the query itself: a caller who goes away does not make room before it has ended.
            let _permit = permit;
            let idle = lock(&readers.idle).pop();
            let mut db = match idle {
                Some(db) => db,
                None => open_reader(&readers.path)?,
            };
            let result = match query.begin(&db) {
                true => db.transaction().map_err(StoreError::from).and_then(|tx| job(&tx)),
                false => Err(StoreError::Closed),
            };
            query.end();
            lock(&readers.idle).push(db);
            result
        })
        .await
        .map_err(|_| StoreError::Closed)?
    }

    /// Refuses reads, ends the writer after the writes that wait, and folds the log into the database.
    pub fn close(&self) {
        drop(lock(&self.writer).take());
        self.readers.permits.close();
        lock(&self.readers.idle).clear();
        if let Some(thread) = lock(&self.thread).take() {
            // The thread's panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.close();
    }
}

/// A read that can be interrupted while it runs, and only then: its connection serves others afterwards.
#[derive(Default)]
struct RunningQuery(Mutex<QueryState>);

#[derive(Default)]
struct QueryState {
    handle: Option<InterruptHandle>,
    abandoned: bool,
}

impl RunningQuery {
    /// False when nobody waits for it any more.
    fn begin(&self, db: &Connection) -> bool {
        let mut state = lock(&self.0);
        state.handle = Some(db.get_interrupt_handle());
        !state.abandoned
    }

    fn end(&self) {
        lock(&self.0).handle = None;
    }
}

/// Interrupts a read whose caller has gone away: a closed browser tab must not keep a reader busy.
struct AbandonOnDrop(Arc<RunningQuery>);

impl Drop for AbandonOnDrop {
    fn drop(&mut self) {
        let mut state = lock(&self.0.0);
        state.abandoned = true;
        if let Some(handle) = state.handle.take() {
            handle.interrupt();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn open_reader(path: &Path) -> Result<Connection> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    configure(&db)?;
    Ok(db)
}

/// What every connection has: bounds of its cache, and keys that are enforced.
pub fn configure(db: &Connection) -> Result<()> {
    db.busy_timeout(Duration::from_secs(10))?;
    db.pragma_update(None, "foreign_keys", true)?;
    db.pragma_update(None, "cache_size", -16_384)?;
    db.pragma_update(None, "temp_store", "memory")?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn in_savepoint<T>(db: &mut Connection, job: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
    let savepoint = db.savepoint()?;
    let value = job(&savepoint)?;
    savepoint.commit()?;
    Ok(value)
}

/// Runs a job; one that panics is undone by its savepoint and answered as broken, and the writer lives on.
fn run(job: SharedJob, db: &mut Connection) -> Answer {
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(Ok(db))));
    ran.unwrap_or_else(|_| Box::new(|_| {}))
}

fn run_alone(job: LoneJob, db: &mut Connection) {
    // Its panic was reported when it happened, and its caller finds the reply gone.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job(db)));
    if !db.is_autocommit() {
        // What it left open must not become a part of the next group.
        let _ = db.execute_batch("ROLLBACK");
    }
}

fn write_loop(mut db: Connection, mut jobs: mpsc::Receiver<Job>) {
    while let Some(first) = jobs.blocking_recv() {
        match first {
            Job::Alone(job) => run_alone(job, &mut db),
            Job::Shared(job) => {
                if let Some(alone) = write_group(&mut db, job, &mut jobs) {
                    run_alone(alone, &mut db);
                }
            }
        }
    }
    if let Err(error) = db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
        tracing::warn!(%error, "the database's log was not folded in; it will be at the next start");
    }
}

/// Runs `first` and those that wait in one transaction. A job that must run alone ends the group and is given back.
fn write_group(db: &mut Connection, first: SharedJob, jobs: &mut mpsc::Receiver<Job>) -> Option<LoneJob> {
    if let Err(error) = db.execute_batch("BEGIN IMMEDIATE") {
        first(Err(error.into()))(None);
        return None;
    }
    let mut alone = None;
    let mut answers = vec![run(first, db)];
    while answers.len() < GROUP
        && let Ok(job) = jobs.try_recv()
    {
        match job {
            Job::Shared(job) => answers.push(run(job, db)),
            Job::Alone(job) => {
                alone = Some(job);
                break;
            }
        }
    }
    let failed = db.execute_batch("COMMIT").err();
    if failed.is_some() {
        // A full disk leaves the transaction open: without this every later BEGIN would fail.
        let _ = db.execute_batch("ROLLBACK");
    }
    for answer in answers {
        answer(failed.as_ref().map(|error| {
            let code = error.sqlite_error().map_or(rusqlite::ffi::SQLITE_ERROR, |e| e.extended_code);
            let why = Some(format!("nothing was written: {error}"));
            rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), why).into()
        }));
    }
    alone
}
