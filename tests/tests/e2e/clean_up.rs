//! Duplicates as a tool: what a plan says, and what its script leaves on the disk.

use std::path::Path;
use std::process::{Command, Output};

use hostler_testkit::tree;
use serde_json::{Value, json};

use crate::support::{Bench, write};

fn shells() -> Vec<Vec<&'static str>> {
    let known = [vec!["dash"], vec!["busybox", "sh"], vec!["sh"]];
    let there = |shell: &Vec<&str>| Command::new(shell[0]).args(&shell[1..]).args(["-c", ":"]).output().is_ok();
    known.into_iter().filter(there).collect()
}

fn run(shell: &[&str], script: &Path, args: &[&str]) -> Output {
    Command::new(shell[0]).args(&shell[1..]).arg(script).args(args).output().unwrap()
}

/// Downloads the script of a plan.
fn script(bench: &Bench, query: &str) -> std::path::PathBuf {
    let answer = bench.hostler.http_as("viewer").get(&format!("/api/v1/duplicates/script?{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("text/x-shellscript"));
    assert!(answer.header("content-disposition").unwrap().contains("duplicates.sh"));
    let path = bench.beside("duplicates.sh");
    std::fs::write(&path, &answer.body).unwrap();
    path
}

fn plan(bench: &Bench, query: &str) -> Value {
    bench.hostler.http_as("viewer").get(&format!("/api/v1/duplicates/plan?{query}")).json()
}

/// Relative path and verdict of each name of all groups.
fn verdicts(bench: &Bench, plan: &Value) -> Vec<(String, String)> {
    let prefix = format!("{}/", bench.tree.display());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let names = plan["items"].as_array().unwrap().iter().flat_map(|g| g["files"].as_array().unwrap());
    names.map(|n| (text(&n["path"]).strip_prefix(&prefix).unwrap().to_owned(), text(&n["verdict"]))).collect()
}

#[test]
fn a_plan_is_what_its_script_does() {
    for shell in shells() {
        let bench = Bench::new(|tree| {
            for name in ["keep/a", "other/a", "third/it's a copy"] {
                write(tree.join(name), vec![1; 50_000]);
            }
            std::fs::hard_link(tree.join("keep/a"), tree.join("keep/a-link")).unwrap();
            std::fs::hard_link(tree.join("other/a"), tree.join("other/a-link")).unwrap();
            for name in ["keep/b", "other/b", "safe/b"] {
                write(tree.join(name), vec![2; 30_000]);
            }
            for name in ["keep/c", "other/c"] {
                write(tree.join(name), vec![3; 10_000]);
            }
            write(tree.join("alone"), "nothing like it");
            std::fs::hard_link(tree.join("alone"), tree.join("alone-link")).unwrap();
            for side in ["keep", "other"] {
                let dir = tree.join(side).join("hostile");
                std::fs::create_dir_all(&dir).unwrap();
                tree::hostile_names(&dir).unwrap();
            }
        });
        bench.scan();
        let dir = |name: &str| bench.tree.join(name).display().to_string();
        let query = format!("keep=newest&prefer={}&protect={}", dir("keep"), dir("safe"));
        let planned = plan(&bench, &format!("{query}&min_size=1K"));
        let word = |name: &str| verdicts(&bench, &planned).into_iter().find(|(n, _)| n == name).unwrap().1;
        for (name, expected) in [
            ("keep/a", "kept"),
            ("keep/a-link", "hard_link"),
            ("other/a", "goes"),
            ("other/a-link", "goes"),
            ("third/it's a copy", "goes"),
            ("keep/b", "kept"),
            ("other/b", "goes"),
            ("safe/b", "protected"),
            ("other/c", "goes"),
        ] {
            assert_eq!(word(name), expected, "{name}: {planned}");
        }
        let totals = json!({"groups": 3, "files": 4, "names": 5, "frees": 140_000, "looked_at": 3, "complete": true});
        assert_eq!(planned["totals"], totals);
        let script = script(&bench, &query);
        // After the scan one copy changed, in place, to other content of the same size and time.
        let changed = bench.tree.join("other/c");
        let meta = std::fs::metadata(&changed).unwrap();
        std::fs::write(&changed, vec![9; 10_000]).unwrap();
        std::fs::File::options().write(true).open(&changed).unwrap().set_modified(meta.modified().unwrap()).unwrap();
        let before = bench.walked();
        let dry = run(&shell, &script, &[]);
        assert!(dry.status.success(), "{shell:?} {dry:?}");
        assert_eq!(bench.walked(), before, "{shell:?}: nothing without --run");
        let done = run(&shell, &script, &["--run"]);
        assert!(done.status.success(), "{shell:?} {done:?}");
        let gone: Vec<_> = before.keys().filter(|name| !bench.walked().contains_key(*name)).cloned().collect();
        let mut expected: Vec<Vec<u8>> = before.keys().filter(|n| n.starts_with(b"other/hostile/")).cloned().collect();
        expected.retain(|name| before[name].1 > 0);
        assert!(expected.len() > 3, "hostile names have copies: {expected:?}");
        expected.extend(["other/a", "other/a-link", "other/b", "third/it's a copy"].map(|n| n.as_bytes().to_vec()));
        expected.sort();
        assert_eq!(gone, expected, "{shell:?} {done:?}");
        assert_eq!(std::fs::read(&changed).unwrap(), vec![9; 10_000]);
        let left = bench.walked();
        let again = run(&shell, &script, &["--run"]);
        assert!(again.status.success() && bench.walked() == left, "{shell:?} {again:?}");
        // The index agrees.
        bench.scan();
        assert_eq!(bench.index(), bench.walked());
        assert_eq!(plan(&bench, &query)["totals"]["names"], 0);
    }
}

#[test]
fn links_replace_copies_on_one_filesystem() {
    use std::os::unix::fs::MetadataExt;
    let bench = Bench::new(|tree| {
        for name in ["a", "b\nb", "c"] {
            write(tree.join(name), vec![1; 5000]);
        }
    });
    bench.scan();
    let script = script(&bench, "keep=first&action=hardlink");
    let done = run(&shells()[0], &script, &["--run"]);
    assert!(done.status.success(), "{done:?}");
    let inode = |name: &str| std::fs::metadata(bench.tree.join(name)).unwrap().ino();
    assert_eq!([inode("b\nb"), inode("c")], [inode("a"); 2]);
    bench.scan();
    assert_eq!(plan(&bench, "")["items"], json!([]), "one file is no group of copies");
}

#[test]
fn the_command_line_plans_and_prints_the_script() {
    let bench = Bench::new(|tree| {
        for name in ["one.iso", "two.iso", "note.txt", "note-2.txt"] {
            write(tree.join(name), name.split('.').next_back().unwrap().repeat(2000));
        }
    });
    bench.scan();
    let shown = bench.hostler.ok(["files", "dups", "--plan", "--keep", "longest-path"]);
    assert!(shown.stdout.contains("one.iso") && shown.stdout.contains("remove"), "{shown:?}");
    assert!(shown.stderr.contains("Frees 11.7 KiB in 2 files (2 names) of 2 groups."), "{shown:?}");
    let some = bench.hostler.ok(["files", "dups", "--plan", "--json", "--ext", "txt"]).json();
    assert_eq!(some["items"].as_array().unwrap().len(), 1);
    assert_eq!(some["totals"]["frees"], 6000);
    let printed = bench.hostler.ok(["files", "dups", "--script", "--keep", "first", "--ext", "iso"]);
    assert!(printed.stdout.starts_with("#!/bin/sh\n") && printed.stdout.ends_with("\nwork\nfinish\n"), "{printed:?}");
    assert!(printed.stdout.contains("two.iso") && !printed.stdout.contains("note"), "{printed:?}");
    let path = bench.beside("dups.sh");
    std::fs::write(&path, printed.stdout).unwrap();
    assert!(run(&shells()[0], &path, &["--run"]).status.success());
    assert!(bench.tree.join("one.iso").exists() && !bench.tree.join("two.iso").exists());
    for args in [&["files", "dups", "--keep", "newest"][..], &["files", "dups", "--plan", "--keep", "best"]] {
        assert!(!bench.hostler.run(args).unwrap().success, "{args:?}");
    }
}

#[test]
fn wrong_rules_are_refused() {
    let bench = Bench::new(|_| ());
    let viewer = bench.hostler.http_as("viewer");
    for (query, part) in [
        ("keep=best", "shortest-path"),
        ("action=delete", "reflink"),
        ("prefer=srv", "absolute"),
        ("action=hardlink&across_hosts=1", "another host"),
        ("nonsense=1", "nonsense"),
    ] {
        for route in ["plan", "script"] {
            let message = viewer.get(&format!("/api/v1/duplicates/{route}?{query}")).error(400);
            assert!(message.contains(part), "{route}?{query}: {message}");
        }
    }
}
