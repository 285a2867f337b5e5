//! Names of users and groups.
//!
//! `/etc/passwd` and `/etc/group` first, then `getent` as a child process with a time limit. Never the C library's
//! look-up in this process: the binary is static, and directory services load plug-ins and may wait for a network.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Longest part of a file that is looked at, in bytes: some 100,000 users.
const FILE_LIMIT: u64 = 8 << 20;

/// Longest part of `getent`'s answer that is looked at: the name comes first, a group's members last.
const ANSWER_LIMIT: u64 = 4096;

/// How long one `getent` may take.
const GETENT_TIMEOUT: Duration = Duration::from_secs(2);

/// Names of owners. Reads the files once, so make one per scan.
#[derive(Debug)]
pub struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
    /// False once `getent` was missing or too slow: a directory service that is down must not cost two seconds per id.
    ask_getent: bool,
}

impl Owners {
    /// Reads `/etc/passwd` and `/etc/group`; a file that cannot be read counts as empty.
    pub fn load() -> Self {
        Self { users: read_names("/etc/passwd"), groups: read_names("/etc/group"), ask_getent: true }
    }

    /// The user's name; `None` when nothing knows it. May block for two seconds, once.
    pub fn user(&mut self, uid: u32) -> Option<String> {
        self.users.get(&uid).cloned().or_else(|| self.getent("passwd", uid))
    }

    /// The group's name; as [`Owners::user`].
    pub fn group(&mut self, gid: u32) -> Option<String> {
        self.groups.get(&gid).cloned().or_else(|| self.getent("group", gid))
    }

    fn getent(&mut self, database: &str, id: u32) -> Option<String> {
        if !self.ask_getent {
            return None;
        }
        let mut command = Command::new("getent");
        command.args([database, &id.to_string()]);
        match first_bytes(command, GETENT_TIMEOUT) {
            Ok(answer) => parse(&answer).find(|(found, _)| *found == id).map(|(_, name)| name),
            Err(error) => {
                self.ask_getent = false;
                tracing::debug!(%error, "getent is not asked again in this scan");
                None
            }
        }
    }
}

/// The name of one user; for more than one, [`Owners`] reads the files only once.
pub fn user_name(uid: u32) -> Option<String> {
    Owners::load().user(uid)
}

/// The name of one group; for more than one, [`Owners`] reads the files only once.
pub fn group_name(gid: u32) -> Option<String> {
    Owners::load().group(gid)
}

fn read_names(path: &str) -> HashMap<u32, String> {
    let mut text = Vec::new();
    if let Ok(file) = File::open(path)
        && file.take(FILE_LIMIT).read_to_end(&mut text).is_err()
    {
        text.clear();
    }
    let mut names = HashMap::new();
    for (id, name) in parse(&text) {
        // The first line of an id wins, as in the C library.
        names.entry(id).or_insert(name);
    }
    names
}

/// Lines `name:password:id:...` (passwd(5), group(5)); anything else is passed over.
fn parse(text: &[u8]) -> impl Iterator<Item = (u32, String)> {
    text.split(|&b| b == b'\n').filter_map(|line| {
        let mut fields = line.splitn(4, |&b| b == b':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with(b"#"))?;
        let id = std::str::from_utf8(fields.nth(1)?).ok()?.parse().ok()?;
        Some((id, String::from_utf8_lossy(name).into_owned()))
    })
}

/// What a command writes first, at most [`ANSWER_LIMIT`] bytes.
fn first_bytes(mut command: Command, timeout: Duration) -> std::io::Result<Vec<u8>> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let (send, receive) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut answer = Vec::new();
            let read = stdout.take(ANSWER_LIMIT).read_to_end(&mut answer);
            // The receiver is gone when the time was up.
            let _ = send.send(read.map(|_| answer));
        });
    }
    let answer = receive.recv_timeout(timeout).unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
    // Harmless when it has ended by itself; needed when it has not, or still writes.
    let _ = child.kill();
    let _ = child.wait();
    answer
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn lines_of_passwd_and_group() {
        let text = b"root:x:0:0:root:/root:/bin/sh\n#x:x:1:\n+::::\nbad\n\n\xff:x:7:\nops:x:1000:a,b\nlast:x:9";
        let names: Vec<_> = parse(text).collect();
        assert_eq!(names, [(0, "root".into()), (7, "\u{fffd}".into()), (1000, "ops".into()), (9, "last".into())]);
    }

    #[test]
    fn root_has_a_name_and_nobody_has_none() {
        assert_eq!(user_name(0).as_deref(), Some("root"));
        assert_eq!(group_name(0).as_deref(), Some("root"));
        assert_eq!(user_name(3_999_999_999), None);
    }

    #[test]
    fn a_slow_command_is_stopped() {
        let start = Instant::now();
        let mut command = Command::new("sleep");
        command.arg("30");
        let error = first_bytes(command, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
