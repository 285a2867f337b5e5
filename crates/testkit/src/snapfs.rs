//! The real SnapFS programs, from their Python packages, in a virtual environment beside the tests' own binaries.
//!
//! It is made once, under a lock, by the first test that asks; later runs find it. When it cannot be made (no Python, no
//! `venv`, no network), the reason is kept for a while, so that not every test tries again, and the tests say what they
//! leave out.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What is installed: the last releases of both generations.
const PACKAGES: [&str; 2] = ["snapfs==0.4.3", "snapfs-agent-scanner==0.2.0"];
/// Says that an environment is complete, and for which packages.
const COMPLETE: &str = "hostler-complete";
/// A failure is believed for as long.
const FAILURE_HOLDS: Duration = Duration::from_secs(600);
/// Longest for one step of making it.
const STEP_MAX: Duration = Duration::from_secs(180);
/// Ends with 0 in a Python that is new enough and can make environments.
const SUITABLE: &str = "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 8))";

/// The `snapfs` program, release 0.4.3.
///
/// # Errors
/// Why the environment cannot be made, for [`left_out`](crate::left_out).
pub fn snapfs() -> Result<PathBuf, String> {
    bin().map(|bin| bin.join("snapfs"))
}

/// The `snapfs-agent-scanner` program, release 0.2.0. It looks for `snapfs` on its `PATH`: put [`bin`] in front.
///
/// # Errors
/// As [`snapfs`].
pub fn snapfs_agent_scanner() -> Result<PathBuf, String> {
    bin().map(|bin| bin.join("snapfs-agent-scanner"))
}

/// The directory of the environment's programs.
///
/// # Errors
/// As [`snapfs`].
pub fn bin() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| format!("the test's own place is unknown: {e}"))?;
    let dir = own.ancestors().skip(1).find(|dir| !dir.ends_with("deps")).ok_or("the test has no directory")?;
    let (venv, failed) = (dir.join("snapfs-venv"), dir.join("snapfs-venv.failed"));
    let lock = File::create(dir.join("snapfs-venv.lock")).and_then(|file| file.lock().map(|()| file));
    let _lock = lock.map_err(|e| format!("{} cannot be locked: {e}", dir.display()))?;
    let bin = venv.join("bin");
    if fs::read_to_string(venv.join(COMPLETE)).is_ok_and(|text| text == PACKAGES.join("\n")) {
        return Ok(bin);
    }
    if let Some(why) = recent_failure(&failed) {
        return Err(why);
    }
    match make(&venv) {
        Ok(()) => Ok(bin),
        Err(why) => {
            // Without the note the next test tries again, which is slower and no worse.
            let _ = fs::write(&failed, &why);
            Err(why)
        }
    }
}

fn recent_failure(note: &Path) -> Option<String> {
    let age = fs::metadata(note).ok()?.modified().ok()?.elapsed().ok()?;
    if age < FAILURE_HOLDS { fs::read_to_string(note).ok() } else { None }
}

fn make(venv: &Path) -> Result<(), String> {
    if venv.exists() {
        fs::remove_dir_all(venv).map_err(|e| format!("{} cannot be removed: {e}", venv.display()))?;
    }
    let python = pythons()
        .into_iter()
        .find(|python| step("looking at Python", Command::new(python).args(["-c", SUITABLE])).is_ok())
        .ok_or("no Python from 3.8 on with venv was found (as root on Debian: apt-get install python3-venv)")?;
    step("making a virtual environment", Command::new(python).args(["-m", "venv"]).arg(venv))?;
    let mut pip = Command::new(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--timeout", "20", "--retries", "1"]);
    step(&format!("pip install {}", PACKAGES.join(" ")), pip.args(PACKAGES))?;
    fs::write(venv.join(COMPLETE), PACKAGES.join("\n")).map_err(|e| format!("{}: {e}", venv.display()))
}

/// What `PATH` has first, then the system's, then what pyenv keeps.
fn pythons() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("python3"), PathBuf::from("/usr/bin/python3")];
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let pyenv = pyenv.or_else(|| std::env::home_dir().map(|home| home.join(".pyenv")));
    if let Some(versions) = pyenv.and_then(|root| fs::read_dir(root.join("versions")).ok()) {
        found.extend(versions.flatten().map(|version| version.path().join("bin/python3")));
    }
    found
}

/// Runs a command to its end; the last line it printed when it fails.
fn step(what: &str, command: &mut Command) -> Result<(), String> {
    let errors = tempfile::NamedTempFile::new().map_err(|e| format!("no temporary file: {e}"))?;
    let stderr = errors.reopen().map_err(|e| format!("no temporary file: {e}"))?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    let mut child = command.spawn().map_err(|e| format!("{what} could not be started: {e}"))?;
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if begun.elapsed() < STEP_MAX => std::thread::sleep(Duration::from_millis(20)),
            _ => {
                let _ = child.kill().and_then(|()| child.wait());
                return Err(format!("{what} did not end within {} s", STEP_MAX.as_secs()));
            }
        }
    };
    if status.success() {
        return Ok(());
    }
    let text = fs::read(errors.path()).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(format!("{what} failed: {last}"))
}
