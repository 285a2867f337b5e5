//! `hostler agent`: this host's agent, linked to the gateway it joined or on standard input and output.

use std::path::Path;

use anyhow::{Context, Result, bail};
use hostler_agent::{Agent, AgentSettings, JoinRequest, Policy};
use hostler_identity::JoinToken;
use hostler_model::ByteStr;

use super::{join, serve};
use crate::args;
use crate::dirs;

pub async fn run(args: args::Agent) -> Result<()> {
    let stop = serve::stop_on_signals()?;
    let data = dirs::data(args.data)?.join("agent");
    if let (Some(url), Some(token)) = (&args.gateway, &args.token) {
        let token: JoinToken =
            token.parse().context("--token is no join token; make one with `hostler hosts token`")?;
        join_once(&data, url, &token).await?;
    }
    let (policy, source) = policy(&data)?;
    let agent = Agent::open(AgentSettings { data: data.clone(), policy })?;
    if args.stdio {
        return Ok(agent.serve_stdio(stop).await?);
    }
    let Some(link) = hostler_agent::gateway_of(&data)? else {
        bail!(
            "this host has joined no gateway; paste the line of `hostler hosts token` here, or use --gateway and --token"
        );
    };
    println!("Hostler agent {} of {}", env!("CARGO_PKG_VERSION"), link.url);
    println!("  Policy  {source}");
    let socket = agent.serve_socket(stop.clone()).await?;
    serve::ready();
    agent.follow_gateway(move || link.clone(), stop).await;
    socket.await.context("the agent's socket ended badly")?;
    eprintln!("Stopped.");
    Ok(())
}

/// Joins at the first start; a container that is made anew starts with the same arguments and its old data.
async fn join_once(data: &Path, url: &str, token: &JoinToken) -> Result<()> {
    if hostler_agent::gateway_of(data)?.is_some() {
        return Ok(());
    }
    let name = join::host_name();
    let joined = hostler_agent::join(data, JoinRequest { url, token, name: &name, new_identity: false }).await?;
    println!("Joined {} as {} ({}).", joined.url, joined.name, joined.host);
    Ok(())
}

/// The owner's `agent.toml` and where it is; without one, the defaults.
pub fn policy(agent_data: &Path) -> Result<(Policy, String)> {
    if let Some(found) = owners_policy(agent_data)? {
        return Ok(found);
    }
    let file = ByteStr::from(agent_data.join("agent.toml").as_os_str().as_encoded_bytes());
    Ok((Policy::default(), format!("no agent.toml; {file} would change this")))
}

/// The owner's `agent.toml` and where it is.
pub fn owners_policy(agent_data: &Path) -> Result<Option<(Policy, String)>> {
    for file in dirs::policy_files(agent_data)? {
        if let Some(policy) = Policy::read(&file)? {
            return Ok(Some((policy, ByteStr::from(file.as_os_str().as_encoded_bytes()).to_string())));
        }
    }
    Ok(None)
}
