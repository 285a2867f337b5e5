//! `hostler api-keys`: through a running gateway, else on its data directory.

use anyhow::Result;
use hostler_gateway::Gateway;
use hostler_model::{Timestamp, time};
use serde::{Deserialize, Serialize};

use crate::args::{ApiKeyCreate, ApiKeyRevoke, ApiKeys, ApiKeysList};
use crate::client::{Client, ClientError};
use crate::views::ApiKey;
use crate::{dirs, output};

pub async fn run(args: ApiKeys) -> Result<()> {
    match args {
        ApiKeys::Create(args) => create(args).await,
        ApiKeys::List(args) => list(args).await,
        ApiKeys::Revoke(args) => revoke(args).await,
    }
}

#[derive(Serialize)]
struct NewKey<'a> {
    name: &'a str,
    role: hostler_model::Role,
    expires_in_seconds: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Created {
    id: hostler_model::ApiKeyId,
    key: String,
}

async fn create(args: ApiKeyCreate) -> Result<()> {
    let body = NewKey { name: &args.name, role: args.role, expires_in_seconds: args.expires };
    let asked: Result<Created, ClientError> = Client::new(&args.connection)?.post("/api-keys", Some(&body)).await;
    let made = match asked {
        // No gateway runs on this data directory: its store is free.
        Err(ClientError::Unreachable { .. }) if args.connection.gateway.is_none() => {
            let data = dirs::data(args.connection.data.clone())?;
            let (key, secret) = Gateway::create_api_key_offline(&data, &args.name, args.role, args.expires).await?;
            Created { id: key.id, key: secret }
        }
        asked => asked?,
    };
    if args.connection.json {
        output::line(serde_json::to_string(&made)?)?;
    } else {
        output::line(made.key)?;
        eprintln!("This is the only time the key is shown. Its id is {}.", made.id);
    }
    Ok(())
}

async fn list(args: ApiKeysList) -> Result<()> {
    let items = Client::new(&args.connection)?.all("/api-keys").await?;
    if args.connection.json {
        return output::json_array(&items);
    }
    let rows = output::parse::<ApiKey>(&items)?.into_iter().map(|k| {
        vec![
            k.name,
            k.role.to_string(),
            format!("{}…", k.hint),
            output::ago(Some(k.created_at)),
            output::ago(k.last_used_at),
            expiry(k.expires_at),
            k.id.to_string(),
        ]
    });
    output::table(&["NAME", "ROLE", "KEY", "CREATED", "LAST USED", "EXPIRES", "ID"], rows)
}

async fn revoke(args: ApiKeyRevoke) -> Result<()> {
    Client::new(&args.connection)?.delete(&format!("/api-keys/{}", args.id)).await?;
    if args.connection.json {
        output::line(format!("{{\"id\":\"{}\",\"revoked\":true}}", args.id))?;
    } else {
        eprintln!("Revoked {}.", args.id);
    }
    Ok(())
}

fn expiry(at: Option<Timestamp>) -> String {
    let now = hostler_gateway::clock::now();
    match at {
        None => "never".into(),
        Some(at) if at <= now => "expired".into(),
        Some(at) => format!("in {}", time::age(at.seconds_since(now))),
    }
}
