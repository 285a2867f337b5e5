//! Schedules, pauses and limits, as people type them.

use std::collections::BTreeSet;

use hostler_testkit::hostler::eventually;
use hostler_testkit::{Hostler, tree};
use serde_json::{Value, json};

use crate::support::{Bench, write};

fn only_schedule(hostler: &Hostler) -> Value {
    hostler.ok(["scans", "schedules", "--json"]).json()[0].clone()
}

/// Scans that a schedule asked for, newest first.
fn scheduled(hostler: &Hostler) -> Vec<Value> {
    let all = hostler.ok(["scans", "list", "--json"]).json();
    let of_schedule = |scan: &&Value| scan["requested_by"].as_str().unwrap().starts_with("schedule of ");
    all.as_array().unwrap().iter().filter(of_schedule).cloned().collect()
}

#[test]
fn a_schedule_is_made_listed_run_switched_off_and_removed() {
    let bench = Bench::new(|tree| {
        write(tree.join("a.txt"), "a");
        write(tree.join("b.tmp"), "b");
    });
    let (hostler, tree) = (&bench.hostler, bench.tree.to_str().unwrap());
    let made = hostler.ok([
        "scans",
        "schedule",
        tree,
        "--every",
        "6h",
        "--exclude",
        "*.tmp",
        "--cpu",
        "50",
        "--rate",
        "50M",
        "--idle",
    ]);
    let id = made.stdout.trim().to_owned();
    assert!(made.stderr.contains("every 6h; next in"), "{made:?}");
    let shown = only_schedule(hostler);
    assert_eq!((&shown["id"], &shown["cadence"], &shown["spread"]), (&json!(id), &json!("every 6h"), &json!(true)));
    let limits = json!({ "cpu_percent": 50, "bytes_per_second": 50 << 20, "idle": true });
    assert_eq!(shown["options"]["limits"], limits);
    let table = hostler.ok(["scans", "schedules"]).stdout;
    assert!(table.contains("every 6h") && table.contains(&id) && table.contains(tree), "{table}");

    let scan = hostler.ok(["scans", "schedules", "run", &id]).stdout.trim().to_owned();
    let ended = hostler.wait_scan(&scan, &["completed", "failed"]);
    assert_eq!((&ended["scan"]["state"], &ended["scan"]["counters"]["files"]), (&json!("completed"), &json!(1)));
    assert_eq!(ended["scan"]["options"]["limits"], limits);
    let last = eventually("the schedule to know how its run ended", || {
        Some(only_schedule(hostler)["last_run"].clone()).filter(|last| !last.is_null())
    });
    assert_eq!((&last["outcome"], &last["scan"]), (&json!("completed"), &json!(scan)));

    hostler.ok(["scans", "schedules", "disable", &id]);
    assert_eq!(only_schedule(hostler)["next_run_at"], Value::Null);
    let on = hostler.ok(["scans", "schedules", "enable", &id]);
    assert!(on.stderr.starts_with("On; next in"), "{on:?}");
    for (args, words) in [
        (vec!["--at", "sometimes"], "`daily 03:30`"),
        (vec!["--every", "10s"], "`every 6h`"),
        (vec!["--cron", "* * *"], "five fields"),
        (vec!["--at", "hourly", "--window", "late"], "`22:00-06:00`"),
        (vec!["--at", "hourly", "--zone", "Mars/Base"], "Europe/Vienna"),
        (vec!["--at", "hourly", "--every", "1h"], "cannot be used with"),
        (vec![], "--every"),
    ] {
        let refused = hostler.run([vec!["scans", "schedule", tree], args.clone()].concat()).unwrap();
        assert!(!refused.success && refused.stderr.contains(words), "{args:?}: {refused:?}");
    }
    let refused = hostler.run(["scans", "schedule", "/not/granted", "--at", "hourly"]).unwrap();
    assert!(!refused.success && refused.stderr.contains("is not granted"), "{refused:?}");
    hostler.ok(["scans", "unschedule", &id]);
    assert_eq!(hostler.ok(["scans", "schedules", "--json"]).json(), json!([]));
    bench.hostler.stop().unwrap();
}

