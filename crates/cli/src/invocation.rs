//! What the binary is: a command that was typed, the name it was called by, or what a container's environment says.
//!
//! 1. A name that stands for a drop-in: the arguments are that program's.
//! 2. Arguments: `hostler COMMAND ...`.
//! 3. In a container, `HOSTLER_MODE` names a command; without it, `GATEWAY_WS` means the SnapFS agent.
//! 4. Else the help text.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// Set to anything in our image, and in others that hold the binary.
const CONTAINER: &str = "HOSTLER_CONTAINER";
/// What Docker and Podman put into every container.
const MARKERS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

/// Names of links to the binary, and the drop-ins they stand for.
const NAMES: [(&str, &str); 3] = [
    ("hostler-snapfs-agent", "snapfs-agent"),
    ("snapfs-agent-scanner", "snapfs-agent-scanner"),
    ("hostler-snapfs-scan", "snapfs-scan"),
];
/// What `HOSTLER_MODE` may say.
const MODES: [&str; 4] = ["gateway", "agent", "up", "snapfs-agent"];

/// `HOSTLER_MODE` says something else.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("HOSTLER_MODE is {0:?}; it may be {modes}", modes = MODES.join(", "))]
pub struct UnknownMode(OsString);

/// True in a container, where a drop-in has defaults for what it is not told.
pub fn in_container() -> bool {
    has(std::env::var_os(CONTAINER)) || MARKERS.iter().any(|marker| Path::new(marker).exists())
}

/// The arguments as if all had been typed, the program's name first.
///
/// # Errors
/// [`UnknownMode`].
pub fn arguments() -> Result<Vec<OsString>, UnknownMode> {
    resolve(std::env::args_os().collect(), &|name| std::env::var_os(name), in_container)
}

fn resolve(
    arguments: Vec<OsString>,
    env: &dyn Fn(&str) -> Option<OsString>,
    in_container: impl FnOnce() -> bool,
) -> Result<Vec<OsString>, UnknownMode> {
    let name = arguments.first().map(Path::new).and_then(Path::file_name);
    let called = NAMES.iter().find(|(link, _)| name == Some(OsStr::new(link)));
    if let Some((_, drop_in)) = called {
        return Ok(typed(&["drop-in", drop_in], arguments));
    }
    if arguments.len() > 1 || !in_container() {
        return Ok(arguments);
    }
    let Some(mode) = env("HOSTLER_MODE").filter(|mode| !mode.is_empty()) else {
        let is_agent = has(env("GATEWAY_WS"));
        return Ok(if is_agent { typed(&["drop-in", "snapfs-agent"], arguments) } else { arguments });
    };
    match MODES.iter().find(|known| mode == OsStr::new(known)) {
        Some(known) if known.starts_with("snapfs-") => Ok(typed(&["drop-in", known], arguments)),
        Some(known) => Ok(typed(&[known], arguments)),
        None => Err(UnknownMode(mode)),
    }
}

fn has(value: Option<OsString>) -> bool {
    value.is_some_and(|value| !value.is_empty())
}

/// The words typed before the arguments that are there.
fn typed(words: &[&str], arguments: Vec<OsString>) -> Vec<OsString> {
    let rest = arguments.into_iter().skip(1);
    std::iter::once("hostler").chain(words.iter().copied()).map(OsString::from).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(line: &str, env: &[(&str, &str)], in_container: bool) -> String {
        let arguments = line.split(' ').map(OsString::from).collect();
        let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
        let resolved = resolve(arguments, &env, || in_container);
        resolved.map_or_else(|e| e.to_string(), |words| words.join(OsStr::new(" ")).into_string().unwrap())
    }

    #[test]
    fn names_come_before_arguments_and_arguments_before_the_container() {
        let ws = ("GATEWAY_WS", "ws://gateway:8000");
        for (line, env, container, expected) in [
            ("/usr/bin/hostler", &[][..], false, "/usr/bin/hostler"),
            ("hostler", &[ws], false, "hostler"),
            ("hostler", &[("HOSTLER_MODE", "snapfs-agent")], false, "hostler"),
            ("hostler", &[ws], true, "hostler drop-in snapfs-agent"),
            ("hostler", &[ws, ("HOSTLER_MODE", "gateway")], true, "hostler gateway"),
            ("hostler", &[("HOSTLER_MODE", "snapfs-agent")], true, "hostler drop-in snapfs-agent"),
            ("hostler", &[("HOSTLER_MODE", ""), ("GATEWAY_WS", "")], true, "hostler"),
            ("hostler up", &[ws, ("HOSTLER_MODE", "snapfs-agent")], true, "hostler up"),
            ("/opt/hostler-snapfs-agent", &[], false, "hostler drop-in snapfs-agent"),
            (
                "hostler-snapfs-scan /srv -v",
                &[("HOSTLER_MODE", "gateway")],
                true,
                "hostler drop-in snapfs-scan /srv -v",
            ),
            ("./snapfs-agent-scanner --gateway x", &[], false, "hostler drop-in snapfs-agent-scanner --gateway x"),
            ("snapfs-agent-scanner-2 up", &[], false, "snapfs-agent-scanner-2 up"),
        ] {
            assert_eq!(resolved(line, env, container), expected, "{line} {env:?} {container}");
        }
        let unknown = resolved("hostler", &[("HOSTLER_MODE", "snapfs")], true);
        assert!(unknown.contains("HOSTLER_MODE") && unknown.contains("snapfs-agent"), "{unknown}");
    }
}
