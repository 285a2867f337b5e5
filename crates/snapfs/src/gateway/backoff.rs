//! Waiting longer and longer.

use std::time::Duration;

use crate::settings::Waits;

/// Times between repetitions: doubled each time, up to a bound, each 0.7 to 1.3 times as long at random, so that many hosts
/// do not come back at once.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// At its shortest.
    pub fn new(waits: &Waits) -> Self {
        Self { first: waits.first_retry, longest: waits.longest_retry, failures: 0 }
    }

    /// Back to the shortest.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait now.
    pub fn next(&mut self) -> Duration {
        let wait = self.first.saturating_mul(1 << self.failures.min(16)).min(self.longest);
        self.failures += 1;
        wait.mul_f64(0.7 + 0.6 * random())
    }
}

/// Between 0 and 1; in the middle when the system has no random numbers.
fn random() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}
