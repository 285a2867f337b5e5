//! Ids for new chunks: a segment holds chunks of one root only.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension};

use super::SLOTS;
use crate::store::Result;

/// Gives out the ids of a root's new chunks, and notes which segments no longer have the columns of their chunks.
pub struct Slots<'db> {
    db: &'db Connection,
    root_id: i64,
    /// The segment that has room, and how many slots of it are used.
    open: Option<(i64, i64)>,
    stale: HashSet<i64>,
}

impl<'db> Slots<'db> {
    /// For one root.
    pub fn new(db: &'db Connection, root_id: i64) -> Result<Self> {
        let open = db
            .prepare_cached("SELECT id, slots FROM segments WHERE root_id = ? ORDER BY id DESC LIMIT 1")?
            .query_row([root_id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?
            .filter(|(_, used)| *used < SLOTS);
        Ok(Self { db, root_id, open, stale: HashSet::new() })
    }

    /// The id of a new chunk.
    pub fn next(&mut self) -> Result<i64> {
        let (segment, used) = match self.open {
            Some(open) => open,
            None => {
                self.db
                    .prepare_cached("INSERT INTO segments VALUES (NULL, ?, ?, 0)")?
                    .execute((self.root_id, SLOTS))?;
                (self.db.last_insert_rowid(), 0)
            }
        };
        self.open = (used + 1 < SLOTS).then_some((segment, used + 1));
        if self.open.is_none() {
            self.keep(segment, SLOTS)?;
        }
        self.stale.insert(segment);
        Ok(segment * SLOTS + used)
    }

    /// A chunk was changed or removed.
    pub fn changed(&mut self, chunk: i64) {
        self.stale.insert(chunk.div_euclid(SLOTS));
    }

    /// Writes down what is stale, and where the next chunk goes.
    pub fn finish(self) -> Result<()> {
        let mut stale = self.db.prepare_cached("UPDATE segments SET fresh = 0 WHERE id = ? AND fresh <> 0")?;
        for segment in &self.stale {
            stale.execute([segment])?;
        }
        self.open.map_or(Ok(()), |(segment, used)| self.keep(segment, used))
    }

    fn keep(&self, segment: i64, used: i64) -> Result<()> {
        self.db.prepare_cached("UPDATE segments SET slots = ? WHERE id = ?")?.execute((used, segment))?;
        Ok(())
    }
}
