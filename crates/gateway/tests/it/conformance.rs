//! What every store must do. Each check uses a host of its own, so that all run on one store.
//!
//! The index is in [`crate::index`], identity in [`crate::trust`], events in [`crate::activity`]; here are hosts, scans, and what all
//! checks share.

use std::sync::Arc;

use hostler_gateway::store::{
    Capability, CapabilityState, Extent, Grant, HostCounts, HostFacts, HostProof, HostQuery, HostSort, IndexCommit,
    LinkState, LinkedNow, Page, PageRequest, Scan, ScanError, ScanFilter, Store, StoreError, Told,
};
use hostler_model::{
    Algorithm, ByteStr, ContentHash, Entry, EntryKind, HostId, IndexOp, ScanCounters, ScanId, ScanOptions, ScanState,
    Timestamp,
};

/// Runs every check on one store.
pub async fn conformance(store: Arc<dyn Store>) {
    let shared = store;
    let store = shared.as_ref();
    hosts(store).await;
    hosts_are_filtered_sorted_and_paged(store).await;
    scans_and_their_states(store).await;
    scans_are_filtered_and_paged(store).await;
    scan_errors_are_paged_and_bounded(store).await;
    crate::index::conformance(store).await;
    crate::history::conformance(store).await;
    crate::trust::conformance(&shared).await;
    crate::activity::conformance(store).await;
    crate::schedules::conformance(store).await;
    crate::webhooks::conformance(store).await;
}

/// Microseconds since the epoch, `seconds` after some moment.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_800_000_000 + seconds) * 1_000_000)
}

/// A secret's hash that no other check uses.
pub fn secret() -> [u8; 32] {
    let mut hash = [7; 32];
    for (to, from) in hash.iter_mut().zip(HostId::new().to_string().bytes().rev()) {
        *to = from;
    }
    hash
}

pub async fn new_host(store: &dyn Store, name: &str) -> HostId {
    let id = HostId::new();
    store.register_host(id, name, secret(), at(0)).await.unwrap();
    id
}

pub fn queued(host: HostId, root: &str, created: i64) -> Scan {
    Scan {
        id: ScanId::new(),
        host,
        host_name: String::new(),
        root: root.into(),
        state: ScanState::Queued,
        options: ScanOptions { excludes: vec!["*.tmp".into()], ..ScanOptions::default() },
        requested_by: "ada".into(),
        created_at: at(created),
        started_at: None,
        ended_at: None,
        counters: ScanCounters::default(),
        error: None,
        generation: None,
        first: false,
    }
}

/// A scan that runs on `root`.
pub async fn running(store: &dyn Store, host: HostId, root: &str, first: bool) -> ScanId {
    let scan = queued(host, root, 1);
    store.create_scan(scan.clone()).await.unwrap();
    store.scan_started(scan.id, root.into(), first, at(2)).await.unwrap();
    scan.id
}

pub fn commit(scan: ScanId, host: HostId, root: &str, generation: u64, full: bool) -> IndexCommit {
    IndexCommit {
        scan,
        host,
        root: root.into(),
        told: Told::Staged,
        extent: if full { Extent::Whole } else { Extent::Differences },
        completes: true,
        generation,
        algorithm: Algorithm::Blake3,
        owners: Vec::new(),
        counters: ScanCounters { files: 3, created: 2, ..ScanCounters::default() },
        at: at(10),
    }
}

/// A regular file whose content is `content` (one byte names it).
pub fn file(ino: u64, size: u64, content: u8) -> Entry {
    Entry {
        kind: EntryKind::File,
        size,
        mtime_ns: 1_700_000_000_000_000_000,
        ctime_ns: 0,
        dev: 64,
        ino,
        nlink: 1,
        mode: 0o644,
        uid: 1000,
        gid: 100,
        hash: ContentHash::new(&[content; 32]),
    }
}

