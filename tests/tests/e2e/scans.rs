//! Scans: what they find, how they end, and what outlives a restart.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use hostler_testkit::hostler::{command, run};
use hostler_testkit::{Hostler, tree};
use serde_json::json;

use crate::support::{Bench, id, write};

fn few_files(tree: &std::path::Path) {
    for name in ["a.txt", "sub/b.txt", "sub/deep/c.txt", "old/gone.txt", "mode.sh", "moved.txt"] {
        write(tree.join(name), name);
    }
}

#[test]
fn a_rescan_shows_exactly_what_changed() {
    let bench = Bench::new(few_files);
    let first = bench.scan();
    assert_eq!(first["state"], "completed");
    assert_eq!(first["first"], true);
    assert_eq!((&first["counters"]["files"], &first["counters"]["dirs"]), (&json!(6), &json!(4)));
    assert_eq!(bench.changes(&first), Vec::<String>::new(), "a first scan lists no differences");
    assert_eq!(bench.index(), bench.walked());

    let idle = bench.scan();
    assert_eq!(bench.changes(&idle), Vec::<String>::new());
    assert_eq!(idle["counters"]["hashed_files"], 0, "nothing is read again");
    let text = bench.hostler.ok(["scans", "show", id(&idle)]).stdout;
    assert!(text.contains("Changes    none"), "{text}");

    write(bench.tree.join("new/n.txt"), "new");
    write(bench.tree.join("a.txt"), "longer than before");
    std::fs::remove_dir_all(bench.tree.join("old")).unwrap();
    std::fs::rename(bench.tree.join("moved.txt"), bench.tree.join("sub/moved.txt")).unwrap();
    std::fs::set_permissions(bench.tree.join("mode.sh"), PermissionsExt::from_mode(0o751)).unwrap();
    symlink("a.txt", bench.tree.join("link")).unwrap();
    let second = bench.scan();
    assert_eq!(
        bench.changes(&second),
        [
            "created dir new",
            "created file new/n.txt",
            "created symlink link",
            "deleted dir old",
            "deleted file old/gone.txt",
            "metadata file mode.sh",
            "modified file a.txt",
            "moved file sub/moved.txt",
        ]
    );
    let counters = &second["counters"];
    let counted = ["created", "modified", "metadata", "deleted", "moved"].map(|name| counters[name].as_u64().unwrap());
    assert_eq!(counted, [3, 1, 1, 2, 1], "the counters agree with the list");
    assert_eq!(bench.index(), bench.walked());
    bench.hostler.stop().unwrap();
}

#[test]
fn a_file_becomes_a_directory_and_back() {
    let bench = Bench::new(|tree| {
        write(tree.join("x"), "file");
        write(tree.join("y/inner"), "inner");
    });
    bench.scan();
    std::fs::remove_file(bench.tree.join("x")).unwrap();
    std::fs::remove_dir_all(bench.tree.join("y")).unwrap();
    write(bench.tree.join("x/inside"), "1");
    write(bench.tree.join("y"), "22");
    let scan = bench.scan();
    let changes = bench.changes(&scan);
    for expected in ["created file x/inside", "deleted file y/inner"] {
        assert!(changes.iter().any(|c| c == expected), "{expected} is missing: {changes:?}");
    }
    assert_eq!(bench.index(), bench.walked());
}

#[test]
fn a_cancelled_scan_leaves_the_index_as_it_was() {
    let bench = Bench::new(few_files);
    bench.scan();
    let before = bench.index();
    tree::endless_file(&bench.tree.join("zz-endless")).unwrap();
    write(bench.tree.join("a.txt"), "changed while nobody looks");
    let scan = bench.hostler.start_scan(&bench.tree, ["--algorithm", "sha256"]);
    bench.hostler.wait_scan(&scan, &["running"]);
    bench.hostler.ok(["scans", "cancel", &scan]);
    let ended = bench.hostler.wait_scan(&scan, &["cancelled", "failed", "completed"]);
    assert_eq!(ended["scan"]["state"], "cancelled");
    assert!(ended["scan"]["error"].is_null(), "{ended}");
    assert_eq!(bench.index(), before);
    let again = bench.hostler.ok(["scans", "cancel", &scan]);
    assert!(again.stderr.contains("has ended: cancelled"), "{again:?}");

    // The host really stopped: the next scan of the same root gets its turn and its lock.
    std::fs::remove_file(bench.tree.join("zz-endless")).unwrap();
    let next = bench.scan();
    assert_eq!(bench.changes(&next), ["modified file a.txt"]);
}

