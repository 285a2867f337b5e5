//! Random changes of a tree, scans, kills and cuts, after which the index must be the tree.

use std::ffi::OsString;
use std::fs::{self, File, FileTimes};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::agreement::disagreements;
use crate::http::Http;
use crate::proxy::{Proxy, Weather};
use crate::{AgentProcess, Hostler, eventually, only_host};

/// What a storm did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Changes of the tree.
    pub changes: u64,
    /// Scans that were asked for.
    pub scans: u64,
    /// Of them, those that completed.
    pub completed: u64,
    /// `kill -9` of the agent.
    pub agent_kills: u64,
    /// `kill -9` of the gateway.
    pub gateway_kills: u64,
    /// Times the link was cut.
    pub cuts: u64,
    /// Comparisons of index and tree, all of which agreed.
    pub agreements: u64,
}

/// Rounds between two comparisons.
const COMPARED_EVERY: u32 = 10;
/// Files at most: what comes beyond them goes elsewhere.
const FILES: usize = 3_000;

/// Runs `rounds` of changes and mishaps in `dir`; the same `seed` makes the same changes.
///
/// # Errors
/// When index and tree do not agree after an undisturbed scan, with what differs.
pub fn storm(dir: &Path, rounds: u32, seed: u64) -> Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let tree = dir.join("tree");
    fs::create_dir(&tree)?;
    let mut random = Random(seed);
    let mut report = Report::default();
    for _ in 0..400 {
        change(&tree, &mut random, &mut report)?;
    }
    let mut parts = Parts::start(dir, &tree, &runtime)?;
    for round in 1..=rounds {
        for _ in 0..random.below(12) {
            change(&tree, &mut random, &mut report)?;
        }
        parts.round(&tree, &mut random, &mut report)?;
        if round.is_multiple_of(COMPARED_EVERY) || round == rounds {
            parts.compare(&tree, &mut report).with_context(|| format!("after round {round}, seed {seed}"))?;
        }
    }
    Ok(report)
}

/// The processes, which are killed and started again.
struct Parts {
    gateway: Option<Hostler>,
    agent: Option<AgentProcess>,
    proxy: Proxy,
    data: PathBuf,
    agent_data: PathBuf,
    listen: SocketAddr,
    http: Http,
}

impl Parts {
    fn start(dir: &Path, tree: &Path, runtime: &tokio::runtime::Runtime) -> Result<Self> {
        let (data, agent_data) = (dir.join("gateway"), dir.join("agent"));
        let gateway = Hostler::start_command(&data, ["gateway", "--listen", "127.0.0.1:0", "--insecure-http"])?;
        let listen: SocketAddr = gateway.url.trim_start_matches("http://").parse()?;
        let proxy = runtime.block_on(Proxy::start(listen))?;
        let agent = AgentProcess::join(&gateway, &format!("http://{}", proxy.address()), &agent_data, &[tree])?;
        let http = gateway.http_as("viewer");
        let parts = Self { gateway: Some(gateway), agent: Some(agent), proxy, data, agent_data, listen, http };
        parts.linked();
        Ok(parts)
    }

    fn gateway(&self) -> &Hostler {
        self.gateway.as_ref().unwrap_or_else(|| panic!("the gateway was not started again"))
    }

    fn linked(&self) {
        only_host(self.gateway(), "linked", |host| host["linked"] == true);
    }

    /// The scan when it has ended. Asked for over HTTP: names that are not UTF-8, which the command line would show too, are
    /// more than a JSON value can hold here.
    fn ended(&self, scan: &str) -> Value {
        eventually("the scan to end", || {
            let answer = self.http.get(&format!("/api/v1/scans/{scan}")).json();
            ["completed", "failed", "cancelled"].iter().any(|state| answer["state"] == *state).then_some(answer)
        })
    }

    fn kill_agent(&mut self) -> Result<()> {
        if let Some(agent) = self.agent.take() {
            crate::hostler::send_signal(agent.pid(), Signal::KILL)?;
        }
        let none: [&str; 0] = [];
        self.agent = Some(AgentProcess::start(&self.agent_data, none, [])?);
        Ok(())
    }

    fn kill_gateway(&mut self) -> Result<()> {
        if let Some(gateway) = self.gateway.take() {
            gateway.kill()?;
        }
        let listen = self.listen.to_string();
        self.gateway = Some(Hostler::start_command(&self.data, ["gateway", "--listen", &listen, "--insecure-http"])?);
        Ok(())
    }

    /// A scan, and what may happen to it.
    fn round(&mut self, tree: &Path, random: &mut Random, report: &mut Report) -> Result<()> {
        self.linked();
        let scan = self.gateway().start_scan(tree, [""; 0]);
        report.scans += 1;
        let moment = Duration::from_micros(random.below(60_000));
        match random.below(8) {
            0 => {
                std::thread::sleep(moment);
                self.kill_agent()?;
                report.agent_kills += 1;
            }
            1 => {
                std::thread::sleep(moment);
                self.kill_gateway()?;
                report.gateway_kills += 1;
            }
            2 => {
                std::thread::sleep(moment);
                self.proxy.set(Weather::Cut);
                std::thread::sleep(moment);
                self.proxy.set(Weather::Fair);
                report.cuts += 1;
            }
            3 => {
                self.proxy.set(Weather::Stalled);
                std::thread::sleep(moment);
                self.proxy.set(Weather::Fair);
            }
            4 => {
                std::thread::sleep(moment);
                // It may have ended already.
                self.gateway().run(["scans", "cancel", &scan])?;
            }
            5 => {
                for _ in 0..random.below(20) {
                    change(tree, random, report)?;
                }
            }
            _ => {}
        }
        self.linked();
        report.completed += u64::from(self.ended(&scan)["state"] == "completed");
        Ok(())
    }

