//! Telling other programs by HTTP.

use std::ffi::OsString;

use clap::{Args, Subcommand};
use hostler_model::{DeliveryId, WebhookId};

use super::{Connection, Limit};

#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "a process makes one of these")]
pub enum Webhooks {
    /// Make a webhook and print its secret, this once
    Create(WebhookCreate),
    /// All webhooks, with how they do
    List(WebhooksList),
    /// Switch a webhook on, forgetting its failures
    Enable(WebhookRef),
    /// Switch a webhook off
    Disable(WebhookRef),
    /// Delete a webhook and what it is still to be told
    Delete(WebhookRef),
    /// Send a test event and wait for the answer
    Test(WebhookRef),
    /// What a webhook was told, newest first
    Deliveries(WebhookDeliveries),
    /// Send a delivery once more
    Redeliver(WebhookRedeliver),
}

#[derive(Args)]
pub struct WebhookCreate {
    /// Where to send: http or https
    pub url: String,
    /// scan.completed, scan.failed, scan.changes or schedule.missed; may be repeated [default: all]
    #[arg(long, value_name = "EVENT")]
    pub event: Vec<String>,
    /// Only of this host: name or id
    #[arg(long)]
    pub host: Option<String>,
    /// Only of this directory and those below it
    #[arg(long, value_name = "PATH")]
    pub root: Option<OsString>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct WebhooksList {
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct WebhookRef {
    /// The webhook's id
    pub id: WebhookId,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct WebhookDeliveries {
    /// The webhook's id
    pub id: WebhookId,
    #[command(flatten)]
    pub limit: Limit,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Args)]
pub struct WebhookRedeliver {
    /// The webhook's id
    pub id: WebhookId,
    /// The delivery's id
    pub delivery: DeliveryId,
    #[command(flatten)]
    pub connection: Connection,
}
