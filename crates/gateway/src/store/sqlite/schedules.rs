//! Schedules. Those of a removed host are known no more from the moment of its removal.

use hostler_model::{ScheduleId, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, named_params, params_from_iter};

use super::{cursor, hosts, rows};
use crate::store::{
    MAX_SCHEDULES, Page, PageRequest, Result, Schedule, ScheduleFilter, ScheduleState, StepScope, StoreError,
};

const SELECT: &str = "SELECT schedules.*, hosts.name AS host_name FROM schedules
    JOIN hosts ON hosts.id = schedules.host_id AND hosts.removed = 0";

pub fn create(db: &Connection, schedule: &Schedule) -> Result<()> {
    hosts::one(db, schedule.host)?;
    let count: i64 = db.prepare_cached("SELECT COUNT(*) FROM schedules")?.query_row([], |row| row.get(0))?;
    if count as u64 >= MAX_SCHEDULES {
        return Err(StoreError::TooMany { what: "schedules", most: MAX_SCHEDULES });
    }
    db.prepare_cached(
        "INSERT INTO schedules (id, host_id, root, options, cadence, zone, time_window, spread, enabled, created_by,
         created_at, anchor, next_run_at)
         VALUES (:id, :host, :root, :options, :cadence, :zone, :window, :spread, :enabled, :by, :at, :anchor, :next)",
    )?
    .execute(named_params! {
        ":id": schedule.id.to_string(),
        ":host": schedule.host.to_string(),
        ":root": schedule.root.as_bytes(),
        ":options": rows::to_json(&schedule.options)?,
        ":cadence": schedule.cadence,
        ":zone": schedule.zone,
        ":window": schedule.window,
        ":spread": schedule.spread,
        ":enabled": schedule.enabled,
        ":by": schedule.created_by,
        ":at": schedule.created_at.micros(),
        ":anchor": schedule.anchor.micros(),
        ":next": schedule.state.next_run_at.map(Timestamp::micros),
    })?;
    Ok(())
}

pub fn one(db: &Connection, id: ScheduleId) -> Result<Schedule> {
    db.prepare_cached(&format!("{SELECT} WHERE schedules.id = ?"))?
        .query_row([id.to_string()], from_row)
        .optional()?
        .ok_or_else(|| unknown(id))
}

pub fn list(db: &Connection, filter: &ScheduleFilter, page: &PageRequest) -> Result<Page<Schedule>> {
    let mut query = rows::Conditions::default();
    if let Some(host) = filter.host {
        query.add("host_id = ?", [host.to_string().into()]);
    }
    if let Some(root) = &filter.root {
        query.add("root = ?", [root.as_bytes().to_vec().into()]);
    }
    if let Some(text) = &page.cursor {
        query.add("(hosts.name, root, schedules.id) > (?, ?, ?)", cursor::decode(text, 3)?);
    }
    let sql = format!("{SELECT} WHERE {} ORDER BY hosts.name, root, schedules.id LIMIT ?", query.sql());
    let mut items = read(db, &sql, query.values(Value::from(i64::from(page.limit) + 1)))?;
    let more = items.len() > page.limit as usize;
    items.truncate(page.limit as usize);
    let next = items.last().filter(|_| more).map(|s| {
        cursor::encode(&[s.host_name.clone().into(), s.root.as_bytes().to_vec().into(), s.id.to_string().into()])
    });
    Ok(Page { items, next })
}

/// Writes what a person decides; where the schedule is stays, but for its next time and a run that only waits.
pub fn change(db: &Connection, schedule: &Schedule) -> Result<()> {
    let changed = db
        .prepare_cached(
            "UPDATE schedules SET root = :root, options = :options, cadence = :cadence, zone = :zone,
             time_window = :window, spread = :spread, enabled = :enabled, anchor = :anchor, next_run_at = :next,
             due_at = CASE WHEN :enabled OR running IS NOT NULL THEN due_at END,
             waits_for = CASE WHEN :enabled THEN waits_for END, revision = revision + 1
             WHERE id = :id",
        )?
        .execute(named_params! {
            ":id": schedule.id.to_string(),
            ":root": schedule.root.as_bytes(),
            ":options": rows::to_json(&schedule.options)?,
            ":cadence": schedule.cadence,
            ":zone": schedule.zone,
            ":window": schedule.window,
            ":spread": schedule.spread,
            ":enabled": schedule.enabled,
            ":anchor": schedule.anchor.micros(),
            ":next": schedule.state.next_run_at.map(Timestamp::micros),
        })?;
    if changed == 0 { Err(unknown(schedule.id)) } else { Ok(()) }
}

