//! What the host's owner grants: `agent.toml`.

mod nearest;

use std::io;
use std::path::{Path, PathBuf};

use hostler_model::{ByteStr, ScanLimits};
use serde::Deserialize;

pub use nearest::edit_distance;

/// What a gateway may ask of this host. The default is what holds without a file, and for each section without that section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// File trees.
    pub files: FilesPolicy,
    /// Docker and Podman.
    pub containers: ContainersPolicy,
    /// Snapshots of ZFS and btrfs.
    pub snapshots: SnapshotsPolicy,
    /// Prompts of the egress firewall.
    pub clearance: ClearancePolicy,
    /// MicroVMs.
    pub sandboxes: SandboxesPolicy,
}

/// `[files]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilesPolicy {
    /// Directories that may be scanned and read, with everything below. Empty grants nothing.
    pub roots: Vec<PathBuf>,
    /// What any scan may use of a processor, in percent of one core; 0 means no bound.
    pub max_cpu_percent: u32,
    /// Bytes of content any scan may read a second; 0 means no bound.
    pub max_bytes_per_second: u64,
    /// Every scan runs at the lowest priorities of processor and disk.
    pub idle: bool,
}

impl FilesPolicy {
    /// The stricter of what is asked for and what the owner allows, bound by bound.
    pub fn limits(&self, asked: ScanLimits) -> ScanLimits {
        fn stricter<T: Ord + Default>(a: T, b: T) -> T {
            // No bound is zero, the weakest of all.
            if a == T::default() || b == T::default() { a.max(b) } else { a.min(b) }
        }
        ScanLimits {
            cpu_percent: stricter(asked.cpu_percent, self.max_cpu_percent),
            bytes_per_second: stricter(asked.bytes_per_second, self.max_bytes_per_second),
            idle: asked.idle || self.idle,
        }
    }
}

/// `[containers]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContainersPolicy {
    /// How far the gateway may go.
    pub grant: ContainersGrant,
}

/// `[snapshots]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SnapshotsPolicy {
    /// How far the gateway may go.
    pub grant: SnapshotsGrant,
    /// Directories that may be restored to, with `grant = "restore"`.
    pub restore_roots: Vec<PathBuf>,
}

/// `[clearance]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClearancePolicy {
    /// How far the gateway may go.
    pub grant: ClearanceGrant,
}

/// `[sandboxes]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxesPolicy {
    /// How far the gateway may go.
    pub grant: SandboxesGrant,
    /// Memory of all sandboxes together, in MiB.
    pub max_memory_mib: u64,
}

impl Default for SandboxesPolicy {
    fn default() -> Self {
        Self { grant: SandboxesGrant::None, max_memory_mib: 16 << 10 }
    }
}

