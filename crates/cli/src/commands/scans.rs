//! `hostler scans`.

use anyhow::Result;
use hostler_model::{ScanCounters, ScanState, size, time};
use serde_json::value::RawValue;

use super::schedules;
use crate::args::{ScanRef, Scans, ScansList};
use crate::client::{Client, Query};
use crate::output;
use crate::views::{Change, Scan, ScanError};

/// Changes and errors shown below a scan; JSON and the pages have all.
const SHOWN: u64 = 50;

pub async fn run(args: Scans) -> Result<()> {
    match args {
        Scans::List(args) => list(args).await,
        Scans::Show(args) => show(args).await,
        Scans::Cancel(args) => cancel(args).await,
        Scans::Pause(args) => set_paused(args, true).await,
        Scans::Resume(args) => set_paused(args, false).await,
        Scans::Schedule(args) => schedules::create(args).await,
        Scans::Schedules(args) => schedules::run(args).await,
        Scans::Unschedule(args) => schedules::delete(args).await,
    }
}

async fn list(args: ScansList) -> Result<()> {
    let mut query = Query::default();
    query.maybe("host", args.host.as_ref());
    for state in &args.state {
        query.push("state", state.word());
    }
    let items = Client::new(&args.connection)?.list("/scans", &query, args.limit.limit).await?;
    if args.connection.json {
        return output::json_array(&items);
    }
    let rows = output::parse::<Scan>(&items)?.into_iter().map(|s| {
        vec![
            s.state_words(),
            output::ago(Some(s.created_at)),
            took(&s),
            size::grouped(s.counters.files),
            size::human(s.counters.bytes),
            changes(&s),
            size::grouped(s.counters.errors),
            s.host_name.clone(),
            s.root.to_string(),
            s.id.to_string(),
        ]
    });
    let header = ["STATE", "ASKED FOR", "TOOK", ">FILES", ">SIZE", "CHANGES", ">ERRORS", "HOST", "ROOT", "ID"];
    output::table(&header, rows)
}

async fn show(args: ScanRef) -> Result<()> {
    let client = Client::new(&args.connection)?;
    let path = format!("/scans/{}", args.id);
    let raw = client.get_raw(&path, &Query::default()).await?;
    let limit = if args.connection.json { u64::MAX } else { SHOWN };
    let changes = client.list(&format!("{path}/changes"), &Query::default(), limit).await?;
    let errors = client.list(&format!("{path}/errors"), &Query::default(), limit).await?;
    if args.connection.json {
        #[derive(serde::Serialize)]
        struct Whole<'a> {
            scan: &'a RawValue,
            changes: &'a [Box<RawValue>],
            errors: &'a [Box<RawValue>],
        }
        output::line(serde_json::to_string(&Whole { scan: &raw, changes: &changes, errors: &errors })?)?;
        return Ok(());
    }
    let scan: Scan = serde_json::from_str(raw.get())?;
    summary(&scan)?;
    if !changes.is_empty() {
        output::line("\nChanges")?;
        let rows = output::parse::<Change>(&changes)?.into_iter().map(|c| {
            let human = |bytes: Option<u64>| bytes.map_or("—".into(), size::human);
            vec![
                c.op.word().into(),
                c.kind.word().into(),
                human(c.size_before),
                human(c.size_after),
                c.path.to_string(),
            ]
        });
        output::table(&["WHAT", "KIND", ">BEFORE", ">AFTER", "PATH"], rows)?;
        more(total_changes(&scan.counters), changes.len())?;
    }
    if !errors.is_empty() {
        output::line("\nErrors")?;
        let rows =
            output::parse::<ScanError>(&errors)?.into_iter().map(|e| vec![e.operation, e.message, e.path.to_string()]);
        output::table(&["OPERATION", "WHY", "PATH"], rows)?;
        more(scan.counters.errors, errors.len())?;
    }
    Ok(())
}

async fn cancel(args: ScanRef) -> Result<()> {
    let raw: Box<RawValue> =
        Client::new(&args.connection)?.post(&format!("/scans/{}/cancel", args.id), None::<&()>).await?;
    if args.connection.json {
        return output::json(&raw);
    }
    let scan: Scan = serde_json::from_str(raw.get())?;
    match scan.state.is_final() {
        true => eprintln!("The scan has ended: {}.", scan.state),
        false => eprintln!("Asked the host to stop; `hostler scans show {}` tells how it ended.", scan.id),
    }
    Ok(())
}

async fn set_paused(args: ScanRef, paused: bool) -> Result<()> {
    let verb = if paused { "pause" } else { "resume" };
    let path = format!("/scans/{}/{verb}", args.id);
    let raw: Box<RawValue> = Client::new(&args.connection)?.post(&path, None::<&()>).await?;
    if args.connection.json {
        return output::json(&raw);
    }
    match paused {
        true => eprintln!("Paused; `hostler scans resume {}` lets it go on.", args.id),
        false => eprintln!("Goes on."),
    }
    Ok(())
}

/// Prints what a scan did.
pub fn summary(scan: &Scan) -> Result<()> {
    let c = &scan.counters;
    let mut rows = vec![
        ("Scan", scan.id.to_string()),
        ("State", scan.state_words()),
        ("Host", scan.host_name.clone()),
        ("Root", scan.root.to_string()),
        ("Asked for", format!("{} by {}", output::ago(Some(scan.created_at)), scan.requested_by)),
        ("Took", took(scan)),
        (
            "Seen",
            format!(
                "{} files in {} directories, {}",
                size::grouped(c.files),
                size::grouped(c.dirs),
                size::human(c.bytes)
            ),
        ),
        ("Hashed", format!("{} files, {}", size::grouped(c.hashed_files), size::human(c.hashed_bytes))),
        ("Changes", changes(scan)),
        ("Errors", size::grouped(c.errors)),
    ];
    if let Some(error) = &scan.error {
        rows.push(("Failed", error.clone()));
    }
    output::details(&rows)
}

fn took(scan: &Scan) -> String {
    let Some(started) = scan.started_at else { return "—".into() };
    let end = scan.ended_at.unwrap_or_else(hostler_gateway::clock::now);
    time::duration(end.micros().saturating_sub(started.micros()).max(0) as u64)
}

fn changes(scan: &Scan) -> String {
    let c = &scan.counters;
    match scan.first {
        _ if !matches!(scan.state, ScanState::Completed | ScanState::Running) => "—".into(),
        true => "first scan".into(),
        false if total_changes(c) == 0 => "none".into(),
        false => format!("+{} ~{} −{} →{} meta {}", c.created, c.modified, c.deleted, c.moved, c.metadata),
    }
}

fn total_changes(c: &ScanCounters) -> u64 {
    c.created + c.modified + c.metadata + c.deleted + c.moved
}

fn more(total: u64, shown: usize) -> Result<()> {
    if total > shown as u64 {
        output::line(format!("… and {} more; --json lists them", size::grouped(total - shown as u64)))?;
    }
    Ok(())
}
