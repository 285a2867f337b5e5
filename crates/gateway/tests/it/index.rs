//! What every store must do with an index: commits, roll-ups, listings, searches, duplicates.

use hostler_gateway::store::{DuplicateQuery, FindQuery, IndexedEntry, Owner, PageRequest, SortKey, Store, StoreError};
use hostler_model::{
    ByteStr, ChangeOp, ContentHash, Entry, EntryKind, HostId, IndexOp, ScanCounters, ScanState, Timestamp,
};

use crate::conformance::{all_pages, at, commit, dir_op, file, file_op, first_page, new_host, running};

/// Runs the checks of the index on one store.
pub async fn conformance(store: &dyn Store) {
    a_commit_replaces_or_changes_the_index(store).await;
    a_failed_commit_changes_nothing(store).await;
    an_ended_scan_leaves_no_trace(store).await;
    removed_directories_take_everything_below(store).await;
    sums_are_those_of_everything_below(store).await;
    the_longest_root_answers(store).await;
    listings_sort_and_page_in_both_directions(store).await;
    searches_filter(store).await;
    searches_sort_and_page_in_both_directions(store).await;
    hard_links_are_no_duplicates(store).await;
    overlapping_roots_count_once(store).await;
    duplicates_are_paged_and_summed(store).await;
}

fn gone(dir: &str, name: &str) -> IndexOp {
    IndexOp::Entry { dir: dir.into(), name: name.into(), op: Some(ChangeOp::Deleted), entry: None }
}

/// Commits a first, full scan of `root`.
async fn index(store: &dyn Store, host: HostId, root: &str, ops: Vec<IndexOp>) {
    let scan = running(store, host, root, true).await;
    store.stage(scan, ops).await.unwrap();
    store.commit_index(commit(scan, host, root, 1, true)).await.unwrap();
}

async fn names(store: &dyn Store, host: HostId, path: &str) -> Vec<String> {
    let listing = store.list_dir(host, &path.into(), SortKey::Name, false, first_page(1000)).await.unwrap();
    listing.entries.items.iter().map(name).collect()
}

fn name(entry: &IndexedEntry) -> String {
    String::from_utf8_lossy(entry.path.file_name()).into_owned()
}

fn of(host: HostId) -> FindQuery {
    FindQuery { host: Some(host), ..FindQuery::default() }
}

async fn found(store: &dyn Store, query: FindQuery) -> Vec<String> {
    store.find(query, first_page(1000)).await.unwrap().items.iter().map(|e| e.path.display().into_owned()).collect()
}