pub fn dir(ino: u64) -> Entry {
    Entry { kind: EntryKind::Dir, size: 4096, mode: 0o755, hash: None, ..file(ino, 0, 0) }
}

pub fn dir_op(path: &str, ino: u64) -> IndexOp {
    IndexOp::Dir { path: path.into(), op: None, entry: dir(ino) }
}

pub fn file_op(directory: &str, name: &str, entry: Entry) -> IndexOp {
    IndexOp::Entry { dir: directory.into(), name: name.into(), op: None, entry: Some(entry) }
}

/// All items of a list, page by page; each page but the last is full.
pub async fn all_pages<T>(limit: u32, mut page: impl AsyncFnMut(PageRequest) -> Page<T>) -> Vec<T> {
    let (mut items, mut cursor) = (Vec::new(), None);
    for _ in 0..1000 {
        let found = page(PageRequest { limit, cursor }).await;
        assert!(found.next.is_none() || found.items.len() == limit as usize, "a page in the middle is not full");
        items.extend(found.items);
        cursor = found.next;
        if cursor.is_none() {
            return items;
        }
    }
    panic!("the list does not end");
}

pub fn first_page(limit: u32) -> PageRequest {
    PageRequest { limit, cursor: None }
}

async fn hosts(store: &dyn Store) {
    let (id, other) = (HostId::new(), HostId::new());
    let (old, new) = (secret(), secret());
    store.register_host(id, "zebra", old, at(1)).await.unwrap();
    store.register_host(other, "ant", secret(), at(2)).await.unwrap();
    assert_eq!(store.host_key(id).await.unwrap(), Some(old));

    let names: Vec<String> = store.hosts().await.unwrap().into_iter().map(|h| h.name).collect();
    assert!(names.is_sorted(), "hosts come by name: {names:?}");

    let facts = HostFacts { hostname: "zebra.example".into(), cpus: 8, memory_bytes: 1 << 36, ..HostFacts::default() };
    let files = Capability {
        name: "files".into(),
        state: CapabilityState::Proved,
        detail: "1 directory granted".into(),
        proved_at: at(3),
        roots: vec![ByteStr::from(&b"/srv/caf\xe9"[..])],
    };
    let grants = vec![Grant { capability: "files".into(), level: "read".into(), roots: files.roots.clone() }];
    let whole = HostProof {
        host: id,
        at: at(4),
        facts: Some(facts.clone()),
        capabilities: Some(vec![files.clone()]),
        grants: Some(grants.clone()),
    };
    let bare = |host, when| HostProof { host, at: at(when), facts: None, capabilities: None, grants: None };
    // A host that is not known is passed over, the others are kept.
    store.keep_proofs(vec![bare(HostId::new(), 4), whole, bare(other, 5)]).await.unwrap();
    store.keep_proofs(vec![bare(id, 6)]).await.unwrap();
    assert_eq!(store.host(other).await.unwrap().last_proof_at, Some(at(5)));

    // Registered again, it keeps what is known of it; only its name and key differ.
    store.register_host(id, "yak", new, at(9)).await.unwrap();
    let host = store.host(id).await.unwrap();
    assert_eq!((host.name.as_str(), host.created_at, host.last_proof_at), ("yak", at(1), Some(at(6))));
    assert_eq!((host.facts, host.capabilities, host.grants), (facts, vec![files], grants), "what was not told stays");
    assert_eq!(store.host_key(id).await.unwrap(), Some(new), "the key before is of no use");

    let nobody = HostId::new();
    assert_eq!(store.host_key(nobody).await.unwrap(), None);
    for failed in [
        store.host(nobody).await.map(drop),
        store.admit_link(nobody, 1, at(1)).await.map(drop),
        store.remove_host(nobody).await.map(drop),
    ] {
        let error = failed.unwrap_err();
        assert!(matches!(&error, StoreError::NotFound { what: "host", .. }), "{error}");
        assert!(error.to_string().contains(&nobody.to_string()), "{error}");
    }
}

