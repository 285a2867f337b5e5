//! `hostler drop-in snapfs-agent`: the scanner agent of a SnapFS gateway.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use hostler_model::ByteStr;
use hostler_snapfs::{AgentFlags, AgentSettings, Generation, Listener, ScanReport, run_agent};

use super::Printer;
use crate::args;
use crate::commands::serve;
use crate::invocation;

pub async fn run(args: args::SnapfsAgent, as_scanner: bool) -> Result<ExitCode> {
    let stop = serve::stop_on_signals()?;
    let verbose = args.snapfs.verbose;
    let environment = |name: &str| std::env::var_os(name);
    let mut given = AgentFlags {
        agent_id: args.agent_id,
        root: args.root,
        gateway_ws: args.gateway_ws,
        ws_path: args.ws_path,
        as_scanner,
        in_container: invocation::in_container(),
        ..AgentFlags::default()
    };
    let root = given.root(&environment)?;
    given.flags = super::flags(args.snapfs, Path::new(OsStr::from_bytes(root.as_bytes())))?;
    let settings = AgentSettings::new(&given, &environment)?;
    let protocol = match settings.generation {
        Generation::First => "snapfs-agent-scanner",
        Generation::Second => "snapfs agent",
    };
    eprintln!("Hostler {} as {protocol}: {} of {}", env!("CARGO_PKG_VERSION"), settings.agent_id, settings.socket);
    eprintln!("  Scans       {}", settings.root);
    eprintln!("  Publishes   {}", settings.gateway.http);
    serve::ready();
    let url = settings.gateway.http.clone();
    run_agent(settings, Arc::new(AgentPrinter(Printer::new(verbose))), stop)
        .await
        .with_context(|| format!("the agent cannot work with {url}"))?;
    eprintln!("Stopped.");
    Ok(ExitCode::SUCCESS)
}

/// As [`Printer`], with the summary of each scan.
struct AgentPrinter(Printer);

impl Listener for AgentPrinter {
    fn started(&self, root: &ByteStr, scan_id: &str) {
        self.0.started(root, scan_id);
    }

    fn hashed(&self, path: &ByteStr, algorithm: hostler_model::Algorithm, hash: &hostler_model::ContentHash) {
        self.0.hashed(path, algorithm, hash);
    }

    fn cache_hit(&self, path: &ByteStr, algorithm: hostler_model::Algorithm, hash: &hostler_model::ContentHash) {
        self.0.cache_hit(path, algorithm, hash);
    }

    fn problem(&self, text: &str) {
        self.0.problem(text);
    }

    fn completed(&self, root: &ByteStr, scan_id: &str, report: &ScanReport) {
        self.0.completed(root, scan_id, report);
        self.0.summary(report);
    }
}
