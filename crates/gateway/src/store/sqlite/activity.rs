//! Events: records of the hosts' journals and what the gateway noticed. One table, one index: appending is what counts.

use std::collections::VecDeque;

use hostler_model::{HostId, Timestamp};
use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row, params_from_iter};

use super::{hosts, rows};
use crate::store::{
    ActivityEvent, ActivityFilter, AppendedEvents, EventSource, HostEventRecord, MAX_ACTIVITY, MAX_ANNOUNCED, NewEvent,
    Page, PageRequest, Result, Severity, StoreError,
};

/// Oldest rows that one append deletes beyond as many as it adds.
const PRUNED_AT_ONCE: i64 = 256;

/// Appends rows about one host.
struct Appender<'db> {
    db: &'db Connection,
    insert: CachedStatement<'db>,
    /// The host's small number, its id and its name.
    host: Option<(i64, HostId, String)>,
    received_at: Timestamp,
    written: i64,
    /// How many are still to come: only the last ones are announced.
    to_come: usize,
    newest: VecDeque<ActivityEvent>,
}

impl<'db> Appender<'db> {
    fn new(db: &'db Connection, host: Option<HostId>, received_at: Timestamp, to_come: usize) -> Result<Self> {
        let host = host.map(|id| hosts::number(db, id).map(|(number, name)| (number, id, name))).transpose()?;
        let insert = db.prepare_cached(
            "INSERT INTO activity (host, at, received_at, from_host, kind, severity, subject, message, data)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        Ok(Self { db, insert, host, received_at, written: 0, to_come, newest: VecDeque::new() })
    }

    fn append(&mut self, source: EventSource, event: NewEvent) -> Result<()> {
        self.insert.execute((
            self.host.as_ref().map(|(number, ..)| number),
            event.at.micros(),
            self.received_at.micros(),
            source == EventSource::Host,
            &event.kind,
            event.severity.code(),
            &event.subject,
            &event.message,
            &event.data,
        ))?;
        self.written += 1;
        self.to_come = self.to_come.saturating_sub(1);
        if self.to_come < MAX_ANNOUNCED {
            if self.newest.len() == MAX_ANNOUNCED {
                self.newest.pop_front();
            }
            self.newest.push_back(ActivityEvent {
                id: self.db.last_insert_rowid(),
                host: self.host.as_ref().map(|(_, id, _)| *id),
                host_name: self.host.as_ref().map(|(.., name)| name.clone()),
                at: event.at,
                received_at: self.received_at,
                source,
                kind: event.kind,
                severity: event.severity,
                subject: event.subject,
                message: event.message,
                data: data(event.data),
            });
        }
        Ok(())
    }

    /// What the gateway notices about a journal.
    fn notice(&mut self, kind: &str, message: String, data: String) -> Result<()> {
        let at = self.received_at;
        let event = NewEvent { at, data, ..NewEvent::of_gateway(kind, Severity::Warning, message) };
        self.append(EventSource::Gateway, event)
    }

    /// Notes the records between `after` and `next` as lost, when there are any.
    fn gap(&mut self, after: u64, next: u64) -> Result<()> {
        let lost = next.saturating_sub(after).saturating_sub(1);
        if lost == 0 {
            return Ok(());
        }
        let events = if lost == 1 { "event" } else { "events" };
        let message = format!("{lost} {events} of the host's journal were lost before they could be read");
        self.notice("journal.gap", message, format!(r#"{{"lost":{lost},"after":{after},"next":{next}}}"#))
    }

    fn finish(self) -> Result<Vec<ActivityEvent>> {
        prune(self.db, self.written)?;
        Ok(self.newest.into())
    }
}

pub fn append_host_events(
    db: &Connection,
    host: HostId,
    journal: [u8; 16],
    records: Vec<HostEventRecord>,
    through: u64,
    received_at: Timestamp,
) -> Result<AppendedEvents> {
    let mut rows = Appender::new(db, Some(host), received_at, records.len())?;
    let mut position = match position(db, host)? {
        Some((kept, seq)) if kept == journal => seq,
        Some(_) => {
            let message = "the host has a new journal: what was not yet read of the old one is lost";
            rows.notice("journal.new", message.to_owned(), String::new())?;
            0
        }
        None => 0,
    };
    let mut new = 0;
    for record in records {
        if record.seq <= position {
            continue;
        }
        rows.gap(position, record.seq)?;
        position = record.seq;
        new += 1;
        let HostEventRecord { seq: _, at, kind, severity, subject, message, data } = record;
        rows.append(EventSource::Host, NewEvent { host: Some(host), at, kind, severity, subject, message, data })?;
    }
    if through > position {
        rows.gap(position, through.saturating_add(1))?;
        position = through;
    }
    let newest = rows.finish()?;
    db.prepare_cached(
        "INSERT INTO journals SELECT number, ?2, ?3 FROM hosts WHERE id = ?1
         ON CONFLICT (host) DO UPDATE SET journal = ?2, seq = ?3",
    )?
    .execute((host.to_string(), journal, position as i64))?;
    Ok(AppendedEvents { new, newest })
}

pub fn position(db: &Connection, host: HostId) -> Result<Option<([u8; 16], u64)>> {
    let found = db
        .prepare_cached(
            "SELECT journal, seq FROM journals JOIN hosts ON hosts.number = journals.host WHERE hosts.id = ?",
        )?
        .query_row([host.to_string()], |row| Ok((row.get("journal")?, rows::unsigned(row, "seq")?)))
        .optional()?;
    Ok(found)
}

pub fn append_gateway_event(db: &Connection, event: NewEvent, received_at: Timestamp) -> Result<ActivityEvent> {
    let mut rows = Appender::new(db, event.host, received_at, 1)?;
    rows.append(EventSource::Gateway, event)?;
    rows.finish()?.pop().ok_or(StoreError::Closed)
}

/// Deletes what is beyond the bound, a little more than was added: appending stays quick when the bound was lowered.
fn prune(db: &Connection, written: i64) -> Result<()> {
    db.prepare_cached(
        "DELETE FROM activity WHERE id <= (SELECT MAX(id) FROM activity) - ?1
         AND id < (SELECT MIN(id) FROM activity) + ?2",
    )?
    .execute((MAX_ACTIVITY, written + PRUNED_AT_ONCE))?;
    Ok(())
}

pub fn list(db: &Connection, filter: &ActivityFilter, page: &PageRequest) -> Result<Page<ActivityEvent>> {
    let mut query = rows::Conditions::default();
    if let Some(host) = filter.host {
        query.add("activity.host = (SELECT number FROM hosts WHERE id = ?)", [host.to_string().into()]);
    }
    if let Some(kind) = &filter.kind {
        query.add_words("kind", kind);
    }
    if let Some(severity) = filter.min_severity {
        query.add("severity >= ?", [i64::from(severity.code()).into()]);
    }
    if let Some(since) = filter.since {
        query.add("at >= ?", [since.micros().into()]);
    }
    if let Some(until) = filter.until {
        query.add("at < ?", [until.micros().into()]);
    }
    if let Some(text) = &filter.text {
        let pattern = rows::like(text);
        query
            .add(r"(subject LIKE ? ESCAPE '\' OR message LIKE ? ESCAPE '\')", [pattern.clone().into(), pattern.into()]);
    }
    if let Some(text) = &page.cursor {
        query.add("activity.id < ?", [rows::number(text)?.into()]);
    }
    let sql = format!(
        "SELECT activity.*, hosts.id AS host_id, hosts.name AS host_name FROM activity
         LEFT JOIN hosts ON hosts.number = activity.host WHERE {} ORDER BY activity.id DESC LIMIT ?",
        query.sql()
    );
    let values = query.values(Value::from(i64::from(page.limit) + 1));
    let mut query = db.prepare_cached(&sql)?;
    let items: Vec<ActivityEvent> =
        query.query_map(params_from_iter(values), from_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(rows::page_by_id(items, page, |event| event.id))
}

/// JSON text as a value; what a host sent and is no JSON is shown as text.
fn data(text: String) -> Option<serde_json::Value> {
    match text.is_empty() {
        true => None,
        false => Some(serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))),
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<ActivityEvent> {
    let from_host: bool = row.get("from_host")?;
    Ok(ActivityEvent {
        id: row.get("id")?,
        host: rows::optional_parsed(row, "host_id")?,
        host_name: row.get("host_name")?,
        at: rows::time(row, "at")?,
        received_at: rows::time(row, "received_at")?,
        source: if from_host { EventSource::Host } else { EventSource::Gateway },
        kind: row.get("kind")?,
        severity: rows::coded(row, "severity", Severity::from_code)?,
        subject: row.get("subject")?,
        message: row.get("message")?,
        data: data(row.get("data")?),
    })
}
