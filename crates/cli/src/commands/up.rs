//! `hostler up`: the gateway and this host's agent in one process, speaking through the real link.

use std::path::Path;

use anyhow::{Context, Result};
use hostler_agent::{Agent, AgentSettings, FilesPolicy, GatewayLink, Policy};
use hostler_gateway::{Gateway, GatewaySettings};
use hostler_link::Token;
use hostler_model::ByteStr;
use tokio_util::sync::CancellationToken;

use crate::args::Up;
use crate::dirs;

pub async fn run(args: Up) -> Result<()> {
    let stop = stop_on_signals()?;
    let data = dirs::data(args.data)?;
    let gateway =
        Gateway::open(GatewaySettings { data: data.clone(), listen: args.listen, insecure_http: args.insecure_http })
            .await?;
    let agent_data = data.join("agent");
    let (policy, policy_source) = policy(&agent_data)?;
    let agent = Agent::open(AgentSettings { data: agent_data, policy: policy.clone() })?;

    // Made anew at each start and kept nowhere: only this process needs it.
    let token = hostler_gateway::secret::random_hex(32)?;
    gateway.register_host(agent.id(), &host_name(), &token).await?;
    let link = gateway.sign_in_link().await?;
    let url = loopback_url(gateway.address());
    announce(&gateway, &link, &policy, &policy_source, &data);

    let socket = agent.serve_socket(stop.clone()).await?;
    let agent_stop = CancellationToken::new();
    let following =
        tokio::spawn(agent.follow_gateway(GatewayLink { url, token: Token::new(token)? }, agent_stop.clone()));
    gateway.run(stop).await;
    // After the gateway: its scans end over the link.
    agent_stop.cancel();
    following.await.context("the agent ended badly")?;
    socket.await.context("the agent's socket ended badly")?;
    eprintln!("Stopped.");
    Ok(())
}

/// Cancelled by Ctrl-C or SIGTERM; a second one ends the process at once.
pub fn stop_on_signals() -> Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        for code in [None, Some(130)] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            match code {
                None => told.cancel(),
                Some(code) => std::process::exit(code),
            }
        }
    });
    Ok(stop)
}

/// The owner's `agent.toml` and where it is; without one, the home and the current directory are granted.
pub fn policy(agent_data: &Path) -> Result<(Policy, String)> {
    for file in dirs::policy_files(agent_data)? {
        if let Some(policy) = Policy::read(&file)? {
            return Ok((policy, ByteStr::from(file.as_os_str().as_encoded_bytes()).to_string()));
        }
    }
    // A service is started in `/`: that is nobody's choice of what to grant.
    let current = std::env::current_dir().ok().filter(|dir| dir.parent().is_some());
    let mut roots: Vec<_> = dirs::home().into_iter().chain(current).collect();
    roots.dedup();
    let file = ByteStr::from(agent_data.join("agent.toml").as_os_str().as_encoded_bytes());
    Ok((Policy { files: FilesPolicy { roots } }, format!("no agent.toml; {file} would change this")))
}

/// The agent runs beside the gateway, so it dials loopback whatever the gateway listens on.
fn loopback_url(mut address: std::net::SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}")
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".into() } else { name }
}

fn announce(gateway: &Gateway, link: &str, policy: &Policy, source: &str, data: &Path) {
    let roots: Vec<String> =
        policy.files.roots.iter().map(|root| ByteStr::from(root.as_os_str().as_encoded_bytes()).to_string()).collect();
    let granted = if roots.is_empty() { "nothing".into() } else { roots.join(", ") };
    println!("Hostler {} is up: {}", env!("CARGO_PKG_VERSION"), gateway.url());
    println!("  Sign in   {link}");
    println!("            works once, within 15 minutes; `hostler sign-in` prints another");
    println!("  May scan  {granted} ({source})");
    println!("  Data      {}", ByteStr::from(data.as_os_str().as_encoded_bytes()));
    println!("  Stop      Ctrl-C");
}
