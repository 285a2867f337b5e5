//! What every store must do with time: changes, moves, comparisons, growth; and with large directories.

use hostler_gateway::store::{
    Change, ChangeCounts, CompareQuery, Comparison, FindQuery, Growth, GrowthQuery, IndexCommit, SortKey, Store,
    StoreError,
};
use hostler_model::{ChangeOp, Entry, HostId, IndexOp, ScanCounters, ScanId, Timestamp};

use crate::conformance::{all_pages, at, commit, dir, dir_op, file, file_op, first_page, new_host, running};

/// Runs the checks of history on one store.
pub async fn conformance(store: &dyn Store) {
    a_whole_state_sent_anew_lists_its_differences(store).await;
    what_moved_is_one_line(store).await;
    scans_are_compared(store).await;
    directories_grow(store).await;
    large_directories_are_merged_and_paged(store).await;
    directories_that_come_in_many_commits_are_all_kept(store).await;
    random_changes_agree_with_a_model(store).await;
}

fn entry(dir: &str, name: &str, op: ChangeOp, entry: Option<Entry>) -> IndexOp {
    IndexOp::Entry { dir: dir.into(), name: name.into(), op: Some(op), entry }
}

fn created(dir: &str, name: &str, new: Entry) -> IndexOp {
    entry(dir, name, ChangeOp::Created, Some(new))
}

fn modified(dir: &str, name: &str, new: Entry) -> IndexOp {
    entry(dir, name, ChangeOp::Modified, Some(new))
}

fn gone(dir: &str, name: &str) -> IndexOp {
    entry(dir, name, ChangeOp::Deleted, None)
}

fn new_dir(path: &str, ino: u64) -> IndexOp {
    IndexOp::Dir { path: path.into(), op: Some(ChangeOp::Created), entry: dir(ino) }
}

/// Commits a scan of `/srv`, `generation` seconds after the epoch of the tests.
async fn scan(store: &dyn Store, host: HostId, generation: u64, full: bool, ops: Vec<IndexOp>) -> ScanId {
    let scan = running(store, host, "/srv", generation == 1).await;
    for part in ops.chunks(5000) {
        store.stage(scan, part.to_vec()).await.unwrap();
    }
    let mut counters = ScanCounters::default();
    for op in &ops {
        let op = match op {
            IndexOp::Dir { op, .. } | IndexOp::Entry { op, .. } => *op,
            IndexOp::DirRemoved { .. } => Some(ChangeOp::Deleted),
        };
        match op {
            Some(ChangeOp::Created) => counters.created += 1,
            Some(ChangeOp::Modified) => counters.modified += 1,
            Some(ChangeOp::Deleted) => counters.deleted += 1,
            _ => {}
        }
    }
    let end = IndexCommit { counters, at: at(generation as i64), ..commit(scan, host, "/srv", generation, full) };
    store.commit_index(end).await.unwrap();
    scan
}

fn told(changes: &[Change]) -> Vec<String> {
    changes
        .iter()
        .map(|c| {
            let from = c.from.as_ref().map(|from| format!(" from {}", from.display())).unwrap_or_default();
            format!("{} {}{from}", c.op.word(), c.path.display())
        })
        .collect()
}

async fn changes(store: &dyn Store, scan: ScanId) -> Vec<String> {
    told(&store.scan_changes(scan, first_page(1000)).await.unwrap().items)
}

async fn a_whole_state_sent_anew_lists_its_differences(store: &dyn Store) {
    let host = new_host(store, "anew").await;
    let state = |size: u64| {
        vec![
            dir_op("", 1),
            file_op("", "grows", file(2, size, 1)),
            file_op("", "stays", file(3, 10, 2)),
            dir_op("sub", 4),
            file_op("sub", "f", file(5, 7, 3)),
        ]
    };
    let first =
        scan(store, host, 1, true, [state(5), vec![dir_op("z", 6), file_op("z", "g", file(7, 1, 4))]].concat()).await;
    assert!(store.scan(first).await.unwrap().first);
    let mut ops = state(6);
    ops.truncate(4);
    ops.push(file_op("sub", "new", file(8, 2, 5)));
    let second = scan(store, host, 2, true, ops).await;
    let mut found = changes(store, second).await;
    found.sort();
    assert_eq!(found, ["created sub/new", "deleted sub/f", "deleted z", "deleted z/g", "modified grows"]);
    let done = store.scan(second).await.unwrap();
    let c = done.counters;
    assert_eq!((done.first, c.created, c.modified, c.deleted, c.moved), (false, 1, 1, 3, 0));
    let root = store.roots(Some(host)).await.unwrap().remove(0);
    assert_eq!((root.files, root.dirs, root.bytes), (3, 2, 18));
}

