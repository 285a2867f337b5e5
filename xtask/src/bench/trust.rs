//! What an idle agent costs, what a call over the link takes, and how fast the journal is.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Binaries;
use super::agent::{Agent, join};
use super::gateway::Gateway;
use super::table::{Table, mib};
use crate::process;

/// Idle processor time is taken over this.
const IDLE: Duration = Duration::from_secs(300);
/// Calls whose time is taken.
const CALLS: &str = "20000";
/// Events in the journal: they fit into the agent's bound of 64 MiB.
const EVENTS: u64 = 250_000;
/// Bytes of one event, encoded.
const EVENT_BYTES: &str = "200";

/// Measures; the idle agent once, the rest `runs` times.
pub fn measure(built: &Binaries, work: &Path, runs: usize, table: &mut Table) -> Result<()> {
    for run in 0..runs {
        eprintln!("trust: run {} of {runs}", run + 1);
        let said = process::read(Command::new(&built.measure).args(["calls", CALLS]))?;
        table.add("a call over the link on loopback, median", number(&said, "p50")?, "ms");
        table.add("a call over the link on loopback, 99th percentile", number(&said, "p99")?, "ms");
        journal(built, work, table)?;
    }
    idle(built, work, table)
}

/// Fills an agent's journal while no gateway is there, then links it and waits until all of it was kept.
fn journal(built: &Binaries, work: &Path, table: &mut Table) -> Result<()> {
    let (data, agent) = (work.join("journal-gateway"), work.join("journal-agent"));
    super::trees::remove(&data)?;
    super::trees::remove(&agent)?;
    let gateway = Gateway::start(&built.hostler, &data, &["gateway", "--listen", "127.0.0.1:0"])?;
    join(built, &gateway, &agent)?;
    let directory = agent.join("agent/journal");
    let said = process::read(
        Command::new(&built.measure).arg("append").arg(&directory).args([&EVENTS.to_string(), EVENT_BYTES]),
    )?;
    let seconds = number(&said, "cpu_seconds")?;
    table.add(
        "journal, events of 200 bytes appended per second of processor time",
        EVENTS as f64 / seconds,
        "events/s",
    );
    let before = process::cpu_seconds(gateway.pid())?;
    let running = Agent::start(built, &agent)?;
    let begun = Instant::now();
    let last = format!("\"subject\":\"event {EVENTS}\"");
    while !gateway.client(&["events", "--kind", "bench", "--limit", "1", "--json"])?.contains(&last) {
        ensure!(begun.elapsed() < Duration::from_secs(120), "the journal was not followed to its end");
        std::thread::sleep(Duration::from_millis(100));
    }
    let seconds = process::cpu_seconds(gateway.pid())? - before + process::cpu_seconds(running.pid())?;
    let name = "journal, events followed and committed per second of processor time, agent and gateway";
    table.add(name, EVENTS as f64 / seconds, "events/s");
    drop(running);
    gateway.stop()?;
    super::trees::remove(&data)?;
    super::trees::remove(&agent)
}

fn idle(built: &Binaries, work: &Path, table: &mut Table) -> Result<()> {
    let (data, agent) = (work.join("idle-gateway"), work.join("idle-agent"));
    super::trees::remove(&data)?;
    super::trees::remove(&agent)?;
    let gateway = Gateway::start(&built.hostler, &data, &["gateway", "--listen", "127.0.0.1:0"])?;
    join(built, &gateway, &agent)?;
    let policy = format!("[files]\nroots = [{:?}]\n", agent.display().to_string());
    fs::write(agent.join("agent/agent.toml"), policy)?;
    let running = Agent::start(built, &agent)?;
    gateway.wait_linked()?;
    std::thread::sleep(Duration::from_secs(10));
    eprintln!("trust: an idle agent for {} s", IDLE.as_secs());
    let before = process::run_seconds(running.pid())?;
    let clock = Instant::now();
    std::thread::sleep(IDLE);
    let used = process::run_seconds(running.pid())? - before;
    table.add(
        "agent's processor time, idle for 5 minutes",
        used / clock.elapsed().as_secs_f64() * 100.0,
        "% of a core",
    );
    table.add("agent's resident memory, idle", mib(process::resident_bytes(running.pid())?), "MiB");
    drop(running);
    gateway.stop()?;
    super::trees::remove(&data)?;
    super::trees::remove(&agent)
}

/// A number that `hostler-measure` printed as `name value`.
fn number(said: &str, name: &str) -> Result<f64> {
    let line = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.with_context(|| format!("no {name} in {said:?}"))?.parse().context("not a number")
}
