//! `hostler events`: what happened on all hosts.

use anyhow::{Context, Result};
use futures_util::StreamExt;
use serde_json::value::RawValue;

use crate::args::Events;
use crate::client::{Client, Query};
use crate::output;
use crate::views::ActivityEvent;

pub async fn run(args: Events) -> Result<()> {
    let client = Client::new(&args.connection)?;
    let mut query = Query::default();
    query.maybe("host", args.host.as_ref()).maybe("kind", args.kind.as_ref());
    query.maybe("severity", args.severity.as_ref()).maybe("text", args.text.as_ref());
    query.maybe("since", args.since.as_ref());
    if args.follow {
        return follow(&client, query, &args).await;
    }
    let items = client.list("/events", &query, args.limit.limit).await?;
    if args.connection.json {
        return output::json_array(&items);
    }
    let rows = output::parse::<ActivityEvent>(&items)?.into_iter().map(|e| {
        let host = e.host_name.clone().unwrap_or_else(|| "gateway".into());
        vec![e.at.to_string(), e.severity.clone(), host, e.kind.clone(), e.text()]
    });
    output::table(&["WHEN", "SEVERITY", "HOST", "KIND", "WHAT"], rows)
}

/// Prints the newest events, oldest first, then each as it comes. What the stream misses is read from the list.
async fn follow(client: &Client, query: Query, args: &Events) -> Result<()> {
    let mut news = client.events("activity").await?;
    let mut seen = None;
    loop {
        // The list knows the filters; the stream only says that there is something new.
        let items = client.list("/events", &query, args.limit.limit.min(1000)).await?;
        let mut fresh = Vec::new();
        for item in items {
            let event: ActivityEvent = serde_json::from_str(item.get())?;
            if seen.is_some_and(|seen| event.id <= seen) {
                break;
            }
            fresh.push((event, item));
        }
        seen = fresh.first().map(|(event, _)| event.id).or(seen).or(Some(0));
        for (event, raw) in fresh.iter().rev() {
            print(event, raw, args.connection.json)?;
        }
        news.next().await.context("the gateway ended the connection")??;
        // Events come in groups.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

fn print(event: &ActivityEvent, raw: &RawValue, json: bool) -> Result<()> {
    if json {
        return output::json(raw);
    }
    let host = event.host_name.as_deref().unwrap_or("gateway");
    output::line(format!("{}  {:7}  {host}  {}  {}", event.at, event.severity, event.kind, event.text()))
}
