//! `hostler join`: this host becomes one of the gateway's, and its agent is kept running.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hostler_agent::{Agent, JoinRequest, LinkState};
use hostler_identity::JoinToken;
use hostler_model::ByteStr;

use super::service::{self, Installed};
use crate::args::{Join, Service};
use crate::dirs;

/// How long the new agent may take to link up before the person is told that it has not.
const LINK_PATIENCE: Duration = Duration::from_secs(25);

pub async fn run(args: Join) -> Result<()> {
    let token: JoinToken =
        args.token.parse().context("this is no join token; paste the whole line of `hostler hosts token`")?;
    let data = dirs::data(args.data)?;
    let kind = args.service.unwrap_or(if dirs::is_root() { Service::System } else { Service::User });
    service::refuse_beside_up(&data)?;
    let agent_data = data.join("agent");
    let name = args.name.unwrap_or_else(host_name);
    let request = JoinRequest { url: &args.url, token: &token, name: &name, new_identity: args.new_identity };
    let joined = hostler_agent::join(&agent_data, request).await?;
    eprintln!("Joined {} as {} ({}).", joined.url, joined.name, joined.host);
    match service::install(kind, &data)? {
        Installed::Unit(unit) => eprintln!("The agent runs, and will after a restart: {}", unit.display()),
        Installed::Detached { log, why } => {
            eprintln!("The agent runs, but nothing starts it again after a restart: {why}. Its log: {}", log.display());
        }
        Installed::None => {
            let data = ByteStr::from(data.as_os_str().as_encoded_bytes());
            eprintln!("Start the agent with: hostler agent --data {data}");
            return Ok(());
        }
    }
    if !dirs::is_root() {
        eprintln!("Without root the agent reads only what {} can read.", user_name());
        eprintln!("  It runs while you are logged in, unless: sudo loginctl enable-linger {}", user_name());
    }
    wait_linked(&agent_data).await?;
    tell_grants(&data)
}

async fn wait_linked(agent_data: &std::path::Path) -> Result<()> {
    let begun = Instant::now();
    let mut last = None;
    while begun.elapsed() < LINK_PATIENCE {
        last = hostler_agent::link_state(&Agent::socket_path(agent_data)).await.ok();
        if let Some(LinkState { linked: true, .. }) = last {
            eprintln!("Linked.");
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let why = last.and_then(|state| state.last_error).unwrap_or_else(|| "the agent does not answer".into());
    anyhow::bail!("joined, but not linked within {} s: {why}. Run `hostler doctor`", LINK_PATIENCE.as_secs())
}

/// Says what the gateway may do here, and where the owner changes it.
fn tell_grants(data: &std::path::Path) -> Result<()> {
    let (policy, source) = super::agent::policy(&data.join("agent"))?;
    let roots: Vec<String> =
        policy.files.roots.iter().map(|root| ByteStr::from(root.as_os_str().as_encoded_bytes()).to_string()).collect();
    match roots.is_empty() {
        true => eprintln!("It grants no directory ({source}). To let files be scanned: [files] roots = [\"/srv\"]"),
        false => eprintln!("It grants {} ({source}).", roots.join(", ")),
    }
    Ok(())
}

fn user_name() -> String {
    std::env::var("USER").unwrap_or_else(|_| format!("user {}", rustix::process::geteuid().as_raw()))
}

/// The kernel's name of this host.
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".into() } else { name }
}
