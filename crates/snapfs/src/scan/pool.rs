//! The threads that hash. They take files from the oldest batch that has any left, so that a large file holds up nothing but
//! its own batch.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use hostler_files::{FileContent, FileHasher};
use tokio::sync::oneshot;

use super::item::{Batch, join};
use super::tally::Tally;

/// What came of a batch's files, by their places in it.
pub type Contents = Vec<(usize, FileContent)>;

/// Hashing threads; they end when it is closed.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Arc<Job>>,
    closed: bool,
}

struct Job {
    batch: Arc<Batch>,
    /// Places of the files to hash.
    want: Vec<usize>,
    /// The next of them that nobody has taken.
    next: AtomicUsize,
    results: Mutex<(Contents, Option<oneshot::Sender<Contents>>)>,
}

impl Pool {
    /// One thread for each hasher. `root` is for showing paths.
    pub fn start(hashers: Vec<FileHasher>, tally: &Arc<Tally>, root: &[u8]) -> io::Result<Self> {
        let pool = Self(Arc::default());
        for (index, hasher) in hashers.into_iter().enumerate() {
            let (shared, tally, root) = (pool.0.clone(), tally.clone(), root.to_vec());
            let thread = std::thread::Builder::new().name(format!("hash-{index}"));
            let started = thread.spawn(move || work(index, hasher, &shared, &tally, &root));
            if let Err(error) = started {
                pool.close();
                return Err(error);
            }
        }
        Ok(pool)
    }

    /// Hashes the files at `want`; `None` when the pool was closed.
    pub async fn hash(&self, batch: Arc<Batch>, want: Vec<usize>) -> Option<Contents> {
        if want.is_empty() {
            return Some(Vec::new());
        }
        let (send, receive) = oneshot::channel();
        let results = Mutex::new((Vec::with_capacity(want.len()), Some(send)));
        let job = Job { batch, want, next: AtomicUsize::new(0), results };
        self.0.give(job);
        receive.await.ok()
    }

    /// Lets the threads end after the file at hand, and drops what waits.
    pub fn close(&self) {
        let mut queue = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.closed = true;
        queue.jobs.clear();
        self.0.ready.notify_all();
    }
}

impl Shared {
    /// Queues a job; dropped when the pool is closed, which its receiver sees.
    fn give(&self, job: Job) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.closed {
            return;
        }
        let several = job.want.len() > 1;
        queue.jobs.push_back(Arc::new(job));
        if several {
            self.ready.notify_all();
        } else {
            self.ready.notify_one();
        }
    }

    /// Waits for a file; `None` when the pool is closed.
    fn take(&self) -> Option<(Arc<Job>, usize)> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if queue.closed {
                return None;
            }
            let Some(job) = queue.jobs.front() else {
                queue = self.ready.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let at = job.next.fetch_add(1, Ordering::Relaxed);
            let taken = job.want.get(at).map(|place| (job.clone(), *place));
            if at + 1 >= job.want.len() {
                queue.jobs.pop_front();
            }
            if taken.is_some() {
                return taken;
            }
        }
    }
}

impl Job {
    fn finish(&self, place: usize, content: FileContent) {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.0.push((place, content));
        if results.0.len() == self.want.len()
            && let Some(send) = results.1.take()
        {
            // Nobody receives when the scan was stopped.
            let _ = send.send(std::mem::take(&mut results.0));
        }
    }
}

fn work(index: usize, mut hasher: FileHasher, shared: &Shared, tally: &Tally, root: &[u8]) {
    while let Some((job, place)) = shared.take() {
        let item = &job.batch.items[place];
        let name = job.batch.name(item);
        let size = item.found.entry.size;
        tally.begin(index, || join(&join(root, &item.dir.path), name), size);
        let content = hasher.hash(&item.dir.path, name, &item.found.entry);
        tally.end(size);
        match content {
            Ok(content) => job.finish(place, content),
            // Stopped.
            Err(_) => return,
        }
    }
}
