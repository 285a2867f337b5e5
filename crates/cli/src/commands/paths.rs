//! Paths as typed, made absolute for the host they are meant for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use hostler_model::ByteStr;

/// Absolute, without `.` and `..`, links left alone: the path may be another host's, so nothing is looked up.
pub fn absolute(path: &OsStr) -> Result<ByteStr> {
    let joined = std::path::absolute(Path::new(path)).context("the path is empty, or the current directory is gone")?;
    let mut clean = PathBuf::new();
    for component in joined.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    Ok(ByteStr::from(clean.as_os_str().as_bytes()))
}
