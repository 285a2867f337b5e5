//! The real `hostler agent` as a process on a data directory of its own, beside a gateway on the same machine.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result};
use rustix::process::Signal;
use serde_json::Value;

use crate::hostler::{Hostler, command, send_signal};

/// A running agent. Killed when dropped.
pub struct AgentProcess {
    child: Child,
    data: PathBuf,
}

impl AgentProcess {
    /// Starts an agent that joins `gateway` by dialling `url`, which may lead there through a proxy, and grants `roots`.
    pub fn join(gateway: &Hostler, url: &str, data: &Path, roots: &[&Path]) -> Result<Self> {
        let made = gateway.ok(["hosts", "token", "--json"]).json();
        let token = made["token"].as_str().context("no token")?.to_owned();
        let agent = data.join("agent");
        std::fs::create_dir_all(&agent)?;
        let list: Vec<String> = roots.iter().map(|r| format!("{:?}", r.display().to_string())).collect();
        std::fs::write(agent.join("agent.toml"), format!("[files]\nroots = [{}]\n", list.join(", ")))?;
        Self::start(data, ["--gateway", url, "--token", &token], [])
    }

    /// Starts an agent with these arguments and variables.
    pub fn start<I, S, const N: usize>(data: &Path, args: I, variables: [(&str, &OsStr); N]) -> Result<Self>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = command()?;
        command.arg("agent").args(args).arg("--data").arg(data).envs(variables);
        command.env("HOSTLER_LOG", std::env::var("HOSTLER_LOG").unwrap_or_else(|_| "error".into()));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        Ok(Self { child, data: data.to_owned() })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// True while it runs.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Ends it as its service manager would, and waits.
    pub fn stop(mut self) -> Result<()> {
        send_signal(self.child.id(), Signal::TERM)?;
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "`hostler agent` ended with {status}");
        Ok(())
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The row of a gateway's only host, once it is as wanted.
pub fn only_host(gateway: &Hostler, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    crate::eventually(&format!("the host to be {what}"), || {
        let hosts = gateway.ok(["hosts", "list", "--json"]).json();
        hosts.as_array()?.iter().find(|host| wanted(host)).cloned()
    })
}
