use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Why a journal could not be opened, written or read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process, or another part of this one, has it open.
    #[error("the journal in {} is in use by another process; stop that one first", dir.display())]
    InUse {
        /// The journal's directory.
        dir: PathBuf,
    },
    /// The event is larger than [`crate::MAX_PAYLOAD`].
    #[error("an event of {bytes} bytes is larger than the {} bytes a journal takes", crate::MAX_PAYLOAD)]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// [`crate::Journal::close`] was called.
    #[error("the journal is closed")]
    Closed,
    /// The disk failed or is full.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why not. Shared by all who waited for the same write.
        source: Arc<io::Error>,
    },
}

impl JournalError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source: Arc::new(source) }
    }
}
