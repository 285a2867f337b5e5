//! What became of a root between two of its scans.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hostler_model::{ByteStr, ChangeOp, EntryKind, ScanId, ScanState};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use super::{cursor, rows, scans};
use crate::store::{
    Change, ChangeCounts, CompareQuery, Comparison, MAX_SCAN_CHANGES, Page, PageRequest, Result, Scan, StoreError,
};

/// Changes of several scans that are put together.
const MAX_COMPOSED: u64 = 300_000;
/// Directories that moved, in several scans that are put together.
const MAX_MOVED_DIRS: usize = 1_000;
/// Comparisons that are remembered.
const REMEMBERED: usize = 4;

/// Comparisons over several scans, which never change.
#[derive(Default)]
pub struct Comparisons(Mutex<Vec<Remembered>>);

type Remembered = ((ScanId, ScanId), Arc<Composed>);

/// The changes of several scans as one.
struct Composed {
    changes: Vec<Change>,
    complete: bool,
}

/// Reads a row of `scan_changes`.
pub fn from_row(row: &Row<'_>) -> rusqlite::Result<Change> {
    Ok(Change {
        op: rows::coded(row, "op", ChangeOp::from_code)?,
        kind: rows::coded(row, "kind", EntryKind::from_code)?,
        path: rows::path(row, "path")?,
        from: row.get::<_, Option<Vec<u8>>>("moved_from")?.map(ByteStr::from),
        size_before: row.get::<_, Option<i64>>("size_before")?.map(|n| n as u64),
        size_after: row.get::<_, Option<i64>>("size_after")?.map(|n| n as u64),
    })
}

pub fn compare(db: &Connection, known: &Comparisons, query: &CompareQuery, page: &PageRequest) -> Result<Comparison> {
    let to = completed(db, query.to)?;
    let from = match query.from {
        Some(id) => Some(completed(db, id)?),
        None => before(db, &to)?,
    };
    if let Some(from) = &from
        && ((from.host, &from.root) != (to.host, &to.root) || from.generation > to.generation)
    {
        return Err(StoreError::NotFound {
            what: "an earlier scan of the same root with the id",
            id: from.id.to_string(),
        });
    }
    let between = match &from {
        Some(from) => scans_between(db, from, &to)?,
        None => Vec::new(),
    };
    let scans = between.len() as u64;
    let (counts, complete, changes) = match between.as_slice() {
        [] => (ChangeCounts::default(), true, Page { items: Vec::new(), next: None }),
        [one] => {
            let (counts, kept) = counts_of_one(db, one.id, query)?;
            (counts, kept, page_of_one(db, one.id, query, page)?)
        }
        many => {
            let first = from.as_ref().map_or(to.id, |from| from.id);
            let composed = known.get((first, to.id), || compose(db, many))?;
            let (counts, changes) = page_of_many(&composed.changes, query, page)?;
            (counts, composed.complete, changes)
        }
    };
    Ok(Comparison { from, to, scans, counts, complete, changes })
}

impl Comparisons {
    fn get(&self, key: (ScanId, ScanId), make: impl FnOnce() -> Result<Composed>) -> Result<Arc<Composed>> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, composed)) = lock().iter().find(|(of, _)| *of == key) {
            return Ok(composed.clone());
        }
        let composed = Arc::new(make()?);
        let mut kept = lock();
        kept.retain(|(of, _)| *of != key);
        if kept.len() >= REMEMBERED {
            kept.remove(0);
        }
        kept.push((key, composed.clone()));
        Ok(composed)
    }

    /// The store holds other scans now.
    pub fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn completed(db: &Connection, id: ScanId) -> Result<Scan> {
    let scan = scans::one(db, id)?;
    match scan.state {
        ScanState::Completed => Ok(scan),
        _ => Err(StoreError::NotFound { what: "completed scan", id: id.to_string() }),
    }
}

