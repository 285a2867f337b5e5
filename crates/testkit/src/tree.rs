//! Trees of files that are hard to bear.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use anyhow::Result;
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Names that break careless programs.
pub const HOSTILE_NAMES: [&[u8]; 9] = [
    b"caf\xe9.pdf",
    b"two\nlines.txt",
    b"\x1b[31mred.txt",
    b"<img src=x onerror=alert(1)>.html",
    b"'\"&.txt",
    b"-rf",
    "gpj.\u{202e}exe".as_bytes(),
    b" leading and trailing ",
    b"%2e%2e%2f",
];

/// Writes one small file of each hostile name into `dir`.
pub fn hostile_names(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    for name in HOSTILE_NAMES {
        std::fs::write(dir.join(OsStr::from_bytes(name)), name)?;
    }
    Ok(())
}

/// Everything that is no regular file: a FIFO, a socket, a symlink loop, a dangling link, a link to a directory.
pub fn special_files(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir)?;
    mknodat(CWD, dir.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
    // The name outlives the listener.
    drop(UnixListener::bind(dir.join("socket"))?);
    symlink("loop-b", dir.join("loop-a"))?;
    symlink("loop-a", dir.join("loop-b"))?;
    symlink("nowhere", dir.join("dangling"))?;
    symlink("/", dir.join("to-root"))?;
    Ok(())
}

/// A file that takes hours to hash and no space: a hole. A scan that reads it runs until it is stopped.
pub fn endless_file(path: &Path) -> Result<()> {
    Ok(std::fs::File::create(path)?.set_len(1 << 42)?)
}
