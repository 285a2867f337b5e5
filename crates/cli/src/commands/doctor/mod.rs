//! `hostler doctor`: walks from this machine to the gateway, or through the gateway, and names the first thing that is
//! wrong and what to do about it.

mod agent_side;
mod gateway_side;
mod local;
mod report;

use std::process::ExitCode;

use anyhow::Result;

use crate::args::Doctor;
use crate::dirs;

/// Exit code 0 when nothing failed, 1 otherwise.
pub async fn run(args: Doctor) -> Result<ExitCode> {
    let data = dirs::data(args.data.clone())?;
    // A directory with a gateway's store is a gateway's, also when an agent's lies inside it as under `hostler up`.
    let is_gateway = args.gateway.is_none() && data.join("hostler.db").exists();
    let report = match is_gateway {
        true => gateway_side::examine(&data).await?,
        false => agent_side::examine(&data, args.gateway.as_deref()).await?,
    };
    report.print(args.json)?;
    Ok(if report.healthy() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
