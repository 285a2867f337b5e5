//! Search over all indexes.

use hostler_model::EntryKind;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::browse::{DIR_ROWS, ENTRY_COLUMNS, FILE_ROWS, Order};
use crate::store::{FindQuery, IndexedEntry, Page, PageRequest, Result};

pub fn find(db: &Connection, query: &FindQuery, page: &PageRequest) -> Result<Page<IndexedEntry>> {
    let mut filter = Filter::default();
    if let Some(hash) = &query.hash {
        // Named in the inner query too, where the index on it is.
        filter.and("e.hash = ?", hash.as_bytes().to_vec());
    }
    if let Some(host) = query.host {
        filter.and("hosts.id = ?", host.to_string());
    }
    if let Some(below) = &query.below {
        filter.below(below.as_bytes());
    }
    if let Some(name) = &query.name {
        filter.and("name_matches(e.name, ?)", name.as_bytes().to_vec());
    }
    if !query.extensions.is_empty() {
        let marks: Vec<String> = query
            .extensions
            .iter()
            .map(|extension| {
                let mark = filter.value(extension.trim_start_matches('.').as_bytes().to_vec());
                format!("has_extension(e.name, {mark})")
            })
            .collect();
        filter.raw(&format!("({})", marks.join(" OR ")));
    }
    for (condition, bound) in [("e.size >= ?", query.min_size), ("e.size <= ?", query.max_size)] {
        if let Some(bytes) = bound {
            filter.and(condition, i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
    for (condition, bound) in [("e.mtime_ns >= ?", query.modified_after), ("e.mtime_ns < ?", query.modified_before)] {
        if let Some(time) = bound {
            filter.and(condition, time.micros().saturating_mul(1000));
        }
    }
    if let Some(owner) = &query.owner {
        let mark = filter.value(owner.clone());
        filter.raw(&format!(
            "(CAST(e.uid AS TEXT) = {mark} OR e.uid IN
                (SELECT o.id FROM owners AS o WHERE o.host_id = hosts.id AND o.is_group = 0 AND o.name = {mark}))"
        ));
    }
    let kinds: Vec<EntryKind> = match query.kinds.is_empty() {
        true => vec![EntryKind::File, EntryKind::Symlink, EntryKind::Other],
        false => query.kinds.clone(),
    };
    let codes: Vec<String> = kinds.iter().map(|k| k.code().to_string()).collect();
    filter.raw(&format!("e.kind IN ({})", codes.join(",")));

    let mut tables = Vec::new();
    if kinds.iter().any(|k| *k != EntryKind::Dir) {
        tables.push(FILE_ROWS);
    }
    if kinds.contains(&EntryKind::Dir) {
        tables.push(DIR_ROWS);
    }
    let sql = format!(
        "SELECT {ENTRY_COLUMNS} FROM ({}) AS e JOIN roots ON roots.id = e.root_id JOIN hosts ON hosts.id = roots.host_id
         WHERE 1{}",
        tables.join(" UNION ALL "),
        filter.sql,
    );
    Order::found(query.sort, query.descending).page(db, &sql, filter.values, page)
}

/// The absolute path of an entry's directory, from `roots` and `e`; empty for `/`. `||` makes text of its operands; the cast
/// makes bytes of it again.
pub const ABSOLUTE_DIR: &str = "CAST(CASE WHEN roots.path = x'2f' THEN x'' ELSE roots.path END ||
    CASE WHEN e.dir_path = x'' THEN x'' ELSE x'2f' || e.dir_path END AS BLOB)";

/// Conditions joined by AND, with their values.
#[derive(Default)]
pub struct Filter {
    /// Starts with ` AND ` when there is one.
    pub sql: String,
    /// In the order of their numbers.
    pub values: Vec<Value>,
}

impl Filter {
    /// Adds a condition with one `?`.
    pub fn and(&mut self, condition: &str, value: impl Into<Value>) {
        let mark = self.value(value);
        self.raw(&condition.replace('?', &mark));
    }

    /// Adds a value and gives its mark.
    pub fn value(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }

    /// Adds a condition as it is.
    pub fn raw(&mut self, condition: &str) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
    }

    /// Only entries below an absolute path: `roots.path` joined with `e.dir_path` is that path or below it.
    pub fn below(&mut self, path: &[u8]) {
        let end = path.iter().rposition(|b| *b != b'/').map_or(0, |last| last + 1);
        let path = &path[..end];
        let exact = self.value(path.to_vec());
        let from = self.value([path, b"/"].concat());
        let to = self.value([path, b"0"].concat());
        let dir = ABSOLUTE_DIR;
        self.raw(&format!("({dir} = {exact} OR ({dir} >= {from} AND {dir} < {to}))"));
    }
}