#[test]
fn a_run_that_a_killed_gateway_cut_short_or_missed_is_made_up_for_once() {
    let bench = Bench::new(|tree| write(tree.join("a.txt"), "a"));
    tree::endless_file(&bench.tree.join("zz-endless")).unwrap();
    let tree = bench.tree.to_str().unwrap().to_owned();
    bench.hostler.ok(["scans", "schedule", &tree, "--cron", "* * * * *", "--algorithm", "sha256"]);
    // The next full minute, which may be one away.
    let begun = std::time::Instant::now();
    let first = loop {
        if let Some(scan) = scheduled(&bench.hostler).into_iter().find(|scan| scan["state"] == "running") {
            break scan;
        }
        assert!(begun.elapsed().as_secs() < 120, "nothing was begun in two minutes");
        std::thread::sleep(std::time::Duration::from_millis(200));
    };
    let bench = bench.restart(Hostler::kill);
    let again = eventually("the run to be begun again", || {
        scheduled(&bench.hostler).into_iter().find(|scan| scan["id"] != first["id"] && scan["state"] == "running")
    });
    let cut = bench.hostler.ok(["scans", "show", first["id"].as_str().unwrap(), "--json"]).json();
    assert_eq!(cut["scan"]["state"], "failed");
    let events = bench.hostler.ok(["events", "--kind", "schedule.missed", "--json"]).json();
    let told: Vec<_> = events.as_array().unwrap().iter().map(|e| e["message"].as_str().unwrap()).collect();
    assert!(told.len() == 1 && told[0].contains("cut short"), "{told:?}");

    // Down over a full minute, and the run that is under way has been begun twice already.
    let data = bench.hostler.data().to_owned();
    bench.hostler.kill().unwrap();
    std::fs::remove_file(bench.tree.join("zz-endless")).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(61));
    let hostler = Hostler::start_as_is(&data).unwrap();
    let caught_up = eventually("the missed run", || {
        let known = [&first["id"], &again["id"]];
        scheduled(&hostler).into_iter().find(|scan| !known.contains(&&scan["id"]) && scan["state"] == "completed")
    });
    assert_eq!(caught_up["counters"]["files"], 1);
    let since = |scan: &Value| scan["created_at"].as_str().unwrap().to_owned();
    let made: Vec<String> = scheduled(&hostler).iter().map(since).filter(|at| *at > since(&again)).collect();
    let minutes: BTreeSet<&str> = made.iter().map(|at| &at[..16]).collect();
    assert_eq!(made.len(), minutes.len(), "one in a minute, however many were missed: {made:?}");
    hostler.stop().unwrap();
}

#[test]
fn a_scan_is_paused_and_goes_on() {
    // Reading all of it at this rate takes a minute.
    let bench =
        Bench::new(|tree| (0..240).for_each(|i| write(tree.join(format!("{i:03}")), vec![i as u8; 256 * 1024])));
    let hostler = &bench.hostler;
    let scan = hostler.start_scan(&bench.tree, ["--rate", "1M"]);
    let hashed = || hostler.ok(["scans", "show", &scan, "--json"]).json()["scan"]["counters"]["hashed_bytes"].as_u64();
    hostler.wait_scan(&scan, &["running"]);
    eventually("something to be read", || hashed().filter(|bytes| *bytes > 0));
    let paused = hostler.ok(["scans", "pause", &scan]);
    assert!(paused.stderr.contains("scans resume"), "{paused:?}");
    let shown = hostler.ok(["scans", "show", &scan]);
    assert!(shown.stdout.contains("running, paused"), "{shown:?}");
    // What was under way when it was paused is told within a report.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let before = hashed();
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(hashed(), before, "nothing is read");
    hostler.ok(["scans", "resume", &scan]);
    eventually("it to go on", || hashed().filter(|_| hashed() > before));
    hostler.ok(["scans", "cancel", &scan]);
    hostler.wait_scan(&scan, &["cancelled"]);
    let refused = hostler.run(["scans", "pause", &scan]).unwrap();
    assert!(!refused.success && refused.stderr.contains("has ended as cancelled"), "{refused:?}");
}
