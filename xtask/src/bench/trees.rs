//! The trees that are measured, made once from a fixed seed.
//!
//! T1 is 200,000 files of 0 to 16 KiB in 10,000 directories.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

const DIRS: u64 = 10_000;
const FILES_A_DIR: u64 = 20;
pub(super) const FILES: u64 = DIRS * FILES_A_DIR;
const MAX_SIZE: u64 = 16 * 1024;
const SEED: u64 = 0x5eed_0001;

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and the same everywhere.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Makes T1 once; a file beside it says that it is complete.
pub(super) fn make_tree(tree: &Path) -> Result<()> {
    let complete = tree.with_extension("complete");
    if complete.exists() {
        return Ok(());
    }
    eprintln!("making {FILES} files in {}", tree.display());
    let mut random = Random(SEED);
    let mut content = vec![0u8; MAX_SIZE as usize];
    for dir in 0..DIRS {
        // A hundred directories of a hundred each.
        let path = tree.join(format!("d{:02}", dir / 100)).join(format!("s{:02}", dir % 100));
        fs::create_dir_all(&path)?;
        for file in 0..FILES_A_DIR {
            let size = (random.next() % (MAX_SIZE + 1)) as usize;
            // Every tenth file is one of a few, so that there are duplicates.
            let seed = if file % 10 == 9 { random.next() % 500 } else { random.next() };
            let size = if file % 10 == 9 { (seed * 31 % MAX_SIZE) as usize } else { size };
            let mut bytes = Random(seed);
            for word in content[..size].chunks_mut(8) {
                word.copy_from_slice(&bytes.next().to_le_bytes()[..word.len()]);
            }
            fs::write(
                path.join(format!("file-{file:02}.{}", ["txt", "jpg", "rs", "log"][(seed % 4) as usize])),
                &content[..size],
            )?;
        }
    }
    fs::write(&complete, "")?;
    Ok(())
}

/// A directory of the tree of a million files.
pub(super) fn million_dir(tree: &Path, dir: u64) -> PathBuf {
    tree.join(format!("d{:03}", dir / 100)).join(format!("s{:02}", dir % 100))
}

/// Makes a million files of 0 to 1 KiB in 50,000 directories once. One in ten is one of two thousand.
pub(super) fn make_million(tree: &Path) -> Result<()> {
    let complete = tree.with_extension("complete");
    if complete.exists() {
        return Ok(());
    }
    eprintln!("making a million files in {}", tree.display());
    let mut random = Random(SEED);
    for dir in 0..50_000 {
        let path = million_dir(tree, dir);
        fs::create_dir_all(&path)?;
        for file in 0..FILES_A_DIR {
            let seed = if file % 10 == 9 { random.next() % 2000 } else { random.next() };
            let text = format!("{seed:x} ").repeat((seed % 61) as usize);
            let extension = ["txt", "jpg", "rs", "log"][(file % 4) as usize];
            fs::write(path.join(format!("file-{file:02}.{extension}")), &text.as_bytes()[..text.len().min(1024)])?;
        }
    }
    fs::write(&complete, "")?;
    Ok(())
}

/// Removes a directory, if it is there.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

pub(super) fn bytes_below(dir: &Path) -> Result<u64> {
    bytes_below_named(dir, "")
}

/// Sum of the files whose names begin like this.
pub(super) fn bytes_below_named(dir: &Path, start: &str) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sum += bytes_below_named(&entry.path(), start)?;
        } else if kind.is_file() && entry.file_name().to_string_lossy().starts_with(start) {
            sum += entry.metadata()?.len();
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_the_same_everywhere() {
        let mut random = Random(SEED);
        let first = [random.next(), random.next()];
        let mut again = Random(SEED);
        assert_eq!(first, [again.next(), again.next()]);
        assert_ne!(first[0], first[1]);
    }
}
