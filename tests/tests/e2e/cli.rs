//! The command line: its texts, its exit codes, its manners.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use hostler_testkit::hostler::{command, run};
use hostler_testkit::{Hostler, Output};

use crate::support::{Bench, id, write};

/// Runs without a gateway, in an empty environment as far as Hostler looks at it.
fn alone(args: &[&str]) -> Output {
    run(command().unwrap().args(args)).unwrap()
}

/// The subcommands that a help text lists.
fn subcommands(help: &str) -> Vec<String> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    list.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(Into::into).collect()
}

fn collect_help(path: &[String], out: &mut String) {
    let args: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
    let output = alone(&args);
    assert_eq!(output.code, Some(0), "{output:?}");
    let title = [&["hostler".to_owned()], path].concat().join(" ");
    out.push_str(&format!("===== {title}\n{}\n", output.stdout));
    for name in subcommands(&output.stdout) {
        collect_help(&[path, &[name]].concat(), out);
    }
}

#[test]
fn the_help_of_every_command_is_as_agreed() {
    let mut all = String::new();
    collect_help(&[], &mut all);
    assert!(all.matches("=====").count() > 20, "commands were lost: {all}");
    insta::assert_snapshot!("help", all);
}

#[test]
fn the_agreed_flags_are_there() {
    for (args, flags) in [
        (&["up"][..], &["--listen <ADDRESS>", "127.0.0.1:7440", "--data <DIR>", "--insecure-http"][..]),
        (&["agent"], &["--stdio"]),
        (&["files", "find"], &["--json", "--gateway <URL>", "HOSTLER_URL", "HOSTLER_API_KEY", "HOSTLER_DATA"]),
    ] {
        let help = alone(&[args, &["--help"]].concat()).stdout;
        for flag in flags {
            assert!(help.contains(flag), "{args:?}: {flag} is missing: {help}");
        }
    }
    assert!(alone(&["--version"]).stdout.starts_with("hostler "));
}

#[test]
fn completions_and_man_pages_are_made() {
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef hostler"),
        ("fish", "complete -c hostler"),
        ("powershell", "hostler"),
        ("elvish", "hostler"),
    ] {
        let output = alone(&["completions", shell]);
        assert!(output.success && output.stdout.contains(word), "{shell}: {:.200}", output.stdout);
        assert!(output.stdout.contains("one-file-system"), "{shell} knows the flags");
    }
    let dir = tempfile::tempdir().unwrap();
    let man = dir.path().join("made/man");
    assert!(alone(&["man", man.to_str().unwrap()]).success);
    let pages: Vec<String> =
        std::fs::read_dir(&man).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    for page in ["hostler.1", "hostler-up.1", "hostler-files-find.1", "hostler-api-keys-create.1"] {
        assert!(pages.iter().any(|p| p == page), "{page} is missing: {pages:?}");
        assert!(std::fs::read_to_string(man.join(page)).unwrap().contains(".TH"), "{page}");
    }
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    for wrong in [
        &["bogus"][..],
        &["scan"],
        &["scans", "show", "no-id"],
        &["up", "--listen", "nowhere"],
        &["scan", ".", "--algorithm", "md5"],
        &["scan", ".", "--hash-max-size", "much"],
        &["api-keys", "create", "x", "--role", "king"],
        &["agent", "--gateway", "http://127.0.0.1:1"],
        &["up", "--tls-cert", "cert.pem"],
    ] {
        let output = alone(wrong);
        assert_eq!(output.code, Some(2), "{wrong:?}: {output:?}");
        assert!(output.stderr.starts_with("error: "), "{output:?}");
    }
    assert_eq!(alone(&[]).code, Some(2), "no command is a question, not a success");

    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    for asked in
        [&["hosts", "list"][..], &["files", "find"], &["files", "ls"], &["scan", "."], &["sign-in"], &["scans", "list"]]
    {
        let output = alone(&[asked, &["--data", data]].concat());
        assert_eq!(output.code, Some(1), "{asked:?}: {output:?}");
        assert!(output.stderr.contains("no gateway answers at"), "{output:?}");
        assert!(output.stderr.contains("hint: start one with `hostler up`"), "{output:?}");
        assert_eq!(output.stdout, "");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = alone(&["up", "--data", data, "--listen", &address]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains(&address) && output.stderr.contains("--listen"), "{output:?}");
    let output = alone(&["agent", "--data", data]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("hostler hosts token"), "it says how to join: {output:?}");
    let output = alone(&["join", "https://127.0.0.1:1", "hjt_nonsense", "--data", data]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("no join token"), "{output:?}");
}

