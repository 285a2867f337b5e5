//! Files with equal content. Hard links are one file with several names.

use hostler_model::{Algorithm, ContentHash};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::cursor;
use super::find::{ABSOLUTE_DIR, Filter};
use super::rows;
use crate::store::{DuplicateGroup, DuplicateQuery, DuplicateTotals, Page, PageRequest, Result};

/// Groups as rows of `hash, size, algorithm, copies, names, reclaimable`.
fn groups_sql(query: &DuplicateQuery) -> (String, Vec<Value>) {
    let mut filter = Filter::default();
    filter.and("e.size >= ?", i64::try_from(query.min_size.max(1)).unwrap_or(i64::MAX));
    if let Some(host) = query.host {
        filter.and("roots.host_id = ?", host.to_string());
    }
    if let Some(below) = &query.below {
        filter.below(below.as_bytes());
    }
    // The innermost query reads the index on the hash alone and leaves only hashes that occur twice.
    // The same file may be in the indexes of two roots that overlap: it is counted once.
    let sql = format!(
        "SELECT hash, size, algorithm, COUNT(*) AS copies, SUM(names) AS names, 
            CAST(MIN((COUNT(*) - 1.0) * size, 9.2e18) AS INTEGER) AS reclaimable
         FROM (
            SELECT e.hash, e.size, roots.algorithm, COUNT(DISTINCT {ABSOLUTE_DIR} || x'2f' || e.name) AS names
            FROM (
                SELECT files.hash, files.size, files.name, files.dev, files.ino, files.kind, dirs.path AS dir_path, dirs.root_id
                FROM files JOIN dirs ON dirs.id = files.dir_id
                WHERE files.hash IN (
                    SELECT hash FROM files WHERE hash IS NOT NULL GROUP BY hash HAVING COUNT(*) > 1)
            ) AS e JOIN roots ON roots.id = e.root_id
            WHERE e.kind = 1{}
            GROUP BY roots.algorithm, e.hash, e.size, roots.host_id, e.dev, e.ino)
         GROUP BY algorithm, hash, size HAVING COUNT(*) > 1",
        filter.sql
    );
    (sql, filter.values)
}

pub fn groups(db: &Connection, query: &DuplicateQuery, page: &PageRequest) -> Result<Page<DuplicateGroup>> {
    let (groups, mut values) = groups_sql(query);
    let mut sql = format!("SELECT * FROM ({groups}) WHERE 1");
    if let Some(text) = &page.cursor {
        let first = values.len() + 1;
        values.extend(cursor::decode(text, 2)?);
        sql.push_str(&format!(" AND (reclaimable < ?{first} OR (reclaimable = ?{first} AND hash > ?{}))", first + 1));
    }
    values.push((i64::from(page.limit) + 1).into());
    sql.push_str(&format!(" ORDER BY reclaimable DESC, hash LIMIT ?{}", values.len()));
    let mut statement = db.prepare_cached(&sql)?;
    let mut found = statement.query(params_from_iter(values))?;
    let mut items = Vec::new();
    let mut last = None;
    while let Some(row) = found.next()? {
        if items.len() == page.limit as usize {
            return Ok(Page { items, next: last });
        }
        let hash: Vec<u8> = row.get("hash")?;
        last = Some(cursor::encode(&[row.get("reclaimable")?, Value::Blob(hash.clone())]));
        items.push(DuplicateGroup {
            hash: ContentHash::new(&hash).map(|h| h.to_string()).unwrap_or_default(),
            algo: rows::coded(row, "algorithm", Algorithm::from_code)?,
            size: rows::unsigned(row, "size")?,
            copies: rows::unsigned(row, "copies")?,
            names: rows::unsigned(row, "names")?,
            reclaimable: rows::unsigned(row, "reclaimable")?,
        });
    }
    Ok(Page { items, next: None })
}

pub fn totals(db: &Connection, query: &DuplicateQuery) -> Result<DuplicateTotals> {
    let (groups, values) = groups_sql(query);
    let totals = db
        .prepare_cached(&format!(
            "SELECT COUNT(*) AS groups, COALESCE(SUM(copies - 1), 0) AS extra, CAST(MIN(TOTAL(reclaimable), 9.2e18) AS INTEGER) AS bytes
             FROM ({groups})"
        ))?
        .query_row(params_from_iter(values), |row| {
            Ok(DuplicateTotals {
                groups: rows::unsigned(row, "groups")?,
                extra_copies: rows::unsigned(row, "extra")?,
                reclaimable: rows::unsigned(row, "bytes")?,
            })
        })?;
    Ok(totals)
}
