//! Which paths are granted, and what they are. Everything blocks.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use connectrpc::ConnectError;
use hostler_api::v1;
use hostler_model::ByteStr;

/// Whether the granted directories can be listed.
pub fn prove(roots: &[PathBuf]) -> (v1::CapabilityState, String) {
    use v1::CapabilityState as State;
    if roots.is_empty() {
        let detail = "no directory is granted; set files.roots in agent.toml, such as roots = [\"/srv\"]";
        return (State::CAPABILITY_STATE_NOT_GRANTED, detail.into());
    }
    for root in roots {
        if let Err(error) = std::fs::read_dir(root) {
            let shown = ByteStr::from(root.as_os_str().as_bytes());
            return (State::CAPABILITY_STATE_FAILED, format!("cannot list {shown}: {error}"));
        }
    }
    let count = roots.len();
    (
        State::CAPABILITY_STATE_PROVED,
        format!("listed {count} granted {}", if count == 1 { "directory" } else { "directories" }),
    )
}

/// The directory `path` stands for, with symbolic links resolved, when it is one and granted.
pub fn resolve(path: &Path, roots: &[PathBuf]) -> Result<PathBuf, ConnectError> {
    let shown = ByteStr::from(path.as_os_str().as_bytes());
    if !path.is_absolute() {
        return Err(ConnectError::invalid_argument(format!("{shown} is not an absolute path")));
    }
    let granted =
        |path: &Path| roots.iter().any(|root| std::fs::canonicalize(root).is_ok_and(|root| path.starts_with(root)));
    let refuse = || {
        let list: Vec<String> =
            roots.iter().map(|r| ByteStr::from(r.as_os_str().as_bytes()).display().into_owned()).collect();
        let granted =
            if list.is_empty() { "grants no directory".into() } else { format!("grants {}", list.join(", ")) };
        ConnectError::permission_denied(format!(
            "{shown} is not granted: this host {granted}. Its owner sets files.roots in agent.toml"
        ))
    };
    match std::fs::canonicalize(path) {
        // What lies outside the grant is not told apart: not even whether it exists.
        Ok(resolved) if !granted(&resolved) => Err(refuse()),
        Ok(resolved) if !resolved.is_dir() => {
            Err(ConnectError::invalid_argument(format!("{shown} is not a directory; scan the directory that holds it")))
        }
        Ok(resolved) => Ok(resolved),
        // A dangling link inside would tell what exists outside.
        Err(_) if path.ancestors().take_while(|a| a.canonicalize().is_err()).any(Path::is_symlink) => Err(refuse()),
        Err(error) => match existing_parent(path) {
            Some(parent) if granted(&parent) => {
                let suggestion = did_you_mean(path, &parent);
                Err(ConnectError::not_found(format!("{shown}: {error}.{suggestion}")))
            }
            _ => Err(refuse()),
        },
    }
}

fn existing_parent(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).find_map(|parent| std::fs::canonicalize(parent).ok())
}

/// A directory beside the missing one whose name differs little: `/srv/meda` finds `/srv/media`.
fn did_you_mean(path: &Path, parent: &Path) -> String {
    const LOOKED_AT: usize = 1000;
    /// No name is longer (NAME_MAX), and comparing takes as long as both names together.
    const LONGEST_NAME: usize = 255;
    let wanted = path.file_name().map(|n| n.to_string_lossy().to_lowercase()).unwrap_or_default();
    let likely = std::fs::read_dir(parent).ok().filter(|_| wanted.len() <= LONGEST_NAME);
    let near = likely.and_then(|entries| {
        entries
            .take(LOOKED_AT)
            .flatten()
            .filter(|e| e.path().is_dir())
            .map(|e| (crate::policy::edit_distance(&wanted, &e.file_name().to_string_lossy().to_lowercase()), e.path()))
            .filter(|(distance, _)| *distance <= 2)
            .min()
    });
    match near {
        Some((_, path)) => format!(" Did you mean {}?", ByteStr::from(path.as_os_str().as_bytes())),
        None => format!(" {} exists", ByteStr::from(parent.as_os_str().as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_granted_directories_are_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("in/media")).unwrap();
        std::fs::create_dir_all(base.join("inner")).unwrap();
        std::fs::write(base.join("in/file"), b"").unwrap();
        std::os::unix::fs::symlink("/etc", base.join("in/etc")).unwrap();
        std::os::unix::fs::symlink("/nowhere", base.join("in/dangling")).unwrap();
        let roots = [base.join("in")];
        let text = |path: &str| resolve(&base.join(path), &roots).unwrap_err().to_string();
        assert_eq!(resolve(&base.join("in/media/.."), &roots).unwrap(), base.join("in"));
        for outside in ["inner", "in/etc", "in/dangling", "in/../inner", "nowhere/at/all"] {
            assert!(text(outside).contains("is not granted"), "{outside}: {}", text(outside));
        }
        assert!(text("in/file").contains("not a directory"));
        assert!(text("in/meda").contains("Did you mean"), "{}", text("in/meda"));
        assert!(resolve(Path::new("relative"), &roots).unwrap_err().to_string().contains("absolute"));
    }
}