#[test]
fn roots_that_cannot_be_scanned_are_refused_with_a_reason() {
    let bench = Bench::new(|tree| {
        write(tree.join("media/a.txt"), "a");
        symlink("/", tree.join("out")).unwrap();
    });
    write(bench.beside("secret/s.txt"), "s");
    let operator = bench.hostler.http_as("operator");
    let tree = bench.tree.to_str().unwrap();
    let secret = bench.beside("secret");
    for (root, words) in [
        (format!("{tree}/meda"), format!("Did you mean {tree}/media?")),
        (format!("{tree}/nothing/like/it"), "No such file".to_owned()),
        (format!("{tree}/media/a.txt"), "is not a directory; scan the directory that holds it".to_owned()),
        (secret.to_str().unwrap().to_owned(), format!("is not granted: this host grants {tree}")),
        (format!("{}-nowhere", secret.display()), "is not granted".to_owned()),
        (format!("{tree}/out/etc"), "is not granted".to_owned()),
        (format!("{tree}/.."), "is not granted".to_owned()),
        ("media".to_owned(), "the root must be an absolute path".to_owned()),
        (String::new(), "the root must be an absolute path".to_owned()),
        (format!("/{}", "x".repeat(5000)), "longer than 4096 bytes".to_owned()),
    ] {
        let message = operator.post("/api/v1/scans", &json!({ "root": root })).error(422);
        assert!(message.contains(&words), "{root:.100}: {message:.300}");
    }
    let message = operator.post("/api/v1/scans", &json!({ "root": tree, "host": "nobody" })).error(404);
    assert!(message.contains("no host is named \"nobody\""), "{message}");
    let options = json!({ "root": tree, "options": { "hash_min_size": 5, "hash_max_size": 4 } });
    assert!(operator.post("/api/v1/scans", &options).error(422).contains("above the upper one"));
    let list = operator.get("/api/v1/scans").json();
    assert_eq!(list["items"], json!([]), "a refused scan is not kept");

    let typed = bench.hostler.run(["scan".into(), bench.tree.join("meda").into_os_string()]).unwrap();
    assert_eq!(typed.code, Some(1));
    assert!(typed.stderr.contains("Did you mean"), "{typed:?}");
}

#[test]
fn a_bad_exclude_pattern_fails_with_its_text() {
    let bench = Bench::new(few_files);
    let output =
        bench.hostler.run(["scan".as_ref(), bench.tree.as_os_str(), "--exclude".as_ref(), "[z-a]".as_ref()]).unwrap();
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(format!("{}{}", output.stdout, output.stderr).contains("[z-a]"), "{output:?}");
}

#[test]
fn scans_of_one_host_wait_for_each_other() {
    let bench = Bench::new(|tree| {
        write(tree.join("one/a.txt"), "a");
        write(tree.join("two/b.txt"), "b");
        tree::endless_file(&tree.join("one/endless")).unwrap();
    });
    let first = bench.hostler.start_scan(&bench.tree.join("one"), ["--algorithm", "sha256"]);
    bench.hostler.wait_scan(&first, &["running"]);
    let second = bench.hostler.start_scan(&bench.tree.join("two"), [""; 0]);
    let third = bench.hostler.start_scan(&bench.tree.join("two"), [""; 0]);
    let state = |scan: &str| bench.hostler.ok(["scans", "show", scan, "--json"]).json()["scan"]["state"].clone();
    assert_eq!([state(&second), state(&third)], ["queued", "queued"]);
    bench.hostler.ok(["scans", "cancel", &third]);
    assert_eq!(bench.hostler.wait_scan(&third, &["cancelled", "completed", "failed"])["scan"]["state"], "cancelled");
    assert_eq!(state(&first), "running", "cancelling one leaves the other alone");
    bench.hostler.ok(["scans", "cancel", &first]);
    let ended = bench.hostler.wait_scan(&second, &["completed", "failed", "cancelled"]);
    assert_eq!(ended["scan"]["state"], "completed");
    let states = bench.hostler.ok(["scans", "list", "--json", "--state", "cancelled"]).json();
    assert_eq!(states.as_array().unwrap().len(), 2);
}

#[test]
fn all_outlives_a_restart() {
    let mut bench = Bench::new(few_files);
    let scan = bench.scan();
    let key = bench.hostler.key("viewer");
    let host = bench.hostler.ok(["hosts", "list", "--json"]).json()[0]["id"].clone();
    let before = bench.index();
    bench = bench.restart(Hostler::stop);
    assert_eq!(bench.index(), before);
    let listed = bench.hostler.ok(["scans", "list", "--json"]).json();
    assert_eq!((&listed[0]["id"], &listed[0]["state"]), (&scan["id"], &json!("completed")));
    let hosts = bench.hostler.http().key(&key).get("/api/v1/hosts").json();
    assert_eq!(hosts["items"].as_array().unwrap().len(), 1, "the host is not a second one: {hosts}");
    assert_eq!(hosts["items"][0]["id"], host);
    write(bench.tree.join("fresh"), "fresh");
    let next = bench.scan();
    assert_eq!(bench.changes(&next), ["created file fresh"]);
    assert_eq!(next["counters"]["hashed_files"], 1, "the manifest outlived the restart too");
}

