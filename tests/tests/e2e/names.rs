//! Names and files that break careless programs.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use hostler_model::ByteStr;
use hostler_testkit::hostler::command;
use hostler_testkit::tree::{HOSTILE_NAMES, hostile_names, special_files};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;
use serde_json::value::RawValue;

use crate::support::{Bench, id, write};

type Row = BTreeMap<String, Box<RawValue>>;

fn names_of(rows: &[Row]) -> BTreeSet<Vec<u8>> {
    let path = |row: &Row| serde_json::from_str::<ByteStr>(row["path"].get()).unwrap();
    rows.iter().map(|row| path(row).file_name().to_vec()).collect()
}

fn hostile() -> BTreeSet<Vec<u8>> {
    HOSTILE_NAMES.iter().map(|name| name.to_vec()).collect()
}

fn args(list: &[&dyn AsRef<OsStr>]) -> Vec<OsString> {
    list.iter().map(|arg| arg.as_ref().to_owned()).collect()
}

#[test]
fn every_byte_of_a_name_survives() {
    let bench = Bench::new(|tree| hostile_names(&tree.join("dir \x1b]0;\u{9b}x")).unwrap());
    bench.scan();
    let dir = bench.tree.join("dir \x1b]0;\u{9b}x");

    let found = bench.hostler.ok(["files", "find", "--json"]).stdout;
    assert_eq!(names_of(&serde_json::from_str::<Vec<Row>>(&found).unwrap()), hostile());
    let listed = bench.hostler.ok(args(&[&"files", &"ls", &dir, &"--json"])).stdout;
    assert_eq!(names_of(&serde_json::from_str::<Vec<Row>>(&listed).unwrap()), hostile());

    let viewer = bench.hostler.http_as("viewer");
    let answer = viewer.get("/api/v1/files?limit=1000");
    let page: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(names_of(&serde_json::from_str::<Vec<Row>>(page["items"].get()).unwrap()), hostile());
    assert!(answer.text().contains(r"caf\udce9.pdf"), "a byte that is not UTF-8 is a lone surrogate");

    // Each is found by its own bytes, typed and over HTTP.
    for name in HOSTILE_NAMES {
        let path = dir.join(OsStr::from_bytes(name));
        let shown = bench.hostler.ok(args(&[&"files", &"stat", &"--json", &path])).stdout;
        let row: Row = serde_json::from_str(&shown).unwrap();
        assert_eq!(serde_json::from_str::<ByteStr>(row["path"].get()).unwrap().as_bytes(), path.as_os_str().as_bytes());
        assert_eq!(row["size"].get(), name.len().to_string());
        let query = ByteStr::from(path.as_os_str().as_bytes()).to_query();
        assert_eq!(viewer.get(&format!("/api/v1/files/stat?path={query}")).status, 200, "{query}");
        let rows = bench.hostler.ok(args(&[&"files", &"find", &"--json", &"--", &OsStr::from_bytes(name)])).stdout;
        assert_eq!(serde_json::from_str::<Vec<Row>>(&rows).unwrap().len(), 1, "{query}");
    }
}

#[test]
fn a_directory_with_a_hostile_name_can_be_the_root() {
    let odd: &[u8] = b"caf\xe9\n\x1b[2J %2f";
    let bench = Bench::new(|tree| write(tree.join(OsStr::from_bytes(odd)).join("sub/x"), "x"));
    let root = bench.tree.join(OsStr::from_bytes(odd));
    let id = bench.hostler.ok(args(&[&"scan", &root, &"--detach"])).stdout;
    let text = {
        let output = bench.hostler.ok(args(&[&"scan", &root]));
        output.stdout + &output.stderr
    };
    assert_harmless(&text);
    assert_harmless(&bench.hostler.ok(["scans", "show", id.trim()]).stdout);
    for below in [root.clone(), root.join("sub"), root.join("sub/.")] {
        let rows = bench.hostler.ok(args(&[&"files", &"find", &"--json", &"--root", &below])).stdout;
        assert_eq!(serde_json::from_str::<Vec<Row>>(&rows).unwrap().len(), 1, "{below:?}");
    }
    let host = bench.hostler.ok(["hosts", "list", "--json"]).json()[0]["name"].as_str().unwrap().to_owned();
    let shown = bench.hostler.ok(["hosts", "show", &host]).stdout;
    assert!(shown.contains(r"caf\xe9\n\x1b[2J %2f"), "{shown}");
    assert_harmless(&shown);
}

