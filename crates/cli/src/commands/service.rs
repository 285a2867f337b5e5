//! Keeping the agent running: a systemd unit, of the system or of the user; without systemd, a process of its own.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::args::Service;
use crate::dirs;

const SYSTEM_UNIT: &str = include_str!("../../../../packaging/systemd/hostler-agent.service");
const USER_UNIT: &str = include_str!("../../../../packaging/systemd/hostler-agent.user.service");
const UNIT_NAME: &str = "hostler-agent.service";
/// How long systemctl may take.
const SYSTEMCTL_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the old agent may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// How the agent is kept running now.
pub enum Installed {
    /// By systemd, with this unit.
    Unit(PathBuf),
    /// By nothing: it runs, and this is its log. The text says why there is no unit.
    Detached { log: PathBuf, why: String },
    /// Not at all: that was asked for.
    None,
}

/// Installs and (re)starts the agent of this data directory. Repeating it is safe.
pub fn install(kind: Service, data: &Path) -> Result<Installed> {
    let binary = match kind {
        Service::None => return Ok(Installed::None),
        Service::System => PathBuf::from("/usr/local/bin/hostler"),
        Service::User => {
            dirs::home().context("HOME is not set, so there is no place for the binary")?.join(".local/bin/hostler")
        }
    };
    place_binary(&binary)?;
    let (unit, text) = match kind {
        Service::System => (PathBuf::from("/etc/systemd/system").join(UNIT_NAME), SYSTEM_UNIT),
        _ => (dirs::config()?.join("systemd/user").join(UNIT_NAME), USER_UNIT),
    };
    if let Err(why) = systemd_runs(kind) {
        return detach(&binary, data, why);
    }
    let text = text.replace("@BINARY@", &quoted(&binary)?).replace("@DATA@", &quoted(data)?);
    write_whole(&unit, text.as_bytes(), 0o644)?;
    systemctl(kind, &["daemon-reload"])?;
    systemctl(kind, &["enable", UNIT_NAME])?;
    // Also when it runs: it must take the new identity and the new binary.
    systemctl(kind, &["restart", UNIT_NAME])?;
    Ok(Installed::Unit(unit))
}

fn systemd_runs(kind: Service) -> std::result::Result<(), String> {
    let runtime = match kind {
        Service::System => Some(PathBuf::from("/run/systemd/system")),
        _ => std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("systemd")),
    };
    match (runtime, kind) {
        (Some(dir), _) if dir.is_dir() => Ok(()),
        (_, Service::System) => Err("systemd does not run here".into()),
        _ => Err("no systemd of this user runs here".into()),
    }
}

/// Copies this program to where the service finds it, unless it is there already.
fn place_binary(to: &Path) -> Result<()> {
    let own = std::env::current_exe().context("this program does not know where it lies")?;
    if fs::canonicalize(to).is_ok_and(|there| fs::canonicalize(&own).is_ok_and(|own| own == there)) {
        return Ok(());
    }
    let content = fs::read("/proc/self/exe").with_context(|| format!("cannot read {}", own.display()))?;
    if fs::read(to).is_ok_and(|there| there == content) {
        return Ok(());
    }
    write_whole(to, &content, 0o755)
}

