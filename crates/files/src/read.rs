//! Reading one regular file so that hash and metadata belong together.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hostler_model::{Algorithm, ContentHash, Entry, EntryKind};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, pread};

use crate::error::ScanFailure;
use crate::faults::{self, Call};
use crate::hash::ContentHasher;
use crate::pace::Pace;
use crate::stat::{entry_at, entry_of, same_content};

/// Bytes per read: small enough to stay in a core's cache between the copy and the hash. Of 32 KiB to 1 MiB, 128 KiB took
/// the least processor time for files of 100 MiB, 5% less than 256 KiB. Mapping such files would save the copy, a fifth of
/// it all, but whoever shortens a file that is mapped ends the process that reads it (SIGBUS).
const BUFFER: usize = 128 << 10;

/// `O_NONBLOCK`: if a FIFO or a device takes the name before it is opened, opening does not wait for it.
const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// What came of reading a file.
pub enum Content {
    /// The entry with the hash of its content.
    Hashed(Entry),
    /// Another kind of thing has taken the name meanwhile; it was not read.
    Replaced(Entry),
    /// The name is gone.
    Vanished,
    /// Differed before and after each try; the latest metadata.
    Changing(Entry),
    /// A system call failed.
    Failed {
        /// `open`, `stat` or `read`.
        operation: &'static str,
        /// What the kernel said.
        errno: Errno,
        /// The file's metadata, when it could be had after the listing's.
        entry: Option<Entry>,
    },
}

/// Hashes files, one after the other, through one buffer.
pub struct FileReader {
    hasher: ContentHasher,
    buffer: Vec<u8>,
    euid: u32,
    /// Bytes read so far, all tries included.
    pub bytes_read: u64,
    /// [`FileReader::hash_new`] is worth a try.
    pub opens_unseen: bool,
}

impl FileReader {
    /// For one scan.
    pub fn new(algorithm: Algorithm) -> Self {
        Self {
            hasher: ContentHasher::new(algorithm),
            buffer: vec![0; BUFFER],
            euid: rustix::process::geteuid().as_raw(),
            bytes_read: 0,
            opens_unseen: true,
        }
    }

    /// Opens, reads and hashes `name` in `dir`. `listed` is what `statx` said of it; `path` is the directory's path,
    /// for tests.
    ///
    /// Four system calls for most files: what the kernel says after the read must be what the listing's `statx` said, and
    /// then nothing was changed between the two, so that no look before the read is needed.
    pub fn hash(
        &mut self,
        dir: BorrowedFd<'_>,
        path: &[u8],
        name: &[u8],
        listed: &Entry,
        pace: &mut Pace<'_>,
    ) -> Result<Content, ScanFailure> {
        let failed = |operation, errno, entry| Ok(Content::Failed { operation, errno, entry });
        if listed.size == 0 {
            // Nothing is read of what the kernel calls empty, so it need not be opened.
            return Ok(Content::Hashed(Entry { hash: self.hasher.of(&[]), ..*listed }));
        }
        let opened = faults::check(Call::Open, path, name).and_then(|()| self.open(dir, name, listed));
        let file = match opened {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(Content::Vanished),
            // A symbolic link, or a socket: no longer the file that was listed.
            Err(errno @ (Errno::LOOP | Errno::NXIO)) => {
                return match entry_at(dir, name) {
                    Ok(entry) if entry.kind != EntryKind::File => Ok(Content::Replaced(entry)),
                    Ok(entry) => failed("open", errno, Some(entry)),
                    Err(Errno::NOENT) => Ok(Content::Vanished),
                    Err(errno) => failed("stat", errno, None),
                };
            }
            Err(errno) => return failed("open", errno, None),
        };
        if listed.size <= BUFFER as u64 {
            return self.content(&file, dir, path, name, *listed, 3, pace);
        }
        // A look before a long read: it would be in vain when the file is not what was listed.
        match entry_of(&file) {
            Ok(before) => self.content(&file, dir, path, name, before, 2, pace),
            Err(errno) => failed("stat", errno, None),
        }
    }