async fn a_commit_replaces_or_changes_the_index(store: &dyn Store) {
    let host = new_host(store, "commits").await;
    let root: ByteStr = "/srv".into();
    assert_eq!(store.generation(host, &root).await.unwrap(), 0);
    let scan = running(store, host, "/srv", true).await;
    // Staged in two batches, applied in their order.
    store.stage(scan, vec![dir_op("", 1), file_op("", "kept", file(2, 10, 1))]).await.unwrap();
    store.stage(scan, vec![file_op("", "gone", file(3, 20, 2)), dir_op("sub", 4)]).await.unwrap();
    store.stage(scan, vec![file_op("sub", "b", file(5, 30, 3))]).await.unwrap();
    assert!(store.roots(Some(host)).await.unwrap().is_empty(), "what is staged is not seen");
    let owners = vec![Owner { group: false, id: 1000, name: "ada".into() }];
    store
        .commit_index(hostler_gateway::store::IndexCommit { owners, ..commit(scan, host, "/srv", 1, true) })
        .await
        .unwrap();

    let done = store.scan(scan).await.unwrap();
    assert_eq!((done.state, done.generation, done.ended_at), (ScanState::Completed, Some(1), Some(at(10))));
    assert_eq!(done.counters, ScanCounters { files: 3, created: 2, ..ScanCounters::default() });
    assert!(store.scan_changes(scan, first_page(9)).await.unwrap().items.is_empty(), "a first scan lists no changes");
    let kept = store.stat(host, &"/srv/kept".into()).await.unwrap();
    assert_eq!((kept.owner.as_str(), kept.group.as_str()), ("ada", "100"), "a group without a name is its number");
    assert_eq!((kept.size, kept.ino, kept.mode, kept.kind), (10, 2, 0o644, EntryKind::File));
    assert_eq!(kept.hash.as_deref(), Some("01".repeat(32).as_str()));

    // A second scan sends differences only.
    let scan = running(store, host, "/srv", false).await;
    let changed = IndexOp::Entry {
        dir: "sub".into(),
        name: "b".into(),
        op: Some(ChangeOp::Modified),
        entry: Some(file(5, 35, 4)),
    };
    let new =
        IndexOp::Entry { dir: "".into(), name: "new".into(), op: Some(ChangeOp::Created), entry: Some(file(6, 1, 5)) };
    store.stage(scan, vec![gone("", "gone"), new, changed]).await.unwrap();
    store.commit_index(commit(scan, host, "/srv", 2, false)).await.unwrap();
    assert_eq!(store.generation(host, &root).await.unwrap(), 2);
    assert_eq!(names(store, host, "/srv").await, ["sub", "kept", "new"]);
    assert_eq!(store.stat(host, &"/srv/sub/b".into()).await.unwrap().size, 35);
    let changes = all_pages(1, async |page| store.scan_changes(scan, page).await.unwrap()).await;
    let told: Vec<_> =
        changes.iter().map(|c| (c.op, c.path.display().into_owned(), c.size_before, c.size_after)).collect();
    assert_eq!(
        told,
        [
            (ChangeOp::Deleted, "gone".into(), Some(20), None),
            (ChangeOp::Created, "new".into(), None, Some(1)),
            (ChangeOp::Modified, "sub/b".into(), Some(30), Some(35)),
        ]
    );

    // A full one replaces what was there.
    let scan = running(store, host, "/srv", false).await;
    store.stage(scan, vec![dir_op("", 1), file_op("", "only", file(9, 2, 9))]).await.unwrap();
    store.commit_index(commit(scan, host, "/srv", 3, true)).await.unwrap();
    assert_eq!(names(store, host, "/srv").await, ["only"]);
    let roots = store.roots(Some(host)).await.unwrap();
    assert_eq!(roots.len(), 1);
    assert_eq!((roots[0].generation, roots[0].files, roots[0].dirs, roots[0].bytes), (3, 1, 1, 2));
}

async fn a_failed_commit_changes_nothing(store: &dyn Store) {
    let host = new_host(store, "failed").await;
    index(store, host, "/srv", vec![dir_op("", 1), file_op("", "a", file(2, 10, 1))]).await;
    let before = store.list_dir(host, &"/srv".into(), SortKey::Name, false, first_page(9)).await.unwrap();
    for full in [false, true] {
        let scan = running(store, host, "/srv", false).await;
        let ops = vec![gone("", "a"), file_op("", "b", file(3, 5, 2)), file_op("nowhere", "c", file(4, 5, 3))];
        store.stage(scan, ops).await.unwrap();
        let owners = vec![Owner { group: true, id: 100, name: "users".into() }];
        let bad = hostler_gateway::store::IndexCommit { owners, ..commit(scan, host, "/srv", 2, full) };
        assert!(store.commit_index(bad).await.is_err(), "an entry of an unknown directory, full: {full}");
        let after = store.list_dir(host, &"/srv".into(), SortKey::Name, false, first_page(9)).await.unwrap();
        assert_eq!(after, before, "full: {full}");
        let failed = store.scan(scan).await.unwrap();
        assert_eq!((failed.state, failed.generation), (ScanState::Running, None));
        assert!(store.scan_changes(scan, first_page(9)).await.unwrap().items.is_empty());
    }
}

async fn an_ended_scan_leaves_no_trace(store: &dyn Store) {
    let host = new_host(store, "cancelled").await;
    index(store, host, "/srv", vec![dir_op("", 1), file_op("", "a", file(2, 10, 1))]).await;
    let scan = running(store, host, "/srv", false).await;
    store.stage(scan, vec![gone("", "a")]).await.unwrap();
    store.scan_ended(scan, ScanState::Cancelled, None, ScanCounters::default(), at(5)).await.unwrap();
    assert_eq!(names(store, host, "/srv").await, ["a"]);
    assert_eq!(store.generation(host, &"/srv".into()).await.unwrap(), 1);
}

