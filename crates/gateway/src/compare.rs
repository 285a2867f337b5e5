//! Which scans of which root are compared, from what a person gave.

use hostler_model::{ByteStr, HostId, ScanId, ScanState, Timestamp, time};

use crate::duplicates::is_below;
use crate::store::{PageRequest, Root, Scan, ScanFilter, Store, StoreError};

/// Pages of a root's scans that are looked through for a time, of 1,000 scans each.
const MAX_PAGES: usize = 20;

/// A scan, as a person names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// This one.
    Scan(ScanId),
    /// The last completed one at or before this.
    At(Timestamp),
}

impl Point {
    /// Reads a scan's id, an age such as `7d`, or an RFC 3339 time.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, String> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Scan(id));
        }
        if let Ok(seconds) = time::parse_age(text) {
            let age = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000);
            return Ok(Self::At(Timestamp::from_micros(now.micros().saturating_sub(age))));
        }
        Timestamp::parse(text)
            .map(Self::At)
            .map_err(|_| format!("{text:?} is neither a scan's id, nor an age such as 7d, nor an RFC 3339 time"))
    }
}

/// Why there is nothing to compare.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The store says so.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No index holds the directory.
    #[error("no indexed directory of this host holds {0}; scan it first")]
    NotIndexed(ByteStr),
    /// No directory was named, and there is not exactly one.
    #[error("which directory is meant? this host has {0} indexed directories")]
    WhichRoot(usize),
    /// The directory was never scanned to the end.
    #[error("no scan of {0} has completed yet")]
    NoScan(ByteStr),
    /// A scan that cannot be one side.
    #[error("scan {0} {1}")]
    Unfit(ScanId, &'static str),
}

/// The root that holds a directory, and the rest of its path below the root. Without a directory, the only root.
pub async fn root_of(
    store: &dyn Store,
    host: HostId,
    dir: Option<&ByteStr>,
) -> Result<(Root, Option<ByteStr>), CompareError> {
    let mut roots = store.roots(Some(host)).await?;
    let Some(dir) = dir else {
        return match roots.len() {
            1 => Ok((roots.remove(0), None)),
            several => Err(CompareError::WhichRoot(several)),
        };
    };
    let holds = |root: &Root| root.path == *dir || is_below(dir, &root.path);
    let best = roots.into_iter().filter(holds).max_by_key(|root| root.path.as_bytes().len());
    let root = best.ok_or_else(|| CompareError::NotIndexed(dir.clone()))?;
    let rest = dir.as_bytes().get(root.path.as_bytes().len()..).unwrap_or_default();
    let rest = rest.strip_prefix(b"/").unwrap_or(rest);
    let below = (!rest.is_empty()).then(|| ByteStr::from(rest));
    Ok((root, below))
}

/// The ids of both sides. Without `to` it is the last completed scan, without `from` the one before. A `from` from before all
/// scans is the first one.
pub async fn sides(
    store: &dyn Store,
    root: &Root,
    from: Option<Point>,
    to: Option<Point>,
) -> Result<(Option<ScanId>, ScanId), CompareError> {
    let to = match to {
        Some(Point::Scan(id)) => fitting(store, root, id).await?,
        Some(Point::At(at)) => match completed_at(store, root, at).await? {
            Some((scan, true)) => scan,
            _ => return Err(CompareError::NoScan(root.path.clone())),
        },
        None => match completed(store, root, 1).await?.pop() {
            Some(scan) => scan,
            None => return Err(CompareError::NoScan(root.path.clone())),
        },
    };
    let from = match from {
        Some(Point::Scan(id)) => Some(fitting(store, root, id).await?),
        Some(Point::At(at)) => completed_at(store, root, at).await?.map(|(scan, _)| scan).filter(|s| s.id != to.id),
        None => None,
    };
    if let Some(from) = from.as_ref().filter(|from| from.generation >= to.generation) {
        return Err(CompareError::Unfit(from.id, "is not older than the one it is compared with; turn them round"));
    }
    Ok((from.map(|scan| scan.id), to.id))
}

/// The newest completed scans of a root, newest first.
pub async fn completed(store: &dyn Store, root: &Root, limit: u32) -> Result<Vec<Scan>, StoreError> {
    Ok(store.scans(completed_of(root), PageRequest { limit, cursor: None }).await?.items)
}

fn completed_of(root: &Root) -> ScanFilter {
    ScanFilter { host: Some(root.host), root: Some(root.path.clone()), states: vec![ScanState::Completed] }
}

async fn fitting(store: &dyn Store, root: &Root, id: ScanId) -> Result<Scan, CompareError> {
    let scan = store.scan(id).await?;
    match () {
        () if (scan.host, &scan.root) != (root.host, &root.path) => {
            Err(CompareError::Unfit(id, "is of another directory; compare scans of one directory"))
        }
        () if scan.state != ScanState::Completed => {
            Err(CompareError::Unfit(id, "did not complete; only completed scans change the index"))
        }
        () => Ok(scan),
    }
}

/// The last completed scan at or before a time, and true; else the first one, and false.
async fn completed_at(store: &dyn Store, root: &Root, at: Timestamp) -> Result<Option<(Scan, bool)>, StoreError> {
    let mut cursor = None;
    let mut first = None;
    for _ in 0..MAX_PAGES {
        let page = store.scans(completed_of(root), PageRequest { limit: 1000, cursor }).await?;
        for scan in page.items {
            if scan.ended_at.is_some_and(|ended| ended <= at) {
                return Ok(Some((scan, true)));
            }
            first = Some(scan);
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(first.map(|scan| (scan, false)))
}
