//! Finding, browsing and comparing what is indexed.

use std::collections::BTreeMap;
use std::fs::{File, FileTimes};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hostler_testkit::Http;
use serde_json::{Value, json};

use crate::support::{Bench, walk, write};

fn library(tree: &Path) {
    for (name, size, days) in [
        ("Report.PDF", 10, 1),
        ("report-final.pdf", 2000, 40),
        ("notes.txt", 300, 3),
        ("archive.tar.gz", 70_000, 400),
        ("music/song.mp3", 5_000, 10),
        ("music/album/track 1.mp3", 6_000, 20),
        ("music/album/track 2.mp3", 7_000, 20),
        ("musical.txt", 1, 0),
        ("empty", 0, 0),
    ] {
        let path = tree.join(name);
        write(path.clone(), vec![b'x'; size]);
        let then = SystemTime::now() - Duration::from_secs(days * 86_400 + 60);
        File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(then)).unwrap();
    }
}

/// Paths below the tree, as found and in that order.
fn found(bench: &Bench, args: &[&str]) -> Vec<String> {
    let all = bench.hostler.ok([&["files", "find", "--json"], args].concat()).json();
    let prefix = format!("{}/", bench.tree.display());
    let relative = |row: &Value| row["path"].as_str().unwrap().strip_prefix(&prefix).unwrap().to_owned();
    all.as_array().unwrap().iter().map(relative).collect()
}

#[test]
fn each_filter_finds_what_it_names() {
    let bench = Bench::new(library);
    bench.scan();
    let below = bench.tree.join("music");
    let below = below.to_str().unwrap();
    let host = bench.hostler.ok(["hosts", "list", "--json"]).json()[0].clone();
    let (id, name) = (host["id"].as_str().unwrap(), host["name"].as_str().unwrap());
    let hash = {
        let path = bench.tree.join("notes.txt");
        let shown = bench.hostler.ok(["files".as_ref(), "stat".as_ref(), path.as_os_str(), "--json".as_ref()]).json();
        shown["hash"].as_str().unwrap().to_owned()
    };
    let expected: &[(&[&str], &[&str])] = &[
        (&["track"], &["music/album/track 1.mp3", "music/album/track 2.mp3"]),
        (&["*.txt"], &["musical.txt", "notes.txt"]),
        (&["track ?.mp3"], &["music/album/track 1.mp3", "music/album/track 2.mp3"]),
        (&["report-*"], &["report-final.pdf"]),
        (&["nothing like it"], &[]),
        (&["--ext", "gz"], &["archive.tar.gz"]),
        (&["--ext", ".tar.gz"], &["archive.tar.gz"]),
        (&["--ext", "gz", "--ext", "txt"], &["archive.tar.gz", "musical.txt", "notes.txt"]),
        (&["--min-size", "7000"], &["archive.tar.gz", "music/album/track 2.mp3"]),
        (&["--min-size", "5k", "--max-size", "6000"], &["music/album/track 1.mp3"]),
        (&["--max-size", "0"], &["empty"]),
        (&["--newer", "2d", "--min-size", "1"], &["Report.PDF", "musical.txt"]),
        (&["--older", "30d"], &["archive.tar.gz", "report-final.pdf"]),
        (
            &["--newer", "50d", "--older", "15d", "--ext", "mp3"],
            &["music/album/track 1.mp3", "music/album/track 2.mp3"],
        ),
        (&["--newer", "2200-01-01T00:00:00Z"], &[]),
        // By directory, then by name, as a walk goes.
        (&["--root", below], &["music/song.mp3", "music/album/track 1.mp3", "music/album/track 2.mp3"]),
        (&["--root", below, "--kind", "dir"], &["music/album"]),
        (&["--hash", &hash], &["notes.txt"]),
        (&["--host", name, "notes"], &["notes.txt"]),
        (&["--host", id, "notes"], &["notes.txt"]),
        (
            &["--ext", "mp3", "--sort", "size"],
            &["music/song.mp3", "music/album/track 1.mp3", "music/album/track 2.mp3"],
        ),
        (
            &["--ext", "mp3", "--sort", "size", "--desc"],
            &["music/album/track 2.mp3", "music/album/track 1.mp3", "music/song.mp3"],
        ),
        (&["--ext", "txt", "--sort", "changed"], &["notes.txt", "musical.txt"]),
        (&["--ext", "txt", "--sort", "changed", "--desc"], &["musical.txt", "notes.txt"]),
        (&["--ext", "txt", "--desc"], &["notes.txt", "musical.txt"]),
        (&["--ext", "txt", "--limit", "1"], &["musical.txt"]),
    ];
    for (args, paths) in expected {
        assert_eq!(found(&bench, args), *paths, "{args:?}");
    }
    assert_eq!(found(&bench, &[]).len(), 9);
    let cut = bench.hostler.ok(["files", "find", "--limit", "2"]);
    assert!(cut.stderr.contains("Only the first 2 are shown"), "{cut:?}");
}

