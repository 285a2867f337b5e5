//! The project's own chores: `cargo xtask test`, `cargo xtask tidy`, `cargo xtask bench`.
//!
//! Small on purpose: it is built before anything else, so it depends on the standard library and `anyhow` only.

mod bench;
mod parts;
mod process;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
usage: cargo xtask test [--only PART]   everything a change must pass
       cargo xtask tidy                 layers, sizes, links, words
       cargo xtask bench [--runs N]     measured numbers, as a table in Markdown";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True when everything passed.
fn run() -> Result<bool> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = project()?;
    match words.as_slice() {
        ["test"] => parts::test(&root, None),
        ["test", "--only", part] => parts::test(&root, Some(part)),
        ["tidy"] => {
            let report = tidy::check(&root)?;
            report.print();
            Ok(report.problems.is_empty())
        }
        ["bench"] => bench::bench(&root, 3).map(|()| true),
        ["bench", "--runs", runs] => {
            bench::bench(&root, runs.parse().ok().filter(|n| *n > 0).context("--runs wants a number from 1")?)
                .map(|()| true)
        }
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(true)
        }
        _ => bail!("{}\n{USAGE}", if words.is_empty() { "no chore given" } else { "unknown chore" }),
    }
}

/// The project's root: cargo says where this crate is.
fn project() -> Result<PathBuf> {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
    Ok(Path::new(&here).parent().context("xtask has no directory above it")?.to_owned())
}
