//! The real SnapFS programs against a gateway: the command line, and the agents of both generations.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use hostler_testkit::hostler::eventually;
use hostler_testkit::{Hostler, left_out, snapfs};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{files, found, linked, write};

/// A gateway without an agent of its own, and a tree.
struct Site {
    gateway: Hostler,
    tree: PathBuf,
    /// Kept until the test ends.
    dir: TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let gateway = gateway(dir.path());
        let tree = dir.path().canonicalize().unwrap().join("tree");
        std::fs::create_dir(&tree).unwrap();
        Self { gateway, tree, dir }
    }

    fn key(&self, name: &str, role: &str) -> String {
        let made = self.gateway.ok(["api-keys", "create", name, "--role", role, "--json"]).json();
        made["key"].as_str().unwrap().to_owned()
    }

    /// One `snapfs scan`: the exit code, and what was printed.
    fn scan(&self, snapfs: &Path, environment: &[(&str, &str)]) -> (Option<i32>, String) {
        let mut command = client(snapfs, &self.gateway.url);
        let output = command.args(["scan"]).arg(&self.tree).envs(environment.iter().copied()).output().unwrap();
        let printed = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&printed).into_owned())
    }

    fn host(&self, name: &str) -> Value {
        eventually("the host to be listed", || {
            let hosts = self.gateway.ok(["hosts", "list", "--json"]).json();
            hosts.as_array().unwrap().iter().find(|host| host["name"] == name).cloned()
        })
    }

    fn wait_linked(&self, name: &str) {
        eventually("the agent to be linked", || Some(self.host(name)).filter(linked));
    }

    fn start(&self, host: &str, root: &Path) -> String {
        let args = ["scan".into(), root.as_os_str().to_owned(), "--host".into(), host.into(), "--detach".into()];
        self.gateway.ok(args).stdout.trim().to_owned()
    }

    fn ended(&self, scan: &str) -> Value {
        self.gateway.wait_scan(scan, &["completed", "failed", "cancelled"])["scan"].clone()
    }
}

fn gateway(dir: &Path) -> Hostler {
    Hostler::start_command(&dir.join("data"), ["gateway", "--listen", "127.0.0.1:0"]).unwrap()
}

