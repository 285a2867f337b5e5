//! `hostler gateway`: the gateway alone, its backups, and bringing one back.

use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use futures_util::StreamExt;
use hostler_gateway::Gateway;
use hostler_model::{ByteStr, size};
use tokio::io::AsyncWriteExt;

use super::serve;
use crate::args::{self, Backup, GatewayCommand, Restore};
use crate::client::{Client, ClientError, Query};
use crate::{dirs, output};

pub async fn run(args: args::Gateway) -> Result<()> {
    match args.command {
        Some(GatewayCommand::Backup(args)) => backup(args).await,
        Some(GatewayCommand::Restore(args)) => restore(args).await,
        None => alone(args).await,
    }
}

async fn alone(mut args: args::Gateway) -> Result<()> {
    match args.store.as_deref().map(|store| store.split_once(':').unwrap_or((store, ""))) {
        None => {}
        Some(("sqlite", dir)) if !dir.is_empty() => {
            let given = args.serve.data.replace(dir.into());
            ensure!(
                given.is_none_or(|data| data == Path::new(dir)),
                "--store and --data name different directories; the store lies in the data directory"
            );
        }
        Some(("postgres" | "postgresql", _)) => bail!("--store: this version keeps everything in SQLite: sqlite:DIR"),
        Some(_) => bail!("--store: give sqlite:DIR"),
    }
    let stop = serve::stop_on_signals()?;
    let data = dirs::data(args.serve.data.clone())?;
    let gateway = Gateway::open(serve::settings(&args.serve, data.clone())).await?;
    let link = gateway.sign_in_link().await?;
    serve::announce(&gateway, &link);
    println!("  Add a host  hostler hosts token");
    println!("  Data        {}", ByteStr::from(data.as_os_str().as_encoded_bytes()));
    println!("  Stop        Ctrl-C");
    serve::ready();
    gateway.run(stop).await;
    eprintln!("Stopped.");
    Ok(())
}

async fn backup(args: Backup) -> Result<()> {
    let name = ByteStr::from(args.file.as_os_str().as_encoded_bytes());
    let client = Client::new(&args.connection)?;
    // Whoever has it can be this gateway and its users.
    let opened =
        tokio::fs::OpenOptions::from(std::fs::File::options().write(true).create_new(true).mode(0o600).clone())
            .open(&args.file)
            .await;
    let mut file = opened.with_context(|| format!("cannot make {name}"))?;
    let written = write(&client, &mut file).await;
    if written.is_err() {
        // Half a backup must not be taken for one.
        let _ = std::fs::remove_file(&args.file);
    }
    let bytes = written.with_context(|| format!("no backup was made in {name}"))?;
    if args.connection.json {
        return output::line(serde_json::json!({ "file": name, "bytes": bytes }));
    }
    eprintln!("Wrote {name}, {}. It holds this gateway's keys: keep it as safe as those.", size::human(bytes));
    Ok(())
}

async fn write(client: &Client, file: &mut tokio::fs::File) -> Result<u64> {
    let mut pieces = client.download("/backup").await?;
    let mut bytes = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece.context("the gateway broke off")?;
        file.write_all(&piece).await?;
        bytes += piece.len() as u64;
    }
    file.sync_all().await?;
    Ok(bytes)
}

async fn restore(args: Restore) -> Result<()> {
    let name = ByteStr::from(args.file.as_os_str().as_encoded_bytes());
    let file = tokio::fs::File::open(&args.file).await.with_context(|| format!("cannot read {name}"))?;
    if !args.yes {
        let question =
            format!("Replace all that this gateway keeps by {name}? What is there now is lost, unless you back it up.");
        ensure!(output::confirm(&question)?, "nothing was restored");
    }
    let client = Client::new(&args.connection)?;
    match client.get_raw("/me", &Query::default()).await {
        Ok(_) => client.upload("/restore", file).await?,
        // No gateway runs on this data directory: it is free.
        Err(ClientError::Unreachable { .. }) if args.connection.gateway.is_none() => {
            let data = dirs::data(args.connection.data.clone())?;
            Gateway::restore_offline(&data, &args.file).await?;
        }
        Err(error) => return Err(error.into()),
    }
    if args.connection.json {
        return output::line(serde_json::json!({ "file": name, "restored": true }));
    }
    eprintln!("Restored {name}. Hosts that joined after it was made must join again.");
    Ok(())
}
