//! Which hash an event tells, and under which key (reference, section 5.2).

use hostler_model::{Algorithm, ContentHash};

use super::events::Upsert;
use crate::store::{CacheKey, CachedHash};

/// The hash that an upsert tells; `None` when it has none, or one that cannot be right.
pub fn cached(upsert: &Upsert) -> Option<CachedHash> {
    if upsert.is_deleted == Some(true) {
        return None;
    }
    let (algorithm, hash) = (upsert.algo.as_ref()?, upsert.hash.as_ref()?);
    let algorithm: Algorithm = std::str::from_utf8(algorithm.as_bytes()).ok()?.parse().ok()?;
    let hash = digest(hash.as_bytes(), algorithm)?;
    let path = upsert.path.as_ref().filter(|path| !path.is_empty())?.clone();
    let (size, mtime) = (upsert.size.unsigned()?, upsert.mtime.int()?);
    i64::try_from(size).ok()?;
    let key = CacheKey { inode: inode(upsert.dev.unsigned(), upsert.inode.unsigned()), path, size, mtime };
    Some(CachedHash { key, algorithm, hash })
}

/// Device and inode, when both say something: 0 says nothing.
pub fn inode(dev: Option<u64>, inode: Option<u64>) -> Option<(u64, u64)> {
    dev.zip(inode).filter(|(dev, inode)| *dev != 0 && *inode != 0)
}

fn digest(hex: &[u8], algorithm: Algorithm) -> Option<ContentHash> {
    let mut bytes = [0; 32];
    let bytes = &mut bytes[..algorithm.digest_len()];
    if hex.len() != 2 * bytes.len() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        let digit = |at: u8| (at as char).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    ContentHash::new(bytes)
}
