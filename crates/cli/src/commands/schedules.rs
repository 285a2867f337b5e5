//! `hostler scans schedule`, `schedules` and `unschedule`.

use anyhow::Result;
use hostler_model::{ByteStr, ScanId, ScanOptions, Timestamp, time};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::paths;
use crate::args::{Schedule as ScheduleArgs, ScheduleRef, Schedules, SchedulesCommand};
use crate::client::{Client, Query};
use crate::output;
use crate::views::Schedule;

#[derive(Serialize)]
struct NewSchedule<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a String>,
    root: ByteStr,
    options: ScanOptions,
    cadence: String,
    zone: Option<&'a String>,
    window: Option<&'a String>,
    spread: Option<bool>,
}

#[derive(Deserialize)]
struct Started {
    scan: ScanId,
}

/// `hostler scans schedule PATH`.
pub async fn create(args: ScheduleArgs) -> Result<()> {
    let cadence = match (&args.every, args.at.as_ref().or(args.cron.as_ref())) {
        (Some(span), _) => format!("every {span}"),
        (None, Some(text)) => text.clone(),
        (None, None) => anyhow::bail!("give --every, --at or --cron"),
    };
    let body = NewSchedule {
        host: args.host.as_ref(),
        root: paths::absolute(&args.path)?,
        options: args.options.options(),
        cadence,
        zone: args.zone.as_ref(),
        window: args.window.as_ref(),
        spread: args.spread,
    };
    let made: Box<RawValue> = Client::new(&args.connection)?.post("/schedules", Some(&body)).await?;
    if args.connection.json {
        return output::json(&made);
    }
    let schedule: Schedule = serde_json::from_str(made.get())?;
    output::line(schedule.id)?;
    eprintln!("Scans {} on {} {}; next {}.", schedule.root, schedule.host_name, schedule.cadence, next(&schedule));
    Ok(())
}

/// `hostler scans schedules`.
pub async fn run(args: Schedules) -> Result<()> {
    match args.command {
        None => list(args).await,
        Some(SchedulesCommand::Enable(args)) => switch(args, true).await,
        Some(SchedulesCommand::Disable(args)) => switch(args, false).await,
        Some(SchedulesCommand::Run(args)) => run_now(args).await,
    }
}

async fn list(args: Schedules) -> Result<()> {
    let mut query = Query::default();
    query.maybe("host", args.host.as_ref());
    let items = Client::new(&args.connection)?.list("/schedules", &query, args.limit.limit).await?;
    if args.connection.json {
        return output::json_array(&items);
    }
    let rows = output::parse::<Schedule>(&items)?.into_iter().map(|s| {
        let last = s.last_run.as_ref().map_or("—".into(), |l| format!("{}, {}", l.outcome, output::ago(Some(l.at))));
        let window = s.window.clone().unwrap_or("—".into());
        vec![next(&s), last, s.cadence, window, s.zone, s.created_by, s.host_name, s.root.to_string(), s.id.to_string()]
    });
    output::table(&["NEXT", "LAST", "CADENCE", "WINDOW", "ZONE", "BY", "HOST", "ROOT", "ID"], rows)
}

fn next(schedule: &Schedule) -> String {
    let waits = |what: &str| format!("waits for the {what}");
    match (&schedule.running, schedule.due_at, schedule.next_run_at) {
        (Some(_), ..) => "runs".into(),
        (None, Some(_), _) => schedule.waits_for.as_deref().map_or("begins".into(), waits),
        _ if !schedule.enabled => "off".into(),
        (_, _, Some(at)) => until(at),
        _ => "never".into(),
    }
}

fn until(at: Timestamp) -> String {
    format!("in {}", time::age(at.seconds_since(hostler_gateway::clock::now())))
}

async fn switch(args: ScheduleRef, enabled: bool) -> Result<()> {
    let path = format!("/schedules/{}", args.id);
    let raw: Box<RawValue> = Client::new(&args.connection)?.patch(&path, &json!({ "enabled": enabled })).await?;
    if args.connection.json {
        return output::json(&raw);
    }
    let schedule: Schedule = serde_json::from_str(raw.get())?;
    match enabled {
        true => eprintln!("On; next {}.", next(&schedule)),
        false => eprintln!("Off."),
    }
    Ok(())
}

async fn run_now(args: ScheduleRef) -> Result<()> {
    let path = format!("/schedules/{}/run", args.id);
    let raw: Box<RawValue> = Client::new(&args.connection)?.post(&path, None::<&()>).await?;
    if args.connection.json {
        return output::json(&raw);
    }
    output::line(serde_json::from_str::<Started>(raw.get())?.scan)
}

/// `hostler scans unschedule ID`.
pub async fn delete(args: ScheduleRef) -> Result<()> {
    Client::new(&args.connection)?.delete(&format!("/schedules/{}", args.id)).await?;
    if args.connection.json {
        output::line(format!("{{\"id\":\"{}\",\"deleted\":true}}", args.id))?;
    } else {
        eprintln!("Deleted {}; its scans stay.", args.id);
    }
    Ok(())
}