/// Levels of a grant, each with the word that `agent.toml` has for it.
macro_rules! levels {
    ($(#[$doc:meta])* $name:ident default $default:ident { $($(#[$level_doc:meta])* $level:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
        pub enum $name {
            $($(#[$level_doc])* #[serde(rename = $word)] $level,)*
        }

        impl $name {
            /// The word in `agent.toml`.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$level => $word,)*
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::$default
            }
        }
    };
}

levels! {
    /// Docker and Podman, each level with those before it.
    ContainersGrant default Read {
        /// Nothing.
        None = "none",
        /// See them.
        Read = "read",
        /// Start, stop, remove them.
        Manage = "manage",
        /// Run commands in them.
        Exec = "exec",
    }
}
levels! {
    /// Snapshots, each level with those before it.
    SnapshotsGrant default Read {
        /// Nothing.
        None = "none",
        /// Look into them.
        Read = "read",
        /// Bring files back from them.
        Restore = "restore",
    }
}
levels! {
    /// Prompts of the egress firewall, each level with those before it.
    ClearanceGrant default Decide {
        /// Nothing.
        None = "none",
        /// See them.
        Read = "read",
        /// Answer them.
        Decide = "decide",
    }
}
levels! {
    /// MicroVMs.
    SandboxesGrant default None {
        /// Nothing.
        None = "none",
        /// Run them.
        Run = "run",
    }
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

/// What is granted of one capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantOf {
    /// The section of `agent.toml`.
    pub capability: &'static str,
    /// Its level.
    pub level: &'static str,
    /// The directories it is about.
    pub roots: Vec<PathBuf>,
}

impl Policy {
    /// What `hostler up` grants without a file: these directories, and sandboxes.
    pub fn of_up(roots: Vec<PathBuf>) -> Self {
        Self {
            files: FilesPolicy { roots, ..FilesPolicy::default() },
            sandboxes: SandboxesPolicy { grant: SandboxesGrant::Run, ..SandboxesPolicy::default() },
            ..Self::default()
        }
    }

    /// Reads a file; `None` when it is not there.
    ///
    /// # Errors
    /// [`PolicyError`] with the place in the file, and for an unknown key or value the nearest known one.
    pub fn read(path: &Path) -> Result<Option<Self>, PolicyError> {
        let shown = || ByteStr::from(path.as_os_str().as_encoded_bytes());
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text).map(Some).map_err(|reason| PolicyError::Invalid { path: shown(), reason }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PolicyError::File { path: shown(), source }),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let policy: Self = toml::from_str(text).map_err(|e| nearest::with_nearest(&e))?;
        for (key, roots) in
            [("files.roots", &policy.files.roots), ("snapshots.restore_roots", &policy.snapshots.restore_roots)]
        {
            if let Some(root) = roots.iter().find(|root| !root.is_absolute()) {
                return Err(format!("{key}: {} is not an absolute path", root.display()));
            }
        }
        Ok(policy)
    }

    /// What is granted, capability by capability.
    pub fn grants(&self) -> Vec<GrantOf> {
        let files = if self.files.roots.is_empty() { "none" } else { "read" };
        let restores = self.snapshots.grant == SnapshotsGrant::Restore;
        let restore_roots = if restores { self.snapshots.restore_roots.clone() } else { Vec::new() };
        let of = |capability, level, roots| GrantOf { capability, level, roots };
        vec![
            of("files", files, self.files.roots.clone()),
            of("containers", self.containers.grant.word(), Vec::new()),
            of("snapshots", self.snapshots.grant.word(), restore_roots),
            of("clearance", self.clearance.grant.word(), Vec::new()),
            of("sandboxes", self.sandboxes.grant.word(), Vec::new()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_values_are_errors_that_name_the_nearest() {
        for (text, meant) in [
            ("[files]\nrots = [\"/srv\"]\n", "roots"),
            ("[file]\nroots = []\n", "files"),
            ("[container]\ngrant = \"read\"\n", "containers"),
            ("[containers]\ngrants = \"read\"\n", "grant"),
            ("[containers]\ngrant = \"reed\"\n", "read"),
            ("[snapshots]\nrestore_root = []\n", "restore_roots"),
            ("[sandboxes]\nmax_memory_mb = 5\n", "max_memory_mib"),
            ("[sandboxes]\ngrant = \"Run\"\n", "run"),
        ] {
            let error = Policy::parse(text).unwrap_err();
            assert!(error.contains(&format!("did you mean `{meant}`?")), "{text}: {error}");
            assert!(error.contains("line "), "{error}");
        }
        let error = Policy::parse("[clearance]\ngrant = \"everything\"\n").unwrap_err();
        assert!(error.contains("`decide`") && !error.contains("did you mean"), "{error}");
        for text in ["[files]\nroots = [\"srv\"]", "[snapshots]\nrestore_roots = [\"srv\"]"] {
            assert!(Policy::parse(text).unwrap_err().contains("absolute"));
        }
        assert!(Policy::parse("[sandboxes]\nmax_memory_mib = -1").is_err());
    }

    #[test]
    fn the_stricter_limit_holds() {
        let text = "[files]\nmax_cpu_percent = 50\nmax_bytes_per_second = 1000\nidle = true\n";
        let owner = Policy::parse(text).unwrap().files;
        let limits = |cpu_percent, bytes_per_second, idle| ScanLimits { cpu_percent, bytes_per_second, idle };
        for (asked, held) in [
            (limits(0, 0, false), limits(50, 1000, true)),
            (limits(20, 2000, false), limits(20, 1000, true)),
            (limits(70, 1, true), limits(50, 1, true)),
        ] {
            assert_eq!(owner.limits(asked), held);
            assert_eq!(FilesPolicy::default().limits(asked), asked);
        }
        let error = Policy::parse("[files]\nmax_cpu_percnt = 50\n").unwrap_err();
        assert!(error.contains("did you mean `max_cpu_percent`?"), "{error}");
    }

    #[test]
    fn the_defaults_are_those_of_the_contract_section_by_section() {
        let levels = |policy: &Policy| policy.grants().iter().map(|g| g.level).collect::<Vec<_>>();
        let policy = Policy::parse("").unwrap();
        assert_eq!(policy, Policy::default());
        assert_eq!(levels(&policy), ["none", "read", "read", "decide", "none"]);
        assert_eq!(policy.sandboxes.max_memory_mib, 16384);
        let policy = Policy::parse(
            "[files]\nroots = [\"/srv\"]\n[containers]\ngrant = \"exec\"\n[snapshots]\nrestore_roots = [\"/srv\"]\n",
        );
        let policy = policy.unwrap();
        assert_eq!(levels(&policy), ["read", "exec", "read", "decide", "none"]);
        assert_eq!(policy.grants()[0].roots, [PathBuf::from("/srv")]);
        assert!(policy.grants()[2].roots.is_empty(), "used with grant = restore only");
        assert_eq!(levels(&Policy::of_up(vec!["/home".into()])), ["read", "read", "read", "decide", "run"]);
    }
}