/// Writes a file beside its place and renames it: whoever looks finds the old one or the new one.
fn write_whole(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let parent = path.parent().with_context(|| format!("{} has no directory", path.display()))?;
    let new = path.with_extension("new");
    let write = || {
        fs::create_dir_all(parent)?;
        let mut file = fs::File::create(&new)?;
        io::Write::write_all(&mut file, content)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// A path as a systemd unit takes it: no `%` is expanded, spaces are kept.
fn quoted(path: &Path) -> Result<String> {
    let text =
        path.to_str().with_context(|| format!("{} is not UTF-8, which systemd units must be", path.display()))?;
    let strange = text.chars().any(|c| c.is_control() || matches!(c, '"' | '\\'));
    ensure!(!strange, "{text:?} cannot be written into a systemd unit; use another directory");
    let text = text.replace('%', "%%").replace('$', "$$");
    Ok(if text.contains([' ', '\'', ';']) { format!("\"{text}\"") } else { text })
}

fn systemctl(kind: Service, args: &[&str]) -> Result<()> {
    let mut command = Command::new("systemctl");
    if kind == Service::User {
        command.arg("--user");
    }
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let shown = format!("systemctl {}", args.join(" "));
    let mut child = command.spawn().with_context(|| format!("cannot run {shown}"))?;
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begun.elapsed() > SYSTEMCTL_TIMEOUT {
            child.kill()?;
            child.wait()?;
            bail!("{shown} did not end within {} s", SYSTEMCTL_TIMEOUT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        io::Read::read_to_string(&mut io::Read::take(stderr, 4096), &mut said)?;
    }
    ensure!(status.success(), "{shown} failed: {}", said.trim());
    Ok(())
}

/// Starts the agent in a process group of its own, in place of the one that may run.
fn detach(binary: &Path, data: &Path, why: String) -> Result<Installed> {
    stop_running(data)?;
    let log = data.join("agent.log");
    let out = fs::File::options()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| format!("cannot open {}", log.display()))?;
    Command::new(binary)
        .args(["agent", "--data"])
        .arg(data)
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    Ok(Installed::Detached { log, why })
}

/// Ends the agent that serves this data directory's socket, if one does: the kernel says which process that is.
fn stop_running(data: &Path) -> Result<()> {
    let Some(pid) = served_by(&hostler_agent::Agent::socket_path(&data.join("agent")))? else { return Ok(()) };
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)
        .with_context(|| format!("cannot stop the agent that runs (process {})", pid.as_raw_nonzero()))?;
    let begun = Instant::now();
    while is_running(pid) {
        ensure!(begun.elapsed() < STOP_TIMEOUT, "the agent that runs (process {}) does not stop", pid.as_raw_nonzero());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Fails when `hostler up` runs on this data directory: its agent is this gateway's, and replacing it would end the
/// gateway with all its links.
pub fn refuse_beside_up(data: &Path) -> Result<()> {
    let agent = served_by(&hostler_agent::Agent::socket_path(&data.join("agent")))?;
    if let Some(pid) = agent
        && served_by(&hostler_gateway::socket_path(data))? == agent
    {
        bail!(
            "`hostler up` runs here (process {}), and this host is one of its own; to join another gateway stop it, or \
             keep the new agent apart with --data",
            pid.as_raw_nonzero()
        );
    }
    Ok(())
}

/// The process behind a local socket, by the kernel's word; `None` when nobody answers.
fn served_by(socket: &Path) -> Result<Option<rustix::process::Pid>> {
    let Ok(stream) = std::os::unix::net::UnixStream::connect(socket) else { return Ok(None) };
    Ok(Some(rustix::net::sockopt::socket_peercred(&stream)?.pid))
}

/// False also for a process that has ended and that nobody has asked about yet.
fn is_running(pid: rustix::process::Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    // proc_pid_stat(5): the state follows the name, which is in parentheses and may hold any character.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_units_are_not_expanded() {
        assert_eq!(quoted(Path::new("/srv/100%/a b")).unwrap(), "\"/srv/100%%/a b\"");
        assert_eq!(quoted(Path::new("/var/lib/hostler")).unwrap(), "/var/lib/hostler");
        assert_eq!(quoted(Path::new("/srv/o'neill")).unwrap(), "\"/srv/o'neill\"");
        for bad in ["/srv/\"quoted\"", "/srv/a\nExecStart=b", "/srv/a\tb"] {
            assert!(quoted(Path::new(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn units_have_the_places_that_are_filled_in() {
        for unit in [SYSTEM_UNIT, USER_UNIT] {
            assert!(unit.contains("ExecStart=@BINARY@ agent --data @DATA@"), "{unit}");
        }
    }
}
