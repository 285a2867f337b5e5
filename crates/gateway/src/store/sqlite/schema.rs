//! The schema, as steps that only go forward. `PRAGMA user_version` counts those that were applied.

use rusqlite::Connection;

use super::index;
use crate::store::{Result, StoreError};

/// One step: statements, then what statements cannot do.
struct Migration {
    sql: &'static str,
    then: Option<fn(&Connection) -> Result<()>>,
}

const fn sql(sql: &'static str) -> Migration {
    Migration { sql, then: None }
}

/// Each step runs once, in its own transaction. A step that has landed is never edited: add another.
const MIGRATIONS: &[Migration] = &[
    sql(include_str!("schema/1-first.sql")),
    sql(include_str!("schema/2-trust.sql")),
    sql(include_str!("schema/3-schedules.sql")),
    Migration { sql: include_str!("schema/4-index.sql"), then: Some(index::pack_files) },
    sql(include_str!("schema/5-snapfs.sql")),
    sql(include_str!("schema/6-snapfs-stream.sql")),
];

/// `PRAGMA application_id` from the second schema on: "Host" in ASCII.
pub const APPLICATION_ID: i64 = 0x486f_7374;

/// The schema that this program writes.
pub const KNOWN: i64 = MIGRATIONS.len() as i64;

/// Brings the database to this program's schema.
pub fn migrate(db: &mut Connection) -> Result<()> {
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > KNOWN {
        return Err(StoreError::TooNew { found, known: KNOWN });
    }
    if found == KNOWN {
        return Ok(());
    }
    // A table that others refer to is replaced: with keys enforced, dropping it would empty those as well.
    db.pragma_update(None, "foreign_keys", false)?;
    for (index, step) in MIGRATIONS.iter().enumerate().skip(found.max(0) as usize) {
        let tx = db.transaction()?;
        tx.execute_batch(step.sql)?;
        step.then.map_or(Ok(()), |then| then(&tx))?;
        tx.pragma_update(None, "user_version", index as i64 + 1)?;
        tx.commit()?;
    }
    db.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}
