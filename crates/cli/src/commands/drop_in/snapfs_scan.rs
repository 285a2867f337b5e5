//! `hostler drop-in snapfs-scan`: one scan, then the end.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use hostler_model::ByteStr;
use hostler_snapfs::{Gateway, Listener, ScanEnd, ScanTarget, Trigger, scan, scan_settings};
use serde::Serialize;

use super::Printer;
use crate::args;
use crate::commands::serve;

/// The exit code of what was typed wrong.
const USAGE: u8 = 2;

/// The last line with `-v`; keys in the order of the alphabet.
#[derive(Serialize)]
struct LastLine<'a> {
    bytes: u64,
    cache_hits: u64,
    files: u64,
    hashed: u64,
    published: u64,
    scan_id: &'a str,
}

pub async fn run(args: args::SnapfsScan) -> Result<ExitCode> {
    let stop = serve::stop_on_signals()?;
    let root = match directory(&args.path) {
        Ok(root) => root,
        Err(error) => {
            eprintln!("{}: {} {error}", crate::output::paint_error("error"), bytes_of(&args.path));
            return Ok(ExitCode::from(USAGE));
        }
    };
    let verbose = args.snapfs.verbose;
    let flags = super::flags(args.snapfs, &root)?;
    let (gateway, how) = scan_settings(&flags, &|name| std::env::var_os(name))?;
    let (url, spool) = (gateway.http.clone(), gateway.spool.clone());
    let gateway = Gateway::new(gateway)?;
    tokio::select! {
        told = gateway.authenticate() => told.with_context(|| format!("{url} gave no token"))?,
        () = stop.cancelled() => anyhow::bail!("Scan interrupted."),
    }
    let target = ScanTarget {
        root: bytes_of(&root),
        scan_id: uuid::Uuid::new_v4().to_string(),
        trigger: Trigger::Manual,
        schedule_id: None,
        force: args.force,
    };
    let printer = Arc::new(Printer::new(verbose));
    let listener: Arc<dyn Listener> = Arc::<Printer>::clone(&printer);
    let outcome = scan(&gateway, &how, &target, stop, listener).await;
    let report = &outcome.report;
    match outcome.end {
        ScanEnd::Completed => {}
        ScanEnd::Cancelled => anyhow::bail!("Scan interrupted."),
        ScanEnd::Unauthorized(why) | ScanEnd::Failed(why) => anyhow::bail!("Scan failed: {why}"),
    }
    printer.summary(report);
    if verbose > 0 {
        let last = LastLine {
            bytes: report.bytes_published,
            cache_hits: report.cache_hits,
            files: report.files,
            hashed: report.hashed,
            published: report.published,
            scan_id: &target.scan_id,
        };
        printer.say(&spaced(&serde_json::to_string(&last)?));
    }
    if report.unpublished > 0 {
        anyhow::bail!(
            "{} of {} files were not published; what could be kept is in {}, and the next scan with the same gateway sends it first",
            report.unpublished,
            report.files,
            bytes_of(&spool)
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// What was typed, links resolved, when it can be listed.
fn directory(path: &Path) -> std::io::Result<std::path::PathBuf> {
    let root = path.canonicalize()?;
    std::fs::read_dir(&root)?;
    Ok(root)
}

fn bytes_of(path: &Path) -> ByteStr {
    ByteStr::from(path.as_os_str().as_encoded_bytes())
}

/// A blank behind `:` and `,`, as Python writes it. The only text in it is an id without either.
fn spaced(json: &str) -> String {
    json.replace("\":", "\": ").replace(",\"", ", \"")
}
