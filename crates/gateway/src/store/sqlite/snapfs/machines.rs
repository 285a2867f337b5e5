//! Which host a SnapFS client speaks for.

use hostler_model::{HostId, Timestamp};
use rusqlite::{Connection, OptionalExtension};

use crate::store::sqlite::{hosts, rows};
use crate::store::{Host, Result, SnapfsMachine};

/// Finds the host, or makes one.
pub fn host(db: &Connection, machine: &SnapfsMachine, name: &str, at: Timestamp) -> Result<Host> {
    let named = match find(db, machine)? {
        Some(id) => Some(id),
        None if machine.joins_only => match only(db, machine)? {
            None if machine.hostname.is_none() && machine.agent_id.is_none() => nameless(db, machine)?,
            only => only,
        },
        None => None,
    };
    let id = match named {
        Some(id) => {
            // What is known of it already stays.
            db.prepare_cached(
                "UPDATE OR IGNORE snapfs_hosts SET hostname = COALESCE(hostname, ?), agent_id = COALESCE(agent_id, ?)
                 WHERE host_id = ?",
            )?
            .execute((&machine.hostname, &machine.agent_id, id.to_string()))?;
            id
        }
        None => create(db, machine, name, at)?,
    };
    hosts::one(db, id)
}

fn find(db: &Connection, machine: &SnapfsMachine) -> Result<Option<HostId>> {
    let mut found = None;
    if let Some(agent) = &machine.agent_id {
        found = one(db, "agent_id = ?2", &machine.scope, agent)?;
    }
    if let (None, Some(hostname)) = (found, &machine.hostname) {
        found = one(db, "hostname = ?2", &machine.scope, hostname)?;
    }
    Ok(found)
}

fn one(db: &Connection, condition: &str, scope: &str, value: &str) -> Result<Option<HostId>> {
    Ok(db
        .prepare_cached(&format!("SELECT host_id FROM snapfs_hosts WHERE scope = ?1 AND {condition}"))?
        .query_row((scope, value), |row| rows::parsed(row, "host_id"))
        .optional()?)
}

/// The scope's only machine, if nothing speaks against its being this one.
fn only(db: &Connection, machine: &SnapfsMachine) -> Result<Option<HostId>> {
    let mut query =
        db.prepare_cached("SELECT host_id, hostname, agent_id FROM snapfs_hosts WHERE scope = ? LIMIT 2")?;
    let all: Vec<(HostId, Option<String>, Option<String>)> = query
        .query_map([&machine.scope], |row| Ok((rows::parsed(row, "host_id")?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let fits = |known: &Option<String>, told: &Option<String>| known.is_none() || told.is_none() || known == told;
    Ok(match &all[..] {
        [(id, hostname, agent)] if fits(hostname, &machine.hostname) && fits(agent, &machine.agent_id) => Some(*id),
        _ => None,
    })
}

/// The scope's host of clients that do not say where they run.
fn nameless(db: &Connection, machine: &SnapfsMachine) -> Result<Option<HostId>> {
    Ok(db
        .prepare_cached(
            "SELECT host_id FROM snapfs_hosts WHERE scope = ? AND hostname IS NULL AND agent_id IS NULL LIMIT 1",
        )?
        .query_row([&machine.scope], |row| rows::parsed(row, "host_id"))
        .optional()?)
}

fn create(db: &Connection, machine: &SnapfsMachine, name: &str, at: Timestamp) -> Result<HostId> {
    let id = HostId::new();
    let name = hosts::free_name(db, name)?;
    db.prepare_cached("INSERT INTO hosts (id, name, created_at, snapfs) VALUES (?, ?, ?, 1)")?.execute((
        id.to_string(),
        name,
        at.micros(),
    ))?;
    db.prepare_cached("INSERT INTO snapfs_hosts VALUES (?, ?, ?, ?)")?.execute((
        id.to_string(),
        &machine.scope,
        &machine.hostname,
        &machine.agent_id,
    ))?;
    Ok(id)
}
