//! `hostler completions` and `hostler man`.

use std::io::Write;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::args::{Cli, Completions, Man};

pub fn completions(args: &Completions) -> Result<()> {
    // By way of memory: the generator panics when the reader of a pipe has gone.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hostler", &mut script);
    Ok(std::io::stdout().write_all(&script)?)
}

pub fn man(args: &Man) -> Result<()> {
    std::fs::create_dir_all(&args.dir).with_context(|| format!("cannot make {}", args.dir.display()))?;
    clap_mangen::generate_to(Cli::command(), &args.dir)
        .with_context(|| format!("cannot write the man pages into {}", args.dir.display()))?;
    eprintln!("Written. Read them with: man {}", args.dir.join("hostler.1").display());
    Ok(())
}