#[test]
fn a_scan_that_was_killed_is_shown_as_failed() {
    let mut bench = Bench::new(few_files);
    bench.scan();
    let before = bench.index();
    tree::endless_file(&bench.tree.join("a-endless")).unwrap();
    let running = bench.hostler.start_scan(&bench.tree, ["--algorithm", "sha256"]);
    bench.hostler.wait_scan(&running, &["running"]);
    let queued = bench.hostler.start_scan(&bench.tree, [""; 0]);
    bench = bench.restart(Hostler::kill);
    for scan in [&running, &queued] {
        let shown = bench.hostler.ok(["scans", "show", scan, "--json"]).json();
        assert_eq!(shown["scan"]["state"], "failed", "{shown}");
        assert!(!shown["scan"]["ended_at"].is_null(), "{shown}");
        let text = bench.hostler.ok(["scans", "show", scan]).stdout;
        assert!(text.contains("Failed") && text.contains("stopped"), "{text}");
    }
    assert_eq!(bench.index(), before);
    write(bench.tree.join("a-endless"), "short now");
    let next = bench.scan();
    assert_eq!(bench.changes(&next), ["created file a-endless"]);
    assert_eq!(bench.index(), bench.walked());
}

/// The gateway committed, and the host was never told: its manifest still waits.
#[test]
fn a_lost_promote_costs_nothing() {
    let mut bench = Bench::new(few_files);
    bench.scan();
    let manifests = bench.hostler.data().join("agent/manifests");
    let current = || {
        let files = std::fs::read_dir(&manifests).unwrap().map(|e| e.unwrap().path());
        files.filter(|p| p.extension().is_some_and(|e| e == "manifest")).collect::<Vec<_>>()
    };
    let [manifest] = current().try_into().unwrap();
    let first = std::fs::read(&manifest).unwrap();
    write(bench.tree.join("second.txt"), "second");
    bench.scan();
    bench = bench.restart(|hostler| {
        hostler.kill()?;
        std::fs::rename(&manifest, manifest.with_extension("pending"))?;
        Ok(std::fs::write(&manifest, &first)?)
    });
    write(bench.tree.join("third.txt"), "third");
    std::fs::remove_file(bench.tree.join("a.txt")).unwrap();
    let next = bench.scan();
    assert_eq!(bench.changes(&next), ["created file third.txt", "deleted file a.txt"]);
    assert_eq!(next["counters"]["hashed_files"], 1);
    assert_eq!(bench.index(), bench.walked());

    // Without any manifest the host sends everything, and the differences are right all the same.
    bench = bench.restart(|hostler| {
        hostler.stop()?;
        Ok(std::fs::remove_dir_all(&manifests)?)
    });
    std::fs::remove_file(bench.tree.join("third.txt")).unwrap();
    bench.scan();
    assert_eq!(bench.index(), bench.walked());
}

/// Killed at moments spread over a scan's length; after each, one scan makes the index exact.
#[test]
fn no_moment_of_death_spoils_the_index() {
    let mut bench =
        Bench::new(|tree| (0..300).for_each(|i| write(tree.join(format!("d{}/f{i}", i % 7)), i.to_string())));
    bench.scan();
    for round in 0..6_u64 {
        for i in (0..300).step_by(round as usize + 2) {
            write(bench.tree.join(format!("d{}/f{i}", i % 7)), format!("{round} {i}"));
        }
        write(bench.tree.join(format!("round{round}/new")), "new");
        if round > 0 {
            std::fs::remove_dir_all(bench.tree.join(format!("round{}", round - 1))).unwrap();
        }
        let begun = Instant::now();
        bench.hostler.start_scan(&bench.tree, [""; 0]);
        while begun.elapsed() < Duration::from_millis(round * 12) {
            std::hint::spin_loop();
        }
        bench = bench.restart(Hostler::kill);
        let scan = bench.scan();
        assert_eq!(scan["state"], "completed");
        assert_eq!(bench.index(), bench.walked(), "round {round}");
        let idle = bench.scan();
        assert_eq!(bench.changes(&idle), Vec::<String>::new(), "round {round}");
    }
}