#[test]
fn a_mistake_in_agent_toml_is_named_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path().join("agent/agent.toml"), "[files]\nrots = [\"/srv\"]\n");
    let output = alone(&["up", "--listen", "127.0.0.1:0", "--data", dir.path().to_str().unwrap()]);
    assert_eq!(output.code, Some(1), "{output:?}");
    for words in ["agent.toml", "line 2", "did you mean `roots`?"] {
        assert!(output.stderr.contains(words), "{words} is missing: {}", output.stderr);
    }
}

#[test]
fn a_scan_that_fails_fails_its_command() {
    let bench = Bench::new(|tree| hostler_testkit::tree::endless_file(&tree.join("endless")).unwrap());
    let data = bench.hostler.data().to_owned();
    let child = command()
        .unwrap()
        .arg("scan")
        .arg(&bench.tree)
        .args(["--algorithm", "sha256"])
        .env("HOSTLER_DATA", &data)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let scan = hostler_testkit::eventually("the scan to run", || {
        let list = bench.hostler.ok(["scans", "list", "--json", "--state", "running"]).json();
        list[0]["id"].as_str().map(ToOwned::to_owned)
    });
    bench.hostler.ok(["scans", "cancel", &scan]);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("cancelled"), "{output:?}");
}

#[test]
fn ctrl_c_cancels_the_scan_that_is_followed() {
    let bench = Bench::new(|tree| hostler_testkit::tree::endless_file(&tree.join("endless")).unwrap());
    let child = command()
        .unwrap()
        .arg("scan")
        .arg(&bench.tree)
        .args(["--algorithm", "sha256"])
        .env("HOSTLER_DATA", bench.hostler.data())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let scan = hostler_testkit::eventually("the scan to run", || {
        let list = bench.hostler.ok(["scans", "list", "--json", "--state", "running"]).json();
        list[0]["id"].as_str().map(ToOwned::to_owned)
    });
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("the index is as it was"), "{output:?}");
    assert_eq!(bench.hostler.wait_scan(&scan, &["cancelled", "failed", "completed"])["scan"]["state"], "cancelled");
}

#[test]
fn keys_can_be_made_beside_a_stopped_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let made = alone(&["api-keys", "create", "first", "--role", "viewer", "--data", data.to_str().unwrap()]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let key = made.stdout.trim();
    assert!(key.len() == 36 && key.starts_with("hst_") && key[4..].bytes().all(|b| b.is_ascii_hexdigit()), "{key}");
    assert!(made.stderr.contains("only time the key is shown"), "{made:?}");
    let hostler = Hostler::start(&data, &[dir.path()]).unwrap();
    assert_eq!(hostler.http().key(key).get("/api/v1/hosts").status, 200);
    let again = hostler.run(["api-keys", "create", "first", "--role", "viewer"]).unwrap();
    assert_eq!(again.code, Some(1), "{again:?}");
    assert!(again.stderr.contains("\"first\" exists already"), "{again:?}");
    let listed = hostler.ok(["api-keys", "list"]).stdout;
    assert!(listed.contains("first") && listed.contains(&key[..8]) && !listed.contains(key), "{listed}");
}

/// Runs with a reader that takes one line (or none) and closes; the exit code and the error output.
fn read_and_close(bench: &Bench, args: &[&str], lines: usize) -> (Option<i32>, String) {
    let mut child = command()
        .unwrap()
        .args(args)
        .env("HOSTLER_DATA", bench.hostler.data())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    {
        let mut reader = BufReader::with_capacity(16, child.stdout.take().unwrap());
        for _ in 0..lines {
            reader.read_line(&mut String::new()).unwrap();
        }
    }
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    (child.wait().unwrap().code(), stderr)
}

