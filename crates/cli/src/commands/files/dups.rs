//! `hostler files dups`: groups, a plan of which copies go, and the script that carries it out.

use std::io::Write;

use anyhow::{Context, Result};
use futures_util::StreamExt;
use hostler_model::size;
use serde_json::value::RawValue;

use super::super::paths;
use crate::args::Dups;
use crate::client::{Client, Query};
use crate::output;
use crate::views::{DuplicateGroup, PlanTotals, PlannedGroup, Totals};

/// Groups of one page of a plan.
const PAGE: u64 = 200;

pub async fn run(args: Dups) -> Result<()> {
    let mut query = Query::default();
    if let Some(root) = &args.root {
        query.push("below", paths::absolute(root)?);
    }
    for ext in &args.ext {
        query.push("ext", ext.as_str());
    }
    query.maybe("host", args.host.as_ref()).maybe("min_size", args.min_size.as_ref());
    if args.plan || args.script {
        query.push("keep", args.keep.word()).push("action", args.action.word());
        for dir in &args.prefer {
            query.push("prefer", paths::absolute(dir)?);
        }
        for dir in &args.protect {
            query.push("protect", paths::absolute(dir)?);
        }
        if args.across_hosts {
            query.push("across_hosts", "true");
        }
    }
    let client = Client::new(&args.connection)?;
    match () {
        () if args.script => script(&client, &query).await,
        () if args.plan => plan(&client, &query, &args).await,
        () => list(&client, &query, &args).await,
    }
}

async fn list(client: &Client, query: &Query, args: &Dups) -> Result<()> {
    let items = client.list("/duplicates", query, args.limit.limit).await?;
    if args.connection.json {
        return output::json_array(&items);
    }
    let rows = output::parse::<DuplicateGroup>(&items)?.into_iter().map(|g| {
        vec![
            size::human(g.reclaimable),
            g.copies.to_string(),
            g.names.to_string(),
            size::human(g.size),
            format!("{}:{}", g.algo, g.hash),
        ]
    });
    output::table(&[">COULD FREE", ">COPIES", ">NAMES", ">SIZE EACH", "CONTENT"], rows)?;
    #[derive(serde::Deserialize)]
    struct WithTotals {
        totals: Totals,
    }
    let mut query = query.clone();
    query.push("limit", "1");
    let WithTotals { totals } = client.get("/duplicates", &query).await?;
    eprintln!(
        "{} groups, {} extra copies, {} could be freed. `hostler files find --hash HEX` lists a group; --plan shows what a clean-up would do.",
        size::grouped(totals.groups),
        size::grouped(totals.extra_copies),
        size::human(totals.reclaimable)
    );
    if totals.pending_files > 0 {
        eprintln!("{} files of new scans are not compared yet.", size::grouped(totals.pending_files));
    }
    Ok(())
}

async fn script(client: &Client, query: &Query) -> Result<()> {
    let path = query.append_to("/duplicates/script");
    let mut pieces = client.download(&path).await?;
    while let Some(piece) = pieces.next().await {
        let piece = piece.context("the gateway broke off; what was written so far does nothing")?;
        std::io::stdout().write_all(&piece)?;
    }
    std::io::stdout().flush()?;
    eprintln!("Read the script, then run it on the host: without --run it only says what it would do.");
    Ok(())
}

async fn plan(client: &Client, query: &Query, args: &Dups) -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Plan {
        items: Vec<Box<RawValue>>,
        next: Option<String>,
        totals: Box<RawValue>,
    }
    #[derive(serde::Serialize)]
    struct Whole<'a> {
        items: &'a [Box<RawValue>],
        totals: &'a RawValue,
    }
    let mut items: Vec<Box<RawValue>> = Vec::new();
    let mut cursor = None;
    let totals = loop {
        let mut query = query.clone();
        query.push("limit", (args.limit.limit - items.len() as u64).clamp(1, PAGE).to_string().as_str());
        query.maybe("cursor", cursor.as_ref());
        let page: Plan = client.get("/duplicates/plan", &query).await?;
        items.extend(page.items);
        cursor = page.next;
        if cursor.is_none() || items.len() as u64 >= args.limit.limit {
            break page.totals;
        }
    };
    if args.connection.json {
        return output::line(serde_json::to_string(&Whole { items: &items, totals: &totals })?);
    }
    let totals: PlanTotals = serde_json::from_str(totals.get())?;
    for group in output::parse::<PlannedGroup>(&items)? {
        let frees =
            if group.frees > 0 { format!("frees {}", size::human(group.frees)) } else { "frees nothing".into() };
        output::line(format!("{frees}: {} each, {}:{}", size::human(group.size), group.algo, group.hash))?;
        for name in &group.files {
            let word = match name.verdict.as_str() {
                "kept" => "keep",
                "goes" => args.action.word(),
                "hard_link" => "stays: hard link of the kept one",
                "protected" => "stays: protected",
                "linked_elsewhere" => "stays: another name of it stays",
                "only_copy" => "stays: only copy",
                other => other,
            };
            output::line(format!("  {word:<9} {}:{}", name.host_name, name.path))?;
        }
    }
    if cursor.is_some() {
        eprintln!("Only the first {} groups are shown; --limit N shows more.", size::grouped(items.len() as u64));
    }
    eprintln!(
        "Frees {} in {} files ({} names) of {} groups.",
        size::human(totals.frees),
        size::grouped(totals.files),
        size::grouped(totals.names),
        size::grouped(totals.groups)
    );
    if !totals.complete {
        eprintln!("There are more groups than one plan looks at; those that could free most are in it.");
    }
    if totals.names > 0 {
        eprintln!("--script instead of --plan prints a script that does it.");
    }
    Ok(())
}
