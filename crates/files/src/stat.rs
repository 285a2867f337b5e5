//! `statx(2)` as the scan uses it, and the flags it opens directories with.

use std::os::fd::{AsFd, OwnedFd};

use hostler_model::{Entry, EntryKind};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxFlags, StatxTimestamp, fstat, makedev, openat, statx};
use rustix::io::Errno;

use crate::walk::{Found, Times};

/// Looks at `name` in `dir` without following a link and without mounting anything.
///
/// The basic mask: smaller ones save nothing measurable, as filesystems fill it from the inode at hand.
pub fn entry_at(dir: impl AsFd, name: &[u8]) -> Result<Entry, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    statx(dir, name, flags, StatxFlags::BASIC_STATS).map(|stat| to_entry(&stat))
}

/// The same with all its times in milliseconds.
pub fn found_at(dir: impl AsFd, name: &[u8]) -> Result<Found, Errno> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let stat = statx(dir, name, flags, StatxFlags::BASIC_STATS)?;
    let millis =
        |time: StatxTimestamp| time.tv_sec.saturating_mul(1000).saturating_add(i64::from(time.tv_nsec / 1_000_000));
    let times =
        Times { modified: millis(stat.stx_mtime), accessed: millis(stat.stx_atime), changed: millis(stat.stx_ctime) };
    Ok(Found { entry: to_entry(&stat), times })
}

/// Looks at what `fd` has open. With `fstat`, which costs two thirds of a `statx` of an open file.
#[allow(clippy::useless_conversion, reason = "the number of links has 32 bits on other architectures")]
pub fn entry_of(fd: impl AsFd) -> Result<Entry, Errno> {
    let stat = fstat(fd)?;
    Ok(Entry {
        kind: kind(stat.st_mode),
        size: stat.st_size.cast_unsigned(),
        mtime_ns: nanos(stat.st_mtime, stat.st_mtime_nsec as u32),
        ctime_ns: nanos(stat.st_ctime, stat.st_ctime_nsec as u32),
        dev: stat.st_dev,
        ino: stat.st_ino,
        nlink: stat.st_nlink.into(),
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        hash: None,
    })
}

/// Opens the directory `name` in `dir`; a symbolic link is `ENOTDIR` or `ELOOP`.
pub fn open_dir(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    openat(dir, name, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY, Mode::empty())
}

/// True when both say the same object with the same content, as far as the kernel can tell without reading it.
pub fn same_content(a: &Entry, b: &Entry) -> bool {
    (a.dev, a.ino, a.size, a.mtime_ns, a.ctime_ns) == (b.dev, b.ino, b.size, b.mtime_ns, b.ctime_ns)
}

fn to_entry(stat: &Statx) -> Entry {
    let mode = u32::from(stat.stx_mode);
    Entry {
        kind: kind(mode),
        size: stat.stx_size,
        mtime_ns: nanos(stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
        ctime_ns: nanos(stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        dev: makedev(stat.stx_dev_major, stat.stx_dev_minor),
        ino: stat.stx_ino,
        nlink: u64::from(stat.stx_nlink),
        mode: mode & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        hash: None,
    }
}

fn kind(mode: u32) -> EntryKind {
    match FileType::from_raw_mode(mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Dir,
        FileType::Symlink => EntryKind::Symlink,
        _ => EntryKind::Other,
    }
}

/// Filesystems hold times beyond the years 1677 to 2262 that 64 bits of nanoseconds reach; such a time saturates.
fn nanos(seconds: i64, nanos: u32) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(nanos))
}
