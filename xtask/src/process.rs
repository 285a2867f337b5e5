//! Child processes: their output shown and kept, their processor time.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};

/// How a command ended.
pub struct Ended {
    /// Exit code 0.
    pub success: bool,
    /// Standard output, then standard error.
    pub output: String,
}

/// Runs a command to its end; its output is shown as it comes, and kept.
pub fn show(command: &mut Command) -> Result<Ended> {
    let what = format!("{:?}", command.get_program());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{what} could not be started"))?;
    let err = child.stderr.take().context("no standard error")?;
    let out = child.stdout.take().context("no standard output")?;
    let errors = thread::spawn(move || tee(err, std::io::stderr()));
    let mut output = tee(out, std::io::stdout());
    output.push_str(&errors.join().unwrap_or_default());
    let success = child.wait().with_context(|| format!("{what} was lost"))?.success();
    Ok(Ended { success, output })
}

fn tee(from: impl Read, mut to: impl Write) -> String {
    let mut kept = String::new();
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    // A pipe that fails has ended; a terminal that is gone changes no result.
    while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        let _ = to.write_all(&line).and_then(|()| to.flush());
        kept.push_str(&String::from_utf8_lossy(&line));
        line.clear();
    }
    kept
}

/// Runs a command quietly; its standard output. Fails when the command does.
pub fn read(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{command:?} could not be started"))?;
    ensure!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Cargo, as it was called, in `root`.
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // `cargo run` set these for this crate; the crates that are built next have their own.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("CARGO_PKG_") || n.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command
}

/// The program's place in `$PATH`.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// User and system time in seconds of a process with all its threads (`/proc/PID/stat`, fields 14 and 15).
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    ticks(&stat, 0).context("/proc/PID/stat has another form")
}

/// Time on a processor in seconds of a process with all the threads it has now, to the nanosecond
/// (`/proc/PID/task/*/schedstat`, the first field): for what uses less than a tick.
pub fn run_seconds(pid: u32) -> Result<f64> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let first = text.split_ascii_whitespace().next().context("schedstat has another form")?;
        nanoseconds += first.parse::<u64>().context("schedstat has another form")?;
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// Two fields of proc_pid_stat(5), from the 14th on, in the kernel's user-visible ticks: 100 a second on every
/// architecture that Linux's `USER_HZ` has in use.
fn ticks(stat: &str, offset: usize) -> Option<f64> {
    // The name in parentheses may hold blanks; the third field follows it.
    let rest = stat.get(stat.rfind(')')? + 1..)?;
    let mut fields = rest.split_ascii_whitespace().skip(11 + offset);
    let sum = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(sum as f64 / 100.0)
}

/// Resident memory of a process in bytes (`VmRSS`).
pub fn resident_bytes(pid: u32) -> Result<u64> {
    of_status(pid, "VmRSS:")
}

/// The most that was resident of a process, in bytes (`VmHWM`).
pub fn peak_bytes(pid: u32) -> Result<u64> {
    of_status(pid, "VmHWM:")
}

fn of_status(pid: u32, name: &str) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix(name)).with_context(|| format!("no {name}"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().with_context(|| format!("{name} is no number"))?;
    Ok(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_a_name_with_blanks() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 30 10 20 0 4 0 100 0 0";
        assert_eq!(ticks(stat, 0), Some(2.0));
        assert_eq!(ticks(stat, 2), Some(0.4));
        assert_eq!(ticks("nothing", 0), None);
    }

    #[test]
    fn both_outputs_are_kept_and_the_exit_code_is_told() {
        let ended = show(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).unwrap();
        assert!(!ended.success);
        assert!(ended.output.contains("out\n") && ended.output.contains("err\n"), "{}", ended.output);
    }
}