/// The completed scan of the same root before this one.
fn before(db: &Connection, to: &Scan) -> Result<Option<Scan>> {
    let id: Option<String> = db
        .prepare_cached(
            "SELECT id FROM scans WHERE host_id = ? AND root = ? AND state = 'completed' AND generation < ?
             ORDER BY generation DESC LIMIT 1",
        )?
        .query_row((to.host.to_string(), to.root.as_bytes(), to.generation.unwrap_or(0) as i64), |row| row.get(0))
        .optional()?;
    id.and_then(|id| id.parse().ok()).map(|id| scans::one(db, id)).transpose()
}

/// Completed scans after the first and up to the second, oldest first.
fn scans_between(db: &Connection, from: &Scan, to: &Scan) -> Result<Vec<Scan>> {
    let mut query = db.prepare_cached(
        "SELECT id FROM scans WHERE host_id = ?1 AND root = ?2 AND state = 'completed' AND generation > ?3
            AND generation <= ?4 ORDER BY generation",
    )?;
    let generation = |scan: &Scan| scan.generation.unwrap_or(0) as i64;
    let ids: Vec<String> = query
        .query_map((to.host.to_string(), to.root.as_bytes(), generation(from), generation(to)), |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    ids.iter().filter_map(|id| id.parse().ok()).map(|id| scans::one(db, id)).collect()
}

/// True when everything that a scan counted is in the list of its changes.
fn list_is_whole(db: &Connection, scan: &Scan, listed: u64) -> Result<bool> {
    let c = &scan.counters;
    let counted = c.created + c.modified + c.metadata + c.deleted + c.moved;
    if listed >= MAX_SCAN_CHANGES || scan.first {
        return Ok(false);
    }
    // What moved along with its directory is counted and not listed.
    let moved: i64 = db
        .prepare_cached("SELECT COUNT(*) FROM scan_changes WHERE scan_id = ? AND op = ?")?
        .query_row((scan.id.to_string(), ChangeOp::Moved.code()), |row| row.get(0))?;
    Ok(listed + c.moved.saturating_sub(moved.unsigned_abs()) >= counted)
}

/// Conditions of a query on `scan_changes`, with their values.
fn conditions(scan: ScanId, query: &CompareQuery, ops: bool) -> (String, Vec<Value>) {
    let mut sql = "scan_id = ?1".to_owned();
    let mut values: Vec<Value> = vec![scan.to_string().into()];
    if ops && !query.ops.is_empty() {
        let codes: Vec<String> = query.ops.iter().map(|op| op.code().to_string()).collect();
        sql.push_str(&format!(" AND op IN ({})", codes.join(",")));
    }
    if let Some(below) = query.below.as_ref().filter(|below| !below.is_empty()) {
        let path = below.as_bytes();
        values.extend([path, &[path, b"/"].concat(), &[path, b"0"].concat()].map(|p| Value::Blob(p.to_vec())));
        sql.push_str(" AND (path = ?2 OR (path >= ?3 AND path < ?4))");
    }
    (sql, values)
}

fn counts_of_one(db: &Connection, scan: ScanId, query: &CompareQuery) -> Result<(ChangeCounts, bool)> {
    let (sql, values) = conditions(scan, query, false);
    let mut statement = db.prepare_cached(&format!(
        "SELECT op, COUNT(*), TOTAL(MAX(COALESCE(size_after, 0) - COALESCE(size_before, 0), 0)),
            TOTAL(MAX(COALESCE(size_before, 0) - COALESCE(size_after, 0), 0))
         FROM scan_changes WHERE {sql} GROUP BY op"
    ))?;
    let mut counts = ChangeCounts::default();
    let mut rows = statement.query(params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        let count = row.get::<_, i64>(1)?.unsigned_abs();
        if let Some(op) = ChangeOp::from_code(row.get(0)?) {
            *counts.of_mut(op) += count;
        }
        counts.added_bytes = counts.added_bytes.saturating_add(row.get::<_, f64>(2)? as u64);
        counts.removed_bytes = counts.removed_bytes.saturating_add(row.get::<_, f64>(3)? as u64);
    }
    let listed: i64 = db
        .prepare_cached("SELECT COUNT(*) FROM scan_changes WHERE scan_id = ?")?
        .query_row([scan.to_string()], |row| row.get(0))?;
    let whole = list_is_whole(db, &scans::one(db, scan)?, listed.unsigned_abs())?;
    Ok((counts, whole))
}

fn page_of_one(db: &Connection, scan: ScanId, query: &CompareQuery, page: &PageRequest) -> Result<Page<Change>> {
    let (sql, mut values) = conditions(scan, query, true);
    values.push(rows::seq_after(page)?.into());
    values.push((i64::from(page.limit) + 1).into());
    let (after, limit) = (values.len() - 1, values.len());
    let found = db
        .prepare_cached(&format!(
            "SELECT * FROM scan_changes WHERE {sql} AND seq > ?{after} ORDER BY seq LIMIT ?{limit}"
        ))?
        .query_map(params_from_iter(values), |row| Ok((row.get("seq")?, from_row(row)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(rows::page_by_seq(found, page))
}

fn page_of_many(all: &[Change], query: &CompareQuery, page: &PageRequest) -> Result<(ChangeCounts, Page<Change>)> {
    let start = match page.cursor.as_deref() {
        Some(text) => usize::try_from(rows::number(text)?).unwrap_or(usize::MAX),
        None => 0,
    };
    let below = query.below.as_ref().filter(|below| !below.is_empty());
    let mut counts = ChangeCounts::default();
    let (mut items, mut next) = (Vec::new(), None);
    for (at, change) in all.iter().enumerate() {
        let inside = below.is_none_or(|below| is_at_or_below(change.path.as_bytes(), below.as_bytes()));
        if !inside {
            continue;
        }
        *counts.of_mut(change.op) += 1;
        let (before, after) = (change.size_before.unwrap_or(0), change.size_after.unwrap_or(0));
        counts.added_bytes = counts.added_bytes.saturating_add(after.saturating_sub(before));
        counts.removed_bytes = counts.removed_bytes.saturating_add(before.saturating_sub(after));
        if at < start || !(query.ops.is_empty() || query.ops.contains(&change.op)) {
            continue;
        }
        if items.len() < page.limit as usize {
            items.push(change.clone());
        } else if next.is_none() {
            next = Some(cursor::encode(&[(at as i64).into()]));
        }
    }
    Ok((counts, Page { items, next }))
}

fn is_at_or_below(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

impl ChangeCounts {
    fn of_mut(&mut self, op: ChangeOp) -> &mut u64 {
        match op {
            ChangeOp::Created => &mut self.created,
            ChangeOp::Modified => &mut self.modified,
            ChangeOp::Metadata => &mut self.metadata,
            ChangeOp::Deleted => &mut self.deleted,
            ChangeOp::Moved => &mut self.moved,
        }
    }
}

fn compose(db: &Connection, scans: &[Scan]) -> Result<Composed> {
    let mut query = db.prepare_cached("SELECT * FROM scan_changes WHERE scan_id = ? ORDER BY seq")?;
    let (mut net, mut complete, mut read) = (Net::default(), true, 0);
    for scan in scans {
        let mut found = query.query([scan.id.to_string()])?;
        let mut listed = 0;
        while let Some(row) = found.next()? {
            if read == MAX_COMPOSED {
                complete = false;
                break;
            }
            net.add(from_row(row)?);
            (listed, read) = (listed + 1, read + 1);
        }
        complete &= list_is_whole(db, scan, listed)?;
    }
    Ok(Composed { complete: complete && !net.lossy && net.moved_dirs.len() < MAX_MOVED_DIRS, changes: net.finish() })
}

/// What changes come to, one after the other.
#[derive(Default)]
struct Net {
    by_path: HashMap<ByteStr, Change>,
    /// Where directories went, in the order in which they did: from, to.
    moved_dirs: Vec<(ByteStr, ByteStr)>,
    /// Something went that is not told.
    lossy: bool,
}

impl Net {
    fn add(&mut self, change: Change) {
        let earlier = self.by_path.remove(&change.path);
        match change.op {
            ChangeOp::Created => self.keep(match earlier {
                // Gone, and there again.
                Some(gone) if gone.op == ChangeOp::Deleted => {
                    Change { op: ChangeOp::Modified, size_before: gone.size_before, ..change }
                }
                _ => change,
            }),
            ChangeOp::Modified | ChangeOp::Metadata => self.keep(match earlier {
                None => change,
                Some(was) => {
                    let weaker = was.op == ChangeOp::Metadata;
                    Change { op: if weaker { change.op } else { was.op }, size_after: change.size_after, ..was }
                }
            }),
            ChangeOp::Deleted => match earlier {
                Some(was) if was.op == ChangeOp::Created => {}
                Some(was) => {
                    let path = was.from.clone().unwrap_or_else(|| was.path.clone());
                    self.gone(Change { op: ChangeOp::Deleted, path, from: None, size_after: None, ..was });
                }
                None => {
                    let path = self.origin(&change.path);
                    self.gone(Change { path, ..change });
                }
            },
            ChangeOp::Moved => match earlier {
                // It took the place of something that had gone: both are told.
                Some(gone) if gone.op == ChangeOp::Deleted => {
                    let there =
                        Change { op: ChangeOp::Modified, from: None, size_before: gone.size_before, ..change.clone() };
                    let was = change.from.clone().unwrap_or_default();
                    let (before, kind) = (change.size_before, change.kind);
                    self.add(Change {
                        op: ChangeOp::Deleted,
                        kind,
                        path: was,
                        from: None,
                        size_before: before,
                        size_after: None,
                    });
                    self.follow(&change);
                    self.keep(there);
                }
                _ => self.moved(change),
            },
        }
    }

    fn gone(&mut self, change: Change) {
        // Where it was, something else may be by now: that has replaced it.
        match self.by_path.get_mut(&change.path) {
            Some(new) if new.op == ChangeOp::Created => {
                new.op = ChangeOp::Modified;
                new.size_before = change.size_before;
            }
            Some(_) => self.lossy = true,
            None => self.keep(change),
        }
    }

    fn moved(&mut self, change: Change) {
        let Some(from) = change.from.clone() else { return };
        let line = match self.by_path.remove(&from) {
            None => Change { from: Some(self.origin(&from)), ..change.clone() },
            Some(new) if new.op == ChangeOp::Created => {
                Change { op: ChangeOp::Created, from: None, size_before: None, ..change.clone() }
            }
            Some(was) => {
                let origin = was.from.clone().unwrap_or(was.path);
                Change { from: Some(origin), size_before: was.size_before, ..change.clone() }
            }
        };
        if line.from.as_ref() != Some(&line.path) {
            self.keep(line);
        } else if line.size_before != line.size_after {
            self.keep(Change { op: ChangeOp::Modified, from: None, ..line });
        }
        self.follow(&change);
    }

    /// What is below a directory that moved is elsewhere from now on.
    fn follow(&mut self, change: &Change) {
        let Some(from) = change.from.clone() else { return };
        if change.kind == EntryKind::Dir && self.moved_dirs.len() < MAX_MOVED_DIRS {
            let below: Vec<ByteStr> = self
                .by_path
                .keys()
                .filter(|p| p.as_bytes() != from.as_bytes() && is_at_or_below(p.as_bytes(), from.as_bytes()))
                .cloned()
                .collect();
            for path in below {
                // What had gone stays where it was.
                if let Some(line) = self.by_path.remove(&path) {
                    let path = match line.op {
                        ChangeOp::Deleted => path,
                        _ => [change.path.as_bytes(), &path.as_bytes()[from.as_bytes().len()..]].concat().into(),
                    };
                    self.keep(Change { path, ..line });
                }
            }
            self.moved_dirs.push((from, change.path.clone()));
        }
    }

    /// Where something was before the directories above it moved.
    fn origin(&self, path: &ByteStr) -> ByteStr {
        let mut path = path.clone();
        for (from, to) in self.moved_dirs.iter().rev() {
            if path.as_bytes() != to.as_bytes() && is_at_or_below(path.as_bytes(), to.as_bytes()) {
                path = [from.as_bytes(), &path.as_bytes()[to.as_bytes().len()..]].concat().into();
            }
        }
        path
    }

    fn keep(&mut self, change: Change) {
        self.by_path.insert(change.path.clone(), change);
    }

    fn finish(self) -> Vec<Change> {
        let mut changes: Vec<Change> = self.by_path.into_values().collect();
        changes.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that ends in a slash is a directory.
    fn change(op: ChangeOp, path: &str, from: Option<&str>, before: Option<u64>, after: Option<u64>) -> Change {
        let kind = if path.ends_with('/') { EntryKind::Dir } else { EntryKind::File };
        let bytes = |path: &str| ByteStr::from(path.trim_end_matches('/'));
        Change { op, kind, path: bytes(path), from: from.map(bytes), size_before: before, size_after: after }
    }

    fn net(changes: Vec<Change>) -> Vec<String> {
        let mut net = Net::default();
        changes.into_iter().for_each(|change| net.add(change));
        let shown = |path: &ByteStr| path.display().into_owned();
        net.finish()
            .iter()
            .map(|c| {
                let from = c.from.as_ref().map(|from| format!(" from {}", shown(from))).unwrap_or_default();
                format!("{} {}{from} {:?} {:?}", c.op.word(), shown(&c.path), c.size_before, c.size_after)
            })
            .collect()
    }

    use ChangeOp::{Created, Deleted, Metadata, Modified, Moved};

    #[test]
    fn what_came_and_went_is_no_change() {
        assert!(
            net(vec![change(Created, "a", None, None, Some(1)), change(Deleted, "a", None, Some(1), None)]).is_empty()
        );
        let there_again = vec![change(Deleted, "a", None, Some(1), None), change(Created, "a", None, None, Some(2))];
        assert_eq!(net(there_again), ["modified a Some(1) Some(2)"]);
        let modified_then_gone =
            vec![change(Modified, "a", None, Some(1), Some(2)), change(Deleted, "a", None, Some(2), None)];
        assert_eq!(net(modified_then_gone), ["deleted a Some(1) None"]);
        let both = vec![change(Metadata, "a", None, Some(1), Some(1)), change(Modified, "a", None, Some(1), Some(3))];
        assert_eq!(net(both), ["modified a Some(1) Some(3)"]);
    }

    #[test]
    fn moves_are_followed() {
        let twice =
            vec![change(Moved, "b", Some("a"), Some(1), Some(1)), change(Moved, "c", Some("b"), Some(1), Some(1))];
        assert_eq!(net(twice), ["moved c from a Some(1) Some(1)"]);
        let back =
            vec![change(Moved, "b", Some("a"), Some(1), Some(1)), change(Moved, "a", Some("b"), Some(1), Some(1))];
        assert!(net(back).is_empty());
        let gone = vec![change(Moved, "b", Some("a"), Some(1), Some(1)), change(Deleted, "b", None, Some(1), None)];
        assert_eq!(net(gone), ["deleted a Some(1) None"]);
        let new = vec![change(Created, "a", None, None, Some(1)), change(Moved, "b", Some("a"), Some(1), Some(1))];
        assert_eq!(net(new), ["created b None Some(1)"]);
    }

    #[test]
    fn what_was_replaced_by_a_move_is_told() {
        let changes = vec![change(Deleted, "b", None, Some(5), None), change(Moved, "b", Some("a"), Some(7), Some(7))];
        assert_eq!(net(changes), ["deleted a Some(7) None", "modified b Some(5) Some(7)"]);
    }

    #[test]
    fn changes_below_a_directory_that_moved_are_followed() {
        let changes = vec![
            change(Created, "old/new", None, None, Some(5)),
            change(Deleted, "old/gone", None, Some(6), None),
            change(Moved, "dir/", Some("old/"), None, None),
            change(Deleted, "dir/x", None, Some(7), None),
            change(Modified, "dir/y", None, Some(8), Some(9)),
        ];
        assert_eq!(
            net(changes),
            [
                "moved dir from old None None",
                "created dir/new None Some(5)",
                "modified dir/y Some(8) Some(9)",
                "deleted old/gone Some(6) None",
                "deleted old/x Some(7) None",
            ]
        );
    }
}