async fn hosts_are_filtered_sorted_and_paged(store: &dyn Store) {
    let bare = |host, when| HostProof { host, at: at(when), facts: None, capabilities: None, grants: None };
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(new_host(store, &format!("Paged-{n}")).await);
    }
    // 0 and 1 answered lately, 2 long ago, 3 never; 4 answered lately and has no link any more.
    store.keep_proofs(vec![bare(ids[0], 99), bare(ids[1], 100), bare(ids[2], 10), bare(ids[4], 100)]).await.unwrap();
    let linked = LinkedNow { hosts: ids[..4].to_vec(), fresh_since: at(50) };
    let list = async |query: HostQuery| {
        let query = HostQuery { text: Some("paged-".into()), ..query };
        let (rows, counts) = store.hosts_page(query, linked.clone()).await.unwrap();
        assert_eq!(counts, HostCounts { linked: 2, stale: 2, down: 2 }, "all that match, not only this page");
        rows.into_iter().map(|row| (row.host.name, row.link)).collect::<Vec<_>>()
    };
    let named = |rows: Vec<(String, LinkState)>| {
        rows.into_iter().map(|(name, _)| name.trim_start_matches("Paged-").to_owned()).collect::<String>()
    };
    let all = list(HostQuery { limit: 10, ..HostQuery::default() }).await;
    use LinkState::{Down, Linked, Stale};
    assert_eq!(all.iter().map(|(_, link)| *link).collect::<Vec<_>>(), [Linked, Linked, Stale, Stale, Down, Down]);
    assert_eq!(named(all), "012345");
    assert_eq!(named(list(HostQuery { limit: 2, offset: 4, ..HostQuery::default() }).await), "45");
    assert_eq!(named(list(HostQuery { limit: 2, offset: u64::MAX, ..HostQuery::default() }).await), "");
    assert_eq!(named(list(HostQuery { limit: 9, descending: true, ..HostQuery::default() }).await), "543210");
    let by_link = HostQuery { limit: 9, sort: HostSort::Link, descending: true, ..HostQuery::default() };
    assert_eq!(named(list(by_link).await), "452301", "equal ones by name");
    for (link, expected) in [(Linked, "01"), (Stale, "23"), (Down, "45")] {
        assert_eq!(named(list(HostQuery { limit: 9, link: Some(link), ..HostQuery::default() }).await), expected);
    }
    let nothing = HostQuery { text: Some("paged-%".into()), limit: 9, ..HostQuery::default() };
    assert_eq!(store.hosts_page(nothing, linked).await.unwrap(), (Vec::new(), HostCounts::default()));
    // Later checks list all hosts.
    for id in ids {
        store.remove_host(id).await.unwrap().await.unwrap().unwrap();
    }
}

async fn scans_and_their_states(store: &dyn Store) {
    let host = new_host(store, "states").await;
    let scan = queued(host, "/srv", 1);
    store.create_scan(scan.clone()).await.unwrap();
    let found = store.scan(scan.id).await.unwrap();
    assert_eq!(found, Scan { host_name: "states".into(), ..scan.clone() });

    // The host says where the root really is.
    store.scan_started(scan.id, "/data/srv".into(), true, at(2)).await.unwrap();
    let found = store.scan(scan.id).await.unwrap();
    assert_eq!((found.state, found.started_at, found.first), (ScanState::Running, Some(at(2)), true));
    assert_eq!(found.root, "/data/srv".into());

    let counters = ScanCounters { files: 5, errors: 1, ..ScanCounters::default() };
    store.scan_ended(scan.id, ScanState::Failed, Some("the host is gone".into()), counters, at(3)).await.unwrap();
    let found = store.scan(scan.id).await.unwrap();
    assert_eq!((found.state, found.ended_at, found.counters), (ScanState::Failed, Some(at(3)), counters));
    assert_eq!(found.error.as_deref(), Some("the host is gone"));
    assert_eq!(found.generation, None);

    // An ended scan stays as it ended.
    store.scan_ended(scan.id, ScanState::Cancelled, None, ScanCounters::default(), at(9)).await.unwrap();
    assert_eq!(store.scan(scan.id).await.unwrap(), found);
    let error = store.scan(ScanId::new()).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "scan", .. }), "{error}");
}