async fn what_moved_is_one_line(store: &dyn Store) {
    let host = new_host(store, "moves").await;
    let ops = vec![
        dir_op("", 1),
        file_op("", "a", file(2, 10, 1)),
        dir_op("old", 3),
        file_op("old", "f", file(4, 20, 2)),
        file_op("old", "g", file(5, 30, 3)),
    ];
    scan(store, host, 1, true, ops).await;
    let ops = vec![
        gone("", "a"),
        created("", "b", file(2, 10, 1)),
        new_dir("new", 3),
        created("new", "f", file(4, 20, 2)),
        created("new", "g", file(5, 30, 3)),
        IndexOp::DirRemoved { path: "old".into() },
    ];
    let moved = scan(store, host, 2, false, ops).await;
    assert_eq!(changes(store, moved).await, ["moved b from a", "moved new from old"]);
    let c = store.scan(moved).await.unwrap().counters;
    assert_eq!(c.moved, 4, "all that is elsewhere counts");
    assert_eq!((c.created, c.deleted), (0, 0));
    let growth = growth(store, host, "/srv").await;
    let change = growth.points.last().unwrap().change;
    assert_eq!((change.bytes, change.written_bytes, change.removed_bytes), (0, 0, 0), "nothing was written");
}

async fn compare(store: &dyn Store, from: Option<ScanId>, to: ScanId) -> Comparison {
    let query = CompareQuery { from, to, ops: Vec::new(), below: None };
    store.compare(query, first_page(1000)).await.unwrap()
}

async fn scans_are_compared(store: &dyn Store) {
    let host = new_host(store, "compares").await;
    let ops = vec![dir_op("", 1), file_op("", "a", file(2, 10, 1)), dir_op("d", 3), file_op("d", "b", file(4, 20, 2))];
    let first = scan(store, host, 1, true, ops).await;
    let second =
        scan(store, host, 2, false, vec![modified("", "a", file(2, 15, 3)), created("d", "c", file(5, 1, 4))]).await;
    let ops = vec![gone("", "a"), created("", "z", file(2, 15, 3)), gone("d", "c"), created("d", "e", file(6, 2, 5))];
    let third = scan(store, host, 3, false, ops).await;

    let none = compare(store, None, first).await;
    assert!(none.from.is_none() && none.complete && none.changes.items.is_empty());
    let last = compare(store, None, third).await;
    assert_eq!((last.from.as_ref().map(|s| s.id), last.to.id, last.scans), (Some(second), third, 1));
    let mut found = told(&last.changes.items);
    found.sort();
    assert_eq!(found, ["created d/e", "deleted d/c", "moved z from a"]);
    assert!(last.complete);

    let both = compare(store, Some(first), third).await;
    assert_eq!(told(&both.changes.items), ["created d/e", "moved z from a"], "d/c came and went");
    let expected = ChangeCounts { created: 1, moved: 1, added_bytes: 7, ..ChangeCounts::default() };
    assert_eq!((both.scans, both.counts, both.complete), (2, expected, true));
    assert_eq!(both.changes.items[1].size_before, Some(10));

    let query = CompareQuery { from: Some(first), to: third, ops: vec![ChangeOp::Created], below: Some("d".into()) };
    let some = store.compare(query, first_page(9)).await.unwrap();
    assert_eq!(told(&some.changes.items), ["created d/e"]);
    for (from, to) in [(None, second), (Some(first), third)] {
        let query = CompareQuery { from, to, ops: Vec::new(), below: None };
        let whole = compare(store, from, to).await.changes.items;
        let paged = all_pages(1, async |page| store.compare(query.clone(), page).await.unwrap().changes).await;
        assert_eq!(paged, whole);
    }
    let backwards = CompareQuery { from: Some(third), to: first, ops: Vec::new(), below: None };
    assert!(matches!(store.compare(backwards, first_page(1)).await, Err(StoreError::NotFound { .. })));
    let waits = running(store, host, "/srv", false).await;
    let unfinished = CompareQuery { from: None, to: waits, ops: Vec::new(), below: None };
    assert!(matches!(store.compare(unfinished, first_page(1)).await, Err(StoreError::NotFound { .. })));
}

