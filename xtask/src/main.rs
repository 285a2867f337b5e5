//! The project's own chores: `cargo xtask test`, `cargo xtask tidy`, `cargo xtask bench`.
//!
//! Small on purpose: it is built before anything else, so it depends on the standard library and `anyhow` only.

mod bench;
mod parts;
mod process;
mod soak;
mod storm;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
usage: cargo xtask test [--only PART]   everything a change must pass
       cargo xtask tidy                 layers, sizes, links, words
       cargo xtask bench [SUBJECT] [--runs N]
                                        measured numbers, as a table in Markdown; SUBJECT is scanner, index, trust or fleet
       cargo xtask fleet --agents N     that many simulated agents on a gateway of their own
       cargo xtask soak [--minutes N]   kills gateway and agents at random and looks for what was lost
       cargo xtask storm [--rounds N]   random changes, scans, kills and cuts; then index and tree must agree";

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
        ["bench", rest @ ..] => {
            let (subject, rest) = match rest {
                [subject, rest @ ..] if bench::SUBJECTS.contains(subject) => (Some(*subject), rest),
                rest => (None, rest),
            };
            let runs = match rest {
                [] => 3,
                ["--runs", runs] => count(runs).context("--runs wants a number from 1")?,
                _ => bail!("bench takes a subject ({}) and --runs N", bench::SUBJECTS.join(", ")),
            };
            bench::bench(&root, subject, runs).map(|()| true)
        }
        ["fleet", "--agents", agents] => {
            bench::simulate(&root, count(agents).context("--agents wants a number from 1")?).map(|()| true)
        }
        ["soak"] => soak::soak(&root, 10),
        ["soak", "--minutes", minutes] => soak::soak(&root, count(minutes).context("--minutes wants a number from 1")?),
        ["storm"] => storm::storm(&root, 300),
        ["storm", "--rounds", rounds] => storm::storm(&root, count(rounds).context("--rounds wants a number from 1")?),
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

fn count(text: &str) -> Option<usize> {
    text.parse().ok().filter(|n| *n > 0)
}