async fn removed_directories_take_everything_below(store: &dyn Store) {
    let host = new_host(store, "removed").await;
    // `a-b` and `a0` sort beside `a/`: their names begin like it and are not below it.
    let ops = vec![
        dir_op("", 1),
        dir_op("a", 2),
        file_op("a", "f", file(3, 1, 1)),
        dir_op("a/deep", 4),
        file_op("a/deep", "g", file(5, 2, 2)),
        dir_op("a-b", 6),
        file_op("a-b", "h", file(7, 4, 3)),
        dir_op("a0", 8),
        file_op("a0", "i", file(9, 8, 4)),
    ];
    index(store, host, "/srv", ops).await;
    let scan = running(store, host, "/srv", false).await;
    store.stage(scan, vec![IndexOp::DirRemoved { path: "a".into() }]).await.unwrap();
    store.commit_index(commit(scan, host, "/srv", 2, false)).await.unwrap();
    assert_eq!(found(store, of(host)).await, ["/srv/a-b/h", "/srv/a0/i"]);
    for path in ["/srv/a", "/srv/a/f", "/srv/a/deep/g"] {
        let error = store.stat(host, &path.into()).await.unwrap_err();
        assert!(matches!(&error, StoreError::NotFound { .. }) && error.to_string().contains(path), "{error}");
    }
    let root = store.roots(Some(host)).await.unwrap().remove(0);
    assert_eq!((root.files, root.dirs, root.bytes), (2, 3, 12));
    let changes = store.scan_changes(scan, first_page(9)).await.unwrap().items;
    let mut told: Vec<_> = changes.iter().map(|c| (c.op, c.kind, c.path.display().into_owned())).collect();
    told.sort_by(|a, b| a.2.cmp(&b.2));
    let (dir, file) = (EntryKind::Dir, EntryKind::File);
    let deleted = |kind, path: &str| (ChangeOp::Deleted, kind, path.to_owned());
    assert_eq!(told, [deleted(dir, "a"), deleted(dir, "a/deep"), deleted(file, "a/deep/g"), deleted(file, "a/f")]);
}

async fn sums_are_those_of_everything_below(store: &dyn Store) {
    let host = new_host(store, "sums").await;
    let link = Entry { kind: EntryKind::Symlink, size: 999, hash: None, ..file(9, 0, 0) };
    let ops = vec![
        dir_op("", 1),
        file_op("", "top", file(2, 1, 1)),
        dir_op("a", 3),
        file_op("a", "f", file(4, 10, 2)),
        file_op("a", "link", link),
        dir_op("a/b", 5),
        file_op("a/b", "g", file(6, 100, 3)),
        dir_op("empty", 7),
    ];
    index(store, host, "/srv", ops).await;
    let sums = async |path: &str| {
        let entry = store.stat(host, &path.into()).await.unwrap();
        (entry.files, entry.size)
    };
    assert_eq!(sums("/srv").await, (Some(3), 111), "a link's length is no content");
    assert_eq!(sums("/srv/a").await, (Some(2), 110));
    assert_eq!(sums("/srv/a/b").await, (Some(1), 100));
    assert_eq!(sums("/srv/empty").await, (Some(0), 0));
    // A change far below is seen at every level above.
    let scan = running(store, host, "/srv", false).await;
    store.stage(scan, vec![file_op("a/b", "h", file(8, 1000, 4)), gone("a/b", "g")]).await.unwrap();
    store.commit_index(commit(scan, host, "/srv", 2, false)).await.unwrap();
    assert_eq!(sums("/srv").await, (Some(3), 1011));
    assert_eq!(sums("/srv/a").await, (Some(2), 1010));
}

async fn the_longest_root_answers(store: &dyn Store) {
    let host = new_host(store, "roots").await;
    index(store, host, "/", vec![dir_op("", 1), dir_op("srv", 2), file_op("srv", "old", file(3, 1, 1))]).await;
    index(store, host, "/srv", vec![dir_op("", 2), file_op("", "new", file(4, 2, 2))]).await;
    assert_eq!(names(store, host, "/srv").await, ["new"]);
    assert_eq!(names(store, host, "/srv/").await, ["new"], "a slash at the end changes nothing");
    assert_eq!(names(store, host, "/").await, ["srv"]);
    let top = store.stat(host, &"/".into()).await.unwrap();
    assert_eq!((top.path, top.kind), ("/".into(), EntryKind::Dir));
    let paths: Vec<ByteStr> = store.roots(Some(host)).await.unwrap().into_iter().map(|r| r.path).collect();
    assert_eq!(paths, ["/".into(), "/srv".into()]);
    let error = store.list_dir(host, &"/srv/new".into(), SortKey::Name, false, first_page(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "indexed directory", .. }), "a file has no entries: {error}");
    let other = new_host(store, "no roots").await;
    assert!(store.stat(other, &"/srv".into()).await.is_err(), "another host's index is not looked at");
}

