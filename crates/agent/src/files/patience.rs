//! Looking at paths that may lie on a filesystem which stopped answering: without end, and not to be interrupted.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Runs what blocks on threads of its own, of which a bounded number may hang.
#[derive(Clone, Debug)]
pub struct Patience {
    threads: Arc<Semaphore>,
    limit: Duration,
}

/// It did not come back in time, or as many as may be have not come back yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer;

impl Patience {
    /// At most so many threads; each is waited for no longer than `limit`.
    pub fn new(threads: usize, limit: Duration) -> Self {
        Self { threads: Arc::new(Semaphore::new(threads)), limit }
    }

    /// What `work` gives.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, NoAnswer> {
        let waited = tokio::time::timeout(self.limit, async {
            let turn: OwnedSemaphorePermit = self.threads.clone().acquire_owned().await.map_err(|_| NoAnswer)?;
            let (done, result) = oneshot::channel();
            let thread = std::thread::Builder::new().name("look".into()).spawn(move || {
                // Nobody may be waiting any more.
                let _ = done.send(work());
                drop(turn);
            });
            thread.map_err(|_| NoAnswer)?;
            result.await.map_err(|_| NoAnswer)
        });
        waited.await.unwrap_or(Err(NoAnswer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_hangs_takes_a_bounded_number_of_threads_and_frees_them_when_it_comes_back() {
        let patience = Patience::new(2, Duration::from_millis(200));
        let (end, hang) = std::sync::mpsc::channel::<()>();
        let hang = Arc::new(std::sync::Mutex::new(hang));
        for _ in 0..2 {
            let hang = hang.clone();
            let hung = patience.run(move || hang.lock().map(|hang| hang.recv().is_err()).is_ok()).await;
            assert_eq!(hung, Err(NoAnswer));
        }
        assert_eq!(patience.run(|| 1).await, Err(NoAnswer), "both threads hang");
        drop(end);
        assert_eq!(patience.run(|| 2).await, Ok(2));
    }
}