async fn scans_are_filtered_and_paged(store: &dyn Store) {
    let host = new_host(store, "filters").await;
    let mut newest_first = Vec::new();
    for n in 0..7 {
        // Pairs were made at the same moment: the order must still be total.
        let scan = queued(host, if n % 2 == 0 { "/even" } else { "/odd" }, 100 + n / 2);
        store.create_scan(scan.clone()).await.unwrap();
        if n < 3 {
            store.scan_ended(scan.id, ScanState::Cancelled, None, ScanCounters::default(), at(200)).await.unwrap();
        }
        newest_first.push((scan.created_at, scan.id));
    }
    newest_first.sort();
    newest_first.reverse();
    let newest_first: Vec<ScanId> = newest_first.into_iter().map(|(_, id)| id).collect();

    let of_host = ScanFilter { host: Some(host), ..ScanFilter::default() };
    for limit in [1, 2, 3, 100] {
        let list = all_pages(limit, async |page| store.scans(of_host.clone(), page).await.unwrap()).await;
        assert_eq!(list.iter().map(|s| s.id).collect::<Vec<_>>(), newest_first, "in pages of {limit}");
    }
    for (filter, expected) in [
        (ScanFilter { root: Some("/even".into()), ..of_host.clone() }, 4),
        (ScanFilter { states: vec![ScanState::Cancelled], ..of_host.clone() }, 3),
        (ScanFilter { states: vec![ScanState::Cancelled, ScanState::Queued], ..of_host.clone() }, 7),
        (ScanFilter { root: Some("/odd".into()), states: vec![ScanState::Queued], ..of_host.clone() }, 2),
        (ScanFilter { states: vec![ScanState::Running], ..of_host.clone() }, 0),
        (ScanFilter { host: Some(HostId::new()), ..ScanFilter::default() }, 0),
    ] {
        let found = store.scans(filter.clone(), first_page(100)).await.unwrap().items;
        assert_eq!(found.len(), expected, "{filter:?}");
    }
    for wrong in ["x", "i1", "i1.i2.i3", "ü", "t6g.i1", ""] {
        let page = PageRequest { limit: 2, cursor: Some(wrong.into()) };
        let error = store.scans(of_host.clone(), page).await.unwrap_err();
        assert!(matches!(error, StoreError::BadCursor(_)), "{wrong:?}: {error}");
    }
}

async fn scan_errors_are_paged_and_bounded(store: &dyn Store) {
    let host = new_host(store, "errors").await;
    let scan = running(store, host, "/srv", true).await;
    let errors: Vec<ScanError> = (0..hostler_gateway::store::MAX_SCAN_ERRORS + 5)
        .map(|n| ScanError {
            path: ByteStr::from([&b"caf\xe9/"[..], n.to_string().as_bytes()].concat()),
            operation: "open".into(),
            message: "Permission denied (os error 13)".into(),
        })
        .collect();
    store.add_scan_errors(scan, errors[..2].to_vec()).await.unwrap();
    store.add_scan_errors(scan, errors[2..].to_vec()).await.unwrap();
    let kept = all_pages(999, async |page| store.scan_errors(scan, page).await.unwrap()).await;
    assert_eq!(kept.len() as u64, hostler_gateway::store::MAX_SCAN_ERRORS);
    assert_eq!(kept, errors[..kept.len()], "in the order of the walk");
    let error = store.scan_errors(ScanId::new(), first_page(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { what: "scan", .. }), "{error}");
}
