//! Webhooks and their queues: what happened becomes deliveries, and a delivery is tried until it is accepted or given up.

use hostler_model::{ByteStr, DeliveryId, Timestamp, WebhookId};
use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::rows;
use crate::store::{
    Delivery, DeliveryState, Happened, HappenedWhat, Hidden, KEPT_DELIVERIES, MAX_PENDING, MAX_WEBHOOKS, Page,
    PageRequest, Result, StoreError, Tried, Webhook,
};
use crate::webhooks::shown;

const SELECT: &str = "SELECT webhooks.*,
    (SELECT COUNT(*) FROM deliveries WHERE webhook_id = webhooks.id AND state = 'pending') AS pending
    FROM webhooks WHERE (host_id IS NULL OR EXISTS (SELECT 1 FROM hosts WHERE hosts.id = host_id AND removed = 0))";

/// Things that happened and are looked at together.
const AT_ONCE: i64 = 100;
/// More than this cannot wait to be told: then webhooks are told of what came last. It takes a gateway that could not write
/// deliveries for as many scans.
const MAX_HAPPENED: i64 = 100_000;

pub fn create(db: &Connection, webhook: &Webhook) -> Result<()> {
    if all(db)?.len() as u64 >= MAX_WEBHOOKS {
        return Err(StoreError::TooMany { what: "webhooks", most: MAX_WEBHOOKS });
    }
    if let Some(host) = webhook.host {
        super::hosts::one(db, host)?;
    }
    db.prepare_cached(
        "INSERT INTO webhooks (id, url, secret, events, host_id, root, enabled, created_by, created_at)
         VALUES (:id, :url, :secret, :events, :host, :root, :enabled, :by, :at)",
    )?
    .execute(named_params! {
        ":id": webhook.id.to_string(),
        ":url": webhook.target.reveal(),
        ":secret": webhook.secret.reveal(),
        ":events": rows::to_json(&webhook.events)?,
        ":host": webhook.host.map(|host| host.to_string()),
        ":root": webhook.root.as_ref().map(|root| root.as_bytes()),
        ":enabled": webhook.enabled,
        ":by": webhook.created_by,
        ":at": webhook.created_at.micros(),
    })?;
    Ok(())
}

pub fn all(db: &Connection) -> Result<Vec<Webhook>> {
    let mut query = db.prepare_cached(&format!("{SELECT} ORDER BY created_at, id"))?;
    let webhooks = query.query_map([], from_row)?.collect::<rusqlite::Result<_>>()?;
    Ok(webhooks)
}

pub fn one(db: &Connection, id: WebhookId) -> Result<Webhook> {
    db.prepare_cached(&format!("{SELECT} AND id = ?"))?
        .query_row([id.to_string()], from_row)
        .optional()?
        .ok_or_else(|| unknown(id))
}

/// Writes what a person decides. Switched on again, it starts without its past failures.
pub fn change(db: &Connection, webhook: &Webhook) -> Result<()> {
    let changed = db
        .prepare_cached(
            "UPDATE webhooks SET url = :url, events = :events, host_id = :host, root = :root,
             failing_since = CASE WHEN (:enabled AND NOT enabled) OR url <> :url THEN NULL ELSE failing_since END,
             disabled_because = CASE WHEN :enabled THEN NULL ELSE disabled_because END, enabled = :enabled
             WHERE id = :id",
        )?
        .execute(named_params! {
            ":id": webhook.id.to_string(),
            ":url": webhook.target.reveal(),
            ":events": rows::to_json(&webhook.events)?,
            ":host": webhook.host.map(|host| host.to_string()),
            ":root": webhook.root.as_ref().map(|root| root.as_bytes()),
            ":enabled": webhook.enabled,
        })?;
    if changed == 0 { Err(unknown(webhook.id)) } else { Ok(()) }
}

pub fn delete(db: &Connection, id: WebhookId) -> Result<()> {
    match db.prepare_cached("DELETE FROM webhooks WHERE id = ?")?.execute([id.to_string()])? {
        0 => Err(unknown(id)),
        _ => Ok(()),
    }
}

