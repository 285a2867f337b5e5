//! `cargo xtask soak`: a gateway and agents are killed at random moments, also in the middle of joins and of handing over
//! their journals. Afterwards every event must be at the gateway exactly once, and every host that joined must be known.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::bench::gateway::{Gateway, field};
use crate::bench::{Binaries, remove, work_directory};
use crate::process;

const AGENTS: usize = 3;
/// Events added to a journal while its agent is down.
const EVENTS: u64 = 2_000;
/// How long all may take to be whole again after the last kill.
const RECOVERY: Duration = Duration::from_secs(180);

/// Storms for this long. True when nothing was lost.
pub fn soak(root: &Path, minutes: usize) -> Result<bool> {
    let built = Binaries::build(root)?;
    let work = work_directory(root)?.join("soak");
    remove(&work)?;
    let mut storm = Storm::start(&built, &work)?;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60 * minutes as u64) {
        storm.round()?;
    }
    storm.settle()
}

struct Storm<'a> {
    built: &'a Binaries,
    work: PathBuf,
    gateway: Gateway,
    agents: Vec<Agent>,
    random: u64,
    rounds: u64,
    joins: u64,
}

struct Agent {
    name: String,
    data: PathBuf,
    process: Option<Child>,
    /// Events 1 to this are in its journal.
    events: u64,
}

impl<'a> Storm<'a> {
    fn start(built: &'a Binaries, work: &Path) -> Result<Self> {
        let gateway = Gateway::start(&built.hostler, &work.join("gateway"), &["gateway", "--listen", "127.0.0.1:0"])?;
        let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos() as u64;
        eprintln!("soak: seed {seed}");
        let (work, agents) = (work.to_owned(), Vec::new());
        let mut storm = Self { built, work, gateway, agents, random: seed | 1, rounds: 0, joins: 0 };
        for _ in 0..AGENTS {
            storm.join_anew()?;
        }
        Ok(storm)
    }

    /// Xorshift (Marsaglia, 2003): any sequence will do, and the seed is printed.
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn round(&mut self) -> Result<()> {
        self.rounds += 1;
        let pause = self.random(1500);
        std::thread::sleep(Duration::from_millis(pause));
        match self.random(10) {
            0..4 => self.kill_gateway()?,
            4..9 => {
                let agent = self.random(self.agents.len() as u64) as usize;
                self.kill_agent(agent)?;
            }
            _ => self.join_anew()?,
        }
        if self.rounds.is_multiple_of(20) {
            eprintln!("soak: {} rounds, {} hosts, {} joins broken off", self.rounds, self.agents.len(), self.joins);
        }
        Ok(())
    }

    fn kill_gateway(&mut self) -> Result<()> {
        let address = self.gateway.address.clone();
        self.gateway.kill()?;
        self.gateway =
            Gateway::start(&self.built.hostler, &self.work.join("gateway"), &["gateway", "--listen", &address])?;
        Ok(())
    }

    /// Kills an agent, adds events to its journal, and starts it again.
    fn kill_agent(&mut self, number: usize) -> Result<()> {
        let agent = &mut self.agents[number];
        agent.kill()?;
        let directory = agent.data.join("agent/journal");
        let (first, count) = ((agent.events + 1).to_string(), EVENTS.to_string());
        process::read(Command::new(&self.built.measure).arg("number").arg(directory).args([first, count]))?;
        agent.events += EVENTS;
        agent.start(&self.built.hostler)
    }

    /// Joins a host; the command is killed in the middle until it comes through.
    fn join_anew(&mut self) -> Result<()> {
        let name = format!("host{}", self.agents.len());
        let data = self.work.join(&name);
        let token =
            field(&self.gateway.client(&["hosts", "token", "--json"])?, "token").context("no token was printed")?;
        let url = format!("http://{}", self.gateway.address);
        let arguments = ["join", &url, &token, "--service", "none", "--name", &name];
        for attempt in 0_u64.. {
            let mut command = Command::new(&self.built.hostler);
            command.args(arguments).arg("--data").arg(&data).stdin(Stdio::null()).stderr(Stdio::piped());
            let mut child = command.spawn()?;
            if attempt < 5 {
                let patience = self.random(60);
                std::thread::sleep(Duration::from_millis(patience));
                child.kill()?;
                child.wait()?;
                self.joins += 1;
            } else {
                let output = child.wait_with_output()?;
                let said = String::from_utf8_lossy(&output.stderr);
                ensure!(output.status.success(), "a join that was broken off cannot be repeated: {said}");
                break;
            }
        }
        let mut agent = Agent { name, data, process: None, events: 0 };
        agent.start(&self.built.hostler)?;
        self.agents.push(agent);
        Ok(())
    }

    /// Waits until all is whole, and compares.
    fn settle(&mut self) -> Result<bool> {
        let begun = Instant::now();
        let missing = loop {
            let missing = self.missing()?;
            if missing.is_empty() || begun.elapsed() > RECOVERY {
                break missing;
            }
            std::thread::sleep(Duration::from_secs(1));
        };
        let events: u64 = self.agents.iter().map(|agent| agent.events).sum();
        let (rounds, hosts, joins) = (self.rounds, self.agents.len(), self.joins);
        println!("{rounds} rounds, {hosts} hosts, {joins} joins broken off, {events} events");
        for line in &missing {
            println!("lost: {line}");
        }
        println!("{}", if missing.is_empty() { "nothing was lost" } else { "FAILED" });
        Ok(missing.is_empty())
    }

    fn missing(&self) -> Result<Vec<String>> {
        let mut missing = Vec::new();
        let hosts = self.gateway.client(&["hosts", "list", "--json"])?;
        for agent in &self.agents {
            if !hosts.contains(&format!("\"name\":\"{}\"", agent.name)) {
                missing.push(format!("{} is not known", agent.name));
                continue;
            }
            let listed = ["events", "--host", &agent.name, "--kind", "soak", "--limit", "10000000", "--json"];
            let text = self.gateway.client(&listed)?;
            let found: Vec<u64> = text.lines().filter_map(|line| field(line, "subject")?.parse().ok()).collect();
            let distinct: BTreeSet<u64> = found.iter().copied().collect();
            if found.len() != distinct.len() {
                missing.push(format!("{}: {} events came twice", agent.name, found.len() - distinct.len()));
            }
            let absent: Vec<u64> = (1..=agent.events).filter(|number| !distinct.contains(number)).take(5).collect();
            if !absent.is_empty() {
                missing.push(format!("{}: of {} events are missing {absent:?} ...", agent.name, agent.events));
            }
        }
        if hosts.matches("\"linked\":true").count() < self.agents.len() {
            missing.push("not all hosts are linked".into());
        }
        Ok(missing)
    }
}

impl Agent {
    fn start(&mut self, binary: &Path) -> Result<()> {
        let mut command = Command::new(binary);
        command.args(["agent", "--data"]).arg(&self.data).env("HOSTLER_LOG", "error");
        self.process = Some(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?);
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // What has ended already needs no end.
        let _ = self.kill();
    }
}
