//! Where a scan tells what it finds.

use hostler_model::{ChangeOp, Entry};

use crate::progress::Progress;

/// The receiver is gone; the scan stops as cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the receiver of the scan is gone")]
pub struct SinkClosed;

/// Receives a scan in walk order (see the crate's notes), on the scan's thread.
///
/// Paths are bytes relative to the root, without a slash at either end, empty for the root itself. Calls borrow: copy
/// what you keep. `op` is `None` where nothing happened that people call a change: the state is full, or only what
/// follows from other changes differs (a directory's times, a hash that became known or was made by another
/// algorithm). The entry replaces the earlier one all the same.
///
/// A name that turns from a directory into something else arrives as its new entry first and as
/// [`ScanSink::dir_removed`] later, because entries come before subdirectories; the removal means the directory only.
pub trait ScanSink {
    /// The first call. `full`: all that follows is the whole state and replaces what the receiver had.
    fn started(&mut self, full: bool) -> Result<(), SinkClosed>;

    /// The directory itself is new or differs, or the state is full.
    fn dir(&mut self, path: &[u8], op: Option<ChangeOp>, entry: &Entry) -> Result<(), SinkClosed>;

    /// An entry of `dir` that is not a directory. `entry` is `None` exactly when `op` is [`ChangeOp::Deleted`].
    fn entry(&mut self, dir: &[u8], name: &[u8], op: Option<ChangeOp>, entry: Option<&Entry>)
    -> Result<(), SinkClosed>;

    /// A directory is gone with everything below, which is not told separately but counted in `counters.deleted`.
    fn dir_removed(&mut self, path: &[u8]) -> Result<(), SinkClosed>;

    /// Something could not be read. `operation` is one of `open`, `stat`, `read`, `list`, `enter`.
    fn error(&mut self, path: &[u8], operation: &'static str, message: &str) -> Result<(), SinkClosed>;
}

/// Tells a sink, and shows meanwhile that the scan waits for its receiver and not for the tree.
pub(crate) struct Waited<'a> {
    pub sink: &'a mut dyn ScanSink,
    pub progress: &'a Progress,
}

impl ScanSink for Waited<'_> {
    fn started(&mut self, full: bool) -> Result<(), SinkClosed> {
        self.progress.waiting(|| self.sink.started(full))
    }

    fn dir(&mut self, path: &[u8], op: Option<ChangeOp>, entry: &Entry) -> Result<(), SinkClosed> {
        self.progress.waiting(|| self.sink.dir(path, op, entry))
    }

    fn entry(
        &mut self,
        dir: &[u8],
        name: &[u8],
        op: Option<ChangeOp>,
        entry: Option<&Entry>,
    ) -> Result<(), SinkClosed> {
        self.progress.waiting(|| self.sink.entry(dir, name, op, entry))
    }

    fn dir_removed(&mut self, path: &[u8]) -> Result<(), SinkClosed> {
        self.progress.waiting(|| self.sink.dir_removed(path))
    }

    fn error(&mut self, path: &[u8], operation: &'static str, message: &str) -> Result<(), SinkClosed> {
        self.progress.waiting(|| self.sink.error(path, operation, message))
    }
}
