//! One module a noun.

mod agent;
mod api_keys;
mod files;
mod hosts;
mod paths;
mod scan;
mod scans;
mod shell;
mod sign_in;
mod up;

use std::process::ExitCode;

use anyhow::Result;

use crate::args::{Cli, Command};

/// Runs what was typed.
pub async fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Up(args) => up::run(args).await?,
        Command::Agent(args) => agent::run(args).await?,
        Command::Scan(args) => return scan::run(args).await,
        Command::Files(args) => files::run(args).await?,
        Command::Scans(args) => scans::run(args).await?,
        Command::Hosts(args) => hosts::run(args).await?,
        Command::ApiKeys(args) => api_keys::run(args).await?,
        Command::SignIn(args) => sign_in::run(args).await?,
        Command::Completions(args) => shell::completions(&args)?,
        Command::Man(args) => shell::man(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
