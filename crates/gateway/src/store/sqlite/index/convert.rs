//! Indexes of the second schema, which had a row for each file, as chunks.

use hostler_model::{ContentHash, EntryKind};
use rusqlite::Connection;

use super::Row;
use super::directory::{self, EntryOp};
use super::slots::Slots;
use crate::store::Result;

/// Packs the rows of `files`, and drops the table.
pub fn pack_files(db: &Connection) -> Result<()> {
    let mut roots = db.prepare("SELECT id FROM roots")?;
    let roots: Vec<i64> = roots.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for root in roots {
        let mut slots = Slots::new(db, root)?;
        let mut dirs = db.prepare("SELECT id FROM dirs WHERE root_id = ? ORDER BY path")?;
        let mut dir = dirs.query([root])?;
        while let Some(dir) = dir.next()? {
            pack_dir(db, &mut slots, dir.get(0)?)?;
        }
        slots.finish()?;
    }
    db.execute_batch("DROP TABLE files")?;
    Ok(())
}

fn pack_dir(db: &Connection, slots: &mut Slots<'_>, dir: i64) -> Result<()> {
    let mut query = db.prepare_cached(
        "SELECT name, kind, size, mtime_ns, dev, ino, nlink, mode, uid, gid, hash FROM files WHERE dir_id = ? ORDER BY name",
    )?;
    let mut files = query.query([dir])?;
    let mut ops = Vec::new();
    while let Some(row) = files.next()? {
        let hash: Option<Vec<u8>> = row.get(10)?;
        let packed = Row {
            kind: EntryKind::from_code(row.get(1)?).unwrap_or(EntryKind::Other),
            size: row.get::<_, i64>(2)? as u64,
            mtime_ns: row.get(3)?,
            dev: row.get::<_, i64>(4)? as u64,
            ino: row.get::<_, i64>(5)? as u64,
            nlink: row.get::<_, i64>(6)? as u64,
            mode: row.get(7)?,
            uid: row.get(8)?,
            gid: row.get(9)?,
            hash: hash.as_deref().and_then(ContentHash::new),
        };
        ops.push(EntryOp { name: row.get(0)?, op: None, row: Some(packed) });
    }
    directory::fill(db, slots, dir, &mut ops, &mut |_, _, _, _| {})
}
