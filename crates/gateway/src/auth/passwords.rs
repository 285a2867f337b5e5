//! Hashing passwords: off the async threads, two at a time, and not many waiting.

use std::sync::Arc;

use hostler_identity::password;
use tokio::sync::Semaphore;

/// Hashes at the same time: each takes a core and 19 MiB for tens of milliseconds.
const RUNNING: usize = 2;
/// Hashes that run or wait; more are refused.
const WAITING: usize = 32;

/// Too much at once.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("too many people sign in at this moment; try again in a few seconds")]
pub struct Busy;

/// Cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { running: Arc::new(Semaphore::new(RUNNING)), waiting: Arc::new(Semaphore::new(WAITING)) }
    }
}

impl Passwords {
    /// Whether the password is right. Without a hash it is not, after as much work.
    pub async fn verify(&self, given: String, hash: Option<String>) -> Result<bool, Busy> {
        self.run(move || match hash {
            Some(hash) => password::verify(&given, &hash),
            None => password::verify_nobody(&given),
        })
        .await
    }

    /// The hash to keep.
    pub async fn hash(&self, given: String) -> Result<Result<String, password::HashError>, Busy> {
        self.run(move || password::hash(&given)).await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let place = self.waiting.clone().try_acquire_owned().map_err(|_| Busy)?;
        let turn = self.running.clone().acquire_owned().await.map_err(|_| Busy)?;
        // Held by the work itself: a caller that goes away does not make room before it has ended.
        let work = move || {
            let _held = (place, turn);
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn more_than_may_wait_are_refused_and_later_ones_are_served() {
        let passwords = Passwords::default();
        let (go, gate) = std::sync::mpsc::channel::<()>();
        let gate = Arc::new(std::sync::Mutex::new(gate));
        let held: Vec<_> = (0..WAITING)
            .map(|_| {
                let (passwords, gate) = (passwords.clone(), gate.clone());
                tokio::spawn(async move { passwords.run(move || gate.lock().unwrap().recv().is_ok()).await })
            })
            .collect();
        while passwords.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(passwords.verify("x".into(), None).await.is_err());
        (0..WAITING).for_each(|_| go.send(()).unwrap());
        for task in held {
            assert!(task.await.unwrap().unwrap());
        }
        assert!(!passwords.verify("x".into(), None).await.unwrap());
    }
}
