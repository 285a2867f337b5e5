//! What every agent answers: what this host is, and what it can do now.

#![allow(refining_impl_trait, reason = "connectrpc's traits are implemented with concrete types")]

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use connectrpc::{RequestContext, Response, ServiceRequest, ServiceResult};
use hostler_api::v1;
use hostler_link::Peer;
use tokio::sync::watch;

use crate::capability::Capability;
use crate::gateway_link::LinkState;
use crate::policy::Policy;

/// How long one capability may take to prove itself.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Implements `hostler.v1.HostService`.
pub struct HostServer {
    capabilities: Vec<Arc<dyn Capability>>,
    grants: Vec<v1::GrantInfo>,
    started: i64,
    link: watch::Receiver<LinkState>,
}

impl HostServer {
    /// `started` is in microseconds since the epoch.
    pub fn new(
        capabilities: Vec<Arc<dyn Capability>>,
        policy: &Policy,
        started: i64,
        link: watch::Receiver<LinkState>,
    ) -> Self {
        let grants = policy.grants().into_iter().map(|g| v1::GrantInfo {
            capability: g.capability.into(),
            level: g.level.into(),
            roots: g.roots.iter().map(|root| root.as_os_str().as_bytes().to_vec()).collect(),
            ..Default::default()
        });
        Self { capabilities, grants: grants.collect(), started, link }
    }
}

impl v1::HostService for HostServer {
    async fn describe(
        &self,
        ctx: RequestContext,
        _: ServiceRequest<'_, v1::DescribeRequest>,
    ) -> ServiceResult<v1::DescribeResponse> {
        let peer = ctx.extensions().get::<Peer>();
        let uname = rustix::system::uname();
        let text = |c: &std::ffi::CStr| c.to_string_lossy().into_owned();
        let (memory_bytes, boot_time) = memory_and_boot_time();
        let link = self.link.borrow().clone();
        Response::ok(v1::DescribeResponse {
            hostname: text(uname.nodename()),
            os: os_name(),
            kernel: text(uname.release()),
            arch: text(uname.machine()),
            boot_time,
            cpus: std::thread::available_parallelism().map_or(0, |n| n.get() as u32),
            memory_bytes,
            agent_version: env!("CARGO_PKG_VERSION").into(),
            agent_started: self.started,
            generation: match peer {
                Some(Peer::Gateway { generation, .. }) => *generation,
                _ => 0,
            },
            peer: peer.map(ToString::to_string).unwrap_or_default(),
            linked: link.linked,
            link_error: link.last_error.unwrap_or_default(),
            ..Default::default()
        })
    }

    async fn probe(
        &self,
        _: RequestContext,
        _: ServiceRequest<'_, v1::ProbeRequest>,
    ) -> ServiceResult<v1::ProbeResponse> {
        let mut capabilities = Vec::new();
        for capability in &self.capabilities {
            let proof = tokio::time::timeout(PROBE_TIMEOUT, capability.probe()).await;
            capabilities.push(proof.unwrap_or_else(|_| v1::Capability {
                state: v1::CapabilityState::CAPABILITY_STATE_FAILED.into(),
                detail: format!("no answer within {} s; a filesystem may hang", PROBE_TIMEOUT.as_secs()),
                ..Default::default()
            }));
        }
        Response::ok(v1::ProbeResponse { capabilities, grants: self.grants.clone(), ..Default::default() })
    }
}

/// `PRETTY_NAME` of os-release(5).
fn os_name() -> String {
    let text = std::fs::read_to_string("/etc/os-release")
        .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
        .unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map(|n| n.trim_matches(['"', '\'']).to_owned()).unwrap_or_else(|| "Linux".into())
}

/// Bytes of physical memory, and seconds since the epoch at the last boot; 0 for what /proc does not tell.
fn memory_and_boot_time() -> (u64, u64) {
    let number = |file: &str, key: &str| -> Option<u64> {
        let text = std::fs::read_to_string(file).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let kib = number("/proc/meminfo", "MemTotal:").unwrap_or(0);
    (kib * 1024, number("/proc/stat", "btime ").unwrap_or(0))
}
