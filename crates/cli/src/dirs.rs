//! Where things are kept: the XDG base directories, or the system's for root.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// The data directory: the flag's, else the default.
pub fn data(given: Option<PathBuf>) -> Result<PathBuf> {
    match given {
        Some(dir) => std::path::absolute(&dir).with_context(|| format!("{} is not a directory name", dir.display())),
        None if is_root() => Ok("/var/lib/hostler".into()),
        None => Ok(base("XDG_DATA_HOME", ".local/share")?.join("hostler")),
    }
}

/// Where `agent.toml` may be, in the order in which it is looked for.
pub fn policy_files(agent_data: &std::path::Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![agent_data.join("agent.toml"), PathBuf::from("/etc/hostler/agent.toml")];
    if !is_root() {
        files.push(config()?.join("hostler/agent.toml"));
    }
    Ok(files)
}

/// The directory for this user's configuration of all programs.
pub fn config() -> Result<PathBuf> {
    base("XDG_CONFIG_HOME", ".config")
}

/// The home directory, when there is one.
pub fn home() -> Option<PathBuf> {
    std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute())
}

/// True for the user root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A base directory as the XDG specification says: relative values do not count.
fn base(variable: &str, below_home: &str) -> Result<PathBuf> {
    let set = std::env::var_os(variable).map(PathBuf::from).filter(|dir| dir.is_absolute());
    match set {
        Some(dir) => Ok(dir),
        None => {
            Ok(home().with_context(|| format!("neither {variable} nor HOME is set; use --data DIR"))?.join(below_home))
        }
    }
}
