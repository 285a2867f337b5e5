//! The real `hostler` binary: `up` on a directory and a port of its own, and client commands beside it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::http::Http;

/// How long a start or a stop may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary under test: `$HOSTLER_BIN`, else the one beside the test's own.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("HOSTLER_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).context("the test does not lie in a target directory")?;
    let path = target.join("hostler");
    anyhow::ensure!(path.exists(), "{} is missing: run `cargo build` first", path.display());
    Ok(path)
}

/// A running `hostler up`. Killed when dropped.
pub struct Hostler {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// The one-time link that was printed.
    pub sign_in: String,
    data: PathBuf,
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Output {
    /// Standard output; bytes that are not UTF-8 replaced.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// True for exit code 0.
    pub success: bool,
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
}

impl Output {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }
}

impl Hostler {
    /// Starts `up` with its data in `data`; the host grants `roots`.
    pub fn start(data: &Path, roots: &[&Path]) -> Result<Self> {
        let agent = data.join("agent");
        std::fs::create_dir_all(&agent)?;
        let list: Vec<String> = roots.iter().map(|r| format!("{:?}", r.display().to_string())).collect();
        std::fs::write(agent.join("agent.toml"), format!("[files]\nroots = [{}]\n", list.join(", ")))?;
        Self::start_as_is(data)
    }

    /// Starts `up` on a data directory as it is.
    pub fn start_as_is(data: &Path) -> Result<Self> {
        let hostler = Self::start_command(data, ["up", "--listen", "127.0.0.1:0"])?;
        hostler.wait_linked()?;
        Ok(hostler)
    }

    /// Starts `up` or `gateway` with these arguments; returns when it listens.
    pub fn start_command<I, S>(data: &Path, args: I) -> Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut child = command()?
            .args(args)
            .arg("--data")
            .arg(data)
            .env("HOSTLER_LOG", std::env::var("HOSTLER_LOG").unwrap_or_else(|_| "warn".into()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut found = (None, None);
        let mut lines = BufReader::new(stdout).lines();
        for line in lines.by_ref() {
            let line = line?;
            if let Some((_, url)) = line.split_once(" is up: ") {
                found.0 = Some(url.to_owned());
            }
            if let Some(at) = line.find("http").filter(|_| line.contains("/sign-in/")) {
                found.1 = Some(line[at..].to_owned());
            }
            if line.trim_start().starts_with("Stop") {
                break;
            }
        }
        // The pipe is read on, so that the process never waits for it.
        std::thread::spawn(move || lines.for_each(drop));
        let (Some(url), Some(sign_in)) = found else {
            let status = child.wait()?;
            bail!("Hostler did not start: {status}");
        };
        Ok(Self { child, url, sign_in, data: data.to_owned() })
    }

    fn wait_linked(&self) -> Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let hosts = self.run(["hosts", "list", "--json"])?;
            if hosts.stdout.contains("\"linked\":true") && hosts.stdout.contains("\"proved\"")
                || hosts.stdout.contains("\"not_granted\"")
            {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the agent was not linked within {PATIENCE:?}")
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Runs a client command against this gateway's local socket.
    pub fn run<I, S>(&self, args: I) -> Result<Output>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        run(command()?.args(args).env("HOSTLER_DATA", &self.data))
    }

    /// As [`Hostler::run`]; panics with the output when the command fails.
    pub fn ok<I, S>(&self, args: I) -> Output
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let output = self.run(args).unwrap_or_else(|e| panic!("the command did not run: {e}"));
        assert!(output.success, "the command failed: {output:?}");
        output
    }

    /// Makes an API key of this role.
    pub fn key(&self, role: &str) -> String {
        let name = format!("{role}-{:?}", Instant::now());
        self.ok(["api-keys", "create", &name, "--role", role, "--json"]).json()["key"]
            .as_str()
            .unwrap_or_else(|| panic!("no key"))
            .to_owned()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as Ctrl-C does and waits; fails when it does not end cleanly.
    pub fn stop(mut self) -> Result<()> {
        self.signal(Signal::INT)?;
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                anyhow::ensure!(status.success(), "`hostler up` ended with {status}");
                return Ok(());
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "`hostler up` did not stop");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it without a chance to tidy up.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Its HTTP, without credentials.
    pub fn http(&self) -> Http {
        Http::new(&self.url)
    }

    /// Its HTTP with a new API key of this role.
    pub fn http_as(&self, role: &str) -> Http {
        self.http().key(&self.key(role))
    }

    /// Starts a scan and returns its id at once.
    pub fn start_scan<I, S>(&self, root: &Path, args: I) -> String
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut all = vec![OsStr::new("scan").to_owned(), root.into(), "--detach".into()];
        all.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self.ok(all).stdout.trim().to_owned()
    }

    /// The scan as `scans show --json` has it, once it is in one of these states.
    pub fn wait_scan(&self, id: &str, states: &[&str]) -> Value {
        eventually(&format!("scan {id} to be {states:?}"), || {
            let shown = self.ok(["scans", "show", id, "--json"]).json();
            shown["scan"]["state"].as_str().is_some_and(|state| states.contains(&state)).then_some(shown)
        })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        send_signal(self.child.id(), signal)
    }

    /// Waits until the host of this name is as wanted; its row of `hosts list --json`.
    pub fn wait_host(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("host {name} to be {what}"), || {
            let hosts = self.ok(["hosts", "list", "--json"]).json();
            hosts.as_array()?.iter().find(|host| host["name"] == name && wanted(host)).cloned()
        })
    }
}

impl Drop for Hostler {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary without arguments and without the settings of whoever runs the tests.
pub fn command() -> Result<Command> {
    let mut command = Command::new(binary()?);
    for name in ["HOSTLER_DATA", "HOSTLER_URL", "HOSTLER_API_KEY", "HOSTLER_PIN", "HOSTLER_JOIN_TOKEN"] {
        command.env_remove(name);
    }
    Ok(command)
}

/// Sends a signal to a process.
pub fn send_signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")?;
    Ok(kill_process(pid, signal)?)
}

/// Tries until there is a value; panics when the patience for `what` is over.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a command to its end with no input.
pub fn run(command: &mut Command) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output()?;
    Ok(Output {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        success: output.status.success(),
        code: output.status.code(),
    })
}
