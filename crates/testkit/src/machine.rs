//! A machine of its own to join: a network namespace with its own directories for everything an installation writes.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::hostler::{Output, eventually, run, send_signal};
use crate::netns::Network;

/// Where the machine has its own directories, empty at the start.
const OWN: [&str; 6] = ["/usr/local/bin", "/etc/systemd/system", "/etc/hostler", "/var/lib", "/run", "/home"];
/// The user id of a machine's ordinary user, and its name in the environment.
const USER: u32 = 65_534;

/// A host in a [`Network`], before and after it joined.
pub struct Machine<'a> {
    network: &'a Network,
    host: usize,
    /// Process that keeps the mounts; its children see them.
    anchor: std::process::Child,
    root: bool,
    dir: PathBuf,
}

impl<'a> Machine<'a> {
    /// A machine whose commands run as root, or as an ordinary user. `dir` is for its directories.
    pub fn new(network: &'a Network, host: usize, root: bool, dir: &Path) -> Result<Self> {
        let dir = dir.join(format!("machine-{host}"));
        let mut script = String::from("set -e\nmount --make-rprivate /\n");
        for own in OWN {
            let source = dir.join(own.trim_start_matches('/').replace('/', "-"));
            std::fs::create_dir_all(&source)?;
            std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o755))?;
            script += &format!("mkdir -p {own}\nmount --bind {} {own}\n", source.display());
        }
        script += &format!("mkdir -p /home/user\nchown {USER} /home/user\necho ready\nexec sleep infinity\n");
        let mut anchor = network
            .command(host, "unshare")
            .args(["--mount", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run ip and unshare")?;
        let mut word = [0; 6];
        let out = anchor.stdout.as_mut().context("no standard output")?;
        out.read_exact(&mut word).context("the machine's directories could not be mounted")?;
        Ok(Self { network, host, anchor, root, dir })
    }

    /// A command on this machine.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--net", "--target", &self.anchor.id().to_string()]);
        if !self.root {
            let id = USER.to_string();
            command.args(["--", "setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "--no-new-privs"]);
        } else {
            command.arg("--");
        }
        let home = if self.root { "/root" } else { "/home/user" };
        // The directory the tests run in need not be readable for the machine's user.
        command.arg(program).env_clear().current_dir("/").env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        command.env("HOME", home).env("USER", if self.root { "root" } else { "user" }).env("HOSTLER_LOG", "info");
        command
    }

    /// Runs a line as somebody would paste it.
    pub fn paste(&self, line: &str) -> Result<Output> {
        run(self.command("sh").args(["-c", line]))
    }

    /// The address of this machine.
    pub fn address(&self) -> std::net::Ipv4Addr {
        self.network.address(self.host)
    }

    /// Pulls its cable, or plugs it in again.
    pub fn plug(&self, plugged: bool) -> Result<()> {
        self.network.plug(self.host, plugged)
    }

    /// Where a directory of this machine lies outside it.
    pub fn outside(&self, own: &str) -> PathBuf {
        self.dir.join(own.trim_start_matches('/').replace('/', "-"))
    }

    /// Where the agent's data lies, seen from outside.
    pub fn data(&self) -> PathBuf {
        match self.root {
            true => self.outside("/var/lib").join("hostler"),
            false => self.outside("/home").join("user/.local/share/hostler"),
        }
    }

    /// The process that runs the agent here.
    pub fn agent(&self) -> Result<u32> {
        let stream = std::os::unix::net::UnixStream::connect(self.data().join("agent/agent.sock"))?;
        let peer = rustix::net::sockopt::socket_peercred(&stream)?;
        Ok(u32::try_from(peer.pid.as_raw_nonzero().get())?)
    }

    /// Sends a signal to the agent. One that ends it has ended it on return: a successor needs its journal.
    pub fn signal_agent(&self, signal: Signal) -> Result<()> {
        let pid = self.agent()?;
        send_signal(pid, signal)?;
        if [Signal::TERM, Signal::KILL].contains(&signal) {
            eventually("the agent to end", || ended(pid).then_some(()));
        }
        Ok(())
    }

    /// Starts the agent again, as its service manager would.
    pub fn start_agent(&self) -> Result<()> {
        let binary = if self.root { "/usr/local/bin/hostler" } else { "/home/user/.local/bin/hostler" };
        let started = self.paste(&format!("setsid {binary} agent >/dev/null 2>&1 &"))?;
        ensure!(started.success, "the agent was not started: {started:?}");
        Ok(())
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        if let Ok(agent) = self.agent() {
            let _ = send_signal(agent, Signal::KILL);
        }
        // Both fail when it has ended already.
        let _ = self.anchor.kill();
        let _ = self.anchor.wait();
    }
}

/// True also for a process that nobody has asked about yet.
fn ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // proc_pid_stat(5): the state follows the name, which is in parentheses and may hold any character.
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}
