//! `hostler up`: a gateway and this host's agent in one process, speaking through the real link.

use std::path::Path;

use anyhow::{Context, Result};
use hostler_agent::{Agent, AgentSettings, GatewayLink, Policy};
use hostler_gateway::Gateway;
use hostler_link::Trust;
use hostler_model::ByteStr;
use tokio_util::sync::CancellationToken;

use super::{agent, join, serve};
use crate::args::Up;
use crate::dirs;

pub async fn run(args: Up) -> Result<()> {
    let stop = serve::stop_on_signals()?;
    let data = dirs::data(args.serve.data.clone())?;
    let gateway = Gateway::open(serve::settings(&args.serve, data.clone())).await?;
    let agent_data = data.join("agent");
    let (policy, policy_source) = policy(&agent_data)?;
    let agent = Agent::open(AgentSettings { data: agent_data, policy: policy.clone() })?;
    gateway.register_host(agent.id(), &join::host_name(), agent.public_key()).await?;
    let link = gateway.sign_in_link().await?;
    let (url, gateway_id, pin) = (gateway.local_url(), gateway.id().to_owned(), gateway.present_pin());
    let to_gateway = move || GatewayLink {
        url: url.clone(),
        gateway_id: gateway_id.clone(),
        trust: pin().map_or(Trust::System, Trust::Pinned),
    };
    serve::announce(&gateway, &link);
    tell_grants(&policy, &policy_source, &data);

    let socket = agent.serve_socket(stop.clone()).await?;
    let agent_stop = CancellationToken::new();
    let following = tokio::spawn(agent.follow_gateway(to_gateway, agent_stop.clone()));
    serve::ready();
    gateway.run(stop).await;
    // After the gateway: its scans end over the link.
    agent_stop.cancel();
    following.await.context("the agent ended badly")?;
    socket.await.context("the agent's socket ended badly")?;
    eprintln!("Stopped.");
    Ok(())
}

/// The owner's `agent.toml` and where it is; without one, the home and the current directory are granted.
fn policy(agent_data: &Path) -> Result<(Policy, String)> {
    if let Some(found) = agent::owners_policy(agent_data)? {
        return Ok(found);
    }
    // A service is started in `/`: that is nobody's choice of what to grant.
    let current = std::env::current_dir().ok().filter(|dir| dir.parent().is_some());
    let mut roots: Vec<_> = dirs::home().into_iter().chain(current).collect();
    roots.dedup();
    let file = ByteStr::from(agent_data.join("agent.toml").as_os_str().as_encoded_bytes());
    let policy = Policy::of_up(roots);
    Ok((policy, format!("no agent.toml; {file} would change this")))
}

fn tell_grants(policy: &Policy, source: &str, data: &Path) {
    let roots: Vec<String> =
        policy.files.roots.iter().map(|root| ByteStr::from(root.as_os_str().as_encoded_bytes()).to_string()).collect();
    let granted = if roots.is_empty() { "nothing".into() } else { roots.join(", ") };
    println!("  May scan    {granted} ({source})");
    println!("  Add a host  hostler hosts token");
    println!("  Data        {}", ByteStr::from(data.as_os_str().as_encoded_bytes()));
    println!("  Stop        Ctrl-C");
}
