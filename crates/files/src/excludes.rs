//! What a scan leaves out by name: gitignore patterns relative to the root, and snapshot directories.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use hostler_model::ScanOptions;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::ScanFailure;

/// Directories in which filesystems show their own snapshots: the same files again, once per snapshot.
const SNAPSHOT_DIRS: [&[u8]; 2] = [b".zfs", b".snapshots"];

/// Decides for each name whether the scan sees it.
pub struct Excludes {
    patterns: Option<Gitignore>,
    snapshots: bool,
    /// More names of directories that are left out.
    dirs: Vec<Vec<u8>>,
    /// Reused for the path to match.
    path: Vec<u8>,
}

impl Excludes {
    /// Fails on the first pattern that is not valid.
    pub fn new(options: &ScanOptions) -> Result<Self, ScanFailure> {
        let bad = |pattern: &str, error: ignore::Error| ScanFailure::BadExclude {
            pattern: pattern.to_owned(),
            reason: error.to_string(),
        };
        // Paths to match are relative, so whatever is named as the root is never a prefix of them.
        let mut builder = GitignoreBuilder::new("/");
        for pattern in &options.excludes {
            builder.add_line(None, pattern).map_err(|error| bad(pattern, error))?;
        }
        let patterns = builder.build().map_err(|error| bad(&options.excludes.join(" "), error))?;
        Ok(Self {
            patterns: (!patterns.is_empty()).then_some(patterns),
            snapshots: options.snapshots,
            dirs: Vec::new(),
            path: Vec::new(),
        })
    }

    /// Leaves out directories of these names too.
    pub fn with_dirs(self, names: &[&[u8]]) -> Self {
        Self { dirs: names.iter().map(|name| name.to_vec()).collect(), ..self }
    }

    /// True when `name` in `dir` (relative to the root) is to be neither entered nor recorded.
    pub fn excluded(&mut self, dir: &[u8], name: &[u8], is_dir: bool) -> bool {
        if is_dir && !self.snapshots && SNAPSHOT_DIRS.contains(&name) {
            return true;
        }
        if is_dir && self.dirs.iter().any(|dir| dir == name) {
            return true;
        }
        let Some(patterns) = &self.patterns else { return false };
        self.path.clear();
        if !dir.is_empty() {
            self.path.extend_from_slice(dir);
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        // An excluded directory is never entered, so the parents need not be matched again.
        patterns.matched(Path::new(OsStr::from_bytes(&self.path)), is_dir).is_ignore()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excludes(patterns: &[&str]) -> Result<Excludes, ScanFailure> {
        let excludes = patterns.iter().map(|&p| p.to_owned()).collect();
        Excludes::new(&ScanOptions { excludes, ..Default::default() })
    }

    #[test]
    fn patterns_are_relative_to_the_root() {
        let mut e = excludes(&["*.tmp", "!keep.tmp", "/build", "cache/", "a/**/z", "\u{e9}*"]).unwrap();
        for (dir, name, is_dir, out) in [
            (&b""[..], &b"x.tmp"[..], false, true),
            (b"d/e", b"x.tmp", false, true),
            (b"d", b"keep.tmp", false, false),
            (b"", b"build", true, true),
            (b"d", b"build", true, false),
            (b"d", b"cache", true, true),
            (b"d", b"cache", false, false),
            (b"a/b/c", b"z", false, true),
            (b"", b"\xff\xfe.tmp", false, true),
            (b"", b"\xc3\xa9t\xc3\xa9", false, true),
            (b"", b".zfs", true, true),
            (b"", b".zfs", false, false),
        ] {
            assert_eq!(e.excluded(dir, name, is_dir), out, "{}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let Err(ScanFailure::BadExclude { pattern, .. }) = excludes(&["ok", "a[z-b]"]) else { panic!("accepted") };
        assert_eq!(pattern, "a[z-b]");
    }
}