fn assert_harmless(text: &str) {
    let bad = text.chars().find(|c| c.is_control() && *c != '\n' || *c == '\u{202e}');
    assert_eq!(bad, None, "a control character reaches the terminal: {text:?}");
}

#[test]
fn no_name_reaches_a_terminal_raw() {
    let bench = Bench::new(|tree| hostile_names(tree).unwrap());
    bench.scan();
    for name in HOSTILE_NAMES {
        write(bench.tree.join(OsStr::from_bytes(name)), "now all are equal and changed");
    }
    let second = bench.scan();
    let outputs = [
        args(&[&"files", &"find"]),
        args(&[&"files", &"ls", &bench.tree]),
        args(&[&"files", &"dups"]),
        args(&[&"scans", &"show", &id(&second)]),
        args(&[&"scans", &"list"]),
        args(&[&"files", &"stat", &bench.tree.join(OsStr::from_bytes(HOSTILE_NAMES[2]))]),
    ];
    for list in outputs {
        let output = bench.hostler.ok(&list);
        assert_harmless(&output.stdout);
        assert_harmless(&output.stderr);
    }
    let found = bench.hostler.ok(["files", "find"]).stdout;
    assert_eq!(found.trim_end().lines().count(), 1 + HOSTILE_NAMES.len(), "a row stays one line: {found}");
    assert!(found.contains(r"two\nlines.txt") && found.contains(r"caf\xe9.pdf") && found.contains(r"\x1b[31mred"));
    let shown = bench.hostler.ok(["scans", "show", id(&second)]).stdout;
    assert!(shown.contains(r"gpj.\u{202e}exe"), "{shown}");

    // What is refused is escaped too.
    let missing = bench.tree.join("no\x1b[31m\nsuch\u{9b}");
    for list in
        [args(&[&"files", &"stat", &missing]), args(&[&"scan", &missing]), args(&[&"hosts", &"show", &"\x1b[31m"])]
    {
        let output = bench.hostler.run(&list).unwrap();
        assert_eq!(output.code, Some(1), "{output:?}");
        assert_harmless(&output.stderr);
    }
}

#[test]
fn what_is_no_regular_file_is_recorded_and_never_opened() {
    let bench = Bench::new(|tree| {
        special_files(tree).unwrap();
        write(tree.join("plain"), "plain");
    });
    let mut others = 6;
    match mknodat(CWD, bench.tree.join("device"), FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 5)) {
        Ok(()) => others += 1,
        Err(error) => println!("left out: a device node cannot be made here ({error})"),
    }
    let scan = bench.scan();
    let counters = &scan["counters"];
    assert_eq!((&counters["files"], &counters["dirs"]), (&json!(1), &json!(1)));
    assert_eq!((&counters["others"], &counters["errors"]), (&json!(others), &json!(0)));
    assert_eq!(counters["hashed_files"], 1);
    assert_eq!(counters["bytes"], 5);
    let kinds = |kind: &str| bench.hostler.ok(["files", "find", "--json", "--kind", kind]).json();
    assert_eq!(kinds("symlink").as_array().unwrap().len(), 4);
    assert_eq!(kinds("other").as_array().unwrap().len(), others - 4);
    assert_eq!(bench.index(), bench.walked());
    let idle = bench.scan();
    assert_eq!(bench.changes(&idle), Vec::<String>::new());
    // A FIFO takes the place of a file, and a file that of a FIFO.
    std::fs::remove_file(bench.tree.join("plain")).unwrap();
    mknodat(CWD, bench.tree.join("plain"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    std::fs::remove_file(bench.tree.join("fifo")).unwrap();
    write(bench.tree.join("fifo"), "a file now");
    bench.scan();
    assert_eq!(bench.index(), bench.walked());
}

#[test]
fn a_relative_path_is_taken_from_the_current_directory() {
    let bench = Bench::new(|tree| write(tree.join("sub/x"), "x"));
    let run = |list: &[&str]| {
        let mut command = command().unwrap();
        command.args(list).current_dir(bench.tree.join("sub")).env("HOSTLER_DATA", bench.hostler.data());
        hostler_testkit::hostler::run(&mut command).unwrap()
    };
    let scan = run(&["scan", "..", "--json"]);
    assert!(scan.success, "{scan:?}");
    assert_eq!(scan.json()["root"], bench.tree.to_str().unwrap());
    let shown = run(&["files", "stat", "./x", "--json"]);
    assert_eq!(shown.json()["path"], bench.tree.join("sub/x").to_str().unwrap());
    assert_eq!(run(&["files", "ls", "--json"]).json().as_array().unwrap().len(), 1);
}