/// A client whose surroundings say nothing but where the gateway is.
fn client(program: &Path, url: &str) -> Command {
    let mut command = Command::new(program);
    let kept = ["HOME", "LANG", "TMPDIR"].map(|name| (name, std::env::var_os(name)));
    command.env_clear().envs(kept.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let path = [snapfs::bin().unwrap().into_os_string(), "/usr/bin:/bin".into()].join(std::ffi::OsStr::new(":"));
    command.env("PATH", path).env("SNAPFS_GATEWAY", url).stdin(Stdio::null());
    command
}

/// An agent; killed when dropped.
struct Agent(Child);

impl Agent {
    fn start(mut command: Command) -> Self {
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    fn generation_b(site: &Site, program: &Path, id: &str) -> Self {
        let mut command = client(program, &site.gateway.url);
        command.args(["agent", "--agent-id", id, "--root"]).arg(&site.tree);
        Self::start(command)
    }

    fn generation_a(site: &Site, program: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = client(program, &site.gateway.url);
        command.env("GATEWAY_WS", site.gateway.url.replace("http", "ws")).env("SNAPFS_SCAN_ROOT", &site.tree);
        command.envs(environment.iter().copied());
        Self::start(command)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // The agent's child is in the same session and ends when its pipes do.
        let pid = Pid::from_child(&self.0);
        let _ = kill_process(pid, Signal::TERM);
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

fn programs() -> Option<(PathBuf, PathBuf)> {
    match snapfs::snapfs().and_then(|cli| Ok((cli, snapfs::snapfs_agent_scanner()?))) {
        Ok(programs) => Some(programs),
        Err(why) => {
            left_out(&format!("the real SnapFS programs: {why}"));
            None
        }
    }
}

fn summary(printed: &str, field: &str) -> u64 {
    let line = printed.lines().find(|line| line.starts_with("[scanner] done.")).unwrap_or_else(|| panic!("{printed}"));
    let value = line.split(' ').find_map(|part| part.strip_prefix(field)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {field} in {line}")).parse().unwrap()
}

#[test]
fn the_command_line_scans_hashes_once_and_lands_in_the_index() {
    let Some((cli, _)) = programs() else { return };
    let site = Site::new();
    write(site.tree.join("a.txt"), "same");
    write(site.tree.join("sub/b.txt"), "same");
    write(site.tree.join("sub/deeper/c.bin"), vec![7; 3 << 20]);
    write(site.tree.join("back\\slash"), "x");
    let bad = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"bad\xff\xfe.txt");
    write(site.tree.join(bad), "not UTF-8");
    std::fs::hard_link(site.tree.join("a.txt"), site.tree.join("sub/second name")).unwrap();

    let (code, printed) = site.scan(&cli, &[]);
    assert_eq!((code, summary(&printed, "hashed"), summary(&printed, "published")), (Some(0), 5, 5), "{printed}");
    let host = &site.gateway.ok(["hosts", "list", "--json"]).json()[0];
    let scans = || site.gateway.ok(["scans", "list", "--json"]).json();
    let first =
        eventually("the scan to be committed", || Some(scans()[0].clone()).filter(|s| s["state"] == "completed"));
    assert_eq!((&first["root"], &first["host_name"]), (&json!(site.tree), &host["name"]));
    assert_eq!((&first["options"]["algorithm"], &first["counters"]["files"]), (&json!("sha1"), &json!(5)));
    let found = |args: &[&str]| site.gateway.ok(["files", "find", "--json"].iter().chain(args)).json();
    let b = &found(&["b.txt"])[0];
    assert_eq!((&b["algo"], &b["hash"]), (&json!("sha1"), &json!("ff3390557335ba88d37755e41514beb03bc499ec")));
    assert_eq!(found(&["*slash"])[0]["path"], json!(site.tree.join("back\\slash")));
    let names = site.gateway.ok(["files", "ls", site.tree.to_str().unwrap()]).stdout;
    assert!(names.contains("bad\\xff\\xfe.txt") && names.contains("back\\slash"), "{names}");
    let dups = site.gateway.ok(["files", "dups", "--json"]).json();
    assert_eq!(dups.as_array().unwrap().len(), 1, "{dups}");

    // Nothing is hashed again, what went is gone, and the second name of a hard link is not taken for lost.
    let (code, printed) = site.scan(&cli, &[]);
    assert_eq!((code, summary(&printed, "hashed"), summary(&printed, "cache_hits")), (Some(0), 0, 5), "{printed}");
    std::fs::remove_file(site.tree.join("sub/b.txt")).unwrap();
    write(site.tree.join("new.txt"), "new");
    let (_, printed) = site.scan(&cli, &[]);
    assert_eq!((summary(&printed, "hashed"), summary(&printed, "cache_hits")), (1, 4), "{printed}");
    let third = eventually("the third scan", || {
        let all = scans();
        Some(all[0].clone()).filter(|s| all.as_array().unwrap().len() == 3 && s["state"] == "completed")
    });
    let counters = &third["counters"];
    assert_eq!((&counters["created"], &counters["deleted"]), (&json!(1), &json!(1)), "{third}");
    assert_eq!(found(&["b.txt"]), json!([]));
}

#[test]
fn keys_decide_who_may_tell() {
    let Some((cli, _)) = programs() else { return };
    let site = Site::new();
    files(&site.tree, 20);
    let (operator, viewer) = (site.key("scanner", "operator"), site.key("reader", "viewer"));
    let (code, printed) = site.scan(&cli, &[("SNAPFS_API_KEY", &operator)]);
    assert_eq!((code, summary(&printed, "published")), (Some(0), 20), "{printed}");
    for wrong in [viewer.as_str(), "hst_00000000000000000000000000000000"] {
        let (code, printed) = site.scan(&cli, &[("SNAPFS_API_KEY", wrong)]);
        assert_eq!(code, Some(1), "{printed}");
    }
    // Another key's cache is not this one's: two hosts never share a hash.
    let other = site.key("another host", "operator");
    let (_, printed) = site.scan(&cli, &[("SNAPFS_API_KEY", &other)]);
    assert_eq!((summary(&printed, "cache_hits"), summary(&printed, "hashed")), (0, 20), "{printed}");
    let (_, printed) = site.scan(&cli, &[("SNAPFS_API_KEY", &operator)]);
    assert_eq!((summary(&printed, "cache_hits"), summary(&printed, "hashed")), (20, 0), "{printed}");
}

#[test]
fn an_agent_of_generation_b_is_given_jobs() {
    let Some((cli, _)) = programs() else { return };
    let site = Site::new();
    files(&site.tree, 6_000);
    let _agent = Agent::generation_b(&site, &cli, "store1");
    site.wait_linked("store1");

    let first = site.start("store1", &site.tree);
    site.gateway.wait_scan(&first, &["running"]);
    let busy = site.ended(&site.start("store1", &site.tree));
    assert_eq!(busy["state"], "failed");
    assert!(busy["error"].as_str().unwrap().contains("Agent is busy running another scan."), "{busy}");
    site.gateway.ok(["scans", "cancel", &first]);
    assert_eq!(site.ended(&first)["state"], "cancelled");

    // The agent may take a moment to be free again.
    let done = eventually("a scan to be taken", || {
        let scan = site.ended(&site.start("store1", &site.tree));
        Some(scan).filter(|scan| scan["state"] == "completed")
    });
    assert_eq!(done["counters"]["files"], json!(6_000));
    assert_eq!(found(&site.gateway), 6_000);
    let gone = site.ended(&site.start("store1", Path::new("/not/there")));
    assert!(gone["error"].as_str().unwrap().contains("does not exist"), "{gone}");
    let refused = site.gateway.run(["scan", "/", "--host", "store1", "--exclude", "*.tmp"]).unwrap();
    assert!(!refused.success && refused.stderr.contains("SnapFS agent"), "{refused:?}");

    let schedule = ["scans", "schedule", site.tree.to_str().unwrap(), "--host", "store1", "--every", "6h"];
    let schedule = site.gateway.ok(schedule).stdout.trim().to_owned();
    let scheduled = site.gateway.ok(["scans", "schedules", "run", &schedule]).stdout.trim().to_owned();
    assert_eq!(site.ended(&scheduled)["state"], "completed");
}

#[test]
fn a_scan_goes_on_over_a_crash_of_the_gateway() {
    let Some((cli, _)) = programs() else { return };
    let site = Site::new();
    files(&site.tree, 5_000);
    let port = site.gateway.url.rsplit(':').next().unwrap().to_owned();
    let _agent = Agent::generation_b(&site, &cli, "store1");
    site.wait_linked("store1");
    let scan = site.start("store1", &site.tree);
    site.gateway.wait_scan(&scan, &["running"]);
    let Site { gateway, tree, dir } = site;
    gateway.kill().unwrap();
    let listen = format!("127.0.0.1:{port}");
    let gateway = Hostler::start_command(&dir.path().join("data"), ["gateway", "--listen", &listen]).unwrap();
    let site = Site { gateway, tree, dir };
    // What the client told while nobody listened is lost with it (it does not try again), so nothing is taken for deleted,
    // and the next scan makes it whole.
    let ended = site.ended(&scan);
    assert_eq!(ended["state"], "completed", "{ended}");
    site.wait_linked("store1");
    let again = site.ended(&site.start("store1", &site.tree));
    assert_eq!(again["state"], "completed", "{again}");
    assert_eq!(found(&site.gateway), 5_000);
}

#[test]
fn an_agent_of_generation_a_is_given_jobs() {
    let Some((_, agent)) = programs() else { return };
    let site = Site::new();
    files(&site.tree, 15_000);
    let key = site.key("scanner", "operator");
    let path = format!("/agents/{key}");
    let _agent = Agent::generation_a(&site, &agent, &[("SNAPFS_AGENT_ID", "old1"), ("SNAPFS_AGENT_WS_PATH", &path)]);
    site.wait_linked("old1");

    // Its child has no key: it is known by its root and address.
    let first = site.start("old1", &site.tree);
    site.gateway.wait_scan(&first, &["running"]);
    let busy = site.ended(&site.start("old1", &site.tree));
    assert_eq!(busy["error"], "the agent is busy: Scan already in progress");
    let done = site.ended(&first);
    assert_eq!((&done["state"], &done["counters"]["files"]), (&json!("completed"), &json!(15_000)), "{done}");
    assert_eq!(done["host_name"], "old1");
    assert_eq!(found(&site.gateway), 15_000);

    // The wire has no cancel: the scan counts as cancelled, and says that the client may go on.
    let second = eventually("a scan to be taken", || {
        let scan = site.start("old1", &site.tree);
        let state = site.gateway.wait_scan(&scan, &["running", "failed"])["scan"]["state"].clone();
        (state == "running").then_some(scan)
    });
    site.gateway.ok(["scans", "cancel", &second]);
    let cancelled = site.ended(&second);
    assert_eq!(cancelled["state"], "cancelled");
    assert!(cancelled["error"].as_str().unwrap().contains("may go on by itself"), "{cancelled}");

    let gone = eventually("a scan of what is not there to be refused", || {
        let scan = site.ended(&site.start("old1", Path::new("/not/there")));
        Some(scan).filter(|scan| !scan["error"].as_str().unwrap().contains("busy"))
    });
    assert!(gone["error"].as_str().unwrap().contains("/not/there"), "{gone}");
}
