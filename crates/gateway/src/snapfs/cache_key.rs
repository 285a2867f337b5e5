//! Which hash an event tells, and under which key (reference, section 5.2).

use hostler_model::{Algorithm, ByteStr, ContentHash};

use super::events::Upsert;
use crate::store::{CacheKey, CachedHash};

/// The hash that an upsert tells; `None` when it has none, or one that cannot be right.
pub fn cached(upsert: &Upsert) -> Option<CachedHash> {
    if upsert.is_deleted == Some(true) {
        return None;
    }
    let (algorithm, hash) = hash(upsert)?;
    let path = upsert.path.as_ref().filter(|path| !path.is_empty())?;
    let (size, mtime) = (upsert.size.unsigned()?, upsert.mtime.int()?);
    i64::try_from(size).ok()?;
    let inode = inode(upsert.dev.unsigned(), upsert.inode.unsigned());
    let path = if inode.is_some() { ByteStr::default() } else { path.clone() };
    Some(CachedHash { key: CacheKey { inode, path, size, mtime }, algorithm, hash })
}

/// The hash in an upsert, made by an algorithm that SnapFS knows.
pub fn hash(upsert: &Upsert) -> Option<(Algorithm, ContentHash)> {
    let algorithm = algorithm(upsert.algo.as_ref()?)?;
    let hash = ContentHash::from_hex(std::str::from_utf8(upsert.hash.as_ref()?.as_bytes()).ok()?)?;
    (hash.as_bytes().len() == algorithm.digest_len()).then_some((algorithm, hash))
}

/// An algorithm that SnapFS knows.
pub fn algorithm(name: &ByteStr) -> Option<Algorithm> {
    [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Xxh64].into_iter().find(|a| a.name().as_bytes() == name.as_bytes())
}

/// Device and inode, when both say something: 0 says nothing.
pub fn inode(dev: Option<u64>, inode: Option<u64>) -> Option<(u64, u64)> {
    dev.zip(inode).filter(|(dev, inode)| *dev != 0 && *inode != 0)
}
