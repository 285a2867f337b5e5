//! What changed between scans, and how directories grew.

use serde_json::{Value, json};

use crate::support::{Bench, id, write};

/// A tree with three scans: first, after one round of changes, after another.
fn bench() -> (Bench, Vec<Value>) {
    let bench = Bench::new(|tree| {
        write(tree.join("stays"), "same");
        write(tree.join("log/app.log"), vec![1; 1000]);
        write(tree.join("old/film.mkv"), vec![2; 200_000]);
        write(tree.join("junk/temporary"), vec![3; 3000]);
        write(tree.join("junk/never seen again"), vec![4; 500]);
    });
    let mut scans = vec![bench.scan()];
    write(bench.tree.join("log/app.log"), vec![1; 5000]);
    write(bench.tree.join("new/caf\u{e9}\nnew"), vec![5; 7000]);
    std::fs::remove_file(bench.tree.join("junk/temporary")).unwrap();
    std::fs::create_dir(bench.tree.join("films")).unwrap();
    std::fs::rename(bench.tree.join("old/film.mkv"), bench.tree.join("films/film.mkv")).unwrap();
    scans.push(bench.scan());
    write(bench.tree.join("junk/temporary"), vec![3; 3000]);
    std::fs::remove_file(bench.tree.join("junk/never seen again")).unwrap();
    write(bench.tree.join("log/app.log"), vec![1; 6000]);
    scans.push(bench.scan());
    (bench, scans)
}

fn get(bench: &Bench, query: &str) -> Value {
    bench.hostler.http_as("viewer").get(&format!("/api/v1/files/changes?{query}")).json()
}

/// `op path` of all that is no directory, sorted.
fn files(found: &Value) -> Vec<String> {
    let items = found["changes"]["items"].as_array().unwrap().iter().filter(|c| c["kind"] != "dir");
    let mut lines: Vec<String> = items
        .map(|c| match c["from"].as_str() {
            Some(from) => format!("{} {from} > {}", c["op"].as_str().unwrap(), c["path"].as_str().unwrap()),
            None => format!("{} {}", c["op"].as_str().unwrap(), c["path"].as_str().unwrap()),
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn changes_between_any_two_scans_are_listed() {
    let (bench, scans) = bench();
    let last = get(&bench, "");
    assert_eq!((&last["from"]["id"], &last["to"]["id"]), (&scans[1]["id"], &scans[2]["id"]));
    assert_eq!(files(&last), ["created junk/temporary", "deleted junk/never seen again", "modified log/app.log"]);
    let whole = get(&bench, &format!("from={}&to={}", id(&scans[0]), id(&scans[2])));
    assert_eq!((&whole["scans"], &whole["complete"]), (&json!(2), &json!(true)));
    let lines = files(&whole);
    for line in [
        "created new/caf\u{e9}\nnew",
        "deleted junk/never seen again",
        "modified log/app.log",
        "moved old/film.mkv > films/film.mkv",
    ] {
        assert!(lines.contains(&line.to_owned()), "{line:?} in {lines:?}");
    }
    let grown = whole["changes"]["items"].as_array().unwrap().iter().find(|c| c["path"] == "log/app.log").unwrap();
    assert_eq!((&grown["size_before"], &grown["size_after"]), (&json!(1000), &json!(6000)));
    // Filters, and pages that put together are the whole.
    let moved = get(&bench, &format!("from={}&op=moved", id(&scans[0])));
    assert_eq!(files(&moved), ["moved old/film.mkv > films/film.mkv"]);
    assert_eq!(moved["counts"], whole["counts"], "counts are of all kinds");
    let below = get(&bench, &format!("from={}&root={}", id(&scans[0]), bench.tree.join("log").display()));
    assert_eq!(files(&below), ["modified log/app.log"]);
    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(&bench, &format!("from={}&limit=2{cursor}", id(&scans[0])));
        paged.extend(page["changes"]["items"].as_array().unwrap().clone());
        match page["changes"]["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(&json!(paged), &whole["changes"]["items"]);
    // Before all scans means the first one; the other way round is refused.
    assert_eq!(get(&bench, "from=7d")["from"]["id"], scans[0]["id"]);
    let viewer = bench.hostler.http_as("viewer");
    for (query, status, part) in [
        (format!("from={}&to={}", id(&scans[2]), id(&scans[0])), 400, "not older"),
        ("from=yesterday".into(), 400, "age"),
        ("op=renamed".into(), 400, "moved"),
        ("root=/nowhere".into(), 404, "/nowhere"),
        ("to=2001-01-01T00:00:00Z".into(), 404, "completed"),
    ] {
        let message = viewer.get(&format!("/api/v1/files/changes?{query}")).error(status);
        assert!(message.contains(part), "{query}: {message}");
    }
}

#[test]
fn the_command_line_says_which_scans_and_what_changed() {
    let (bench, scans) = bench();
    let shown = bench.hostler.ok(["files", "changes", "--from", "30d"]);
    for part in [id(&scans[0]), id(&scans[2]), "→", "old/film.mkv → films/film.mkv", "caf\u{e9}\\nnew", "→1 moved"]
    {
        assert!(shown.stdout.contains(part), "{part:?} in {shown:?}");
    }
    let some =
        bench.hostler.ok(["files", "changes", "--from", id(&scans[0]), "--op", "created,deleted", "--json"]).json();
    let lines = files(&some);
    assert!(
        lines.iter().all(|l| l.starts_with("created ") || l.starts_with("deleted ")) && lines.len() >= 2,
        "{lines:?}"
    );
    let junk = bench.tree.join("junk");
    let below = bench.hostler.ok(["files".as_ref(), "changes".as_ref(), junk.as_os_str(), "--json".as_ref()]).json();
    assert_eq!(files(&below), ["created junk/temporary", "deleted junk/never seen again"]);
}

#[test]
fn growth_and_churn_are_told_apart() {
    let (bench, _) = bench();
    let path = |below: &str| bench.tree.join(below).display().to_string();
    let viewer = bench.hostler.http_as("viewer");
    let growth = |below: &str| viewer.get(&format!("/api/v1/files/growth?path={}&since=1d", path(below))).json();
    let whole = growth("");
    let size: u64 = bench.walked().values().filter(|(kind, _)| kind == "file").map(|(_, size)| size).sum();
    assert_eq!(whole["dir"]["size"], size);
    let points = whole["points"].as_array().unwrap();
    assert_eq!(points.len(), 3, "{whole}");
    assert_eq!(points[2]["bytes"], size);
    let log = growth("log");
    assert_eq!(log["change"]["bytes"], 5000, "{log}");
    assert_eq!(log["change"]["written_bytes"], 11_000, "two whole writes: {log}");
    let names: Vec<&str> = whole["children"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["path"].as_str().unwrap().rsplit('/').next().unwrap())
        .collect();
    assert!(names.contains(&"log") && names.contains(&"films") && names.contains(&"junk"), "{names:?}");
    let shown = bench.hostler.ok(["files", "growth", &path(""), "--since", "1d"]);
    for part in ["Growth", "Written", "log/", "▁"] {
        assert!(shown.stdout.contains(part), "{part} in {shown:?}");
    }
    assert!(viewer.get("/api/v1/files/growth?path=/nowhere").error(404).contains("/nowhere"));
}
