//! Columns to model types. A value that no version of this program writes is reported, never guessed.

use std::str::FromStr;

use hostler_model::{ByteStr, Timestamp};
use rusqlite::Row;
use rusqlite::types::{Type, Value};

use super::cursor;
use crate::store::{Page, PageRequest, Result};

/// A column that holds an id, a state or a role as text.
pub fn parsed<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    let text: String = row.get(column)?;
    text.parse().map_err(|error: T::Err| corrupt(column, error.to_string()))
}

/// A column that holds JSON.
pub fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| corrupt(column, error.to_string()))
}

/// The JSON that a column keeps.
pub fn to_json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// A column that holds an id, a state or a role as text, or nothing.
pub fn optional_parsed<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse().map_err(|error: T::Err| corrupt(column, error.to_string()))).transpose()
}

/// A column that holds a number from a table of codes.
pub fn coded<T>(row: &Row<'_>, column: &str, decode: fn(u8) -> Option<T>) -> rusqlite::Result<T> {
    let code: u8 = row.get(column)?;
    decode(code).ok_or_else(|| corrupt(column, format!("unknown code {code}")))
}

/// A column that holds a name or a path.
pub fn path(row: &Row<'_>, column: &str) -> rusqlite::Result<ByteStr> {
    Ok(ByteStr::from(row.get::<_, Vec<u8>>(column)?))
}

/// A column that holds microseconds.
pub fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_micros)
}

/// A column that holds microseconds or nothing.
pub fn optional_time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
}

/// 64 bits that the store keeps as a signed integer: device and inode numbers use all of them.
pub fn unsigned(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)? as u64)
}

/// The page of a list that is kept in the order of a sequence number.
pub fn page_by_seq<T>(rows: Vec<(i64, T)>, page: &PageRequest) -> Page<T> {
    let more = rows.len() > page.limit as usize;
    let mut last = 0;
    let items = rows
        .into_iter()
        .take(page.limit as usize)
        .map(|(seq, item)| {
            last = seq;
            item
        })
        .collect();
    Page { items, next: more.then(|| cursor::encode(&[last.into()])) }
}

/// The sequence number after which a page starts.
pub fn seq_after(page: &PageRequest) -> Result<i64> {
    page.cursor.as_deref().map_or(Ok(-1), number)
}

/// The number that a list's cursor consists of.
pub fn number(text: &str) -> Result<i64> {
    match cursor::decode(text, 1)?.first() {
        Some(Value::Integer(number)) => Ok(*number),
        _ => Err(crate::store::StoreError::BadCursor(text.chars().take(80).collect())),
    }
}

fn corrupt(column: &str, why: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, format!("column {column}: {why}").into())
}

/// What a list is restricted to.
#[derive(Default)]
pub struct Conditions {
    parts: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    /// Adds a condition with its values.
    pub fn add(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.parts.push(condition.to_owned());
        self.values.extend(values);
    }

    /// Adds: the column is `words`, or starts with them and a dot.
    pub fn add_words(&mut self, column: &str, words: &str) {
        let words = words.trim_end_matches('.');
        let below = format!("{words}.");
        self.add(
            &format!("({column} = ? OR substr({column}, 1, ?) = ?)"),
            [words.to_owned().into(), Value::from(below.chars().count() as i64), below.into()],
        );
    }

    /// The conditions, all of which hold.
    pub fn sql(&self) -> String {
        if self.parts.is_empty() { "1".to_owned() } else { self.parts.join(" AND ") }
    }

    /// The conditions' values, and then the page's limit.
    pub fn values(self, limit: Value) -> Vec<Value> {
        let mut values = self.values;
        values.push(limit);
        values
    }
}

/// A pattern of `LIKE ... ESCAPE '\'` for what holds `text`.
pub fn like(text: &str) -> String {
    let escaped: String =
        text.chars().flat_map(|c| matches!(c, '%' | '_' | '\\').then_some('\\').into_iter().chain([c])).collect();
    format!("%{escaped}%")
}

/// The page of a list that is read from the greatest id down, of which one more than the page was read.
pub fn page_by_id<T>(mut items: Vec<T>, page: &PageRequest, id: fn(&T) -> i64) -> Page<T> {
    let more = items.len() > page.limit as usize;
    items.truncate(page.limit as usize);
    let next = items.last().filter(|_| more).map(|item| cursor::encode(&[id(item).into()]));
    Page { items, next }
}
