//! Who is told what, and what is still to be told.

use std::fmt;

use hostler_model::{ByteStr, DeliveryId, HostId, ScanId, Timestamp, WebhookId};
use serde::Serialize;

use super::words::words;

words! {
    /// What a webhook can be told of.
    WebhookEvent, "event" {
        /// A scan completed.
        ScanCompleted = "scan.completed",
        /// A scan failed.
        ScanFailed = "scan.failed",
        /// A completed scan found differences: how many, and the first hundred.
        ScanChanges = "scan.changes",
        /// A scheduled scan did not begin when it was due.
        ScheduleMissed = "schedule.missed",
        /// Somebody tries the webhook out; comes whatever it subscribes to.
        Test = "test",
    }
}

words! {
    /// Where a delivery is.
    DeliveryState, "delivery state" {
        /// Not accepted yet; it is tried again.
        Pending = "pending",
        /// The receiver accepted it.
        Delivered = "delivered",
        /// Every try failed.
        Failed = "failed",
    }
}

/// Text that is used and never shown: no `Display`, no `Serialize`, nothing in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(String);

impl Hidden {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whom it is meant.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Somebody who is told by HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// The whole URL, which may hold credentials.
    #[serde(skip)]
    pub target: Hidden,
    /// The key of its signatures, `whsec_` and base64.
    #[serde(skip)]
    pub secret: Hidden,
    /// Where it is told, without credentials and query.
    pub url: String,
    /// What it is told of.
    pub events: Vec<WebhookEvent>,
    /// Only of this host.
    pub host: Option<HostId>,
    /// Only of this directory and those below it.
    pub root: Option<ByteStr>,
    /// False while it is switched off.
    pub enabled: bool,
    /// Why the gateway switched it off.
    pub disabled_because: Option<String>,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// When it accepted something last.
    pub delivered_at: Option<Timestamp>,
    /// Since when every try failed.
    pub failing_since: Option<Timestamp>,
    /// Deliveries that wait.
    pub pending: u64,
    /// Deliveries that were dropped because too many waited.
    pub dropped: u64,
}

/// One message to one webhook.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Delivery {
    /// Its id, the `webhook-id` header: the same for all tries.
    pub id: DeliveryId,
    /// To whom.
    #[serde(skip)]
    pub webhook: WebhookId,
    /// What it tells of.
    pub event: WebhookEvent,
    /// The body, JSON.
    #[serde(skip)]
    pub body: String,
    /// Where it is.
    pub state: DeliveryState,
    /// When it was made.
    pub created_at: Timestamp,
    /// Tries so far.
    pub attempts: u32,
    /// When it is tried next.
    pub next_at: Option<Timestamp>,
    /// When it was tried last.
    pub tried_at: Option<Timestamp>,
    /// The status of the last answer.
    pub response: Option<u16>,
    /// Why the last try failed.
    pub error: Option<String>,
}

/// What became of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Which delivery.
    pub id: DeliveryId,
    /// To whom.
    pub webhook: WebhookId,
    /// When.
    pub at: Timestamp,
    /// The answer's status.
    pub response: Option<u16>,
    /// Why it failed; `None` when it was accepted.
    pub error: Option<String>,
    /// When it is tried again; `None` for never.
    pub next_at: Option<Timestamp>,
    /// Switches the webhook off, and why.
    pub disable: Option<String>,
}

/// Something that happened and that no webhook was told of yet. It was written with what it tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// Grows.
    pub number: i64,
    /// What.
    pub what: HappenedWhat,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HappenedWhat {
    /// A scan ended.
    Scan(ScanId),
    /// A scheduled run did not begin in time; JSON.
    ScheduleMissed(String),
}

/// Webhooks that one gateway keeps.
pub const MAX_WEBHOOKS: u64 = 100;
/// Deliveries of one webhook that may wait; more drop the oldest.
pub const MAX_PENDING: u64 = 1000;
/// Deliveries of one webhook that are kept after they ended.
pub const KEPT_DELIVERIES: u64 = 200;
