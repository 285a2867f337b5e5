//! Noticing that a scan's thread hangs in the kernel: a network or FUSE filesystem that stopped answering.

use std::time::{Duration, Instant};

use hostler_model::ByteStr;

use crate::control::Control;
use crate::error::ScanFailure;
use crate::progress::Progress;

/// Watches one scan from another thread: call [`Watch::check`] now and then.
#[derive(Debug)]
pub struct Watch {
    limit: Duration,
    last: Option<(u64, Instant)>,
}

impl Watch {
    /// A scan that shows no sign of life for `limit` hangs.
    pub fn new(limit: Duration) -> Self {
        Self { limit, last: None }
    }

    /// [`ScanFailure::Hung`] when nothing has moved for too long. Time in which the scan waits for something else than
    /// the tree (a pause, a limit, its receiver, the disk of its manifest) does not count.
    pub fn check(&mut self, root: &[u8], progress: &Progress, control: &Control) -> Result<(), ScanFailure> {
        let now = Instant::now();
        match (progress.pulse().filter(|_| !control.is_paused()), self.last) {
            (None, _) => self.last = None,
            (Some(pulse), Some((last, since))) if pulse == last => {
                if now.duration_since(since) >= self.limit {
                    let mut path = root.to_vec();
                    crate::merge::join(&mut path, progress.place().as_bytes());
                    return Err(ScanFailure::Hung { path: ByteStr::from(path), seconds: self.limit.as_secs() });
                }
            }
            (Some(pulse), _) => self.last = Some((pulse, now)),
        }
        Ok(())
    }
}
