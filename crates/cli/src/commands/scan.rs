//! `hostler scan PATH`: starts a scan and follows it. Ctrl-C cancels it.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt;
use hostler_model::{ByteStr, ScanId, ScanOptions, ScanState, size, time};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{paths, scans};
use crate::args;
use crate::client::{Client, Query};
use crate::output;
use crate::views::{Scan, ScanUpdate};

/// After this long without an event the scan itself is looked at.
const QUIET: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct NewScan {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    root: ByteStr,
    options: ScanOptions,
}

#[derive(Deserialize)]
struct Created {
    id: ScanId,
}

pub async fn run(args: args::Scan) -> Result<ExitCode> {
    let client = Client::new(&args.connection)?;
    let body = NewScan { host: args.host.clone(), root: paths::absolute(&args.path)?, options: args.options.options() };
    if args.detach {
        let made: Box<RawValue> = client.post("/scans", Some(&body)).await?;
        if args.connection.json {
            output::json(&made)?;
        } else {
            output::line(serde_json::from_str::<Created>(made.get())?.id)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    // Listening begins first, so that nothing of the scan is missed.
    let events = client.events("scan").await?;
    let Created { id } = client.post("/scans", Some(&body)).await?;
    let interrupted = tokio::select! {
        followed = follow(&client, events, id) => {
            followed?;
            false
        }
        _ = tokio::signal::ctrl_c() => true,
    };
    if interrupted {
        return cancel(&client, id).await;
    }
    finish(&client, id, args.connection.json).await
}

/// Cancels the scan and says how it ended: it may just have been committed.
async fn cancel(client: &Client, id: ScanId) -> Result<ExitCode> {
    let mut scan: Scan = client.post(&format!("/scans/{id}/cancel"), None::<&()>).await?;
    let begun = std::time::Instant::now();
    while !scan.state.is_final() && begun.elapsed() < QUIET {
        tokio::time::sleep(Duration::from_millis(50)).await;
        scan = client.get(&format!("/scans/{id}"), &Query::default()).await?;
    }
    match scan.state {
        ScanState::Cancelled => eprintln!("Cancelled; the index is as it was."),
        state if state.is_final() => eprintln!("The scan had ended before: {state}."),
        _ => eprintln!("Asked the host to stop; `hostler scans show {id}` tells how it ended."),
    }
    Ok(ExitCode::from(130))
}

async fn finish(client: &Client, id: ScanId, json: bool) -> Result<ExitCode> {
    let path = format!("/scans/{id}");
    let raw = client.get_raw(&path, &Query::default()).await?;
    let scan: Scan = serde_json::from_str(raw.get())?;
    if json {
        output::json(&raw)?;
    } else {
        scans::summary(&scan)?;
        if scan.counters.errors > 0 {
            eprintln!("\n`hostler scans show {id}` lists the errors.");
        }
    }
    Ok(if scan.state == ScanState::Completed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows progress until the scan's last event.
async fn follow(
    client: &Client,
    mut events: impl futures_util::Stream<Item = Result<String>> + Unpin,
    id: ScanId,
) -> Result<()> {
    let bar = bar();
    loop {
        let event = match tokio::time::timeout(QUIET, events.next()).await {
            Ok(Some(event)) => event,
            Ok(None) => break,
            // A slow reader may have missed the last event.
            Err(_) => {
                let scan: Scan = client.get(&format!("/scans/{id}"), &Query::default()).await?;
                if scan.state.is_final() {
                    bar.finish_and_clear();
                    return Ok(());
                }
                continue;
            }
        };
        let update: ScanUpdate = serde_json::from_str(&event?)?;
        if update.id != id {
            continue;
        }
        if update.state.is_final() {
            bar.finish_and_clear();
            return Ok(());
        }
        show(&bar, &update);
    }
    bar.finish_and_clear();
    anyhow::bail!("the gateway ended the connection; the scan may go on: `hostler scans show {id}`")
}

fn bar() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

fn show(bar: &ProgressBar, update: &ScanUpdate) {
    let c = &update.counters;
    let style = if c.expected_files > 0 { "{spinner} [{bar:24}] {msg}" } else { "{spinner} {msg}" };
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style.progress_chars("━━─"));
    }
    bar.set_length(c.expected_files.max(c.files));
    bar.set_position(c.files);
    let mut text = match update.state {
        _ if update.paused => {
            format!("paused at {} files; `hostler scans resume {}`", size::grouped(c.files), update.id)
        }
        ScanState::Queued => "waits for the host's running scan".to_owned(),
        _ => format!(
            "{} files, {}, {} hashed",
            size::grouped(c.files),
            size::human(c.bytes),
            size::human(c.hashed_bytes)
        ),
    };
    if let Some(rate) = &update.rate {
        text += &format!(
            ", {} files/s, {}/s",
            size::grouped(rate.files_per_second as u64),
            size::human(rate.bytes_per_second as u64)
        );
        if let Some(left) = rate.seconds_left {
            text += &format!(", about {} left", time::age(left));
        }
    }
    if c.errors > 0 {
        text += &format!(", {} errors", c.errors);
    }
    if let Some(current) = &update.current {
        text += &format!("  {:.40}", current.display());
    }
    bar.set_message(text);
}
