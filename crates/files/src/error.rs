//! Why a scan ended early, and why a manifest could not be kept. One unreadable name is neither: it goes to the sink.

use std::io;
use std::path::PathBuf;

use hostler_model::ByteStr;
use rustix::io::Errno;

/// A scan that has no result; the manifests are as they were before.
#[derive(Debug, thiserror::Error)]
pub enum ScanFailure {
    /// Asked to stop, or the sink closed.
    #[error("the scan was cancelled; start it again when you need it")]
    Cancelled,
    /// The root is not there.
    #[error("{root} does not exist on this host; check the path, or whether its filesystem is mounted")]
    RootMissing {
        /// The root, absolute.
        root: ByteStr,
    },
    /// The root is there and is not a directory.
    #[error("{root} is not a directory; scan the directory that holds it")]
    NotADirectory {
        /// The root, absolute.
        root: ByteStr,
    },
    /// The root lies on a filesystem that stores nothing.
    #[error("{root} is on a filesystem that the kernel makes up at each read, such as proc; there is nothing to scan")]
    NothingStored {
        /// The root, absolute.
        root: ByteStr,
    },
    /// The root cannot be opened, examined or listed.
    #[error("cannot read {root}: {source}; check the permissions of the agent's user on it")]
    RootUnreadable {
        /// The root, absolute.
        root: ByteStr,
        /// What the kernel said.
        source: io::Error,
    },
    /// An exclude pattern is not gitignore syntax.
    #[error("the exclude pattern {pattern:?} is not valid: {reason}; correct it or leave it out")]
    BadExclude {
        /// The pattern as given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The base generation leaves no room for a next one.
    #[error("the base generation {generation} is not one this host gave out; scan with base generation 0")]
    BadGeneration {
        /// The generation as given.
        generation: u64,
    },
    /// The thread hangs in the kernel; see [`crate::Watch`]. It may go on once the filesystem answers or is gone.
    #[error(
        "nothing was heard of {path} for {seconds} seconds: its filesystem does not answer; mount it again or unmount it \
         (umount -f or -l), or exclude it"
    )]
    Hung {
        /// Where, absolute.
        path: ByteStr,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The manifests cannot be read or written.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl ScanFailure {
    /// The failure of a system call on the root itself.
    pub(crate) fn of_root(root: &[u8], errno: Errno) -> Self {
        let root = ByteStr::from(root);
        match errno {
            Errno::NOENT => Self::RootMissing { root },
            Errno::NOTDIR | Errno::LOOP => Self::NotADirectory { root },
            errno => Self::RootUnreadable { root, source: errno.into() },
        }
    }
}

/// The directory of manifests, or a file in it, failed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A system call failed: disk full, no permission, a failing disk.
    #[error(
        "cannot {action} {}: {source}; check free space and the permissions of the agent's data directory",
        path.display()
    )]
    Io {
        /// What was tried: `create`, `read`, `write`, `rename`, `remove`, `lock`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another scan of the same root holds the manifest, maybe in another process.
    #[error("another scan of the same directory is running; wait for it to end or cancel it")]
    Busy,
    /// The manifest passed verification and then turned out wrong: it was overwritten in place, or its disk fails.
    /// It has been removed.
    #[error("the manifest {} was damaged while the scan read it and has been removed; scan again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// Why a generation could not become the current one.
#[derive(Debug, thiserror::Error)]
pub enum PromoteError {
    /// Neither manifest has that generation.
    #[error(
        "no manifest of {root} has generation {generation} (current: {current:?}, pending: {pending:?}); \
         the next scan of it sends the whole state"
    )]
    UnknownGeneration {
        /// The root, absolute.
        root: ByteStr,
        /// The generation asked for.
        generation: u64,
        /// Generation of the current manifest, if there is a usable one.
        current: Option<u64>,
        /// Generation of the pending manifest, if there is a usable one.
        pending: Option<u64>,
    },
    /// A system call failed.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}
