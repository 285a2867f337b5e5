//! Differences of one directory's entries, merged into its chunks.

use std::cmp::Ordering;

use hostler_model::ChangeOp;
use rusqlite::{Connection, OptionalExtension};

use super::chunk::{Chunk, Entries, MAX_ENTRIES, Packer};
use super::slots::Slots;
use super::{Row, segment};
use crate::store::Result;

/// One entry that is to be as told.
pub struct EntryOp {
    /// Its name.
    pub name: Vec<u8>,
    /// What the host calls the difference.
    pub op: Option<ChangeOp>,
    /// What it is now; `None` when it is gone.
    pub row: Option<Row>,
}

/// What entries that are not told of are.
#[derive(Clone, Copy)]
pub enum Others<'a> {
    /// As they were.
    Stay,
    /// Gone, if their names are after the first and not after the second of these.
    Go(Option<&'a [u8]>, Option<&'a [u8]>),
}

/// Told of each entry that differs, in the order of names: what the host calls it, what was and what is.
pub type Tell<'a> = &'a mut dyn FnMut(&[u8], Option<ChangeOp>, Option<&Row>, Option<&Row>);

/// Makes a directory's entries as told. `ops` are sorted here; of several with one name the last one holds.
pub fn merge(
    db: &Connection,
    slots: &mut Slots<'_>,
    dir: i64,
    ops: &mut Vec<EntryOp>,
    others: Others<'_>,
    tell: Tell<'_>,
) -> Result<()> {
    sort(ops);
    let mut from = match others {
        Others::Stay => None,
        Others::Go(after, _) => Some(after.unwrap_or_default().to_vec()),
    };
    let mut next_op = 0;
    loop {
        let target = match (&from, ops.get(next_op)) {
            (Some(from), _) => from,
            (None, Some(op)) => &op.name,
            (None, None) => return Ok(()),
        };
        let Some(old) = chunk_at(db, dir, target)? else {
            return insert(db, slots, dir, &ops[next_op..], tell);
        };
        let following = first_after(db, dir, &old.first)?;
        let end = match &following {
            Some(first) => next_op + ops[next_op..].partition_point(|op| op.name < *first),
            None => ops.len(),
        };
        rewrite(db, slots, dir, &old, &ops[next_op..end], others, tell)?;
        next_op = end;
        let Some(first) = following else { return Ok(()) };
        if let (Some(from), Others::Go(_, through)) = (&mut from, others) {
            if through.is_some_and(|through| first.as_slice() > through) {
                return Ok(());
            }
            *from = first;
        }
    }
}

/// Fills a directory that has no chunks yet.
pub fn fill(db: &Connection, slots: &mut Slots<'_>, dir: i64, ops: &mut Vec<EntryOp>, tell: Tell<'_>) -> Result<()> {
    sort(ops);
    insert(db, slots, dir, ops, tell)
}

