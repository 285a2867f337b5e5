//! Lists of hosts, sorted and cut by the database: a fleet has ten thousand.

use rusqlite::{Connection, Row, named_params};

use super::{hosts, rows};
use crate::store::{HostCounts, HostQuery, HostRow, HostSort, LinkState, LinkedNow, Result};

/// The hosts that match, each with `link`: the number of its state.
const SEEN: &str = "WITH seen AS (
    SELECT *, CASE WHEN id NOT IN (SELECT value FROM json_each(:linked)) THEN 2
                   WHEN COALESCE(last_proof_at, 0) >= :fresh THEN 0 ELSE 1 END AS link
    FROM hosts
    WHERE removed = 0 AND (:text = '' OR instr(lower(name), :text) > 0
                           OR instr(lower(json_extract(facts, '$.hostname')), :text) > 0))";

pub fn page(db: &Connection, query: &HostQuery, linked: &LinkedNow) -> Result<(Vec<HostRow>, HostCounts)> {
    let ids = rows::to_json(&linked.hosts)?;
    let text = query.text.as_deref().unwrap_or_default().to_ascii_lowercase();
    let fresh = linked.fresh_since.micros();
    let mut counts = HostCounts::default();
    let mut counting = db.prepare_cached(&format!("{SEEN} SELECT link, COUNT(*) FROM seen GROUP BY link"))?;
    let mut found = counting.query(named_params! { ":linked": ids, ":fresh": fresh, ":text": text })?;
    while let Some(row) = found.next()? {
        let count = row.get::<_, i64>(1)?.unsigned_abs();
        match state(row.get(0)?) {
            LinkState::Linked => counts.linked = count,
            LinkState::Stale => counts.stale = count,
            LinkState::Down => counts.down = count,
        }
    }
    let order = if query.descending { "DESC" } else { "ASC" };
    let key = match query.sort {
        HostSort::Name => "name",
        HostSort::Link => "link",
        HostSort::System => "json_extract(facts, '$.os')",
        HostSort::Files => "files",
        HostSort::Size => "bytes",
    };
    let mut listing = db.prepare_cached(&format!(
        "{SEEN}, sums AS (
            SELECT roots.host_id, COUNT(*) AS roots, SUM(top.total_files) AS files, SUM(top.total_bytes) AS bytes
            FROM roots JOIN dirs AS top ON top.root_id = roots.id AND top.path = x'' GROUP BY roots.host_id)
         SELECT seen.*, COALESCE(sums.roots, 0) AS roots, COALESCE(sums.files, 0) AS files,
                COALESCE(sums.bytes, 0) AS bytes
         FROM seen LEFT JOIN sums ON sums.host_id = seen.id
         WHERE :link IS NULL OR link = :link
         ORDER BY {key} {order}, name, id LIMIT :limit OFFSET :offset"
    ))?;
    let items = listing
        .query_map(
            named_params! {
                ":linked": ids, ":fresh": fresh, ":text": text, ":link": query.link.map(|link| link as i64),
                ":limit": query.limit, ":offset": i64::try_from(query.offset).unwrap_or(i64::MAX),
            },
            from_row,
        )?
        .collect::<rusqlite::Result<_>>()?;
    Ok((items, counts))
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<HostRow> {
    Ok(HostRow {
        host: hosts::from_row(row)?,
        link: state(row.get("link")?),
        roots: rows::unsigned(row, "roots")?,
        files: rows::unsigned(row, "files")?,
        bytes: rows::unsigned(row, "bytes")?,
    })
}

fn state(code: i64) -> LinkState {
    match code {
        0 => LinkState::Linked,
        1 => LinkState::Stale,
        _ => LinkState::Down,
    }
}