async fn growth(store: &dyn Store, host: HostId, path: &str) -> Growth {
    let since = Timestamp::from_micros(0);
    store.growth(GrowthQuery { host, path: path.into(), since }).await.unwrap()
}

async fn directories_grow(store: &dyn Store) {
    let host = new_host(store, "grows").await;
    let ops = vec![
        dir_op("", 1),
        dir_op("a", 2),
        file_op("a", "f", file(3, 100, 1)),
        dir_op("b", 4),
        dir_op("b/deep", 5),
        file_op("b/deep", "g", file(6, 50, 2)),
    ];
    scan(store, host, 1, true, ops).await;
    let still = growth(store, host, "/srv").await;
    assert_eq!((still.points.len(), still.points[0].bytes, still.known_since), (1, 150, Some(at(1))));
    scan(store, host, 2, false, vec![modified("a", "f", file(3, 130, 3)), created("b/deep", "h", file(7, 5, 4))]).await;
    scan(store, host, 3, false, vec![gone("b/deep", "g")]).await;
    let root = growth(store, host, "/srv").await;
    let sizes: Vec<_> = root.points.iter().map(|p| (p.at, p.files, p.bytes)).collect();
    assert_eq!(sizes, [(at(1), 2, 150), (at(2), 3, 185), (at(3), 2, 135)]);
    let c = root.change;
    assert_eq!((c.files, c.bytes, c.written_bytes, c.removed_bytes, c.changes), (0, -15, 135, 50, 3));
    let children: Vec<_> =
        root.children.iter().map(|c| (c.path.display().into_owned(), c.bytes, c.change.bytes)).collect();
    assert_eq!(children, [("/srv/b".into(), 5, -45), ("/srv/a".into(), 130, 30)], "the greatest difference first");
    let deep = growth(store, host, "/srv/b/deep").await;
    assert_eq!(deep.points.iter().map(|p| p.bytes).collect::<Vec<_>>(), [50, 55, 5]);
    let late = store.growth(GrowthQuery { host, path: "/srv/a".into(), since: at(3) }).await.unwrap();
    assert_eq!(late.points.iter().map(|p| p.bytes).collect::<Vec<_>>(), [130], "nothing changed since");
    // Kept through a state that is sent anew.
    let ops = vec![dir_op("", 1), dir_op("a", 2), file_op("a", "f", file(3, 130, 3)), dir_op("b", 4)];
    scan(store, host, 4, true, ops).await;
    assert_eq!(growth(store, host, "/srv").await.points.len(), 4);
    let query = GrowthQuery { host, path: "/srv/a/f".into(), since: at(0) };
    assert!(matches!(store.growth(query).await, Err(StoreError::NotFound { .. })), "a file has no growth");
}

async fn large_directories_are_merged_and_paged(store: &dyn Store) {
    let host = new_host(store, "large").await;
    let name = |n: u64| format!("file-{n:06}");
    let mut ops = vec![dir_op("", 1)];
    ops.extend((0..20_000).map(|n| file_op("", &name(n), file(n + 2, n % 977, (n % 251) as u8))));
    scan(store, host, 1, true, ops.clone()).await;
    // Every third goes, some come in between, some change.
    let mut diff = Vec::new();
    for n in 0..20_000 {
        match n % 3 {
            0 => diff.push(gone("", &name(n))),
            1 if n % 5 == 0 => diff.push(created("", &format!("{}-b", name(n)), file(n + 100_000, 1, 1))),
            _ => {}
        }
    }
    scan(store, host, 2, false, diff).await;
    let mut expected: Vec<String> = (0..20_000).filter(|n| n % 3 != 0).map(name).collect();
    expected.extend((0..20_000).filter(|n| n % 3 == 1 && n % 5 == 0).map(|n| format!("{}-b", name(n))));
    expected.sort();
    for descending in [false, true] {
        let paged = all_pages(1000, async |page| {
            store.list_dir(host, &"/srv".into(), SortKey::Name, descending, page).await.unwrap().entries
        })
        .await;
        let names: Vec<String> =
            paged.iter().map(|e| String::from_utf8_lossy(e.path.file_name()).into_owned()).collect();
        if descending {
            expected.reverse();
        }
        assert_eq!(names, expected, "descending: {descending}");
    }
    let query = FindQuery { host: Some(host), name: Some("-00002".into()), ..FindQuery::default() };
    let found = store.find(query, first_page(100)).await.unwrap().items.len();
    assert_eq!(found, expected.iter().filter(|name| name.contains("-00002")).count());
    // Sent anew as a whole, in several parts: what is not in it goes.
    ops.truncate(9_001);
    scan(store, host, 3, true, ops).await;
    let root = store.roots(Some(host)).await.unwrap().remove(0);
    assert_eq!(root.files, 9_000);
}

