//! Hosts of their own on one machine: network namespaces on a bridge, each with its own address (ip-netns(8)).
//!
//! Needs root and iproute2; [`Network::new`] fails otherwise, and the test says that it was left out.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};

/// A bridge in this namespace, and hosts behind it. All of it goes when it is dropped.
pub struct Network {
    bridge: String,
    /// `10.X.Y.`
    prefix: String,
    hosts: Vec<String>,
}

impl Network {
    /// A bridge and `hosts` namespaces with addresses.
    pub fn new(hosts: u8) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        ensure!(rustix::process::geteuid().is_root(), "network namespaces need root");
        // Processes and networks of one test run do not share a subnet.
        let number = std::process::id().wrapping_mul(31).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 50_000;
        let prefix = format!("10.{}.{}.", 20 + number / 250, number % 250);
        let mut network = Self { bridge: format!("hb{number}"), prefix, hosts: Vec::new() };
        ip(["link", "add", &network.bridge, "type", "bridge"])?;
        ip(["addr", "add", &format!("{}1/24", network.prefix), "dev", &network.bridge])?;
        ip(["link", "set", &network.bridge, "up"])?;
        for host in 0..hosts {
            let name = format!("hn{number}x{host}");
            ip(["netns", "add", &name])?;
            network.hosts.push(name.clone());
            let outer = format!("hv{number}x{host}");
            ip(["link", "add", &outer, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
            ip(["link", "set", &outer, "master", &network.bridge, "up"])?;
            ip(["-n", &name, "addr", "add", &format!("{}/24", network.address(host.into())), "dev", "eth0"])?;
            ip(["-n", &name, "link", "set", "lo", "up"])?;
            ip(["-n", &name, "link", "set", "eth0", "up"])?;
        }
        Ok(network)
    }

    /// The address of this side: where a gateway listens.
    pub fn gateway(&self) -> Ipv4Addr {
        format!("{}1", self.prefix).parse().unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// A host's address.
    pub fn address(&self, host: usize) -> Ipv4Addr {
        format!("{}{}", self.prefix, host + 2).parse().unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// A command that runs on a host.
    pub fn command(&self, host: usize, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.hosts[host]]).arg(program);
        command
    }

    /// Pulls a host's cable, or plugs it in again.
    pub fn plug(&self, host: usize, plugged: bool) -> Result<()> {
        ip(["-n", &self.hosts[host], "link", "set", "eth0", if plugged { "up" } else { "down" }])
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in &self.hosts {
            // What is gone already needs no end.
            let _ = ip(["netns", "del", host]);
        }
        let _ = ip(["link", "del", &self.bridge]);
    }
}

fn ip<const N: usize>(args: [&str; N]) -> Result<()> {
    let output =
        Command::new("ip").args(args).output().context("cannot run ip; as root on Debian: apt-get install iproute2")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {} failed: {}", args.join(" "), said.trim());
    Ok(())
}