fn sort(ops: &mut Vec<EntryOp>) {
    if !ops.is_sorted_by(|a, b| a.name < b.name) {
        ops.sort_by(|a, b| a.name.cmp(&b.name));
        // `dedup_by` gives the later one first, and removes it: the earlier takes what it said.
        ops.dedup_by(|later, earlier| {
            let same = later.name == earlier.name;
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
    }
}

fn insert(db: &Connection, slots: &mut Slots<'_>, dir: i64, ops: &[EntryOp], tell: Tell<'_>) -> Result<()> {
    let mut packer = Packer::default();
    for op in ops {
        if let Some(row) = &op.row {
            packer.push(&op.name, row);
            tell(&op.name, op.op, None, Some(row));
        }
    }
    for chunk in packer.finish() {
        write_new(db, slots, dir, &chunk)?;
    }
    Ok(())
}

struct Kept {
    id: i64,
    first: Vec<u8>,
    data: Vec<u8>,
}

/// The chunk in which a name is or would be; `None` when there is none at all.
fn chunk_at(db: &Connection, dir: i64, name: &[u8]) -> Result<Option<Kept>> {
    let kept = |row: &rusqlite::Row<'_>| Ok(Kept { id: row.get(0)?, first: row.get(1)?, data: row.get(2)? });
    let before = db
        .prepare_cached(
            "SELECT id, first, data FROM chunks WHERE dir_id = ? AND first <= ? ORDER BY first DESC LIMIT 1",
        )?
        .query_row((dir, name), kept)
        .optional()?;
    if before.is_some() {
        return Ok(before);
    }
    Ok(db
        .prepare_cached("SELECT id, first, data FROM chunks WHERE dir_id = ? ORDER BY first LIMIT 1")?
        .query_row([dir], kept)
        .optional()?)
}

fn first_after(db: &Connection, dir: i64, first: &[u8]) -> Result<Option<Vec<u8>>> {
    Ok(db
        .prepare_cached("SELECT first FROM chunks WHERE dir_id = ? AND first > ? ORDER BY first LIMIT 1")?
        .query_row((dir, first), |row| row.get(0))
        .optional()?)
}

fn rewrite(
    db: &Connection,
    slots: &mut Slots<'_>,
    dir: i64,
    old: &Kept,
    ops: &[EntryOp],
    others: Others<'_>,
    tell: Tell<'_>,
) -> Result<()> {
    let goes = |name: &[u8]| match others {
        Others::Stay => false,
        Others::Go(after, through) => {
            after.is_none_or(|after| name > after) && through.is_none_or(|through| name <= through)
        }
    };
    let mut merged: Vec<(Vec<u8>, Row)> = Vec::new();
    let mut ops = ops.iter().peekable();
    let mut add = |merged: &mut Vec<(Vec<u8>, Row)>, op: &EntryOp, was: Option<&Row>| {
        if let Some(row) = op.row {
            merged.push((op.name.clone(), row));
        }
        if was.is_some() || op.row.is_some() {
            tell(&op.name, op.op, was, op.row.as_ref());
        }
    };
    let mut gone: Vec<(Vec<u8>, Row)> = Vec::new();
    let mut entries = Entries::new(&old.data);
    while let Some((name, row)) = entries.next()? {
        while let Some(op) = ops.next_if(|op| op.name.as_slice() < name) {
            add(&mut merged, op, None);
        }
        match ops.next_if(|op| op.name.as_slice().cmp(name) == Ordering::Equal) {
            Some(op) => add(&mut merged, op, Some(&row)),
            None if goes(name) => gone.push((name.to_vec(), row)),
            None => merged.push((name.to_vec(), row)),
        }
    }
    for op in ops {
        add(&mut merged, op, None);
    }
    for (name, row) in &gone {
        tell(name, Some(ChangeOp::Deleted), Some(row), None);
    }
    if matches!(others, Others::Stay) && merged.len() < JOINED_BELOW {
        join_following(db, slots, dir, &old.first, &mut merged)?;
    }
    let mut packer = Packer::balanced(merged.len());
    merged.iter().for_each(|(name, row)| packer.push(name, row));
    let mut chunks = packer.finish().into_iter();
    match chunks.next() {
        None => {
            slots.changed(old.id);
            db.prepare_cached("DELETE FROM chunks WHERE id = ?")?.execute([old.id])?;
        }
        Some(chunk) if chunk.data == old.data => {}
        Some(chunk) => {
            slots.changed(old.id);
            let Chunk { first, entries, files, bytes, data } = chunk;
            db.prepare_cached("UPDATE chunks SET first = ?, entries = ?, files = ?, bytes = ?, data = ? WHERE id = ?")?
                .execute((first, entries, files, bytes, data, old.id))?;
        }
    }
    for chunk in chunks {
        write_new(db, slots, dir, &chunk)?;
    }
    Ok(())
}

/// A chunk with fewer entries takes in the one behind it, when both fit.
const JOINED_BELOW: usize = 64;

/// Takes the entries of the following chunk along, so that chunks do not stay small where much was deleted.
fn join_following(
    db: &Connection,
    slots: &mut Slots<'_>,
    dir: i64,
    first: &[u8],
    merged: &mut Vec<(Vec<u8>, Row)>,
) -> Result<()> {
    let following: Option<(i64, Vec<u8>)> = db
        .prepare_cached(
            "SELECT id, data FROM chunks WHERE dir_id = ?1 AND entries <= ?3
                AND first = (SELECT MIN(first) FROM chunks WHERE dir_id = ?1 AND first > ?2)",
        )?
        .query_row((dir, first, MAX_ENTRIES * 3 / 4 - JOINED_BELOW as u32), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, data)) = following else { return Ok(()) };
    let mut entries = Entries::new(&data);
    while let Some((name, row)) = entries.next()? {
        merged.push((name.to_vec(), row));
    }
    slots.changed(id);
    db.prepare_cached("DELETE FROM chunks WHERE id = ?")?.execute([id])?;
    Ok(())
}

fn write_new(db: &Connection, slots: &mut Slots<'_>, dir: i64, chunk: &Chunk) -> Result<()> {
    let Chunk { first, entries, files, bytes, data } = chunk;
    db.prepare_cached("INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?)")?.execute((
        slots.next()?,
        dir,
        first,
        entries,
        files,
        bytes,
        data,
    ))?;
    Ok(())
}

/// The entry of this name.
pub fn entry(db: &Connection, dir: i64, name: &[u8]) -> Result<Option<Row>> {
    let chunk: Option<i64> = db
        .prepare_cached("SELECT id FROM chunks WHERE dir_id = ? AND first <= ? ORDER BY first DESC LIMIT 1")?
        .query_row((dir, name), |row| row.get(0))
        .optional()?;
    chunk.map_or(Ok(None), |chunk| segment::entry_of_chunk(db, chunk, name))
}
