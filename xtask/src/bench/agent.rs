//! An agent as a process of its own.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use super::Binaries;
use super::gateway::{Gateway, field};
use crate::process;

/// Lets an agent join a gateway that speaks plain HTTP on loopback.
pub fn join(built: &Binaries, gateway: &Gateway, agent: &Path) -> Result<()> {
    let token = field(&gateway.client(&["hosts", "token", "--json"])?, "token").context("no token was printed")?;
    let url = format!("http://{}", gateway.address);
    let arguments = ["join", &url, &token, "--service", "none", "--name", "bench"];
    process::read(Command::new(&built.hostler).args(arguments).arg("--data").arg(agent)).map(drop)
}

/// A running `hostler agent`; killed when dropped.
pub struct Agent(Child);

impl Agent {
    /// Starts it; it dials the gateway that it has joined.
    pub fn start(built: &Binaries, data: &Path) -> Result<Self> {
        let mut command = Command::new(&built.hostler);
        command.args(["agent", "--data"]).arg(data).env("HOSTLER_LOG", "error");
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?))
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