#[test]
fn hard_links_are_each_listed() {
    let bench = Bench::new(|tree| {
        write(tree.join("one"), "same");
        std::fs::hard_link(tree.join("one"), tree.join("two")).unwrap();
    });
    bench.scan();
    let rows = bench.hostler.ok(["files", "find", "--json"]).json();
    assert_eq!((&rows[0]["nlink"], &rows[1]["nlink"]), (&json!(2), &json!(2)));
    assert_eq!((&rows[0]["ino"], &rows[0]["hash"]), (&rows[1]["ino"], &rows[1]["hash"]));
    std::fs::remove_file(bench.tree.join("two")).unwrap();
    let next = bench.scan();
    assert_eq!(bench.changes(&next), ["deleted file two", "metadata file one"]);
}

#[test]
fn every_algorithm_gives_its_known_digest() {
    let bench = Bench::new(|tree| write(tree.join("abc"), "abc"));
    for (name, digest) in [
        ("blake3", "6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"),
        ("sha1", "a9993e364706816aba3e25717850c26c9cd0d89d"),
        ("sha256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ("xxh64", "44bc2cf5ad770999"),
    ] {
        bench.scan_with(&["--algorithm", name]);
        let path = bench.tree.join("abc");
        let shown = bench.hostler.ok(["files".as_ref(), "stat".as_ref(), path.as_os_str(), "--json".as_ref()]).json();
        assert_eq!((&shown["algo"], &shown["hash"]), (&json!(name), &json!(digest)));
        let found = bench.hostler.ok(["files", "find", "--hash", &digest.to_uppercase(), "--json"]).json();
        assert_eq!(found.as_array().unwrap().len(), 1, "{name}");
    }
}

#[test]
fn options_leave_out_what_they_name() {
    let bench = Bench::new(|tree| {
        for name in ["keep.txt", "drop.log", "cache/x.txt", "sub/drop.log", "sub/cache/y.txt"] {
            write(tree.join(name), name);
        }
        write(tree.join("large"), [0; 5000]);
    });
    let all = bench.scan();
    assert_eq!(all["counters"]["files"], 6);
    let some = bench.scan_with(&["--exclude", "*.log", "--exclude", "/cache/", "--hash-max-size", "4999"]);
    assert_eq!(some["counters"]["files"], 3);
    let kept: Vec<Vec<u8>> = bench.index().into_keys().collect();
    assert_eq!(kept, [&b"keep.txt"[..], b"large", b"sub/cache/y.txt"]);
    let large = bench.hostler.ok(["files", "find", "large", "--json"]).json();
    assert_eq!((&large[0]["size"], &large[0]["hash"]), (&json!(5000), &json!(null)));
    let bounded = bench.scan_with(&["--hash-min-size", "1K", "--force"]);
    assert_eq!((&bounded["counters"]["hashed_files"], &bounded["counters"]["hashed_bytes"]), (&json!(1), &json!(5000)));
}

#[test]
fn one_data_directory_has_one_gateway() {
    let bench = Bench::new(few_files);
    let second =
        run(command().unwrap().args(["up", "--listen", "127.0.0.1:0", "--data"]).arg(bench.hostler.data())).unwrap();
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("another gateway uses"), "{second:?}");
    assert!(second.stderr.contains("--data"), "it says what to do: {second:?}");
    assert_eq!(bench.scan()["state"], "completed", "the first is not disturbed");
}

#[test]
fn ctrl_c_during_a_scan_ends_cleanly() {
    let bench = Bench::new(|tree| tree::endless_file(&tree.join("endless")).unwrap());
    let scan = bench.hostler.start_scan(&bench.tree, ["--algorithm", "sha256"]);
    bench.hostler.wait_scan(&scan, &["running"]);
    let begun = Instant::now();
    let bench = bench.restart(Hostler::stop);
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
    let shown = bench.hostler.ok(["scans", "show", &scan, "--json"]).json();
    assert_eq!(shown["scan"]["state"], "failed");
    assert!(shown["scan"]["error"].as_str().unwrap().contains("start it again"), "{shown}");
}

#[test]
fn a_root_that_vanishes_fails_its_scan_and_keeps_its_index() {
    let bench = Bench::new(few_files);
    bench.scan();
    let sub = bench.tree.join("sub");
    bench.hostler.ok(["scan".as_ref(), sub.as_os_str()]);
    std::fs::rename(&sub, bench.tree.join("away")).unwrap();
    let output = bench.hostler.run(["scan".as_ref(), sub.as_os_str()]).unwrap();
    assert_eq!(output.code, Some(1), "{output:?}");
    let args = ["files".as_ref(), "ls".as_ref(), sub.as_os_str(), "--json".as_ref()];
    assert_eq!(bench.hostler.ok(args).json().as_array().unwrap().len(), 2, "what was known is still there");
}