async fn directories_that_come_in_many_commits_are_all_kept(store: &dyn Store) {
    let host = new_host(store, "many commits").await;
    scan(store, host, 1, true, vec![dir_op("", 1)]).await;
    for generation in 2..12 {
        let mut ops = Vec::new();
        for n in 0..25 {
            let dir = format!("g{generation:02}-{n:02}");
            ops.extend([new_dir(&dir, n), created(&dir, "f", file(n, 1, 1))]);
        }
        scan(store, host, generation, false, ops).await;
    }
    assert_eq!(store.roots(Some(host)).await.unwrap()[0].files, 250);
    let query = FindQuery { host: Some(host), ..FindQuery::default() };
    assert_eq!(store.find(query, first_page(1000)).await.unwrap().items.len(), 250);
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Directories come and go with what is in them, as differences and as whole states; the index is always the model.
async fn random_changes_agree_with_a_model(store: &dyn Store) {
    use std::collections::BTreeMap;
    let host = new_host(store, "random").await;
    let mut random = Random(7);
    let mut model: BTreeMap<String, BTreeMap<String, Entry>> = BTreeMap::from([(String::new(), BTreeMap::new())]);
    for generation in 1..=40 {
        let before = model.clone();
        for _ in 0..random.below(30) {
            let dir = format!("d{}", random.below(6));
            match random.below(10) {
                0 => drop(model.remove(&dir)),
                1..=3 => {
                    let names: Vec<String> = model.get(&dir).into_iter().flat_map(BTreeMap::keys).cloned().collect();
                    if let Some(name) = names.get(random.below(50) as usize) {
                        model.get_mut(&dir).unwrap().remove(name);
                    }
                }
                _ => {
                    let (ino, size, content) = (random.below(1000), random.below(50), random.below(20) as u8);
                    let name = format!("f{}", random.below(60));
                    model.entry(dir).or_default().insert(name, file(ino, size, content));
                }
            }
        }
        let full = generation == 1 || random.below(4) == 0;
        let mut ops = Vec::new();
        for (n, (dir, files)) in model.iter().enumerate() {
            let old = before.get(dir).filter(|_| generation > 1);
            if full || old.is_none() {
                ops.push(match full {
                    true => dir_op(dir, n as u64),
                    false => new_dir(dir, n as u64),
                });
            }
            let mut names: Vec<&String> = files.keys().chain(old.into_iter().flat_map(BTreeMap::keys)).collect();
            names.sort();
            names.dedup();
            for name in names {
                match (old.and_then(|old| old.get(name)), files.get(name)) {
                    (_, Some(new)) if full => ops.push(file_op(dir, name, *new)),
                    (None, Some(new)) => ops.push(created(dir, name, *new)),
                    (Some(old), Some(new)) if old != new => ops.push(modified(dir, name, *new)),
                    (Some(_), None) if !full => ops.push(gone(dir, name)),
                    _ => {}
                }
            }
        }
        if !full {
            let removed = before.keys().filter(|dir| !model.contains_key(*dir));
            ops.extend(removed.map(|dir| IndexOp::DirRemoved { path: dir.as_str().into() }));
        }
        scan(store, host, generation, full, ops).await;
        let query = FindQuery { host: Some(host), ..FindQuery::default() };
        let found = all_pages(700, async |page| store.find(query.clone(), page).await.unwrap()).await;
        let found: Vec<_> = found.iter().map(|e| (e.path.display().into_owned(), e.size, e.ino)).collect();
        let expected: Vec<_> = model
            .iter()
            .flat_map(|(dir, files)| files.iter().map(move |(name, e)| (format!("/srv/{dir}/{name}"), e.size, e.ino)))
            .collect();
        assert_eq!(found, expected, "after generation {generation}");
        let root = store.roots(Some(host)).await.unwrap().remove(0);
        let sum: u64 = model.values().flat_map(BTreeMap::values).map(|e| e.size).sum();
        assert_eq!((root.files, root.bytes, root.dirs), (expected.len() as u64, sum, model.len() as u64));
    }
}