/// Notes that a scheduled run is late, when somebody wants to know.
pub fn missed(db: &Connection, json: &str) -> Result<()> {
    db.prepare_cached(
        "INSERT INTO happened (missed) SELECT ? WHERE EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1)",
    )?
    .execute([json])?;
    Ok(())
}

pub fn happened(db: &Connection) -> Result<Vec<Happened>> {
    let mut query = db.prepare_cached("SELECT * FROM happened ORDER BY number LIMIT ?")?;
    let found = query.query_map([AT_ONCE], |row| {
        let what = match rows::optional_parsed(row, "scan_id")? {
            Some(scan) => HappenedWhat::Scan(scan),
            None => HappenedWhat::ScheduleMissed(row.get::<_, Option<String>>("missed")?.unwrap_or_default()),
        };
        Ok(Happened { number: row.get("number")?, what })
    })?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Puts deliveries into their queues, and forgets what they tell of, in one write.
pub fn enqueue(db: &Connection, happened: Option<i64>, deliveries: &[Delivery]) -> Result<()> {
    let mut insert = db.prepare_cached(
        "INSERT INTO deliveries (id, webhook_id, event, body, state, created_at, next_at)
         SELECT ?1, ?2, ?3, ?4, 'pending', ?5, ?5 WHERE EXISTS (SELECT 1 FROM webhooks WHERE id = ?2)",
    )?;
    for delivery in deliveries {
        insert.execute((
            delivery.id.to_string(),
            delivery.webhook.to_string(),
            delivery.event.word(),
            &delivery.body,
            delivery.created_at.micros(),
        ))?;
        bound(db, delivery.webhook)?;
    }
    if let Some(number) = happened {
        db.prepare_cached("DELETE FROM happened WHERE number = ?1 OR number < ?1 - ?2")?
            .execute((number, MAX_HAPPENED))?;
    }
    Ok(())
}

/// Drops the oldest that wait, when too many do, and forgets the oldest that ended.
fn bound(db: &Connection, webhook: WebhookId) -> Result<()> {
    let id = webhook.to_string();
    let dropped = db
        .prepare_cached(
            "DELETE FROM deliveries WHERE number IN (SELECT number FROM deliveries
             WHERE webhook_id = ? AND state = 'pending' ORDER BY number DESC LIMIT -1 OFFSET ?)",
        )?
        .execute((&id, MAX_PENDING as i64))?;
    if dropped > 0 {
        db.prepare_cached("UPDATE webhooks SET dropped = dropped + ? WHERE id = ?")?.execute((dropped as i64, &id))?;
    }
    db.prepare_cached(
        "DELETE FROM deliveries WHERE number IN (SELECT number FROM deliveries
         WHERE webhook_id = ? AND state <> 'pending' ORDER BY number DESC LIMIT -1 OFFSET ?)",
    )?
    .execute((&id, KEPT_DELIVERIES as i64))?;
    Ok(())
}

/// The delivery of a webhook that is to be tried next, whenever that is.
pub fn next(db: &Connection, webhook: WebhookId) -> Result<Option<Delivery>> {
    let found = db
        .prepare_cached(
            "SELECT * FROM deliveries WHERE webhook_id = ? AND state = 'pending' ORDER BY next_at, number LIMIT 1",
        )?
        .query_row([webhook.to_string()], delivery_from_row)
        .optional()?;
    Ok(found)
}

pub fn tried(db: &Connection, tried: &Tried) -> Result<()> {
    let state = match (&tried.error, tried.next_at) {
        (None, _) => DeliveryState::Delivered,
        (Some(_), Some(_)) => DeliveryState::Pending,
        (Some(_), None) => DeliveryState::Failed,
    };
    db.prepare_cached(
        "UPDATE deliveries SET attempts = attempts + 1, state = ?, tried_at = ?, response = ?, error = ?, next_at = ?
         WHERE id = ?",
    )?
    .execute((
        state.word(),
        tried.at.micros(),
        tried.response,
        &tried.error,
        tried.next_at.map(Timestamp::micros),
        tried.id.to_string(),
    ))?;
    let id = tried.webhook.to_string();
    match &tried.error {
        None => db
            .prepare_cached("UPDATE webhooks SET delivered_at = ?, failing_since = NULL WHERE id = ?")?
            .execute((tried.at.micros(), &id))?,
        Some(_) => db
            .prepare_cached("UPDATE webhooks SET failing_since = COALESCE(failing_since, ?) WHERE id = ?")?
            .execute((tried.at.micros(), &id))?,
    };
    if let Some(why) = &tried.disable {
        db.prepare_cached("UPDATE webhooks SET enabled = 0, disabled_because = ? WHERE id = ?")?.execute((why, &id))?;
    }
    bound(db, tried.webhook)
}