    /// The same for a file of which only the kind was listed: a `statx` of the name is saved, as the open file is looked at
    /// before and after. `None` when it could not be opened; it has to be listed then.
    pub fn hash_new(
        &mut self,
        dir: BorrowedFd<'_>,
        path: &[u8],
        name: &[u8],
        pace: &mut Pace<'_>,
    ) -> Result<Option<Content>, ScanFailure> {
        let opened = faults::check(Call::Stat, path, name)
            .and_then(|()| faults::check(Call::Open, path, name))
            .and_then(|()| openat(dir, name, FLAGS | OFlags::NOATIME, Mode::empty()));
        match opened.and_then(|file| entry_of(&file).map(|before| (file, before))) {
            Ok((file, before)) => self.content(&file, dir, path, name, before, 2, pace).map(Some),
            Err(Errno::PERM) => {
                // Another user's file: asking in vain each time would cost more than it saves.
                self.opens_unseen = false;
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }

    /// Reads until the file, `name` in `dir`, is the same `before` and after, at most `tries` times.
    #[expect(clippy::too_many_arguments, reason = "the name is three of them, one for tests only")]
    fn content(
        &mut self,
        file: &OwnedFd,
        dir: BorrowedFd<'_>,
        path: &[u8],
        name: &[u8],
        mut before: Entry,
        tries: u32,
        pace: &mut Pace<'_>,
    ) -> Result<Content, ScanFailure> {
        let failed = |operation, errno, entry| Ok(Content::Failed { operation, errno, entry });
        if before.kind != EntryKind::File {
            return Ok(Content::Replaced(before));
        }
        if before.size == 0 {
            // What the kernel calls empty (files of /proc) is not read.
            return Ok(Content::Hashed(Entry { hash: self.hasher.of(&[]), ..before }));
        }
        for _ in 0..tries {
            let read = match faults::check(Call::Read, path, name) {
                Ok(()) => self.read(file.as_fd(), before.size, pace)?,
                Err(errno) => Err(errno),
            };
            let after = match entry_of(file) {
                Ok(entry) => entry,
                Err(errno) => return failed("stat", errno, Some(before)),
            };
            if after.kind != EntryKind::File {
                // A FIFO, a directory or a device has taken the name between the listing and the opening. A FIFO and a
                // directory cannot be read so; of a device, which only root can put there, the result is not used.
                return Ok(Content::Replaced(after));
            }
            if after.nlink == 0 {
                // Removed, or replaced by another: what is open has no name any more.
                return match entry_at(dir, name) {
                    Ok(entry) if entry.kind != EntryKind::File => Ok(Content::Replaced(entry)),
                    Ok(entry) => Ok(Content::Changing(entry)),
                    Err(Errno::NOENT) => Ok(Content::Vanished),
                    Err(errno) => failed("stat", errno, Some(after)),
                };
            }
            match read {
                Err(errno) => return failed("read", errno, Some(after)),
                Ok(hash) if same_content(&before, &after) => return Ok(Content::Hashed(Entry { hash, ..after })),
                Ok(_) => before = after,
            }
        }
        Ok(Content::Changing(before))
    }

    /// `O_NOATIME`: being indexed is not being used; only the owner and root may ask for that.
    fn open(&self, dir: BorrowedFd<'_>, name: &[u8], listed: &Entry) -> Result<OwnedFd, Errno> {
        if self.euid == 0 || self.euid == listed.uid {
            match openat(dir, name, FLAGS | OFlags::NOATIME, Mode::empty()) {
                Err(Errno::PERM) => {}
                other => return other,
            }
        }
        openat(dir, name, FLAGS, Mode::empty())
    }

    /// The hash of the first `size` bytes. No more than `size`, so that a file which is written to all the time has an
    /// end.
    fn read(
        &mut self,
        file: BorrowedFd<'_>,
        size: u64,
        pace: &mut Pace<'_>,
    ) -> Result<Result<Option<ContentHash>, Errno>, ScanFailure> {
        let step = pace.buffer(BUFFER);
        let whole = size <= step as u64;
        let mut offset = 0;
        while offset < size {
            let start = if whole { offset as usize } else { 0 };
            let want = usize::try_from(size - offset).unwrap_or(step).min(step);
            match pread(file, &mut self.buffer[start..start + want], offset) {
                Ok(0) => break,
                Ok(n) => {
                    if !whole {
                        self.hasher.update(&self.buffer[..n]);
                    }
                    offset += n as u64;
                    self.bytes_read += n as u64;
                    pace.content(n)?;
                }
                Err(Errno::INTR) => {}
                Err(errno) => {
                    self.hasher.reset();
                    return Ok(Err(errno));
                }
            }
        }
        Ok(Ok(if whole { self.hasher.of(&self.buffer[..offset as usize]) } else { self.hasher.finish() }))
    }
}