#[test]
fn a_closed_pipe_is_no_error() {
    let bench = Bench::new(|tree| {
        for i in 0..1200 {
            write(tree.join(format!("a-rather-long-name-so-that-no-pipe-holds-all-of-them-{i}")), "");
        }
    });
    bench.scan();
    for i in 0..1200 {
        write(bench.tree.join(format!("a-rather-long-name-so-that-no-pipe-holds-all-of-them-{i}")), "x");
    }
    let scan = bench.scan();
    let tree = bench.tree.to_str().unwrap();
    let many = ["--limit", "1200"];
    for args in [
        [&["files", "find"][..], &many].concat(),
        [&["files", "find", "--json"][..], &many].concat(),
        [&["files", "ls", tree][..], &many].concat(),
        vec!["scans", "show", id(&scan), "--json"],
        vec!["scans", "show", id(&scan)],
        vec!["scans", "list"],
        vec!["hosts", "list"],
        vec!["hosts", "list", "--json"],
        vec!["files", "dups"],
        vec!["completions", "bash"],
        vec!["completions", "zsh"],
        vec!["sign-in"],
        vec!["scan", tree],
        vec!["scan", tree, "--detach"],
        vec!["api-keys", "list"],
    ] {
        for lines in [0, 1] {
            let (_, stderr) = read_and_close(&bench, &args, lines);
            assert!(!stderr.contains("panicked") && !stderr.contains("error"), "{args:?} {lines}: {stderr}");
        }
    }
}

#[test]
fn the_environment_names_gateway_and_key() {
    let bench = Bench::new(|tree| write(tree.join("a"), "a"));
    bench.scan();
    let key = bench.hostler.key("viewer");
    let elsewhere = tempfile::tempdir().unwrap();
    let with = |url: &str, key: Option<&str>, args: &[&str]| {
        let mut command = command().unwrap();
        command.args(args).env("HOSTLER_URL", url).env("HOSTLER_DATA", elsewhere.path());
        if let Some(key) = key {
            command.env("HOSTLER_API_KEY", key);
        }
        run(&mut command).unwrap()
    };
    let url = bench.hostler.url.as_str();
    for url in [url.to_owned(), format!("{url}/")] {
        let found = with(&url, Some(&key), &["files", "find", "--json"]);
        assert_eq!(found.json()[0]["size"], 1, "{found:?}");
    }
    let found = with("http://127.0.0.1:1", Some(&key), &["files", "find", "--json", "--gateway", url]);
    assert!(found.success, "a flag wins over the environment: {found:?}");
    let refused = with(url, None, &["files", "find"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("hint: make a key with `hostler api-keys create"), "{refused:?}");
    let refused = with(url, Some("hst_wrong"), &["files", "find"]);
    assert!(refused.stderr.contains("not known here, was revoked, or has expired"), "{refused:?}");
    let refused = with(url, Some(&key), &["sign-in"]);
    assert!(refused.stderr.contains("needs the admin role"), "{refused:?}");
    assert!(!refused.stderr.contains(&key), "a key is never shown: {refused:?}");
    let help = with(url, Some(&key), &["files", "find", "--help"]).stdout;
    assert!(!help.contains(&key), "nor in the help: {help}");
    let refused = with("https://example.org", None, &["hosts", "list"]);
    assert!(refused.stderr.contains("no gateway answers at https://example.org"), "{refused:?}");
}

#[test]
fn tables_are_for_people() {
    let bench = Bench::new(|tree| write(tree.join("dir/large"), vec![1; 3 << 20]));
    bench.scan();
    let listed = bench.hostler.ok(["files".as_ref(), "ls".as_ref(), bench.tree.as_os_str()]).stdout;
    let row = listed.lines().find(|line| line.ends_with("dir/")).unwrap_or_else(|| panic!("{listed}"));
    assert!(row.contains("3.00 MiB"), "{listed}");
    let header = listed.lines().next().unwrap();
    assert_eq!(header.split_whitespace().collect::<Vec<_>>(), ["SIZE", "FILES", "CHANGED", "MODE", "OWNER", "NAME"]);
    let hosts = bench.hostler.ok(["hosts", "list"]).stdout;
    assert!(hosts.contains("files: proved") && hosts.contains(" ago"), "{hosts}");
}