#[test]
fn owners_are_found_by_name_and_number() {
    let bench = Bench::new(|tree| {
        write(tree.join("mine"), "mine");
        write(tree.join("theirs"), "theirs");
        if let Err(error) = chown(tree.join("theirs"), Some(54_321), Some(54_321)) {
            println!("left out: a file cannot be given away here ({error})");
        }
    });
    bench.scan();
    let uid = bench.tree.join("mine").metadata().unwrap().uid();
    let other = bench.tree.join("theirs").metadata().unwrap().uid();
    let mine: &[&str] = if other == uid { &["mine", "theirs"] } else { &["mine"] };
    assert_eq!(found(&bench, &["--owner", &uid.to_string()]), mine);
    let row = bench.hostler.ok(["files", "find", "mine", "--json"]).json()[0].clone();
    assert_eq!(found(&bench, &["--owner", row["owner"].as_str().unwrap()]), mine);
    if other != uid {
        assert_eq!(found(&bench, &["--owner", "54321"]), ["theirs"]);
        let row = bench.hostler.ok(["files", "find", "theirs", "--json"]).json()[0].clone();
        assert_eq!((&row["owner"], &row["group"]), (&json!("54321"), &json!("54321")), "no name, so the number");
        if uid == 0 {
            assert_eq!(found(&bench, &["--owner", "root"]), ["mine"]);
        }
    }
    assert_eq!(found(&bench, &["--owner", "nobody-has-this-name"]), [""; 0]);
}

/// All items of a list, taken `limit` at a time; fails when a page is longer than asked or the list has no end.
fn pages(http: &Http, path: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    for _ in 0..1000 {
        let answer = http.get(&format!("{path}&limit={limit}{cursor}"));
        assert_eq!(answer.status, 200, "{path} {limit} {cursor}: {}", answer.text());
        let page = answer.json();
        let page = if page["entries"].is_object() { &page["entries"] } else { &page };
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= limit);
        all.extend(items.iter().cloned());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
    panic!("{path} has no end")
}

#[test]
fn pages_give_every_row_once_and_in_order() {
    let bench = Bench::new(|tree| {
        for i in 0..23 {
            // Many equal sizes and contents, so that ties cross the edges of pages.
            write(tree.join(format!("d{}/f{i:02}", i % 4)), "x".repeat(i % 3 + 1));
            write(tree.join(format!("top{i:02}")), "x".repeat(i % 2 + 1));
        }
    });
    bench.scan();
    for i in 0..9 {
        write(bench.tree.join(format!("top{i:02}")), "changed");
        bench.scan();
    }
    let viewer = bench.hostler.http_as("viewer");
    let root = bench.tree.to_str().unwrap();
    let last = viewer.get("/api/v1/scans?limit=1").json()["items"][0]["id"].as_str().unwrap().to_owned();
    let mut lists = vec![
        "/api/v1/duplicates?min_size=1".to_owned(),
        "/api/v1/scans?host=".to_owned(),
        format!("/api/v1/scans/{last}/changes?"),
    ];
    for sort in ["name", "size", "files", "changed"] {
        for desc in ["false", "true"] {
            lists.push(format!("/api/v1/files?sort={sort}&desc={desc}"));
            lists.push(format!("/api/v1/files?kind=file&kind=dir&sort={sort}&desc={desc}"));
            lists.push(format!("/api/v1/files/ls?path={root}&sort={sort}&desc={desc}"));
        }
    }
    for list in lists {
        let whole = pages(&viewer, &list, 1000);
        assert!(!whole.is_empty(), "{list}");
        for limit in [1, 7, 23, 46] {
            assert_eq!(pages(&viewer, &list, limit), whole, "{list} by {limit}");
        }
    }
    // A cursor of one list says nothing about another.
    let next = viewer.get("/api/v1/files?limit=1").json()["next"].as_str().unwrap().to_owned();
    for other in [format!("/api/v1/duplicates?cursor={next}"), format!("/api/v1/scans?cursor={next}")] {
        let answer = viewer.get(&other);
        assert!([200, 400].contains(&answer.status), "{other}: {}", answer.text());
    }
}

