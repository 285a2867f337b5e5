//! `hostler hosts token` and `hostler join-tokens`.

use anyhow::Result;
use hostler_model::time;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::args::{HostToken, JoinTokenRevoke, JoinTokens, JoinTokensList};
use crate::client::Client;
use crate::output;
use crate::views::JoinToken;

pub async fn run(args: JoinTokens) -> Result<()> {
    match args {
        JoinTokens::List(args) => list(args).await,
        JoinTokens::Revoke(args) => revoke(args).await,
    }
}

/// Prints the whole line to paste.
pub async fn make(args: HostToken) -> Result<()> {
    #[derive(Serialize)]
    struct NewToken<'a> {
        note: &'a str,
        expires_in_seconds: u64,
    }
    #[derive(Deserialize)]
    struct Made {
        id: hostler_model::JoinTokenId,
        command: String,
    }
    let body = NewToken { note: &args.note, expires_in_seconds: args.expires };
    let made: Box<RawValue> = Client::new(&args.connection)?.post("/join-tokens", Some(&body)).await?;
    if args.connection.json {
        return output::json(&made);
    }
    let Made { id, command } = serde_json::from_str(made.get())?;
    output::line(command)?;
    eprintln!("Paste it on the host. It works once, within {}; its id is {id}.", time::age(args.expires));
    Ok(())
}

async fn list(args: JoinTokensList) -> Result<()> {
    let items = Client::new(&args.connection)?.all("/join-tokens").await?;
    if args.connection.json {
        return output::json_array(&items);
    }
    let now = hostler_gateway::clock::now();
    let rows = output::parse::<JoinToken>(&items)?.into_iter().map(|t| {
        let state = if t.revoked_at.is_some() {
            "revoked".into()
        } else if t.used_at.is_some() {
            format!("used {} by {}", output::ago(t.used_at), t.used_by_name.as_deref().unwrap_or("a removed host"))
        } else if t.expires_at <= now {
            "expired".into()
        } else {
            format!("works for another {}", time::age(t.expires_at.seconds_since(now)))
        };
        vec![t.note, state, t.created_by, output::ago(Some(t.created_at)), t.id.to_string()]
    });
    output::table(&["NOTE", "STATE", "MADE BY", "MADE", "ID"], rows)
}

async fn revoke(args: JoinTokenRevoke) -> Result<()> {
    Client::new(&args.connection)?.delete(&format!("/join-tokens/{}", args.id)).await?;
    if args.connection.json {
        return output::line(format!("{{\"id\":\"{}\",\"revoked\":true}}", args.id));
    }
    eprintln!("Revoked.");
    Ok(())
}
