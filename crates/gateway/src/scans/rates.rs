//! How fast a scan goes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hostler_model::ScanCounters;

use crate::events::ScanRate;

/// Progress events of one scan are at least this far apart.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// Rates are taken over this long.
const RATE_WINDOW: Duration = Duration::from_secs(5);

/// Rates over the last seconds.
#[derive(Default)]
pub struct Rates {
    samples: VecDeque<(Instant, u64, u64)>,
    announced: Option<Instant>,
}

impl Rates {
    /// The rate now; none while the scan is paused, and then from the resume on.
    pub fn add(&mut self, now: Instant, counters: &ScanCounters, paused: bool) -> Option<ScanRate> {
        if paused {
            self.samples.clear();
            return None;
        }
        self.samples.push_back((now, counters.files, counters.hashed_bytes));
        while self.samples.len() > 2 && now.duration_since(self.samples[1].0) > RATE_WINDOW {
            self.samples.pop_front();
        }
        let &(first, files, bytes) = self.samples.front()?;
        let seconds = now.duration_since(first).as_secs_f64();
        if seconds < 0.05 {
            return Some(ScanRate::default());
        }
        let files_per_second = counters.files.saturating_sub(files) as f64 / seconds;
        let left = counters.expected_files.saturating_sub(counters.files);
        Some(ScanRate {
            files_per_second,
            bytes_per_second: counters.hashed_bytes.saturating_sub(bytes) as f64 / seconds,
            seconds_left: (counters.expected_files > 0 && files_per_second >= 0.1)
                .then(|| (left as f64 / files_per_second).ceil() as u64),
        })
    }

    /// An event is due now; then it counts as sent.
    pub fn announce_due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.announced.is_none_or(|last| now.duration_since(last) >= PROGRESS_EVERY);
        if due {
            self.announced = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_comes_from_the_rate() {
        let mut rates = Rates::default();
        let start = Instant::now();
        let counters =
            |files| ScanCounters { files, expected_files: 1000, hashed_bytes: files * 10, ..Default::default() };
        assert_eq!(rates.add(start, &counters(0), false), Some(ScanRate::default()));
        let rate = rates.add(start + Duration::from_secs(2), &counters(200), false).unwrap();
        assert_eq!((rate.files_per_second, rate.bytes_per_second), (100.0, 1000.0));
        assert_eq!(rate.seconds_left, Some(8));
    }

    #[test]
    fn a_pause_does_not_count_as_time() {
        let mut rates = Rates::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let counters = |files| ScanCounters { files, expected_files: 1000, ..Default::default() };
        rates.add(start, &counters(0), false);
        assert_eq!(rates.add(at(2), &counters(200), true), None);
        assert_eq!(rates.add(at(3600), &counters(200), true), None);
        assert_eq!(rates.add(at(3601), &counters(200), false), Some(ScanRate::default()));
        assert_eq!(rates.add(at(3602), &counters(300), false).unwrap().files_per_second, 100.0);
    }
}
