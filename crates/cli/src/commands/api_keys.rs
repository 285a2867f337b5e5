//! `hostler api-keys`: through a running gateway, else on its data directory.

use anyhow::Result;
use hostler_gateway::Gateway;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::args::{ApiKeyCreate, ApiKeyRevoke, ApiKeys, ApiKeysList};
use crate::client::{Client, ClientError, Query};
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
}

#[derive(Serialize, Deserialize)]
struct Created {
    id: hostler_model::ApiKeyId,
    key: String,
}

async fn create(args: ApiKeyCreate) -> Result<()> {
    let body = NewKey { name: &args.name, role: args.role };
    let asked: Result<Created, ClientError> = Client::new(&args.connection)?.post("/api-keys", Some(&body)).await;
    let made = match asked {
        // No gateway runs on this data directory: its store is free.
        Err(ClientError::Unreachable { .. }) if args.connection.gateway.is_none() => {
            let data = dirs::data(args.connection.data.clone())?;
            let (key, secret) = Gateway::create_api_key_offline(&data, &args.name, args.role).await?;
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
    #[derive(Deserialize)]
    struct All {
        items: Vec<Box<RawValue>>,
    }
    let All { items } = Client::new(&args.connection)?.get("/api-keys", &Query::default()).await?;
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
            k.id.to_string(),
        ]
    });
    output::table(&["NAME", "ROLE", "KEY", "CREATED", "LAST USED", "ID"], rows)
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
