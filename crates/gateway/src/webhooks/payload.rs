//! What receivers are told: `{"type", "timestamp", "data"}`, with scans and changes as the API shows them.

use hostler_model::{ByteStr, DeliveryId, HostId, ScanState, Timestamp};
use serde_json::{Value, json};

use crate::store::{Change, Delivery, DeliveryState, Scan, Webhook, WebhookEvent};

/// Largest body, bytes.
pub const MAX_BODY: usize = 256 * 1024;
/// Changes that are listed in one message.
pub const MAX_CHANGES: u32 = 100;

/// Something to tell.
#[derive(Clone, Debug)]
pub struct Message {
    event: WebhookEvent,
    body: String,
    host: Option<HostId>,
    root: Option<ByteStr>,
}

impl Message {
    /// Of a scan that ended; `changes` are its first ones.
    pub fn of_scan(scan: &Scan, changes: &[Change], now: Timestamp) -> Vec<Self> {
        let about = |event, data| Self {
            event,
            body: envelope(event, scan.ended_at.unwrap_or(now), data),
            host: Some(scan.host),
            root: Some(scan.root.clone()),
        };
        let ended = match scan.state {
            ScanState::Completed => WebhookEvent::ScanCompleted,
            ScanState::Failed => WebhookEvent::ScanFailed,
            _ => return Vec::new(),
        };
        let mut messages = vec![about(ended, json!({ "scan": scan }))];
        if ended == WebhookEvent::ScanCompleted && !changes.is_empty() {
            let mut shown = changes.len().min(MAX_CHANGES as usize);
            // Paths may be long: rather fewer of them than a body that no receiver takes.
            let message = loop {
                let message = about(WebhookEvent::ScanChanges, changes_data(scan, &changes[..shown]));
                if message.body.len() <= MAX_BODY || shown == 0 {
                    break message;
                }
                shown /= 2;
            };
            messages.push(message);
        }
        messages
    }

    /// Of a scheduled run that did not begin in time; `json` is what the scheduler wrote.
    pub fn of_missed(json: &str, now: Timestamp) -> Option<Self> {
        let data: Value = serde_json::from_str(json).ok()?;
        let host = data["host"]["id"].as_str().and_then(|id| id.parse().ok());
        let root = serde_json::from_value(data["root"].clone()).ok();
        let event = WebhookEvent::ScheduleMissed;
        Some(Self { event, body: envelope(event, now, data), host, root })
    }

    /// A try.
    pub fn test(now: Timestamp) -> Self {
        let data = json!({ "message": "this webhook works" });
        Self { event: WebhookEvent::Test, body: envelope(WebhookEvent::Test, now, data), host: None, root: None }
    }

    /// True when this webhook is to be told.
    pub fn is_for(&self, webhook: &Webhook) -> bool {
        let of_host = webhook.host.is_none() || webhook.host == self.host;
        let of_root =
            webhook.root.as_ref().is_none_or(|top| self.root.as_ref().is_some_and(|root| is_below(root, top)));
        webhook.enabled && webhook.events.contains(&self.event) && of_host && of_root
    }

    /// The message for one webhook.
    pub fn to(&self, webhook: &Webhook, now: Timestamp) -> Delivery {
        Delivery {
            id: DeliveryId::new(),
            webhook: webhook.id,
            event: self.event,
            body: self.body.clone(),
            state: DeliveryState::Pending,
            created_at: now,
            attempts: 0,
            next_at: Some(now),
            tried_at: None,
            response: None,
            error: None,
        }
    }
}

fn envelope(event: WebhookEvent, at: Timestamp, data: Value) -> String {
    json!({ "type": event, "timestamp": at, "data": data }).to_string()
}

fn changes_data(scan: &Scan, changes: &[Change]) -> Value {
    let c = &scan.counters;
    let total = c.created + c.modified + c.metadata + c.deleted + c.moved;
    json!({
        "scan": { "id": scan.id, "host": scan.host, "host_name": scan.host_name, "root": scan.root, "ended_at": scan.ended_at },
        "counts": {
            "created": c.created, "modified": c.modified, "metadata": c.metadata, "deleted": c.deleted, "moved": c.moved,
        },
        "changes": changes,
        "more": total.saturating_sub(changes.len() as u64),
    })
}

/// True when the path is the directory or lies below it.
fn is_below(path: &ByteStr, top: &ByteStr) -> bool {
    let top = top.as_bytes().strip_suffix(b"/").unwrap_or(top.as_bytes());
    path.as_bytes().strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_hold_what_is_below_them() {
        for (path, top, below) in [
            ("/srv/media", "/srv", true),
            ("/srv", "/srv", true),
            ("/srv", "/srv/", true),
            ("/srv2", "/srv", false),
            ("/srv", "/", true),
            ("/", "/srv", false),
        ] {
            assert_eq!(is_below(&ByteStr::from(path), &ByteStr::from(top)), below, "{path} {top}");
        }
    }
}
