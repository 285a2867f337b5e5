//! `hostler webhooks`.

use std::time::{Duration, Instant};

use anyhow::Result;
use hostler_model::{ByteStr, DeliveryId, WebhookId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::paths;
use crate::args::{WebhookCreate, WebhookDeliveries, WebhookRedeliver, WebhookRef, Webhooks, WebhooksList};
use crate::client::{Client, Query};
use crate::output;
use crate::views::{Delivery, Webhook};

/// How long the answer to a test is waited for: a receiver has 15 seconds.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Serialize)]
struct NewWebhook<'a> {
    url: &'a str,
    events: &'a [String],
    host: Option<&'a String>,
    root: Option<ByteStr>,
}

#[derive(Serialize, Deserialize)]
struct Created {
    id: WebhookId,
    secret: String,
}

pub async fn run(args: Webhooks) -> Result<()> {
    match args {
        Webhooks::Create(args) => create(args).await,
        Webhooks::List(args) => list(args).await,
        Webhooks::Enable(args) => switch(args, true).await,
        Webhooks::Disable(args) => switch(args, false).await,
        Webhooks::Delete(args) => delete(args).await,
        Webhooks::Test(args) => test(args).await,
        Webhooks::Deliveries(args) => deliveries(args).await,
        Webhooks::Redeliver(args) => redeliver(args).await,
    }
}

async fn create(args: WebhookCreate) -> Result<()> {
    let root = args.root.as_deref().map(paths::absolute).transpose()?;
    let body = NewWebhook { url: &args.url, events: &args.event, host: args.host.as_ref(), root };
    let made: Created = Client::new(&args.connection)?.post("/webhooks", Some(&body)).await?;
    if args.connection.json {
        output::line(serde_json::to_string(&made)?)?;
    } else {
        output::line(&made.secret)?;
        eprintln!("This is the only time the secret is shown. The webhook's id is {}.", made.id);
        eprintln!("`hostler webhooks test {}` tries it out.", made.id);
    }
    Ok(())
}

async fn list(args: WebhooksList) -> Result<()> {
    let items = Client::new(&args.connection)?.all("/webhooks").await?;
    if args.connection.json {
        return output::json_array(&items);
    }
    let rows = output::parse::<Webhook>(&items)?.into_iter().map(|w| {
        let state = match (&w.disabled_because, w.failing_since) {
            _ if w.enabled && w.failing_since.is_none() => "on".to_owned(),
            (_, Some(since)) if w.enabled => format!("failing since {}", output::ago(Some(since))),
            (Some(why), _) => format!("off: {why}"),
            _ => "off".into(),
        };
        let waiting =
            if w.dropped > 0 { format!("{} ({} dropped)", w.pending, w.dropped) } else { w.pending.to_string() };
        vec![state, output::ago(w.delivered_at), waiting, w.events.join(","), w.url, w.id.to_string()]
    });
    output::table(&["STATE", "DELIVERED", ">WAITING", "EVENTS", "URL", "ID"], rows)
}

async fn switch(args: WebhookRef, enabled: bool) -> Result<()> {
    let path = format!("/webhooks/{}", args.id);
    let raw: Box<RawValue> = Client::new(&args.connection)?.patch(&path, &json!({ "enabled": enabled })).await?;
    if args.connection.json {
        return output::json(&raw);
    }
    eprintln!("{}.", if enabled { "On" } else { "Off" });
    Ok(())
}

async fn delete(args: WebhookRef) -> Result<()> {
    Client::new(&args.connection)?.delete(&format!("/webhooks/{}", args.id)).await?;
    if args.connection.json {
        output::line(format!("{{\"id\":\"{}\",\"deleted\":true}}", args.id))?;
    } else {
        eprintln!("Deleted {}.", args.id);
    }
    Ok(())
}

async fn test(args: WebhookRef) -> Result<()> {
    let client = Client::new(&args.connection)?;
    let path = format!("/webhooks/{}", args.id);
    let sent: Delivery = client.post(&format!("{path}/test"), None::<&()>).await?;
    let begun = Instant::now();
    let (raw, delivery) = loop {
        let found = find(&client, args.id, sent.id).await?;
        if let Some((raw, delivery)) = found
            && (delivery.attempts > 0 || begun.elapsed() > PATIENCE)
        {
            break (raw, delivery);
        }
        anyhow::ensure!(begun.elapsed() <= PATIENCE, "the test event is gone: too many others wait");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    if args.connection.json {
        return output::json(&raw);
    }
    match delivery.error {
        _ if delivery.attempts == 0 => {
            anyhow::bail!("the test event waits behind others; `hostler webhooks deliveries {}` shows it", args.id)
        }
        Some(error) => anyhow::bail!("the test event was not accepted: {error}; it is tried again"),
        None => eprintln!("Accepted with {}.", delivery.response.unwrap_or_default()),
    }
    Ok(())
}

async fn find(client: &Client, webhook: WebhookId, wanted: DeliveryId) -> Result<Option<(Box<RawValue>, Delivery)>> {
    let items = client.list(&format!("/webhooks/{webhook}/deliveries"), &Query::default(), 1000).await?;
    for raw in items {
        let delivery: Delivery = serde_json::from_str(raw.get())?;
        if delivery.id == wanted {
            return Ok(Some((raw, delivery)));
        }
    }
    Ok(None)
}

async fn deliveries(args: WebhookDeliveries) -> Result<()> {
    let path = format!("/webhooks/{}/deliveries", args.id);
    let items = Client::new(&args.connection)?.list(&path, &Query::default(), args.limit.limit).await?;
    if args.connection.json {
        return output::json_array(&items);
    }
    let rows = output::parse::<Delivery>(&items)?.into_iter().map(|d| {
        vec![
            d.state,
            output::ago(Some(d.created_at)),
            d.attempts.to_string(),
            d.response.map_or("—".into(), |code| code.to_string()),
            d.event,
            d.error.unwrap_or_default(),
            d.id.to_string(),
        ]
    });
    output::table(&["STATE", "MADE", ">TRIES", ">ANSWER", "EVENT", "ERROR", "ID"], rows)
}

async fn redeliver(args: WebhookRedeliver) -> Result<()> {
    let path = format!("/webhooks/{}/deliveries/{}/redeliver", args.id, args.delivery);
    let raw: Box<RawValue> = Client::new(&args.connection)?.post(&path, None::<&()>).await?;
    if args.connection.json {
        return output::json(&raw);
    }
    eprintln!("Queued again; `hostler webhooks deliveries {}` shows what becomes of it.", args.id);
    Ok(())
}
