//! What the host's owner grants: `agent.toml`.

use std::io;
use std::path::{Path, PathBuf};

use hostler_model::ByteStr;
use serde::Deserialize;

/// What a gateway may ask of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// File trees.
    pub files: FilesPolicy,
}

/// `[files]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilesPolicy {
    /// Directories that may be scanned and read, with everything below. Empty grants nothing.
    pub roots: Vec<PathBuf>,
}

/// `agent.toml` cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file failed.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which.
        path: ByteStr,
        /// Why not.
        source: io::Error,
    },
    /// The file says something unknown or wrong.
    #[error("{path}: {reason}")]
    Invalid {
        /// Which.
        path: ByteStr,
        /// What is wrong, with the place in the file.
        reason: String,
    },
}

impl Policy {
    /// Reads a file; `None` when it is not there.
    pub fn read(path: &Path) -> Result<Option<Self>, PolicyError> {
        let shown = || ByteStr::from(path.as_os_str().as_encoded_bytes());
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map(Some).map_err(|reason| PolicyError::Invalid { path: shown(), reason }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PolicyError::File { path: shown(), source }),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let policy: Self = toml::from_str(text).map_err(|e| with_nearest(&e))?;
        match policy.files.roots.iter().find(|root| !root.is_absolute()) {
            Some(root) => Err(format!("files.roots: {} is not an absolute path", root.display())),
            None => Ok(policy),
        }
    }
}

/// The parser's words, and for an unknown key the known one that looks most like it.
fn with_nearest(error: &toml::de::Error) -> String {
    const KNOWN: [&str; 2] = ["files", "roots"];
    let text = error.to_string();
    let unknown = error.message().strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    let nearest = unknown.and_then(|key| {
        let (distance, known) = KNOWN.iter().map(|known| (edit_distance(key, known), known)).min()?;
        (distance <= 3).then_some(known)
    });
    match nearest {
        Some(known) => format!("{}\ndid you mean `{known}`?", text.trim_end()),
        None => text.trim_end().to_owned(),
    }
}

/// Levenshtein's distance over bytes.
pub fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let cost = usize::from(x != y);
            let next = (diagonal + cost).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_errors_that_name_the_nearest() {
        let error = Policy::parse("[files]\nrots = [\"/srv\"]\n").unwrap_err();
        assert!(error.contains("did you mean `roots`?"), "{error}");
        assert!(Policy::parse("[files]\nroots = [\"srv\"]").unwrap_err().contains("absolute"));
        assert_eq!(Policy::parse("[files]\nroots = [\"/srv\"]").unwrap().files.roots, [PathBuf::from("/srv")]);
        assert_eq!(Policy::parse("").unwrap(), Policy::default());
    }
}
