//! What SnapFS clients sent.

pub mod cache;
pub mod machines;
pub mod scans;
pub mod stream;
pub mod tokens;
pub mod told;

use rusqlite::Connection;

use crate::store::{Owner, Result, SnapfsIngest};

/// Keeps one call of a client.
pub fn ingest(db: &Connection, ingest: &SnapfsIngest) -> Result<()> {
    for (scan, files) in &ingest.files {
        told::put(db, *scan, files)?;
    }
    if !ingest.owners.is_empty() {
        let mut insert =
            db.prepare_cached("INSERT OR REPLACE INTO owners SELECT id, ?, ?, ? FROM hosts WHERE id = ?")?;
        for (host, Owner { group, id, name }) in &ingest.owners {
            insert.execute((group, id, name, host.to_string()))?;
        }
    }
    cache::put(db, &ingest.scope, &ingest.hashes, ingest.algorithm, ingest.at)?;
    stream::append(db, &ingest.subject, &ingest.message, ingest.at)
}