    fn compare(&self, tree: &Path, report: &mut Report) -> Result<()> {
        self.linked();
        // The last round's scan may still stop on the host; nothing disturbs this one.
        let state = eventually("a scan that completes", || {
            let scan = self.gateway().start_scan(tree, [""; 0]);
            report.scans += 1;
            let ended = self.ended(&scan);
            if ended["state"] != "completed" {
                println!("{}: {}", ended["state"], ended["error"]);
                std::thread::sleep(Duration::from_millis(200));
            }
            (ended["state"] == "completed").then_some(ended)
        });
        ensure!(state["counters"]["errors"] == 0, "the scan met errors: {state}");
        report.completed += 1;
        let differ = disagreements(&self.http, tree)?;
        ensure!(differ.is_empty(), "index and tree do not agree:\n{}", differ.join("\n"));
        report.agreements += 1;
        Ok(())
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

fn name(random: &mut Random) -> OsString {
    let n = random.below(400);
    match random.below(20) {
        0 => OsString::from_vec([&b"caf\xe9-"[..], n.to_string().as_bytes()].concat()),
        1 => OsString::from(format!("line\nbreak {n}")),
        2 => OsString::from(format!("{n:->255}")),
        3 => OsString::from(format!("-rf '{n}\" $HOME")),
        _ => OsString::from(format!("n{n}")),
    }
}

/// Everything below a directory; what vanishes meanwhile is left out.
fn list(dir: &Path, dirs: &mut Vec<PathBuf>, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.symlink_metadata().is_ok_and(|m| m.is_dir()) {
            list(&path, dirs, files);
            dirs.push(path);
        } else {
            files.push(path);
        }
    }
}

/// One random change. What cannot be done to what is there is passed over.
fn change(tree: &Path, random: &mut Random, report: &mut Report) -> Result<()> {
    let (mut dirs, mut files) = (vec![tree.to_owned()], Vec::new());
    list(tree, &mut dirs, &mut files);
    let (any_dir, any_file) =
        (random.below(dirs.len() as u64) as usize, random.below(files.len().max(1) as u64) as usize);
    let dir = dirs[any_dir].clone();
    let target = dir.join(name(random));
    let file = files.get(any_file).cloned();
    let kind = if files.len() > FILES { 10 } else { random.below(18) };
    let done = match (kind, file) {
        (0..=5, _) | (_, None) => write_new(&target, random),
        (6, _) if dirs.len() < 120 => fs::create_dir(&target),
        (7 | 8, Some(file)) => append(&file, random),
        (9, Some(file)) => fs::rename(&file, &target),
        (10 | 11, Some(file)) => fs::remove_file(&file),
        (12, _) if any_dir > 0 && random.below(3) == 0 => fs::remove_dir_all(&dir),
        (12, _) if any_dir > 0 => fs::rename(&dir, tree.join(name(random))),
        (13, Some(file)) => fs::hard_link(&file, &target),
        (14, _) => std::os::unix::fs::symlink(name(random), &target),
        (15, Some(file)) => fs::set_permissions(&file, fs::Permissions::from_mode(0o600 + random.below(64) as u32)),
        (16, Some(file)) => touch(&file, random),
        (17, Some(file)) => fs::remove_file(&file).and_then(|()| fs::create_dir(&file)),
        _ => rustix::fs::mknodat(rustix::fs::CWD, &target, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .map_err(Into::into),
    };
    report.changes += u64::from(done.is_ok());
    Ok(())
}

fn is_regular(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|m| m.is_file())
}

fn write_new(path: &Path, random: &mut Random) -> std::io::Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(std::io::ErrorKind::AlreadyExists.into());
    }
    let byte = random.below(6) as u8;
    fs::write(path, vec![byte; random.below(40_000) as usize])
}

/// Longer than before: a change to content of the same size within one clock tick is not seen by design.
fn append(path: &Path, random: &mut Random) -> std::io::Result<()> {
    if !is_regular(path) {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    File::options().append(true).open(path)?.write_all(&vec![7; 1 + random.below(100) as usize])
}

fn touch(path: &Path, random: &mut Random) -> std::io::Result<()> {
    if !is_regular(path) {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    let far = Duration::from_nanos(random.below(4_000_000_000) * 1_000_000_007);
    let time = match random.below(2) {
        0 => SystemTime::UNIX_EPOCH - far / 4,
        _ => SystemTime::now() + far,
    };
    File::options().write(true).open(path)?.set_times(FileTimes::new().set_modified(time))
}
