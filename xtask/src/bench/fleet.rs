//! A gateway under many simulated agents: how fast they link, what they cost, and how they come back.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Binaries;
use super::gateway::{Gateway, field};
use super::table::{Table, mib};
use crate::process;

/// First probes and the store's writes of them are over after this.
const SETTLE: Duration = Duration::from_secs(30);
/// Idle processor time is taken over this.
const IDLE: Duration = Duration::from_secs(60);

/// Measures one fleet.
pub fn measure(built: &Binaries, work: &Path, agents: usize, table: &mut Table) -> Result<()> {
    let data = work.join("fleet");
    super::trees::remove(&data)?;
    let gateway = Gateway::start(&built.hostler, &data, &["gateway", "--listen", "127.0.0.1:0"])?;
    let key = gateway.client(&["api-keys", "create", "fleet", "--role", "admin", "--json"])?;
    let key = field(&key, "key").context("no key was printed")?;
    let address = gateway.address.clone();
    eprintln!("fleet: joining {agents} agents");
    let mut fleet = Fleet::start(&built.fleet, &format!("http://{address}"), &key, agents)?;
    let joined: f64 = fleet.wait("joined")?.parse().context("no time")?;
    table.add("all agents joined, each with a token of its own", joined, "s");
    let linked: f64 = fleet.wait("linked")?.parse().context("no time")?;
    table.add("all agents linked", linked, "s");

    std::thread::sleep(SETTLE);
    table.add("gateway's resident memory with all linked", mib(process::resident_bytes(gateway.pid())?), "MiB");
    let before = process::run_seconds(gateway.pid())?;
    let clock = Instant::now();
    std::thread::sleep(IDLE);
    let used = process::run_seconds(gateway.pid())? - before;
    table.add(
        "gateway's idle processor time with all linked",
        used / clock.elapsed().as_secs_f64() * 100.0,
        "% of a core",
    );

    let clock = Instant::now();
    gateway.client(&["hosts", "probe", "--json"])?;
    table.add("one call to each agent and its answer kept", clock.elapsed().as_secs_f64(), "s");

    eprintln!("fleet: restarting the gateway");
    gateway.stop()?;
    fleet.wait("lost")?;
    let clock = Instant::now();
    let gateway = Gateway::start(&built.hostler, &data, &["gateway", "--listen", &address])?;
    fleet.wait("linked")?;
    table.add("all agents linked again after a restart of the gateway", clock.elapsed().as_secs_f64(), "s");
    let listed = gateway.client(&["hosts", "list", "--json"])?.matches("\"generation\":").count();
    ensure!(listed == agents, "{listed} of {agents} hosts are known after the restart");
    drop(fleet);
    gateway.stop()?;
    super::trees::remove(&data)
}

/// The simulated agents as a process; killed when dropped.
struct Fleet {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Fleet {
    fn start(binary: &Path, url: &str, key: &str, agents: usize) -> Result<Self> {
        let mut child = Command::new(binary)
            .args([url, key, &agents.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        Ok(Self { child, lines: BufReader::new(stdout).lines() })
    }

    /// The last word of the next line, which must be about `what`.
    fn wait(&mut self, what: &str) -> Result<String> {
        let line = self.lines.next().context("the agents' process ended")??;
        eprintln!("fleet: {line}");
        let mut words = line.split(' ');
        ensure!(words.next() == Some(what), "expected {what}, the agents say: {line}");
        words.next_back().map(str::to_owned).context("a line with one word")
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
