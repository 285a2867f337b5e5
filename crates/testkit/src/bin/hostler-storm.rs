//! `hostler-storm ROUNDS [SEED]`: random changes, scans, kills and cuts; fails when index and tree differ in the end.

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let rounds = arguments.next().context("how many rounds?")?.parse()?;
    let seed = arguments.next().map_or(Ok(1), |seed| seed.parse())?;
    let dir = tempfile::tempdir()?;
    let dir = dir.path().canonicalize()?;
    let begun = std::time::Instant::now();
    let report = hostler_testkit::storm::storm(&dir, rounds, seed)?;
    println!("{rounds} rounds in {:.0?}: {report:?}", begun.elapsed());
    Ok(())
}