pub fn delete(db: &Connection, id: ScheduleId) -> Result<()> {
    one(db, id)?;
    db.prepare_cached("DELETE FROM schedules WHERE id = ?")?.execute([id.to_string()])?;
    Ok(())
}

pub fn to_step(db: &Connection, now: Timestamp, scope: StepScope) -> Result<Vec<Schedule>> {
    // Each of the first two has an index of its own.
    let which = match scope {
        StepScope::Due => "next_run_at <= ?2",
        StepScope::AtWork => {
            "schedules.id IN (SELECT id FROM schedules WHERE next_run_at <= ?2
             UNION SELECT id FROM schedules WHERE due_at IS NOT NULL OR running IS NOT NULL)"
        }
        StepScope::All => "(enabled = 1 OR due_at IS NOT NULL OR running IS NOT NULL OR next_run_at <= ?2)",
    };
    let sql = format!("{SELECT} WHERE {which} ORDER BY next_run_at LIMIT ?1");
    read(db, &sql, vec![(MAX_SCHEDULES as i64).into(), now.micros().into()])
}

pub fn stepped(
    db: &Connection,
    id: ScheduleId,
    revision: u64,
    state: &ScheduleState,
    missed: Option<&str>,
) -> Result<bool> {
    let changed = db
        .prepare_cached(
            "UPDATE schedules SET next_run_at = :next, due_at = :due, waits_for = :waits, running = :running,
             last_run = :last, last_slot = :slot, cut_short = :cut, told_late = :told,
             revision = revision + 1
             WHERE id = :id AND revision = :revision",
        )?
        .execute(named_params! {
            ":id": id.to_string(),
            ":revision": revision as i64,
            ":next": state.next_run_at.map(Timestamp::micros),
            ":due": state.due_at.map(Timestamp::micros),
            ":waits": state.waits_for.map(|w| w.word()),
            ":running": state.running.map(|id| id.to_string()),
            ":last": rows::to_json(&state.last_run)?,
            ":slot": state.last_slot.map(Timestamp::micros),
            ":cut": state.cut_short,
            ":told": state.told_late,
        })?;
    if let Some(missed) = missed.filter(|_| changed > 0) {
        super::webhooks::missed(db, missed)?;
    }
    Ok(changed > 0)
}

fn unknown(id: ScheduleId) -> StoreError {
    StoreError::NotFound { what: "schedule", id: id.to_string() }
}

fn read(db: &Connection, sql: &str, values: Vec<Value>) -> Result<Vec<Schedule>> {
    let mut query = db.prepare_cached(sql)?;
    let found = query.query_map(params_from_iter(values), from_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(found)
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Schedule> {
    Ok(Schedule {
        id: rows::parsed(row, "id")?,
        host: rows::parsed(row, "host_id")?,
        host_name: row.get("host_name")?,
        root: rows::path(row, "root")?,
        options: rows::json(row, "options")?,
        cadence: row.get("cadence")?,
        zone: row.get("zone")?,
        window: row.get("time_window")?,
        spread: row.get("spread")?,
        enabled: row.get("enabled")?,
        created_by: row.get("created_by")?,
        created_at: rows::time(row, "created_at")?,
        anchor: rows::time(row, "anchor")?,
        revision: rows::unsigned(row, "revision")?,
        state: ScheduleState {
            next_run_at: rows::optional_time(row, "next_run_at")?,
            due_at: rows::optional_time(row, "due_at")?,
            waits_for: rows::optional_parsed(row, "waits_for")?,
            running: rows::optional_parsed(row, "running")?,
            last_run: rows::json(row, "last_run")?,
            last_slot: rows::optional_time(row, "last_slot")?,
            cut_short: row.get("cut_short")?,
            told_late: row.get("told_late")?,
        },
    })
}
