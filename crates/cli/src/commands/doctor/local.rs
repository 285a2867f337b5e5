//! Checks of this machine: directories, disk, memory of who owns what.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use hostler_model::{ByteStr, size};

use super::report::Check;

/// Below this much free space the doctor warns, bytes.
const DISK_WARNING: u64 = 512 << 20;
/// Below this much nothing can be relied on, bytes.
const DISK_FAILURE: u64 = 32 << 20;

/// Is the directory there, ours, closed to others, and can it be written?
pub fn directory(name: &'static str, dir: &Path) -> Check {
    let shown = ByteStr::from(dir.as_os_str().as_encoded_bytes());
    let metadata = match std::fs::metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) => {
            let hint = "name the right one with --data, or run the doctor as the user that runs Hostler";
            return Check::failed(name, format!("{shown}: {error}"), hint);
        }
    };
    let (own, owner) = (rustix::process::geteuid().as_raw(), metadata.uid());
    if own != owner && own != 0 {
        return Check::failed(
            name,
            format!("{shown} belongs to user {owner}, this is user {own}"),
            "run the doctor as the user that runs Hostler, or as root",
        );
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        return Check::failed(
            name,
            format!("{shown} is open to other users (mode {:o})", metadata.permissions().mode() & 0o777),
            format!("keys lie there: chmod 700 {shown}"),
        );
    }
    if let Err(error) = tempfile_in(dir) {
        let hint = "is the filesystem full or mounted read-only?";
        return Check::failed(name, format!("{shown} cannot be written: {error}"), hint);
    }
    Check::ok(name, format!("{shown}, writable, closed to others"))
}

fn tempfile_in(dir: &Path) -> std::io::Result<()> {
    let path = dir.join(format!(".doctor-{}", std::process::id()));
    let written = std::fs::write(&path, [0; 4096]);
    let removed = std::fs::remove_file(&path);
    written.and(removed)
}

/// Is there room for the data directory to grow?
pub fn disk(dir: &Path) -> Check {
    let shown = ByteStr::from(dir.as_os_str().as_encoded_bytes());
    match rustix::fs::statvfs(dir) {
        Err(error) => Check::failed("disk", format!("{shown}: {error}"), "name the right directory with --data"),
        Ok(fs) => {
            let free = fs.f_bavail.saturating_mul(fs.f_frsize);
            let detail = format!("{} free for {shown}", size::human(free));
            let hint = "free some space, or move the data directory";
            match free {
                DISK_WARNING.. => Check::ok("disk", detail),
                DISK_FAILURE.. => Check::warning("disk", detail, hint),
                _ => Check::failed("disk", detail, hint),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::State;
    use super::*;

    #[test]
    fn a_directory_that_is_open_or_missing_is_told() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(directory("data", dir.path()).state, State::Ok);
        assert!(disk(dir.path()).detail.contains("free"));
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let open = directory("data", dir.path());
        assert_eq!(open.state, State::Failed);
        assert!(open.hint.unwrap().contains("chmod 700"));
        assert_eq!(directory("data", &dir.path().join("missing")).state, State::Failed);
    }
}
