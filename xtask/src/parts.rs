//! `cargo xtask test`: the parts in order, each with its name and time; all failures at the end.
//!
//! A part that runs tests counts those, any other part counts as one. What a machine lacks is named as left out, never
//! skipped silently.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::{process, tidy};

/// What came of a part.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    passed: u64,
    failed: u64,
    /// What this machine could not run, and why.
    left_out: Vec<String>,
}

impl Outcome {
    fn check(ok: bool) -> Self {
        Self { passed: ok.into(), failed: (!ok).into(), ..Self::default() }
    }

    fn left_out(why: &str) -> Self {
        Self { left_out: vec![why.to_owned()], ..Self::default() }
    }

    /// What a test runner counted; when it failed without a failed test (it did not compile, say), that counts as one.
    fn tests(ended: &process::Ended) -> Self {
        let (passed, mut failed) = count_tests(&ended.output);
        if !ended.success && failed == 0 {
            failed = 1;
        }
        Self { passed, failed, ..Self::default() }
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.left_out.extend(other.left_out);
    }
}

struct Part {
    name: &'static str,
    run: fn(&Path) -> Result<Outcome>,
}

const PARTS: &[Part] = &[
    Part { name: "tools", run: tools },
    Part { name: "fmt", run: |root| cargo_check(root, &["fmt", "--all", "--check"]) },
    Part {
        name: "clippy",
        run: |root| cargo_check(root, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    },
    Part { name: "tidy", run: tidy_check },
    Part { name: "deny", run: deny },
    Part { name: "build", run: |root| cargo_check(root, &["build", "--workspace"]) },
    Part { name: "tests", run: tests },
    Part { name: "browser", run: browser },
];

/// Runs all parts, or one. True when nothing failed.
pub fn test(root: &Path, only: Option<&str>) -> Result<bool> {
    let names: Vec<&str> = PARTS.iter().map(|part| part.name).collect();
    if let Some(wanted) = only.filter(|wanted| !names.contains(wanted)) {
        bail!("there is no part {wanted:?}; the parts are {}", names.join(", "));
    }
    let begun = Instant::now();
    let mut total = Outcome::default();
    let mut failures = Vec::new();
    for part in PARTS.iter().filter(|part| only.is_none_or(|wanted| wanted == part.name)) {
        println!("=== {}", part.name);
        let started = Instant::now();
        let outcome = (part.run)(root).unwrap_or_else(|error| {
            println!("error: {error:#}");
            Outcome::check(false)
        });
        for line in &outcome.left_out {
            println!("left out: {line}");
        }
        let word = match (outcome.failed, outcome.passed) {
            (0, 0) => "left out",
            (0, _) => "ok",
            _ => "FAILED",
        };
        println!("=== {}: {word}, {:.1} s", part.name, started.elapsed().as_secs_f64());
        if outcome.failed > 0 {
            failures.push(format!("{} ({} failed)", part.name, outcome.failed));
        }
        total.add(outcome);
    }
    println!("\n{:.0} s in all", begun.elapsed().as_secs_f64());
    for line in &total.left_out {
        println!("left out: {line}");
    }
    for line in &failures {
        println!("failed: {line}; again with `cargo xtask test --only {}`", line.split(' ').next().unwrap_or_default());
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(failures.is_empty())
}

fn cargo_check(root: &Path, arguments: &[&str]) -> Result<Outcome> {
    Ok(Outcome::check(process::show(process::cargo(root).args(arguments))?.success))
}

/// Programs the tests run, and the Debian packages that have them.
const TOOLS: [(&str, &str); 4] = [
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("nginx", "nginx-light"),
    ("python3", "python3-venv"),
];
/// The tests append to the file it names what they left out, one line each.
const LEFT_OUT: &str = "HOSTLER_LEFT_OUT";

fn tools(_: &Path) -> Result<Outcome> {
    let missing: Vec<&str> = missing_tools().map(|(_, package)| package).collect();
    if missing.is_empty() {
        println!("all there");
        return Ok(Outcome::check(true));
    }
    let install = format!("apt-get install --yes --no-install-recommends {}", missing.join(" "));
    if !is_root() || process::program("apt-get").is_none() {
        println!("missing; as root on Debian: {install}");
        return Ok(Outcome::left_out(&format!("{} (see `tools`): some tests need them", missing.join(", "))));
    }
    println!("apt-get update && {install}");
    let apt = |arguments: &[&str]| {
        process::show(Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    // A stale list of packages may still do; what cannot be installed with it fails below.
    apt(&["update", "--quiet", "--quiet"])?;
    let mut arguments = vec!["install", "--yes", "--no-install-recommends", "--quiet", "--quiet"];
    arguments.extend(&missing);
    Ok(Outcome::check(apt(&arguments)?.success && missing_tools().next().is_none()))
}

fn missing_tools() -> impl Iterator<Item = (&'static str, &'static str)> {
    TOOLS.into_iter().filter(|(program, _)| process::program(program).is_none())
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|l| l.strip_prefix("Uid:")).and_then(|l| l.split_ascii_whitespace().nth(1));
    effective == Some("0")
}

fn tidy_check(root: &Path) -> Result<Outcome> {
    let report = tidy::check(root)?;
    report.print();
    Ok(Outcome::check(report.problems.is_empty()))
}

fn deny(root: &Path) -> Result<Outcome> {
    if !has_subcommand("deny") {
        return Ok(Outcome::left_out("cargo-deny is not installed (cargo install cargo-deny)"));
    }
    cargo_check(root, &["deny", "check", "bans", "licenses", "sources"])
}

fn has_subcommand(name: &str) -> bool {
    let file = format!("cargo-{name}");
    let home = std::env::var_os("CARGO_HOME").map(|home| Path::new(&home).join("bin").join(&file));
    process::program(&file).is_some() || home.is_some_and(|file| file.is_file())
}

fn tests(root: &Path) -> Result<Outcome> {
    let list = std::env::temp_dir().join(format!("hostler-left-out-{}", std::process::id()));
    let mut outcome = run_tests(root, &list)?;
    // Without the file, nothing was left out.
    let lines = std::fs::read_to_string(&list).unwrap_or_default();
    let lines: BTreeSet<&str> = lines.lines().collect();
    outcome.left_out.extend(lines.into_iter().map(str::to_owned));
    let _ = std::fs::remove_file(&list);
    Ok(outcome)
}

fn run_tests(root: &Path, left_out: &Path) -> Result<Outcome> {
    if has_subcommand("nextest") {
        let arguments = ["nextest", "run", "--workspace", "--no-fail-fast", "-E", "not binary(browser)"];
        let mut nextest = process::cargo(root);
        return Ok(Outcome::tests(&process::show(nextest.args(arguments).env(LEFT_OUT, left_out))?));
    }
    println!("cargo-nextest is not installed: `cargo test` instead, which kills no test that hangs");
    let mut total = Outcome::default();
    for arguments in [
        &["test", "--workspace", "--exclude", "hostler-tests", "--no-fail-fast"][..],
        &["test", "--package", "hostler-tests", "--test", "e2e", "--no-fail-fast"],
    ] {
        let mut test = process::cargo(root);
        total.add(Outcome::tests(&process::show(test.args(arguments).env(LEFT_OUT, left_out))?));
    }
    Ok(total)
}

fn browser(root: &Path) -> Result<Outcome> {
    let missing: Vec<&str> = missing_tools().map(|(program, _)| program).filter(|p| p.starts_with("chrom")).collect();
    if !missing.is_empty() {
        return Ok(Outcome::left_out(&format!("browser tests: {} not found", missing.join(" and "))));
    }
    let arguments = ["test", "--package", "hostler-tests", "--test", "browser"];
    Ok(Outcome::tests(&process::show(process::cargo(root).args(arguments))?))
}

/// Sums what cargo-nextest (`Summary [ 1.2s] 3 tests run: 2 passed, 1 failed, 0 skipped`) and `cargo test`
/// (`test result: ok. 3 passed; 0 failed; ...`) say. Tests that timed out have failed.
fn count_tests(output: &str) -> (u64, u64) {
    let (mut passed, mut failed) = (0, 0);
    for line in output.lines() {
        let line = line.trim_start();
        let counts = match (line.strip_prefix("test result:"), line.strip_prefix("Summary [")) {
            (Some(counts), _) => counts,
            (_, Some(rest)) => rest.split_once(':').map_or("", |(_, counts)| counts),
            _ => continue,
        };
        let words: Vec<&str> = counts.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()).collect();
        for pair in words.windows(2) {
            let Ok(number) = pair[0].parse::<u64>() else { continue };
            match pair[1] {
                "passed" => passed += number,
                "failed" | "timed" => failed += number,
                _ => {}
            }
        }
    }
    (passed, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_runners_count_is_summed() {
        let cargo = "running 3 tests\ntest result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
                     test result: FAILED. 1 passed; 2 failed; 0 ignored";
        assert_eq!(count_tests(cargo), (4, 2));
        let nextest = "     Summary [   0.503s] 12 tests run: 9 passed (1 slow), 2 failed, 1 timed out, 4 skipped";
        assert_eq!(count_tests(nextest), (9, 3));
        assert_eq!(count_tests("     Summary [   1.0s] 5/12 tests run: 4 passed, 1 failed, 0 skipped"), (4, 1));
    }

    #[test]
    fn a_runner_that_fails_without_a_test_counts_as_a_failure() {
        let ended = process::Ended { success: false, output: "error: could not compile".into() };
        assert_eq!(Outcome::tests(&ended), Outcome { failed: 1, ..Outcome::default() });
        let ended = process::Ended { success: false, output: "test result: FAILED. 1 passed; 2 failed".into() };
        assert_eq!(Outcome::tests(&ended).failed, 2);
    }

    #[test]
    fn an_unknown_part_is_an_error_that_names_the_parts() {
        let error = test(Path::new("."), Some("frm")).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains("frm") && error.contains("clippy"), "{error}");
    }
}
