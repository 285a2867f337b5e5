//! Stopping a scan and halting it, from other threads.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

const CANCELLED: u8 = 1;
const PAUSED: u8 = 2;

/// Steers a scan; clones steer the same one. Takes effect within one entry, or one buffer of a file that is being read.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// [`CANCELLED`] and [`PAUSED`]; zero most of the time, so that one load per entry is all it costs.
    flags: AtomicU8,
    /// Held while flags change, so that no change is missed between a look at them and the wait.
    lock: Mutex<()>,
    changed: Condvar,
}

impl Control {
    /// Asks the scan to stop, also while it is paused. Cannot be taken back.
    pub fn cancel(&self) {
        self.change(|flags| flags | CANCELLED);
    }

    /// True once somebody asked it to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.flags.load(Relaxed) & CANCELLED != 0
    }

    /// Halts the scan, or lets it go on. It keeps what it has open, and its manifest locked.
    pub fn set_paused(&self, paused: bool) {
        self.change(|flags| if paused { flags | PAUSED } else { flags & !PAUSED });
    }

    /// True from a pause until it is lifted.
    pub fn is_paused(&self) -> bool {
        self.0.flags.load(Relaxed) & PAUSED != 0
    }

    /// True when the scan need neither stop nor wait.
    #[inline]
    pub(crate) fn is_clear(&self) -> bool {
        self.0.flags.load(Relaxed) == 0
    }

    /// Waits while the scan is paused; `false` once it is cancelled.
    pub(crate) fn wait_while_paused(&self) -> bool {
        let mut guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while self.is_paused() && !self.is_cancelled() {
            guard = self.0.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        !self.is_cancelled()
    }

    /// Sleeps until `end`, or until the flags change.
    pub(crate) fn sleep_until(&self, end: Instant) {
        let guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let left = end.saturating_duration_since(Instant::now());
        if self.is_clear() && left > Duration::ZERO {
            drop(self.0.changed.wait_timeout(guard, left));
        }
    }

    fn change(&self, change: impl Fn(u8) -> u8) {
        let _guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.flags.store(change(self.0.flags.load(Relaxed)), Relaxed);
        self.0.changed.notify_all();
    }
}
