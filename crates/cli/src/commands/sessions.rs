//! `hostler sessions`.

use anyhow::Result;

use crate::args::{SessionEnd, Sessions, SessionsList};
use crate::client::Client;
use crate::output;
use crate::views::Session;

pub async fn run(args: Sessions) -> Result<()> {
    match args {
        Sessions::List(args) => list(args).await,
        Sessions::End(args) => end(args).await,
    }
}

async fn list(args: SessionsList) -> Result<()> {
    let items = Client::new(&args.connection)?.all("/sessions").await?;
    if args.connection.json {
        return output::json_array(&items);
    }
    let rows = output::parse::<Session>(&items)?.into_iter().map(|s| {
        vec![
            s.name,
            s.role.to_string(),
            s.address.unwrap_or_else(|| "—".into()),
            output::ago(Some(s.created_at)),
            output::ago(s.last_seen_at),
            s.agent.unwrap_or_else(|| "—".into()).chars().take(60).collect(),
            s.id.to_string(),
        ]
    });
    output::table(&["WHO", "ROLE", "FROM", "SIGNED IN", "LAST SEEN", "BROWSER", "ID"], rows)
}

async fn end(args: SessionEnd) -> Result<()> {
    Client::new(&args.connection)?.delete(&format!("/sessions/{}", args.id)).await?;
    if args.connection.json {
        return output::line(format!("{{\"id\":\"{}\",\"ended\":true}}", args.id));
    }
    eprintln!("Ended.");
    Ok(())
}