#[test]
fn values_that_make_no_sense_are_refused_by_name() {
    let bench = Bench::new(library);
    bench.scan();
    let viewer = bench.hostler.http_as("viewer");
    for (parameter, value) in [
        ("min_size", "much"),
        ("max_size", "-1"),
        ("newer", "soon"),
        ("older", "7x"),
        ("hash", "xyz"),
        ("hash", "abc"),
        ("hash", "%2Bf"),
        ("hash", ""),
        ("kind", "socket"),
        ("sort", "colour"),
        ("desc", "perhaps"),
        ("limit", "0"),
        ("limit", "1001"),
        ("limit", "-1"),
        ("limit", "ten"),
        ("cursor", "nonsense"),
        ("below", "relative/path"),
        ("owner", "%ff"),
        ("colour", "red"),
    ] {
        let message = viewer.get(&format!("/api/v1/files?{parameter}={value}")).error(400);
        assert!(message.contains(parameter), "{parameter}={value}: {message}");
    }
    viewer.get("/api/v1/files?host=nobody").error(404);
    for parameter in ["min_size=much", "below=relative", "limit=0", "cursor=x"] {
        let message = viewer.get(&format!("/api/v1/duplicates?{parameter}")).error(400);
        assert!(message.contains(parameter.split('=').next().unwrap()), "{parameter}: {message}");
    }
    for huge in ["newer=99999999999d", "min_size=99999999999999999999", "older=99999999999999y"] {
        let answer = viewer.get(&format!("/api/v1/files?{huge}"));
        assert!([200, 400].contains(&answer.status), "{huge}: {}", answer.text());
    }
    let typed = bench.hostler.run(["files", "find", "--min-size", "much"]).unwrap();
    assert_eq!(typed.code, Some(1));
    assert!(typed.stderr.contains("min_size"), "{typed:?}");
}

#[test]
fn what_is_not_indexed_is_said_to_be_so() {
    let bench = Bench::new(library);
    bench.scan();
    let viewer = bench.hostler.http_as("viewer");
    let tree = bench.tree.display();
    for path in [format!("{tree}/nothing"), "/etc/passwd".to_owned(), format!("{tree}/notes.txt/below")] {
        assert!(viewer.get(&format!("/api/v1/files/stat?path={path}")).error(404).contains("hostler scan"), "{path}");
        viewer.get(&format!("/api/v1/files/ls?path={path}")).error(404);
    }
    let typed = bench.hostler.run(["files", "ls", "/etc"]).unwrap();
    assert_eq!(typed.code, Some(1));
    assert!(typed.stderr.contains("hint: scan a directory that holds it"), "{typed:?}");
}

