//! What every store must do. Each check uses a host of its own, so that all run on one store.
//!
//! The index is in [`crate::index`]; here are hosts, scans and identity, and what all checks share.

use std::sync::Arc;

use hostler_gateway::store::{
    ApiKey, Capability, CapabilityState, HostFacts, IndexCommit, Page, PageRequest, Scan, ScanError, ScanFilter,
    Session, Store, StoreError,
};
use hostler_model::{
    Algorithm, ApiKeyId, ByteStr, ContentHash, Entry, EntryKind, HostId, IndexOp, Role, ScanCounters, ScanId,
    ScanOptions, ScanState, Timestamp,
};

/// Runs every check on one store.
pub async fn conformance(store: Arc<dyn Store>) {
    let store = store.as_ref();
    hosts(store).await;
    generations_never_go_back(store).await;
    scans_and_their_states(store).await;
    scans_are_filtered_and_paged(store).await;
    scan_errors_are_paged_and_bounded(store).await;
    api_keys(store).await;
    a_sign_in_link_works_once(store).await;
    sessions_end(store).await;
    crate::index::conformance(store).await;
}

/// Microseconds since the epoch, `seconds` after some moment.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_800_000_000 + seconds) * 1_000_000)
}

/// A secret's hash that no other check uses.
fn secret() -> [u8; 32] {
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
        full,
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
    assert_eq!(store.host_by_token(old).await.unwrap(), Some(id));

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
    store.host_described(id, facts.clone(), vec![files.clone()]).await.unwrap();
    store.host_proved(id, at(4)).await.unwrap();

    // Registered again, it keeps what is known of it; only its name and token differ.
    store.register_host(id, "yak", new, at(9)).await.unwrap();
    let host = store.host(id).await.unwrap();
    assert_eq!((host.name.as_str(), host.created_at, host.last_proof_at), ("yak", at(1), Some(at(4))));
    assert_eq!((host.facts, host.capabilities), (facts, vec![files]));
    assert_eq!(store.host_by_token(old).await.unwrap(), None, "the token before is of no use");
    assert_eq!(store.host_by_token(new).await.unwrap(), Some(id));

    let nobody = HostId::new();
    for failed in [
        store.host(nobody).await.map(drop),
        store.host_proved(nobody, at(1)).await,
        store.host_described(nobody, HostFacts::default(), vec![]).await,
        store.next_generation(nobody, 1).await.map(drop),
    ] {
        let error = failed.unwrap_err();
        assert!(matches!(&error, StoreError::NotFound { what: "host", .. }), "{error}");
        assert!(error.to_string().contains(&nobody.to_string()), "{error}");
    }
}

async fn generations_never_go_back(store: &dyn Store) {
    let id = new_host(store, "generations").await;
    let mut last = 0;
    for agent_knows in [0, 0, 40, 3, 0] {
        let next = store.next_generation(id, agent_knows).await.unwrap();
        assert!(next > last && next > agent_knows, "{next} after {last}, the agent knows {agent_knows}");
        last = next;
    }
    assert_eq!(last, 43, "a generation is not wasted");
    assert_eq!(store.host(id).await.unwrap().generation, last);
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

async fn api_keys(store: &dyn Store) {
    let key = ApiKey {
        id: ApiKeyId::new(),
        name: format!("ci {}", ScanId::new()),
        role: Role::Viewer,
        hint: "hst_12ab".into(),
        created_at: at(1),
        last_used_at: None,
    };
    let hash = secret();
    store.create_api_key(key.clone(), hash).await.unwrap();
    let error = store.create_api_key(ApiKey { id: ApiKeyId::new(), ..key.clone() }, secret()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Exists { .. }) && error.to_string().contains(&key.name), "{error}");
    let newer = ApiKey { id: ApiKeyId::new(), name: format!("newer {}", key.name), created_at: at(2), ..key.clone() };
    store.create_api_key(newer.clone(), secret()).await.unwrap();
    let ours: Vec<ApiKeyId> =
        store.api_keys().await.unwrap().iter().map(|k| k.id).filter(|id| [key.id, newer.id].contains(id)).collect();
    assert_eq!(ours, [newer.id, key.id], "newest first");

    assert_eq!(store.use_api_key(secret(), at(3)).await.unwrap(), None);
    assert_eq!(store.use_api_key(hash, at(3)).await.unwrap().map(|k| (k.id, k.role)), Some((key.id, Role::Viewer)));
    let used = |keys: Vec<ApiKey>| keys.into_iter().find(|k| k.id == key.id).and_then(|k| k.last_used_at);
    assert_eq!(used(store.api_keys().await.unwrap()), Some(at(3)));
    store.use_api_key(hash, at(3 + 120)).await.unwrap();
    assert_eq!(used(store.api_keys().await.unwrap()), Some(at(3 + 120)));

    store.revoke_api_key(key.id).await.unwrap();
    assert_eq!(store.use_api_key(hash, at(200)).await.unwrap(), None, "a revoked key is useless at once");
    let error = store.revoke_api_key(key.id).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    // Its name is free again.
    store.create_api_key(ApiKey { id: ApiKeyId::new(), ..key }, secret()).await.unwrap();
}

async fn a_sign_in_link_works_once(store: &dyn Store) {
    let (link, late) = (secret(), secret());
    store.create_sign_in_link(link, Role::Admin, at(100)).await.unwrap();
    store.create_sign_in_link(late, Role::Viewer, at(100)).await.unwrap();
    assert_eq!(store.use_sign_in_link(secret(), at(50)).await.unwrap(), None);
    assert_eq!(store.use_sign_in_link(link, at(99)).await.unwrap(), Some(Role::Admin));
    assert_eq!(store.use_sign_in_link(link, at(99)).await.unwrap(), None, "used twice");
    assert_eq!(store.use_sign_in_link(late, at(100)).await.unwrap(), None, "used when it had expired");
}

async fn sessions_end(store: &dyn Store) {
    let token = secret();
    let session = Session { name: "ada".into(), role: Role::Operator, csrf: "c0ffee".into(), expires_at: at(100) };
    store.create_session(token, session.clone()).await.unwrap();
    assert_eq!(store.session(token, at(99)).await.unwrap(), Some(session.clone()));
    assert_eq!(store.session(token, at(100)).await.unwrap(), None, "it has expired");
    assert_eq!(store.session(secret(), at(1)).await.unwrap(), None);
    let other = secret();
    store.create_session(other, session.clone()).await.unwrap();
    store.end_session(token).await.unwrap();
    assert_eq!(store.session(token, at(1)).await.unwrap(), None, "it was ended");
    assert_eq!(store.session(other, at(1)).await.unwrap(), Some(session), "another's session goes on");
}
