//! A walk without a manifest: everything that is there, with all its times, and nothing is read.

use std::io;
use std::os::fd::OwnedFd;

use hostler_model::{Entry, EntryKind, ScanOptions};
use rustix::fs::CWD;
use rustix::io::Errno;

use crate::control::Control;
use crate::dirs::DirChain;
use crate::error::ScanFailure;
use crate::excludes::Excludes;
use crate::faults::{self, Call};
use crate::idle::go_idle;
use crate::listing::{Hint, Listing, NameQueue};
use crate::merge::join;
use crate::pace::Pace;
use crate::progress::Progress;
use crate::pseudo::is_pseudo;
use crate::sink::SinkClosed;
use crate::stat::{entry_of, found_at, open_dir};

/// What to walk, and how to watch it.
#[derive(Clone, Copy, Debug)]
pub struct WalkRequest<'a> {
    /// The directory: absolute, with symbolic links resolved.
    pub root: &'a [u8],
    /// What to leave out and what the walk may use; how to hash does not matter.
    pub options: &'a ScanOptions,
    /// Directories of these names are not entered, beside those that `options` leaves out.
    pub skipped_dirs: &'a [&'a [u8]],
    /// Stops and pauses the walk.
    pub control: &'a Control,
    /// Shows where it is.
    pub progress: &'a Progress,
}

/// An entry that is not a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// What the kernel says of it, without a hash.
    pub entry: Entry,
    /// When it was changed and used.
    pub times: Times,
}

/// Times in whole milliseconds since the epoch, rounded down, also before 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Of its content's last change.
    pub modified: i64,
    /// Of its last use.
    pub accessed: i64,
    /// Of its metadata's last change.
    pub changed: i64,
}

/// Something that could not be looked at.
#[derive(Debug)]
pub struct WalkProblem<'a> {
    /// Relative to the root.
    pub path: &'a [u8],
    /// `enter` or `list` of a directory, `stat` of a name.
    pub operation: &'static str,
    /// What the kernel said.
    pub source: io::Error,
}

/// Receives a walk in walk order (see the crate's notes), on the walk's thread. Calls borrow: copy what you keep.
pub trait WalkSink {
    /// An entry of the directory `dir`, which is relative to the root, without a slash at either end. Entries of a directory
    /// come one after the other.
    ///
    /// # Errors
    /// The receiver is gone; the walk stops.
    fn entry(&mut self, dir: &[u8], name: &[u8], found: &Found) -> Result<(), SinkClosed>;

    /// Something could not be looked at; the walk goes on without it.
    ///
    /// # Errors
    /// As [`WalkSink::entry`].
    fn problem(&mut self, problem: WalkProblem<'_>) -> Result<(), SinkClosed>;
}

/// Walks the root and tells `sink` all entries that are not directories; blocks until done. With `limits.idle` the calling
/// thread keeps the lowest priorities.
///
/// # Errors
/// The root cannot be listed, or [`ScanFailure::Cancelled`]; never [`ScanFailure::Manifest`].
pub fn walk(request: WalkRequest<'_>, sink: &mut dyn WalkSink) -> Result<(), ScanFailure> {
    let WalkRequest { root, options, skipped_dirs, control, progress } = request;
    let excludes = Excludes::new(options)?.with_dirs(skipped_dirs);
    if options.limits.idle {
        go_idle();
    }
    progress.beat();
    let (root_fd, root_entry) = open_root(root)?;
    let mut walk = Walk {
        root,
        root_dev: root_entry.dev,
        one_file_system: options.one_file_system,
        chain: DirChain::new(root_fd, &root_entry),
        excludes,
        pace: Pace::new(&options.limits, control, progress),
        progress,
        sink,
    };
    walk.run()
}

/// The root's handle, and what it has open.
pub fn open_root(root: &[u8]) -> Result<(OwnedFd, Entry), ScanFailure> {
    let of_root = |errno| ScanFailure::of_root(root, errno);
    let fd = open_dir(CWD, root).map_err(of_root)?;
    let entry = entry_of(&fd).map_err(of_root)?;
    if is_pseudo(&fd).map_err(of_root)? {
        return Err(ScanFailure::NothingStored { root: root.into() });
    }
    Ok((fd, entry))
}

struct Walk<'a> {
    root: &'a [u8],
    root_dev: u64,
    one_file_system: bool,
    chain: DirChain,
    excludes: Excludes,
    pace: Pace<'a>,
    progress: &'a Progress,
    sink: &'a mut dyn WalkSink,
}

