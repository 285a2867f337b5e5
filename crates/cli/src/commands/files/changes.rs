//! `hostler files changes`.

use anyhow::Result;
use hostler_model::{ChangeOp, size};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::paths;
use crate::args::Changes;
use crate::client::{Client, Query};
use crate::output;
use crate::views::{Change, ChangeCounts, Scan};

/// A comparison as it came, with its changes page by page.
#[derive(Deserialize, Serialize)]
struct Comparison {
    from: Option<Box<RawValue>>,
    to: Box<RawValue>,
    scans: u64,
    counts: Box<RawValue>,
    complete: bool,
    changes: Page,
}

#[derive(Deserialize, Serialize)]
struct Page {
    items: Vec<Box<RawValue>>,
    next: Option<String>,
}

pub async fn run(args: Changes) -> Result<()> {
    let mut query = Query::default();
    if let Some(path) = &args.path {
        query.push("root", paths::absolute(path)?);
    }
    query.maybe("host", args.host.as_ref()).maybe("from", args.from.as_ref()).maybe("to", args.to.as_ref());
    for op in &args.op {
        query.push("op", op.as_str());
    }
    let client = Client::new(&args.connection)?;
    let limit = args.limit.limit;
    let page = |left: u64, cursor: Option<&String>| {
        let mut query = query.clone();
        query.push("limit", left.clamp(1, 1000).to_string().as_str()).maybe("cursor", cursor);
        query
    };
    let mut found: Comparison = client.get("/files/changes", &page(limit, None)).await?;
    // The pages after the first are of the same two scans, also when another scan completes meanwhile.
    let to: Scan = serde_json::from_str(found.to.get())?;
    let from: Option<Scan> = found.from.as_ref().map(|raw| serde_json::from_str(raw.get())).transpose()?;
    while let (Some(cursor), true) = (&found.changes.next, (found.changes.items.len() as u64) < limit) {
        let mut query = page(limit - found.changes.items.len() as u64, Some(cursor));
        query.set("to", to.id.to_string().as_str());
        if let Some(from) = &from {
            query.set("from", from.id.to_string().as_str());
        }
        let next: Comparison = client.get("/files/changes", &query).await?;
        found.changes.items.extend(next.changes.items);
        found.changes.next = next.changes.next;
    }
    if args.connection.json {
        return output::line(serde_json::to_string(&found)?);
    }
    print(&found, from.as_ref(), &to)
}

fn print(found: &Comparison, from: Option<&Scan>, to: &Scan) -> Result<()> {
    let scan = |scan: &Scan| {
        let at = scan.ended_at.unwrap_or(scan.created_at);
        format!("scan {} of {} ({})", scan.id, at.exact(), output::ago(Some(at)))
    };
    output::line(format!("{} on {}", to.root, to.host_name))?;
    output::line(match from {
        Some(from) => format!("from {}", scan(from)),
        None => "from nothing: there is no scan before it".into(),
    })?;
    output::line(format!("to   {}\n", scan(to)))?;
    let human = |bytes: Option<u64>| bytes.map_or("—".into(), size::human);
    let changes = output::parse::<Change>(&found.changes.items)?;
    if !changes.is_empty() {
        let rows = changes.into_iter().map(|c| {
            let path = match &c.from {
                Some(from) => format!("{from} → {}", c.path),
                None => c.path.to_string(),
            };
            vec![mark(c.op).into(), c.kind.word().into(), human(c.size_before), human(c.size_after), path]
        });
        output::table(&["", "KIND", ">BEFORE", ">AFTER", "PATH"], rows)?;
        output::line("")?;
    }
    let counts: ChangeCounts = serde_json::from_str(found.counts.get())?;
    output::line(format!(
        "+{} created, ~{} modified, ≈{} owner, mode or links, −{} deleted, →{} moved; {} added, {} gone",
        size::grouped(counts.created),
        size::grouped(counts.modified),
        size::grouped(counts.metadata),
        size::grouped(counts.deleted),
        size::grouped(counts.moved),
        size::human(counts.added_bytes),
        size::human(counts.removed_bytes)
    ))?;
    if found.scans > 1 {
        eprintln!("Put together from the changes of {} scans.", size::grouped(found.scans));
    }
    if !found.complete {
        eprintln!(
            "This is not the whole: changes of a scan in between were not kept, or were too many to be kept all."
        );
    }
    if found.changes.next.is_some() {
        eprintln!(
            "Only the first {} are shown; --limit N shows more.",
            size::grouped(found.changes.items.len() as u64)
        );
    }
    Ok(())
}

fn mark(op: ChangeOp) -> &'static str {
    match op {
        ChangeOp::Created => "+",
        ChangeOp::Modified => "~",
        ChangeOp::Metadata => "≈",
        ChangeOp::Deleted => "−",
        ChangeOp::Moved => "→",
    }
}