/// Deliveries of a webhook, newest first.
pub fn deliveries(db: &Connection, webhook: WebhookId, page: &PageRequest) -> Result<Page<Delivery>> {
    one(db, webhook)?;
    let before = page.cursor.as_deref().map_or(Ok(i64::MAX), rows::number)?;
    let mut query =
        db.prepare_cached("SELECT * FROM deliveries WHERE webhook_id = ? AND number < ? ORDER BY number DESC LIMIT ?")?;
    let found = query
        .query_map((webhook.to_string(), before, i64::from(page.limit) + 1), |row| {
            Ok((row.get::<_, i64>("number")?, delivery_from_row(row)?))
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let page = rows::page_by_id(found, page, |(number, _)| *number);
    Ok(Page { items: page.items.into_iter().map(|(_, delivery)| delivery).collect(), next: page.next })
}

/// Puts a delivery that ended back into its queue, as new.
pub fn redeliver(db: &Connection, webhook: WebhookId, id: DeliveryId, at: Timestamp) -> Result<Delivery> {
    one(db, webhook)?;
    let known = db
        .prepare_cached(
            "UPDATE deliveries SET state = 'pending', attempts = 0, next_at = ?, error = NULL, response = NULL
             WHERE id = ? AND webhook_id = ?",
        )?
        .execute((at.micros(), id.to_string(), webhook.to_string()))?;
    if known == 0 {
        return Err(StoreError::NotFound { what: "delivery", id: id.to_string() });
    }
    bound(db, webhook)?;
    let found = db
        .prepare_cached("SELECT * FROM deliveries WHERE id = ?")?
        .query_row([id.to_string()], delivery_from_row)
        .optional()?;
    found.ok_or_else(|| StoreError::NotFound { what: "delivery", id: id.to_string() })
}

fn unknown(id: WebhookId) -> StoreError {
    StoreError::NotFound { what: "webhook", id: id.to_string() }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Webhook> {
    let url: String = row.get("url")?;
    Ok(Webhook {
        id: rows::parsed(row, "id")?,
        url: shown(&url),
        target: Hidden::new(url),
        secret: Hidden::new(row.get::<_, String>("secret")?),
        events: rows::json(row, "events")?,
        host: rows::optional_parsed(row, "host_id")?,
        root: row.get::<_, Option<Vec<u8>>>("root")?.map(ByteStr::from),
        enabled: row.get("enabled")?,
        disabled_because: row.get("disabled_because")?,
        created_by: row.get("created_by")?,
        created_at: rows::time(row, "created_at")?,
        delivered_at: rows::optional_time(row, "delivered_at")?,
        failing_since: rows::optional_time(row, "failing_since")?,
        pending: rows::unsigned(row, "pending")?,
        dropped: rows::unsigned(row, "dropped")?,
    })
}

fn delivery_from_row(row: &Row<'_>) -> rusqlite::Result<Delivery> {
    Ok(Delivery {
        id: rows::parsed(row, "id")?,
        webhook: rows::parsed(row, "webhook_id")?,
        event: rows::parsed(row, "event")?,
        body: row.get("body")?,
        state: rows::parsed(row, "state")?,
        created_at: rows::time(row, "created_at")?,
        attempts: row.get("attempts")?,
        next_at: rows::optional_time(row, "next_at")?,
        tried_at: rows::optional_time(row, "tried_at")?,
        response: row.get("response")?,
        error: row.get("error")?,
    })
}
