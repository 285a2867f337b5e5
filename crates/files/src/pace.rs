//! How fast a scan may go: pauses, its limits, and the sign of life that shows whether it goes at all.

use std::time::{Duration, Instant};

use hostler_model::ScanLimits;
use rustix::time::{ClockId, clock_gettime};

use crate::control::Control;
use crate::error::ScanFailure;
use crate::progress::Progress;

/// Entries between two looks at the processor time: asking the kernel costs as much as a quarter of a `statx`.
const CPU_STEP: u32 = 32;
/// Unused time or bytes are saved up for this long, so that a limited scan catches up what single slow reads cost and
/// still makes no bursts.
const SAVED: Duration = Duration::from_millis(100);
/// Longest sleep without a sign of life.
const NAP: Duration = Duration::from_millis(500);

/// Between any two entries, and any two buffers of content, the scan asks this whether it may go on.
pub struct Pace<'a> {
    control: &'a Control,
    progress: &'a Progress,
    cpu: Option<Cpu>,
    bytes: Option<Bytes>,
    steps: u32,
}

impl<'a> Pace<'a> {
    /// For one scan, on its thread.
    pub fn new(limits: &ScanLimits, control: &'a Control, progress: &'a Progress) -> Self {
        Self {
            control,
            progress,
            cpu: (limits.cpu_percent > 0).then(|| Cpu::new(limits.cpu_percent)),
            bytes: (limits.bytes_per_second > 0).then(|| Bytes::new(limits.bytes_per_second)),
            steps: 0,
        }
    }

    /// Before an entry.
    #[inline]
    pub fn entry(&mut self) -> Result<(), ScanFailure> {
        self.progress.beat();
        if !self.control.is_clear() {
            self.halt()?;
        }
        self.steps = self.steps.wrapping_add(1);
        if self.cpu.is_some() && self.steps.is_multiple_of(CPU_STEP) { self.spend(0) } else { Ok(()) }
    }

    /// After so many bytes of content.
    pub fn content(&mut self, bytes: usize) -> Result<(), ScanFailure> {
        self.progress.beat();
        self.progress.read(bytes);
        if !self.control.is_clear() {
            self.halt()?;
        }
        if self.cpu.is_some() || self.bytes.is_some() { self.spend(bytes) } else { Ok(()) }
    }

    /// The most to read at once of `full`: less where that would be read faster than allowed for long.
    pub fn buffer(&self, full: usize) -> usize {
        let eighth = self.bytes.as_ref().map_or(u64::MAX, |bytes| bytes.rate / 8);
        usize::try_from(eighth.max(4096)).unwrap_or(full).min(full)
    }

    #[cold]
    fn halt(&mut self) -> Result<(), ScanFailure> {
        if !self.progress.waiting(|| self.control.wait_while_paused()) {
            return Err(ScanFailure::Cancelled);
        }
        // What was not used during the pause is not made up for.
        self.cpu = self.cpu.take().map(|cpu| Cpu::new(cpu.percent));
        self.bytes = self.bytes.take().map(|bytes| Bytes::new(bytes.rate));
        Ok(())
    }

    fn spend(&mut self, bytes: usize) -> Result<(), ScanFailure> {
        let now = Instant::now();
        let cpu = self.cpu.as_mut().and_then(|cpu| cpu.due(now));
        let bytes = self.bytes.as_mut().and_then(|limit| limit.due(now, bytes));
        let Some(end) = cpu.max(bytes) else { return Ok(()) };
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            self.control.sleep_until(end.min(now + NAP));
            self.progress.beat();
            if !self.control.is_clear() {
                return self.halt();
            }
        }
    }
}

/// A share of one processor core.
struct Cpu {
    percent: u32,
    start: Instant,
    used: Duration,
}

impl Cpu {
    fn new(percent: u32) -> Self {
        Self { percent, start: Instant::now(), used: thread_time() }
    }

    /// When the share allows what was used.
    fn due(&mut self, now: Instant) -> Option<Instant> {
        let allowed_at = self.start + thread_time().saturating_sub(self.used) * 100 / self.percent;
        if allowed_at > now {
            return Some(allowed_at);
        }
        if now - allowed_at > SAVED {
            // The disk was the limit: start again.
            *self = Self::new(self.percent);
        }
        None
    }
}

/// Bytes a second: a bucket that holds what [`SAVED`] brings, and may be overdrawn by one buffer.
struct Bytes {
    rate: u64,
    /// When the bucket would be exactly empty.
    empty_at: Instant,
}

impl Bytes {
    fn new(rate: u64) -> Self {
        Self { rate, empty_at: Instant::now() }
    }

    /// When the rate allows `bytes` more.
    fn due(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        if let Some(full_since) = now.checked_sub(SAVED) {
            self.empty_at = self.empty_at.max(full_since);
        }
        self.empty_at += Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        (self.empty_at > now).then_some(self.empty_at)
    }
}

/// Processor time of the calling thread, user and system.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
