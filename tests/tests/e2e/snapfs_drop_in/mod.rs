//! `hostler drop-in snapfs-agent` and `snapfs-scan`, the real binary, against a SnapFS gateway that keeps what it is told.

mod agent;
mod invocation;
mod reconnect;
mod scan;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hostler_testkit::hostler::{binary, send_signal};
use hostler_testkit::{SnapfsGateway, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::write;

/// A tree to scan, a gateway, and a place for spools.
struct Scene {
    gateway: SnapfsGateway,
    /// Links resolved.
    tree: PathBuf,
    dir: TempDir,
}

/// Both protocols that an agent speaks.
const GENERATIONS: [Generation; 2] = [Generation::First, Generation::Second];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Generation {
    First,
    Second,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().canonicalize().unwrap().join("tree");
        for i in 0..5 {
            write(tree.join(format!("sub/file-{i}")), format!("content {i}"));
        }
        Self { gateway: SnapfsGateway::start().unwrap(), tree, dir }
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.dir.path().canonicalize().unwrap().join(name)
    }

    /// `binary` with these arguments, none of the settings of whoever runs the tests, and data of its own.
    fn program(&self, binary: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(binary);
        command.args(args).env_clear().env("HOSTLER_DATA", self.beside("data")).env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::null());
        command
    }

    fn hostler(&self, args: &[&str]) -> Command {
        self.program(&binary().unwrap(), args)
    }

    /// The agent on the tree, in the place of either program.
    fn agent(&self, generation: Generation) -> Agent {
        let mut command = self.hostler(&["drop-in", "snapfs-agent"]);
        command.env("SNAPFS_SCAN_ROOT", &self.tree);
        match generation {
            Generation::First => command.env("GATEWAY_WS", self.gateway.ws()),
            Generation::Second => command.env("SNAPFS_GATEWAY", self.gateway.http()),
        };
        Agent::start(self, command)
    }

    /// Tells the agent to scan its own root.
    fn target(&self, command_id: &str) {
        self.gateway.say(&json!({"type": "SCAN_TARGET", "command_id": command_id, "target": {"root": null}}));
    }

    fn root(&self) -> Value {
        json!(self.tree)
    }
}

/// A running agent; killed when dropped.
struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    fn start(scene: &Scene, mut command: Command) -> Self {
        let log = scene.beside("agent.log");
        let file = std::fs::File::options().create(true).append(true).open(&log).unwrap();
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Self { child, log }
    }

    /// All it printed.
    fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn wait_printed(&self, text: &str) {
        eventually(&format!("the agent to print {text:?}"), || self.printed().contains(text).then_some(()));
    }

    /// The exit code once it has ended by itself.
    fn wait(&mut self) -> Option<i32> {
        let status = eventually("the agent to end", || self.child.try_wait().unwrap());
        status.code()
    }

    /// Ends it with this signal; its exit code.
    fn end(mut self, signal: Signal) -> Option<i32> {
        send_signal(self.child.id(), signal).unwrap();
        self.wait()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
