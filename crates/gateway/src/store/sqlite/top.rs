//! The first rows of a sorted list, after a cursor, out of rows that come in any order.

use std::cmp::Ordering;

use rusqlite::types::Value;

use super::cursor;
use crate::store::{PageRequest, Result, StoreError};

/// Where a row is in a list: compared from top to bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key<'a> {
    /// A size or a time; 0 in lists by name.
    pub primary: i64,
    /// 0 comes first, in both directions.
    pub rank: i64,
    /// The directory.
    pub dir: &'a [u8],
    /// The name in it.
    pub name: &'a [u8],
    /// Tells rows apart that are alike in all else.
    pub tie: i64,
}

/// A [`Key`] that is kept.
#[derive(Clone, Debug)]
pub struct OwnedKey {
    primary: i64,
    rank: i64,
    dir: Vec<u8>,
    name: Vec<u8>,
    tie: i64,
}

impl From<Key<'_>> for OwnedKey {
    fn from(key: Key<'_>) -> Self {
        let Key { primary, rank, dir, name, tie } = key;
        Self { primary, rank, dir: dir.to_vec(), name: name.to_vec(), tie }
    }
}

impl OwnedKey {
    /// Borrows it.
    pub fn key(&self) -> Key<'_> {
        Key { primary: self.primary, rank: self.rank, dir: &self.dir, name: &self.name, tie: self.tie }
    }
}

/// Which way a list is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Greatest size or time first.
    pub primary_descending: bool,
    /// Last directory and name first.
    pub names_descending: bool,
}

impl Order {
    fn compare(self, a: &Key<'_>, b: &Key<'_>) -> Ordering {
        let turn = |order: Ordering, descending: bool| if descending { order.reverse() } else { order };
        let names = || a.dir.cmp(b.dir).then_with(|| a.name.cmp(b.name)).then_with(|| a.tie.cmp(&b.tie));
        turn(a.primary.cmp(&b.primary), self.primary_descending)
            .then_with(|| a.rank.cmp(&b.rank))
            .then_with(|| turn(names(), self.names_descending))
    }
}

/// Keeps the first rows after a cursor.
pub struct Top<T> {
    order: Order,
    limit: usize,
    after: Option<OwnedKey>,
    rows: Vec<(OwnedKey, T)>,
    /// Rows after this one are not among the first.
    bound: Option<OwnedKey>,
}

impl<T> Top<T> {
    /// For one page.
    pub fn new(order: Order, page: &PageRequest) -> Result<Self> {
        let after = page.cursor.as_deref().map(decode).transpose()?;
        Ok(Self { order, limit: page.limit as usize, after, rows: Vec::new(), bound: None })
    }

    /// The last row of the page before.
    pub fn after(&self) -> Option<Key<'_>> {
        self.after.as_ref().map(OwnedKey::key)
    }

    /// Rows of the page and the one behind it: with as many, nothing that follows matters.
    pub fn wanted(&self) -> usize {
        self.limit + 1
    }

    /// True when the row may be on the page.
    pub fn admits(&self, key: &Key<'_>) -> bool {
        self.after.as_ref().is_none_or(|after| self.order.compare(key, &after.key()).is_gt())
            && self.bound.as_ref().is_none_or(|bound| self.order.compare(key, &bound.key()).is_lt())
    }

    /// Adds a row if it is admitted.
    pub fn add(&mut self, key: Key<'_>, row: T) {
        if !self.admits(&key) {
            return;
        }
        self.rows.push((key.into(), row));
        let keep = self.limit + 1;
        if self.rows.len() >= 4 * keep + 64 {
            let order = self.order;
            self.rows.select_nth_unstable_by(keep, |a, b| order.compare(&a.0.key(), &b.0.key()));
            self.bound = self.rows.get(keep).map(|row| row.0.clone());
            self.rows.truncate(keep);
        }
    }

    /// The page's rows in their order, and the cursor of the next page.
    pub fn finish(mut self) -> (Vec<(OwnedKey, T)>, Option<String>) {
        let order = self.order;
        self.rows.sort_unstable_by(|a, b| order.compare(&a.0.key(), &b.0.key()));
        let more = self.rows.len() > self.limit;
        self.rows.truncate(self.limit);
        let next = self.rows.last().filter(|_| more).map(|(key, _)| encode(key));
        (self.rows, next)
    }
}

fn encode(key: &OwnedKey) -> String {
    cursor::encode(&[
        key.primary.into(),
        key.rank.into(),
        Value::Blob(key.dir.clone()),
        Value::Blob(key.name.clone()),
        key.tie.into(),
    ])
}

fn decode(text: &str) -> Result<OwnedKey> {
    match <[Value; 5]>::try_from(cursor::decode(text, 5)?) {
        Ok(
            [Value::Integer(primary), Value::Integer(rank), Value::Blob(dir), Value::Blob(name), Value::Integer(tie)],
        ) => Ok(OwnedKey { primary, rank, dir, name, tie }),
        _ => Err(StoreError::BadCursor(text.chars().take(80).collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_join_to_the_sorted_list() {
        let names: Vec<String> = (0..1000).map(|n| format!("n{:03}", n * 7 % 1000)).collect();
        for order in [Order::default(), Order { primary_descending: true, names_descending: true }] {
            let (mut all, mut cursor) = (Vec::new(), None);
            loop {
                let mut top = Top::new(order, &PageRequest { limit: 13, cursor }).unwrap();
                for (at, name) in names.iter().enumerate() {
                    let primary = (at % 5) as i64;
                    top.add(Key { primary, rank: 0, dir: b"d", name: name.as_bytes(), tie: 1 }, (primary, name));
                }
                let (rows, next) = top.finish();
                all.extend(rows.into_iter().map(|(_, row)| row));
                cursor = next;
                if cursor.is_none() {
                    break;
                }
            }
            let mut sorted: Vec<_> = names.iter().enumerate().map(|(at, name)| ((at % 5) as i64, name)).collect();
            sorted.sort();
            if order.names_descending {
                sorted.reverse();
            }
            assert_eq!(all, sorted);
        }
    }
}
