//! `cargo xtask storm`: random changes, scans, kills and cuts, after which index and tree must agree exactly.

use std::path::Path;

use anyhow::Result;

use crate::bench::Binaries;
use crate::process;

/// So many rounds, each with changes and a scan to which something may happen. True when all comparisons agreed.
pub fn storm(root: &Path, rounds: usize) -> Result<bool> {
    let built = Binaries::build(root)?;
    let mut command = std::process::Command::new(&built.storm);
    command.arg(rounds.to_string()).env("HOSTLER_BIN", &built.hostler);
    Ok(process::show(&mut command)?.success)
}