/// Files and directories whose names, sizes and times disagree in their order, with ties.
async fn assorted(store: &dyn Store, host: HostId) {
    let timed = |entry: Entry, seconds: i64| Entry { mtime_ns: seconds * 1_000_000_000, ..entry };
    let mut ops = vec![dir_op("", 1)];
    for (n, (name, size, time)) in
        [("m", 50, 5), ("a", 10, -7), ("Z", 50, 3), ("b\n", 0, 5), ("é", 7, 9), ("k", 50, 5)].into_iter().enumerate()
    {
        ops.push(file_op("", name, timed(file(10 + n as u64, size, n as u8), time)));
    }
    ops.push(IndexOp::Entry {
        dir: "".into(),
        name: ByteStr::from(&b"caf\xe9"[..]),
        op: None,
        entry: Some(timed(file(20, 3, 90), 4)),
    });
    for (n, (name, files)) in [("d1", 2), ("d2", 0), ("dd", 2)].into_iter().enumerate() {
        ops.push(IndexOp::Dir { path: name.into(), op: None, entry: timed(crate::conformance::dir(30 + n as u64), 5) });
        for i in 0..files {
            ops.push(file_op(name, &format!("f{i}"), timed(file(40 + 10 * n as u64 + i, 25, 91), 1)));
        }
    }
    index(store, host, "/srv", ops).await;
}

async fn listings_sort_and_page_in_both_directions(store: &dyn Store) {
    let host = new_host(store, "listings").await;
    assorted(store, host).await;
    let dirs_first = |e: &IndexedEntry| e.kind != EntryKind::Dir;
    for key in [SortKey::Name, SortKey::Size, SortKey::Files, SortKey::Changed] {
        for descending in [false, true] {
            let whole = store.list_dir(host, &"/srv".into(), key, descending, first_page(1000)).await.unwrap();
            assert_eq!(whole.total_entries, 10);
            let mut expected = whole.entries.items.clone();
            expected.sort_by(|a, b| {
                let by_name = a.path.as_bytes().cmp(b.path.as_bytes());
                let by_key = match key {
                    SortKey::Name => return dirs_first(a).cmp(&dirs_first(b)).then(flip(by_name, descending)),
                    SortKey::Size => a.size.cmp(&b.size),
                    SortKey::Files => a.files.cmp(&b.files),
                    SortKey::Changed => a.mtime.cmp(&b.mtime),
                };
                flip(by_key, descending).then(dirs_first(a).cmp(&dirs_first(b))).then(by_name)
            });
            let order = |entries: &[IndexedEntry]| entries.iter().map(name).collect::<Vec<_>>();
            assert_eq!(order(&whole.entries.items), order(&expected), "{key:?}, descending: {descending}");
            for limit in [1, 3, 9, 10] {
                let paged = all_pages(limit, async |page| {
                    store.list_dir(host, &"/srv".into(), key, descending, page).await.unwrap().entries
                })
                .await;
                assert_eq!(order(&paged), order(&expected), "{key:?}, descending: {descending}, in pages of {limit}");
            }
        }
    }
    let page = PageRequest { limit: 2, cursor: Some("i1".into()) };
    let error = store.list_dir(host, &"/srv".into(), SortKey::Name, false, page).await.unwrap_err();
    assert!(matches!(error, StoreError::BadCursor(_)), "{error}");
}

fn flip(order: std::cmp::Ordering, descending: bool) -> std::cmp::Ordering {
    if descending { order.reverse() } else { order }
}

