//! One module a noun.

mod agent;
mod api_keys;
mod audit;
mod doctor;
mod drop_in;
mod events;
mod files;
mod gateway;
mod hosts;
mod join;
mod join_tokens;
mod paths;
mod scan;
mod scans;
mod schedules;
mod serve;
mod service;
mod sessions;
mod shell;
mod sign_in;
mod up;
mod users;
mod webhooks;

use std::process::ExitCode;

use anyhow::Result;

use crate::args::{Cli, Command};

/// Runs what was typed.
pub async fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Up(args) => up::run(args).await?,
        Command::Gateway(args) => gateway::run(args).await?,
        Command::Agent(args) => agent::run(args).await?,
        Command::Join(args) => join::run(args).await?,
        Command::Doctor(args) => return doctor::run(args).await,
        Command::Scan(args) => return scan::run(args).await,
        Command::Files(args) => files::run(args).await?,
        Command::Scans(args) => scans::run(args).await?,
        Command::Hosts(args) => hosts::run(args).await?,
        Command::JoinTokens(args) => join_tokens::run(args).await?,
        Command::Events(args) => events::run(args).await?,
        Command::Audit(args) => audit::run(args).await?,
        Command::Users(args) => users::run(args).await?,
        Command::Sessions(args) => sessions::run(args).await?,
        Command::Webhooks(args) => webhooks::run(args).await?,
        Command::ApiKeys(args) => api_keys::run(args).await?,
        Command::DropIn(args) => return drop_in::run(args).await,
        Command::SignIn(args) => sign_in::run(args).await?,
        Command::Completions(args) => shell::completions(&args)?,
        Command::Man(args) => shell::man(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
