//! `hostler agent --stdio`: this host's agent for whoever holds the other ends of standard input and output.

use anyhow::Result;
use hostler_agent::{Agent, AgentSettings};

use super::up;
use crate::args;
use crate::dirs;

pub async fn run(args: args::Agent) -> Result<()> {
    let stop = up::stop_on_signals()?;
    let data = dirs::data(args.data)?.join("agent");
    let (policy, _) = up::policy(&data)?;
    Ok(Agent::open(AgentSettings { data, policy })?.serve_stdio(stop).await?)
}
