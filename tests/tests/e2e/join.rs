//! Machines of their own join by the pasted line over TLS, and are shown truthfully through stop, kill, cut and return.

use std::path::Path;

use hostler_testkit::hostler::{command, run};
use hostler_testkit::machine::Machine;
use hostler_testkit::netns::Network;
use hostler_testkit::{Hostler, eventually};
use rustix::process::Signal;
use serde_json::Value;

/// A gateway on a network of its own; `None` when this machine cannot make one, which is told.
fn network(hosts: u8) -> Option<Network> {
    match Network::new(hosts) {
        Ok(network) => Some(network),
        Err(error) => {
            println!("left out: machines of their own ({error:#})");
            None
        }
    }
}

fn gateway(network: &Network, dir: &Path) -> Hostler {
    let listen = format!("{}:0", network.gateway());
    Hostler::start_command(&dir.join("gateway"), ["gateway", "--listen", &listen]).unwrap()
}

/// The line that `hosts token` prints, for a machine of this name.
fn line(gateway: &Hostler, name: &str) -> String {
    format!("{} --name {name}", gateway.ok(["hosts", "token", "--note", name]).stdout.trim())
}

fn linked(host: &Value) -> bool {
    host["linked"] == true
}

fn kinds(gateway: &Hostler, host: &str) -> Vec<String> {
    let events = gateway.ok(["events", "--host", host, "--json"]).json();
    let kind = |event: &Value| event["kind"].as_str().unwrap().to_owned();
    events.as_array().unwrap().iter().map(kind).collect()
}

#[test]
fn two_machines_join_by_the_pasted_line_and_are_shown_truthfully() {
    let Some(network) = network(2) else { return };
    let dir = tempfile::tempdir().unwrap();
    let gateway = gateway(&network, dir.path());
    assert!(gateway.url.starts_with("https://"), "{}", gateway.url);

    // As root: the system's directories.
    let root = Machine::new(&network, 0, true, dir.path()).unwrap();
    std::fs::create_dir_all(root.outside("/etc/hostler")).unwrap();
    std::fs::write(root.outside("/etc/hostler").join("agent.toml"), "[files]\nroots = [\"/usr/local\"]\n").unwrap();
    let pasted = line(&gateway, "web1");
    assert!(pasted.contains("--pinnedpubkey"), "the line has the pin: {pasted}");
    let begun = std::time::Instant::now();
    let output = root.paste(&pasted).unwrap();
    assert!(output.success, "{output:?}");
    let host = gateway.wait_host("web1", "linked and described", |host| linked(host) && host["facts"]["cpus"] != 0);
    assert!(begun.elapsed().as_secs() < 30, "visible after {:?}", begun.elapsed());
    assert!(output.stderr.contains("systemd does not run here"), "what it cannot do is said: {output:?}");
    let shown = gateway.ok(["hosts", "show", "web1", "--json"]).json();
    assert_eq!(shown["link"]["address"], root.address().to_string());
    let files = shown["grants"].as_array().unwrap().iter().find(|grant| grant["capability"] == "files").unwrap();
    assert_eq!(files["roots"][0], "/usr/local", "the owner's policy is shown: {shown}");

    // Without root: the user's directories, and what that cannot do is said.
    let user = Machine::new(&network, 1, false, dir.path()).unwrap();
    let output = user.paste(&line(&gateway, "laptop")).unwrap();
    assert!(output.success, "{output:?}");
    assert!(output.stderr.contains("Without root the agent reads only what user can read"), "{output:?}");
    gateway.wait_host("laptop", "linked", linked);
    let files = gateway.ok(["hosts", "show", "laptop", "--json"]).json();
    assert_eq!(files["capabilities"][0]["state"], "not_granted", "nothing is granted without a policy: {files}");

    // The same line again: its token is used, and nothing is lost.
    let again = root.paste(&pasted).unwrap();
    assert!(again.success, "the same host may repeat it: {again:?}");
    let stolen = user.paste(&pasted.replace("web1", "laptop")).unwrap();
    assert!(!stolen.success && stolen.stderr.contains("used"), "another host may not: {stolen:?}");
    gateway.wait_host("web1", "linked after joining again", linked);
    assert_eq!(gateway.ok(["hosts", "list", "--json"]).json().as_array().unwrap().len(), 2);

    // The joined host works: the gateway scans it.
    gateway.ok(["scan", "/usr/local", "--host", "web1", "--json"]);

    killed_and_returned(&gateway, &root);
    cut_and_plugged_in(&gateway, &user);
    removed(&gateway, &root, host["id"].as_str().unwrap());
}

