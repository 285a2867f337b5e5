//! `hostler files`.

mod changes;
mod dups;
mod growth;

use anyhow::Result;
use hostler_model::{ByteStr, EntryKind, size};
use serde_json::value::RawValue;

use super::paths;
use crate::args::{Files, Find, Ls, Stat};
use crate::client::{Client, Query};
use crate::output;
use crate::views::Entry;

pub async fn run(args: Files) -> Result<()> {
    match args {
        Files::Find(args) => find(args).await,
        Files::Ls(args) => ls(args).await,
        Files::Dups(args) => dups::run(args).await,
        Files::Changes(args) => changes::run(args).await,
        Files::Growth(args) => growth::run(args).await,
        Files::Stat(args) => stat(args).await,
    }
}

async fn find(args: Find) -> Result<()> {
    let mut query = Query::default();
    if let Some(name) = &args.name {
        query.push("name", name.as_encoded_bytes());
    }
    if let Some(root) = &args.root {
        query.push("below", paths::absolute(root)?);
    }
    for ext in &args.ext {
        query.push("ext", ext.as_str());
    }
    for kind in &args.kind {
        query.push("kind", kind.as_str());
    }
    query
        .maybe("host", args.host.as_ref())
        .maybe("min_size", args.min_size.as_ref())
        .maybe("max_size", args.max_size.as_ref())
        .maybe("newer", args.newer.as_ref())
        .maybe("older", args.older.as_ref())
        .maybe("owner", args.owner.as_ref())
        .maybe("hash", args.hash.as_ref())
        .push("sort", args.sort.as_str())
        .push("desc", if args.desc { "true" } else { "false" });
    let items = Client::new(&args.connection)?.list("/files", &query, args.limit.limit).await?;
    if args.connection.json {
        return output::json_array(&items);
    }
    let rows = output::parse::<Entry>(&items)?.into_iter().map(|e| {
        let path = e.path.to_string();
        vec![size::human(e.size), output::ago(Some(e.mtime)), e.owner, e.host_name, path]
    });
    output::table(&[">SIZE", "CHANGED", "OWNER", "HOST", "PATH"], rows)?;
    if items.len() as u64 == args.limit.limit {
        eprintln!("Only the first {} are shown; --limit N shows more.", args.limit.limit);
    }
    Ok(())
}

async fn ls(args: Ls) -> Result<()> {
    let path = paths::absolute(args.path.as_deref().unwrap_or(".".as_ref()))?;
    let mut query = Query::default();
    query.push("path", path).push("sort", args.sort.as_str()).push("desc", if args.desc { "true" } else { "false" });
    query.maybe("host", args.host.as_ref());
    let client = Client::new(&args.connection)?;
    let mut items: Vec<Box<RawValue>> = Vec::new();
    let mut cursor: Option<String> = None;
    while (items.len() as u64) < args.limit.limit {
        #[derive(serde::Deserialize)]
        struct Listing {
            entries: Entries,
        }
        #[derive(serde::Deserialize)]
        struct Entries {
            items: Vec<Box<RawValue>>,
            next: Option<String>,
        }
        let mut query = query.clone();
        query.push("limit", (args.limit.limit - items.len() as u64).min(1000).to_string().as_str());
        query.maybe("cursor", cursor.as_ref());
        let listing: Listing = client.get("/files/ls", &query).await?;
        items.extend(listing.entries.items);
        cursor = listing.entries.next;
        if cursor.is_none() {
            break;
        }
    }
    if args.connection.json {
        return output::json_array(&items);
    }
    let rows = output::parse::<Entry>(&items)?.into_iter().map(|e| {
        let mut name = ByteStr::from(e.path.file_name()).to_string();
        name.push_str(match e.kind {
            EntryKind::Dir => "/",
            EntryKind::Symlink => "@",
            EntryKind::Other => "=",
            EntryKind::File => "",
        });
        vec![
            size::human(e.size),
            e.files.map_or_else(String::new, size::grouped),
            output::ago(Some(e.mtime)),
            format!("{:04o}", e.mode),
            format!("{}:{}", e.owner, e.group),
            name,
        ]
    });
    output::table(&[">SIZE", ">FILES", "CHANGED", "MODE", "OWNER", "NAME"], rows)
}

async fn stat(args: Stat) -> Result<()> {
    let mut query = Query::default();
    query.push("path", paths::absolute(&args.path)?).maybe("host", args.host.as_ref());
    let raw = Client::new(&args.connection)?.get_raw("/files/stat", &query).await?;
    if args.connection.json {
        return output::json(&raw);
    }
    let e: Entry = serde_json::from_str(raw.get())?;
    let mut rows = vec![
        ("Path", e.path.to_string()),
        ("Host", e.host_name.clone()),
        ("Indexed in", e.root.to_string()),
        ("Kind", e.kind.word().into()),
        ("Size", format!("{} ({} bytes)", size::human(e.size), size::grouped(e.size))),
        ("Changed", format!("{} ({})", e.mtime.exact(), output::ago(Some(e.mtime)))),
        ("Owner", format!("{}:{}", e.owner, e.group)),
        ("Mode", format!("{:04o}", e.mode)),
        ("Links", e.nlink.to_string()),
        ("Inode", format!("{} on device {}", e.ino, e.dev)),
    ];
    if let Some(files) = e.files {
        rows.push(("Files below", size::grouped(files)));
    }
    if let (Some(algo), Some(hash)) = (&e.algo, &e.hash) {
        rows.push(("Content", format!("{algo}:{hash}")));
    }
    output::details(&rows)
}