#[test]
fn sizes_roll_up_as_a_walk_counts_them() {
    let bench = Bench::new(|tree| {
        library(tree);
        std::fs::create_dir_all(tree.join("empty dir/inner")).unwrap();
        std::fs::hard_link(tree.join("notes.txt"), tree.join("music/notes again.txt")).unwrap();
        std::os::unix::fs::symlink("notes.txt", tree.join("music/link")).unwrap();
    });
    bench.scan();
    let check = || {
        let mut dirs = vec![bench.tree.clone()];
        walk(&bench.tree, &mut |path, metadata| {
            if metadata.is_dir() {
                dirs.push(path.to_owned());
            }
        });
        let mut expected = BTreeMap::new();
        for dir in &dirs {
            let (mut size, mut files) = (0, 0);
            walk(dir, &mut |_, metadata| {
                if metadata.is_file() {
                    size += metadata.len();
                    files += 1;
                }
            });
            expected.insert(dir.to_str().unwrap().to_owned(), (size, files));
        }
        for dir in &dirs {
            let rows = bench.hostler.ok(["files".as_ref(), "ls".as_ref(), dir.as_os_str(), "--json".as_ref()]).json();
            let rows = rows.as_array().unwrap();
            assert_eq!(rows.len(), std::fs::read_dir(dir).unwrap().count(), "{dir:?}");
            for row in rows.iter().filter(|row| row["kind"] == "dir") {
                let sums = (row["size"].as_u64().unwrap(), row["files"].as_u64().unwrap());
                assert_eq!(sums, expected[row["path"].as_str().unwrap()], "{row}");
            }
            let own = bench.hostler.ok(["files".as_ref(), "stat".as_ref(), dir.as_os_str(), "--json".as_ref()]).json();
            let sums = (own["size"].as_u64().unwrap(), own["files"].as_u64().unwrap());
            assert_eq!(sums, expected[dir.to_str().unwrap()], "{own}");
        }
    };
    check();
    std::fs::remove_file(bench.tree.join("music/album/track 1.mp3")).unwrap();
    write(bench.tree.join("music/album/live/encore.mp3"), vec![1; 12_345]);
    std::fs::remove_dir_all(bench.tree.join("empty dir")).unwrap();
    bench.scan();
    check();
}

fn duplicates(bench: &Bench) -> Value {
    bench.hostler.http_as("viewer").get("/api/v1/duplicates").json()
}

#[test]
fn copies_are_counted_and_hard_links_are_not_copies() {
    let bench = Bench::new(|tree| {
        for name in ["a", "b", "sub/c"] {
            write(tree.join(name), "x".repeat(100));
        }
        std::fs::hard_link(tree.join("a"), tree.join("a-again")).unwrap();
        for name in ["big1", "big2"] {
            write(tree.join(name), "y".repeat(5000));
        }
        write(tree.join("only"), "z".repeat(900));
        std::fs::hard_link(tree.join("only"), tree.join("only-link")).unwrap();
        write(tree.join("empty1"), "");
        write(tree.join("empty2"), "");
    });
    bench.scan();
    let all = duplicates(&bench);
    let groups: Vec<[u64; 4]> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|g| ["size", "copies", "names", "reclaimable"].map(|field| g[field].as_u64().unwrap()))
        .collect();
    assert_eq!(groups, [[5000, 2, 2, 5000], [100, 3, 4, 200]]);
    assert_eq!(all["totals"], json!({ "groups": 2, "extra_copies": 3, "reclaimable": 5200, "pending_files": 0 }));
    let shown = bench.hostler.ok(["files", "dups"]);
    assert!(shown.stderr.contains("2 groups, 3 extra copies"), "{shown:?}");
    let some = bench.hostler.ok(["files", "dups", "--json", "--min-size", "1K"]).json();
    assert_eq!(some.as_array().unwrap().len(), 1);
    let sub = bench.tree.join("sub");
    let none =
        bench.hostler.ok(["files".as_ref(), "dups".as_ref(), "--json".as_ref(), "--root".as_ref(), sub.as_os_str()]);
    assert_eq!(none.json(), json!([]), "below sub there is only one of them");
    let hash = all["items"][1]["hash"].as_str().unwrap();
    assert_eq!(found(&bench, &["--hash", hash]), ["a", "a-again", "b", "sub/c"]);
}

#[test]
fn roots_that_overlap_invent_no_copies() {
    let bench = Bench::new(|tree| {
        write(tree.join("sub/one"), "x".repeat(100));
        write(tree.join("sub/two"), "y".repeat(100));
        write(tree.join("three"), "y".repeat(100));
    });
    bench.scan();
    let before = duplicates(&bench);
    assert_eq!(before["totals"], json!({ "groups": 1, "extra_copies": 1, "reclaimable": 100, "pending_files": 0 }));
    bench.hostler.ok(["scan".as_ref(), bench.tree.join("sub").as_os_str()]);
    assert_eq!(duplicates(&bench), before, "the same files in two indexes are the same files");
}