fn killed_and_returned(gateway: &Hostler, machine: &Machine<'_>) {
    machine.signal_agent(Signal::KILL).unwrap();
    let host = gateway.wait_host("web1", "not linked after its agent was killed", |host| !linked(host));
    assert!(host["link"]["ended_because"].is_string(), "{host}");
    machine.start_agent().unwrap();
    gateway.wait_host("web1", "linked again", linked);
    let seen = kinds(gateway, "web1");
    for kind in ["host.linked", "host.unlinked", "agent.started"] {
        assert!(seen.iter().any(|k| k == kind), "{kind} in {seen:?}");
    }

    // An orderly stop says so itself.
    machine.signal_agent(Signal::TERM).unwrap();
    gateway.wait_host("web1", "not linked after its agent was stopped", |host| !linked(host));
    machine.start_agent().unwrap();
    gateway.wait_host("web1", "linked once more", linked);
    eventually("agent.stopped in the journal", || {
        kinds(gateway, "web1").iter().any(|kind| kind == "agent.stopped").then_some(())
    });
}

fn cut_and_plugged_in(gateway: &Hostler, machine: &Machine<'_>) {
    machine.plug(false).unwrap();
    let host = gateway.wait_host("laptop", "not linked after its cable was pulled", |host| !linked(host));
    assert!(host["link"]["ended_because"].as_str().unwrap().contains("stopped answering"), "{host}");
    machine.plug(true).unwrap();
    gateway.wait_host("laptop", "linked after its cable was plugged in", linked);

    // A stopped process keeps its connections and answers nothing.
    machine.signal_agent(Signal::STOP).unwrap();
    gateway.wait_host("laptop", "not linked while its agent is stopped", |host| !linked(host));
    machine.signal_agent(Signal::CONT).unwrap();
    gateway.wait_host("laptop", "linked after its agent went on", linked);
}

fn removed(gateway: &Hostler, machine: &Machine<'_>, id: &str) {
    gateway.ok(["hosts", "remove", "web1", "--yes"]);
    let left = gateway.ok(["hosts", "list", "--json"]).json();
    assert_eq!(left.as_array().unwrap().len(), 1, "{left}");
    // Its key is of no use, and the doctor there says so.
    let doctor = eventually("the doctor to be told of the removal", || {
        let doctor = machine.paste("/usr/local/bin/hostler doctor").unwrap();
        doctor.stdout.contains("FAILED").then_some(doctor)
    });
    assert!(doctor.stdout.contains("removed") && doctor.stdout.contains("hosts token"), "{doctor:?}");
    let audit = gateway.ok(["audit", "--action", "hosts", "--json"]).json();
    let entry = audit.as_array().unwrap().iter().find(|e| e["action"] == "hosts.remove").unwrap();
    assert_eq!((entry["result"].as_str(), entry["from"].as_str()), (Some("ok"), Some("local socket")), "{entry}");
    assert!(entry["host"] == id && entry["host_name"] == "web1", "{entry}");
    // It may come back with a new token.
    let output = machine.paste(&line(gateway, "web1")).unwrap();
    assert!(output.success, "{output:?}");
    gateway.wait_host("web1", "linked after it joined anew", linked);
}