async fn searches_filter(store: &dyn Store) {
    let host = new_host(store, "searches").await;
    let old = Entry { mtime_ns: 1_000_000_000, uid: 0, ..file(3, 5, 1) };
    let link = Entry { kind: EntryKind::Symlink, size: 4, hash: None, ..file(8, 0, 0) };
    let ops = vec![
        dir_op("", 1),
        file_op("", "Report.PDF", file(2, 2000, 7)),
        file_op("", "report.txt", old),
        file_op("", "link", link),
        dir_op("reports", 4),
        file_op("reports", "x.tar.gz", file(5, 9, 3)),
        dir_op("reports-old", 6),
        file_op("reports-old", "y.pdf", file(7, 100, 7)),
    ];
    index(store, host, "/srv", ops).await;
    let scan = running(store, host, "/srv", false).await;
    let owners = vec![Owner { group: false, id: 1000, name: "ada".into() }];
    store
        .commit_index(hostler_gateway::store::IndexCommit { owners, ..commit(scan, host, "/srv", 2, false) })
        .await
        .unwrap();

    let second = Timestamp::from_micros(1_000_000);
    let cases: Vec<(FindQuery, &[&str])> = vec![
        (FindQuery { name: Some("REPORT".into()), ..of(host) }, &["Report.PDF", "report.txt"]),
        (FindQuery { name: Some("*.pdf".into()), ..of(host) }, &["Report.PDF", "y.pdf"]),
        (FindQuery { name: Some("?.pdf".into()), ..of(host) }, &["y.pdf"]),
        (FindQuery { extensions: vec!["pdf".into(), ".gz".into()], ..of(host) }, &["Report.PDF", "x.tar.gz", "y.pdf"]),
        (FindQuery { below: Some("/srv/reports".into()), ..of(host) }, &["x.tar.gz"]),
        (FindQuery { below: Some("/srv/reports/".into()), ..of(host) }, &["x.tar.gz"]),
        (FindQuery { below: Some("/srv/report".into()), ..of(host) }, &[]),
        (FindQuery { kinds: vec![EntryKind::Dir], ..of(host) }, &["reports", "reports-old"]),
        (FindQuery { kinds: vec![EntryKind::Symlink], ..of(host) }, &["link"]),
        (FindQuery { min_size: Some(100), max_size: Some(2000), ..of(host) }, &["Report.PDF", "y.pdf"]),
        (FindQuery { min_size: Some(101), max_size: Some(1999), ..of(host) }, &[]),
        (FindQuery { modified_before: Some(second), ..of(host) }, &[]),
        (FindQuery { modified_before: Some(Timestamp::from_micros(1_000_001)), ..of(host) }, &["report.txt"]),
        (
            FindQuery {
                modified_after: Some(second),
                modified_before: Some(at(0)),
                name: Some("t.txt".into()),
                ..of(host)
            },
            &["report.txt"],
        ),
        (FindQuery { owner: Some("0".into()), ..of(host) }, &["report.txt"]),
        (FindQuery { owner: Some("ada".into()), name: Some("pdf".into()), ..of(host) }, &["Report.PDF", "y.pdf"]),
        (FindQuery { owner: Some("1000".into()), name: Some("y".into()), ..of(host) }, &["y.pdf"]),
        (FindQuery { owner: Some("nobody".into()), ..of(host) }, &[]),
        (FindQuery { hash: ContentHash::new(&[7; 32]), ..of(host) }, &["Report.PDF", "y.pdf"]),
    ];
    for (query, expected) in cases {
        let mut names: Vec<String> =
            store.find(query.clone(), first_page(99)).await.unwrap().items.iter().map(name).collect();
        names.sort();
        assert_eq!(names, expected, "{query:?}");
    }
    assert!(found(store, of(HostId::new())).await.is_empty());
}

async fn searches_sort_and_page_in_both_directions(store: &dyn Store) {
    let host = new_host(store, "sorted").await;
    assorted(store, host).await;
    let query = FindQuery { kinds: vec![EntryKind::File, EntryKind::Dir], ..of(host) };
    for sort in [SortKey::Name, SortKey::Size, SortKey::Changed] {
        for descending in [false, true] {
            let query = FindQuery { sort, descending, ..query.clone() };
            let whole = store.find(query.clone(), first_page(1000)).await.unwrap().items;
            assert_eq!(whole.len(), 14);
            let keys: Vec<i64> = whole
                .iter()
                .map(|e| match sort {
                    SortKey::Size => e.size as i64,
                    SortKey::Changed => e.mtime.micros(),
                    SortKey::Name | SortKey::Files => 0,
                })
                .collect();
            let sorted = keys.windows(2).all(|pair| if descending { pair[0] >= pair[1] } else { pair[0] <= pair[1] });
            assert!(sorted, "{sort:?}, descending: {descending}: {keys:?}");
            for limit in [1, 5, 13] {
                let paged = all_pages(limit, async |page| store.find(query.clone(), page).await.unwrap()).await;
                assert_eq!(paged, whole, "{sort:?}, descending: {descending}, in pages of {limit}");
            }
        }
    }
}

fn duplicates_of(host: HostId) -> DuplicateQuery {
    DuplicateQuery { host: Some(host), ..DuplicateQuery::default() }
}

