//! How long the agent waits before it connects again.
//!
//! A socket that stood for a while and was closed in an orderly way is replaced at once, as the programs do whose place
//! is taken: gateways close sockets to be restarted. A gateway that takes a socket only to close it is met like one that
//! is away: 0.5 s, doubled up to 30 s, times a random 0.7 to 1.3, so that a fleet does not come back in one moment.

use std::time::Duration;

/// A socket that lives less has not helped.
const SHORT_LIFE: Duration = Duration::from_secs(5);
const FIRST: f64 = 0.5;
const LONGEST: f64 = 30.0;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// There was no socket.
    Failed,
    /// The gateway closed the socket in an orderly way after as long.
    Closed(Duration),
    /// The socket broke after as long.
    Broken(Duration),
}

#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    /// It went back at once, and no socket has stood since.
    hurried: bool,
}

impl Backoff {
    /// The time to wait after `attempt`; `chance` is 0 to 1.
    pub(super) fn after(&mut self, attempt: Attempt, chance: f64) -> Duration {
        if let Attempt::Closed(lived) | Attempt::Broken(lived) = attempt
            && lived >= SHORT_LIFE
        {
            *self = Self::default();
        }
        if matches!(attempt, Attempt::Closed(_)) && !self.hurried && self.failures == 0 {
            self.hurried = true;
            return Duration::ZERO;
        }
        let exponent = i32::try_from(self.failures.min(16)).unwrap_or(16);
        self.failures = self.failures.saturating_add(1);
        Duration::from_secs_f64((FIRST * 2f64.powi(exponent)).min(LONGEST) * (0.7 + 0.6 * chance.clamp(0.0, 1.0)))
    }
}

/// A random number from 0 to 1; in the middle when the system has none.
pub(super) fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |n| f64::from(n) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The waits in milliseconds after these attempts, in the middle of chance.
    fn waits(attempts: &[Attempt]) -> Vec<u128> {
        let mut backoff = Backoff::default();
        attempts.iter().map(|attempt| backoff.after(*attempt, 0.5).as_millis()).collect()
    }

    #[test]
    fn waits_double_up_to_half_a_minute_and_start_anew_after_a_socket_that_stood() {
        use Attempt::{Broken, Closed, Failed};
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(5));
        let cases: [(&[Attempt], &[u128]); 7] = [
            (&[Failed; 9], &[500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]),
            (&[Closed(long), Closed(long), Closed(long)], &[0, 0, 0]),
            (&[Closed(short), Closed(short), Closed(short)], &[0, 500, 1000]),
            (&[Closed(long), Closed(short), Closed(short)], &[0, 500, 1000]),
            (&[Broken(long), Failed, Broken(short), Broken(long)], &[500, 1000, 2000, 500]),
            (&[Failed, Closed(short), Closed(long)], &[500, 1000, 0]),
            (&[Closed(short), Closed(short), Closed(long), Closed(short)], &[0, 500, 0, 500]),
        ];
        for (attempts, expected) in cases {
            assert_eq!(waits(attempts), expected, "{attempts:?}");
        }
    }

    #[test]
    fn chance_spreads_a_wait_by_three_tenths() {
        for (chance, milliseconds) in [(0.0, 350), (1.0, 650)] {
            assert_eq!(Backoff::default().after(Attempt::Failed, chance).as_millis(), milliseconds);
        }
        assert!((0.0..=1.0).contains(&chance()));
    }
}
