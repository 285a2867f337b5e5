//! The `hostler` binary: parse, build the runtime, run, exit code.

mod args;
mod client;
mod commands;
mod dirs;
mod invocation;
mod output;
mod views;

use std::process::ExitCode;

use clap::Parser;

use crate::args::Cli;

fn main() -> ExitCode {
    let cli = match invocation::arguments() {
        Ok(arguments) => Cli::parse_from(arguments),
        Err(error) => return fail(&error.into()),
    };
    start_log(cli.command.log_filter());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("the runtime could not be started")),
    };
    let code = match runtime.block_on(commands::run(cli)) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    };
    // A walk on a hanging filesystem must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(3));
    code
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("{}: {}", output::paint_error("error"), explain(error));
    if let Some(hint) = error.downcast_ref::<client::ClientError>().and_then(client::ClientError::hint) {
        eprintln!("{}: {hint}", output::paint_hint("hint"));
    }
    ExitCode::FAILURE
}

/// The error and its causes, without those that the text before already holds.
fn explain(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.contains(&cause) {
        _ if text.is_empty() => cause,
        true => text,
        false => format!("{text}: {cause}"),
    })
}

/// `hostler files find | head` ends quietly.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|e| e.downcast_ref::<std::io::Error>()).any(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// `default` is what is logged unless `HOSTLER_LOG` says otherwise.
fn start_log(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HOSTLER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(output::is_coloured())
        .with_target(false)
        .init();
}