impl Walk<'_> {
    fn run(&mut self) -> Result<(), ScanFailure> {
        let mut listing = Listing::new();
        let mut name = Vec::new();
        // One element per directory of the chain.
        let mut pending = vec![self.entries(&mut listing)?];
        while let Some(subdirs) = pending.last_mut() {
            self.pace.entry()?;
            if subdirs.pop(&mut name).is_some() {
                if self.enter(&name)? {
                    pending.push(self.entries(&mut listing)?);
                }
                continue;
            }
            pending.pop();
            if let Err(errno) = self.chain.pop()
                && let Some(parent) = pending.last_mut()
            {
                // What is left in it cannot be reached any more.
                *parent = NameQueue::default();
                self.tell(None, "enter", errno)?;
            }
        }
        Ok(())
    }

    /// Goes to the subdirectory `name` of the deepest directory; `false` when there is nothing to do in it.
    fn enter(&mut self, name: &[u8]) -> Result<bool, ScanFailure> {
        self.progress.enter(self.chain.path());
        self.progress.at(name);
        match self.open_subdir(name) {
            Ok(Some((fd, entry))) => {
                self.chain.push(name, fd, &entry);
                Ok(true)
            }
            // On another filesystem; or removed, or replaced by something that the next walk sees.
            Ok(None) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            Err(errno) => {
                self.tell(Some(name), "enter", errno)?;
                Ok(false)
            }
        }
    }

    fn open_subdir(&self, name: &[u8]) -> Result<Option<(OwnedFd, Entry)>, Errno> {
        let dir = self.chain.fd().ok_or(Errno::STALE)?;
        faults::check(Call::Enter, self.chain.path(), name)?;
        // Before it is opened: opening would mount what an automounter has there.
        if self.one_file_system && found_at(dir, name)?.entry.dev != self.root_dev {
            return Ok(None);
        }
        let fd = open_dir(dir, name)?;
        let entry = entry_of(&fd)?;
        Ok(if self.chain.leads_to_pseudo(&fd, &entry)? { None } else { Some((fd, entry)) })
    }

    /// Tells the entries of the deepest directory, and gives its subdirectories.
    fn entries(&mut self, listing: &mut Listing) -> Result<NameQueue, ScanFailure> {
        let mut subdirs = NameQueue::default();
        self.progress.enter(self.chain.path());
        let listed = faults::check(Call::List, self.chain.path(), b"")
            .and_then(|()| self.chain.fd().ok_or(Errno::STALE))
            .and_then(|fd| listing.read(fd));
        match listed {
            Ok(()) => listing.sort(),
            // Removed after it was opened: an empty one.
            Err(Errno::NOENT) if self.chain.depth() > 0 => return Ok(subdirs),
            Err(errno) if self.chain.depth() == 0 => return Err(ScanFailure::of_root(self.root, errno)),
            Err(errno) => {
                self.tell(None, "list", errno)?;
                return Ok(subdirs);
            }
        }
        for (name, hint) in listing.iter() {
            self.visit(name, hint, &mut subdirs)?;
        }
        Ok(subdirs)
    }

    /// Tells one name of the deepest directory, or puts it off when it is a directory.
    fn visit(&mut self, name: &[u8], hint: Hint, subdirs: &mut NameQueue) -> Result<(), ScanFailure> {
        self.pace.entry()?;
        let dir = self.chain.path();
        let known_dir = hint == Hint::Dir;
        if hint != Hint::Unknown && self.excludes.excluded(dir, name, known_dir) {
            return Ok(());
        }
        if known_dir {
            subdirs.push(name, false);
            return Ok(());
        }
        self.progress.at(name);
        let Some(fd) = self.chain.fd() else { return Ok(()) };
        let found = match faults::check(Call::Stat, dir, name).and_then(|()| found_at(fd, name)) {
            Ok(found) => found,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return self.tell(Some(name), "stat", errno),
        };
        let is_dir = found.entry.kind == EntryKind::Dir;
        if (hint == Hint::Unknown || is_dir) && self.excludes.excluded(dir, name, is_dir) {
            return Ok(());
        }
        if is_dir {
            subdirs.push(name, false);
            return Ok(());
        }
        let (sink, progress) = (&mut *self.sink, self.progress);
        Ok(progress.waiting(|| sink.entry(dir, name, &found))?)
    }

    /// Tells of a failed call on `name` in the deepest directory, or on the directory itself.
    fn tell(&mut self, name: Option<&[u8]>, operation: &'static str, errno: Errno) -> Result<(), ScanFailure> {
        let mut path = self.chain.path().to_vec();
        if let Some(name) = name {
            join(&mut path, name);
        }
        let problem = WalkProblem { path: &path, operation, source: errno.into() };
        let (sink, progress) = (&mut *self.sink, self.progress);
        Ok(progress.waiting(|| sink.problem(problem))?)
    }
}