async fn hard_links_are_no_duplicates(store: &dyn Store) {
    let host = new_host(store, "links").await;
    let ops = vec![
        dir_op("", 1),
        // One file with two names, and nothing else like it.
        file_op("", "one", file(2, 100, 1)),
        file_op("", "one-again", file(2, 100, 1)),
        // Two files, one of them with two names.
        file_op("", "two", file(3, 50, 2)),
        file_op("", "two-again", file(3, 50, 2)),
        file_op("", "two-copy", file(4, 50, 2)),
        // The same inode number on another device is another file.
        file_op("", "far", file(5, 30, 3)),
        file_op("", "near", Entry { dev: 65, ..file(5, 30, 3) }),
        // Empty files free nothing.
        file_op("", "empty", file(6, 0, 4)),
        file_op("", "void", file(7, 0, 4)),
    ];
    index(store, host, "/srv", ops).await;
    let groups = store.duplicates(duplicates_of(host), first_page(9)).await.unwrap().items;
    let told: Vec<_> = groups.iter().map(|g| (g.size, g.copies, g.names, g.reclaimable)).collect();
    assert_eq!(told, [(50, 2, 3, 50), (30, 2, 2, 30)]);
}

async fn overlapping_roots_count_once(store: &dyn Store) {
    let host = new_host(store, "overlap").await;
    let (first, copy) = (file(10, 100, 1), file(11, 100, 1));
    index(store, host, "/a", vec![dir_op("", 1), dir_op("b", 2), file_op("b", "f", first)]).await;
    index(store, host, "/a/b", vec![dir_op("", 2), file_op("", "f", first)]).await;
    assert!(
        store.duplicates(duplicates_of(host), first_page(9)).await.unwrap().items.is_empty(),
        "one file in two indexes is no duplicate of itself"
    );
    // A copy of it, and a hard link to it that has the same path below another root.
    index(store, host, "/c", vec![dir_op("", 3), file_op("", "copy", copy), file_op("", "f", first)]).await;
    let groups = store.duplicates(duplicates_of(host), first_page(9)).await.unwrap().items;
    let told: Vec<_> = groups.iter().map(|g| (g.size, g.copies, g.names, g.reclaimable)).collect();
    assert_eq!(told, [(100, 2, 3, 100)], "the names are /a/b/f, /c/copy and /c/f");
}

async fn duplicates_are_paged_and_summed(store: &dyn Store) {
    let host = new_host(store, "groups").await;
    let mut ops = vec![dir_op("", 1), dir_op("in", 2)];
    let mut ino = 100;
    // Groups 1 to 6 of two copies, in pairs that free the same; one copy of group 1 lies outside `in`.
    for group in 1..=6u8 {
        for copy in 0..2 {
            ino += 1;
            let dir = if group == 1 && copy == 0 { "" } else { "in" };
            ops.push(file_op(dir, &format!("{group}-{copy}"), file(ino, u64::from(group / 2) * 10 + 1, group)));
        }
    }
    index(store, host, "/srv", ops).await;
    let whole = store.duplicates(duplicates_of(host), first_page(99)).await.unwrap().items;
    let order: Vec<_> = whole.iter().map(|g| (std::cmp::Reverse(g.reclaimable), g.hash.clone())).collect();
    assert!(whole.len() == 6 && order.is_sorted(), "most reclaimable first: {order:?}");
    for limit in [1, 2, 5] {
        let paged = all_pages(limit, async |page| store.duplicates(duplicates_of(host), page).await.unwrap()).await;
        assert_eq!(paged, whole, "in pages of {limit}");
    }
    let totals = async |query| store.duplicate_totals(query).await.unwrap();
    let all = totals(duplicates_of(host)).await;
    let sum: u64 = whole.iter().map(|g| g.reclaimable).sum();
    assert_eq!((all.groups, all.extra_copies, all.reclaimable), (6, 6, sum));
    let inside = DuplicateQuery { below: Some("/srv/in".into()), ..duplicates_of(host) };
    assert_eq!(totals(inside.clone()).await.groups, 5, "a copy outside does not count");
    assert_eq!(totals(DuplicateQuery { min_size: 12, ..inside }).await.groups, 3);
    assert_eq!(totals(DuplicateQuery { min_size: 22, ..duplicates_of(host) }).await.groups, 1);
    assert_eq!(totals(duplicates_of(HostId::new())).await, Default::default());
}