#[test]
fn a_copy_of_a_machine_is_refused_and_told() {
    let Some(network) = network(2) else { return };
    let dir = tempfile::tempdir().unwrap();
    let gateway = gateway(&network, dir.path());
    let first = Machine::new(&network, 0, true, dir.path()).unwrap();
    assert!(first.paste(&line(&gateway, "original")).unwrap().success);
    gateway.wait_host("original", "linked", linked);

    // A cloned disk: the same keys on another machine.
    let copy = Machine::new(&network, 1, true, dir.path()).unwrap();
    for own in ["/var/lib", "/usr/local/bin"] {
        let (from, to) = (first.outside(own), copy.outside(own));
        let copied =
            std::process::Command::new("cp").args(["-a", "--"]).arg(format!("{}/.", from.display())).arg(to).status();
        assert!(copied.unwrap().success());
    }
    let _ = std::fs::remove_file(copy.data().join("agent/agent.sock"));
    copy.start_agent().unwrap();
    let host = gateway.wait_host("original", "reported as claimed twice", |host| !host["link"]["duplicate"].is_null());
    assert_eq!(host["link"]["duplicate"]["address"], copy.address().to_string(), "{host}");
    assert_eq!(host["link"]["address"], first.address().to_string(), "the one that was there stays: {host}");
    assert!(kinds(&gateway, "original").iter().any(|kind| kind == "host.duplicate"));

    // The copy gets an identity of its own.
    let output = copy.paste(&format!("{} --new-identity", line(&gateway, "copy"))).unwrap();
    assert!(output.success, "{output:?}");
    gateway.wait_host("copy", "linked", linked);
    assert_eq!(gateway.ok(["hosts", "list", "--json"]).json().as_array().unwrap().len(), 2);
}

#[test]
fn joining_another_gateway_does_not_end_the_one_that_runs_here() {
    let dir = tempfile::tempdir().unwrap();
    let up = Hostler::start(&dir.path().join("up"), &[]).unwrap();
    let other = Hostler::start_command(&dir.path().join("other"), ["gateway", "--listen", "127.0.0.1:0"]).unwrap();
    let token = other.ok(["hosts", "token", "--json"]).json();
    let mut join = command().unwrap();
    join.args(["join", &other.url, token["token"].as_str().unwrap(), "--service", "none", "--data"]).arg(up.data());
    let output = run(&mut join).unwrap();
    assert!(!output.success && output.stderr.contains("`hostler up` runs here"), "{output:?}");
    assert_eq!(up.ok(["hosts", "list", "--json"]).json().as_array().unwrap().len(), 1);
    assert_eq!(other.ok(["hosts", "list", "--json"]).json().as_array().unwrap().len(), 0, "the token was not used up");
}

/// A systemctl that does what the unit says, and writes down what it was asked.
const SYSTEMCTL: &str = r#"#!/bin/sh
echo "$*" >> /run/systemctl.log
unit=/etc/systemd/system/hostler-agent.service
if [ "$1" = restart ]; then
    # As systemd: the old process ends first.
    [ -f /run/agent.pid ] && kill "$(cat /run/agent.pid)" 2>/dev/null && sleep 1
    setsid $(sed -n 's/^ExecStart=//p' "$unit") >/dev/null 2>&1 &
    echo $! > /run/agent.pid
fi
"#;

#[test]
fn where_systemd_runs_the_agent_becomes_its_unit() {
    let Some(network) = network(1) else { return };
    let dir = tempfile::tempdir().unwrap();
    let gateway = gateway(&network, dir.path());
    let machine = Machine::new(&network, 0, true, dir.path()).unwrap();
    std::fs::create_dir_all(machine.outside("/run").join("systemd/system")).unwrap();
    let systemctl = machine.outside("/usr/local/bin").join("systemctl");
    std::fs::write(&systemctl, SYSTEMCTL).unwrap();
    std::fs::set_permissions(&systemctl, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();

    let pasted = line(&gateway, "server");
    for time in ["first", "second"] {
        let output = machine.paste(&pasted).unwrap();
        assert!(output.success, "the {time} time: {output:?}");
        assert!(output.stderr.contains("/etc/systemd/system/hostler-agent.service"), "{output:?}");
        gateway.wait_host("server", "linked", linked);
    }
    let unit = std::fs::read_to_string(machine.outside("/etc/systemd/system").join("hostler-agent.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/local/bin/hostler agent --data /var/lib/hostler\n"), "{unit}");
    assert!(!unit.contains("@DATA@") && !unit.contains("@BINARY@"), "{unit}");
    let asked = std::fs::read_to_string(machine.outside("/run").join("systemctl.log")).unwrap();
    let once = "daemon-reload\nenable hostler-agent.service\nrestart hostler-agent.service\n";
    assert_eq!(asked, once.repeat(2));
}
