//! `hostler-fleet URL KEY AGENTS [PIN]`: simulated agents for load and storms, driven by `cargo xtask fleet`.
//!
//! Joins, links them all, and prints a line for each thing that happens: `joined N SECONDS`, `linked N SECONDS`, and after
//! each loss `lost N LEFT` and `linked N SECONDS` again. Ends with its standard input.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hostler_link::Trust;
use hostler_testkit::fleet::Fleet;

/// How long a fleet may take to be whole.
const PATIENCE: Duration = Duration::from_secs(600);

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut next = || args.next().context("usage: hostler-fleet URL KEY AGENTS [PIN]");
    let (url, key, agents) = (next()?, next()?, next()?.parse::<usize>()?);
    let trust = match next() {
        Ok(pin) => Trust::Pinned(pin.parse()?),
        Err(_) => Trust::System,
    };
    let begun = Instant::now();
    let fleet = Fleet::join(&url, trust, &key, agents).await?;
    say(format_args!("joined {agents} {:.3}", begun.elapsed().as_secs_f64()))?;
    fleet.start();
    std::thread::spawn(|| {
        // A byte, the end or an error: whoever drives this is done.
        let _ = std::io::stdin().read(&mut [0; 1]);
        std::process::exit(0)
    });
    loop {
        let took = fleet.wait(PATIENCE, |linked| linked == agents).await?;
        say(format_args!("linked {agents} {:.3}", took.as_secs_f64()))?;
        fleet.wait(Duration::MAX, |linked| linked < agents).await?;
        // A storm takes them all, but not in one instant.
        tokio::time::sleep(Duration::from_millis(100)).await;
        say(format_args!("lost {agents} {}", fleet.linked()))?;
    }
}

fn say(text: std::fmt::Arguments<'_>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}
