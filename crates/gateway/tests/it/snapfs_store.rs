//! What the store keeps of SnapFS clients is kept long enough, and not for ever.

use hostler_gateway::store::sqlite::SqliteStore;
use hostler_gateway::store::{
    ApiKey, CacheKey, CachedHash, Durable, MAX_SNAPFS_CONSUMERS, MAX_SNAPFS_TOKENS, SnapfsIngest, SnapfsScope,
    SnapfsToken, Store, StoreError,
};
use hostler_model::{Algorithm, ApiKeyId, ContentHash, Role, Timestamp};

use crate::conformance::{at, secret};

const DAY: i64 = 86_400;

fn key(inode: u64) -> CacheKey {
    CacheKey { inode: Some((2049, inode)), path: "/srv/a".into(), size: 3, mtime: 1_790_000_000_123 }
}

/// A call that tells of files with these inodes.
fn call(inodes: std::ops::Range<u64>, at: Timestamp) -> SnapfsIngest {
    let hash = ContentHash::new(&[7; 20]).unwrap();
    let hashes = inodes.map(|inode| CachedHash { key: key(inode), algorithm: Algorithm::Sha1, hash }).collect();
    SnapfsIngest {
        scope: "key:one".into(),
        at,
        subject: "snapfs.files".into(),
        message: br#"{"events":[]}"#.to_vec(),
        hashes,
        algorithm: None,
        files: Vec::new(),
        owners: Vec::new(),
    }
}

async fn known(store: &SqliteStore, inodes: std::ops::Range<u64>) -> usize {
    store.snapfs_probe("key:one", inodes.map(key).collect()).await.unwrap().iter().flatten().count()
}

#[tokio::test]
async fn hashes_that_nobody_told_again_for_a_month_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), at(0)).await.unwrap();
    store.snapfs_ingest(call(0..500, at(0))).await.unwrap();
    // The first hundred are told again: they are young again.
    store.snapfs_ingest(call(0..100, at(20 * DAY))).await.unwrap();
    for step in 0..10 {
        store.snapfs_ingest(call(1000 + step * 100..1100 + step * 100, at(29 * DAY))).await.unwrap();
    }
    assert_eq!(known(&store, 0..500).await, 500, "clients expect a day, and have a month");
    for step in 0..20 {
        store.snapfs_ingest(call(5000 + step * 100..5100 + step * 100, at(31 * DAY))).await.unwrap();
    }
    assert_eq!(known(&store, 0..500).await, 100, "later writes took away the old ones");
    assert_eq!(known(&store, 1000..2000).await, 1000);
}

fn durable(name: &str) -> Durable {
    Durable { subject: "snapfs.files".into(), name: name.into() }
}

#[tokio::test]
async fn positions_are_bounded_and_those_that_nobody_uses_go() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), at(0)).await.unwrap();
    for n in 0..MAX_SNAPFS_CONSUMERS {
        store.open_snapfs_consumer(durable(&format!("d{n}")), at(0)).await.unwrap();
    }
    let one_more = store.open_snapfs_consumer(durable("more"), at(1)).await;
    assert!(matches!(one_more, Err(StoreError::TooMany { .. })), "{one_more:?}");
    store.open_snapfs_consumer(durable("d5"), at(29 * DAY)).await.unwrap();
    store.snapfs_ack(durable("d6"), 0, at(29 * DAY)).await.unwrap();
    store.open_snapfs_consumer(durable("more"), at(31 * DAY)).await.unwrap();
    let names: Vec<_> = store.snapfs_consumers().await.unwrap().into_iter().map(|c| c.durable).collect();
    assert_eq!(names, ["d5", "d6", "more"]);
    assert!(matches!(store.snapfs_next(durable("d7"), 1, 1).await, Err(StoreError::NotFound { .. })));
}

#[tokio::test]
async fn the_oldest_messages_are_dropped_and_who_loses_them_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), at(0)).await.unwrap();
    let events = |name: &str| Durable { subject: "snapfs.events".into(), name: name.into() };
    store.open_snapfs_consumer(events("slow"), at(0)).await.unwrap();
    store.open_snapfs_consumer(events("quick"), at(0)).await.unwrap();
    let mut large = call(0..0, at(1));
    (large.subject, large.message) = ("snapfs.events".into(), vec![b' '; 16 << 20]);
    for n in 1..=6_u64 {
        store.snapfs_ingest(large.clone()).await.unwrap();
        if n <= 3 {
            store.snapfs_ack(events("quick"), n, at(1)).await.unwrap();
        }
    }
    let told: Vec<_> = store
        .snapfs_consumers()
        .await
        .unwrap()
        .into_iter()
        .map(|c| (c.durable, c.position, c.behind, c.lost))
        .collect();
    assert_eq!(told, [("quick".into(), 3, 3, 0), ("slow".into(), 3, 3, 3)], "64 MiB hold three of them");
    let next = store.snapfs_next(events("slow"), 10, u64::MAX).await.unwrap();
    assert_eq!((next.last, next.bodies.len()), (6, 3));
    // Files are kept longer, and are not touched by what comes in elsewhere.
    store.open_snapfs_consumer(durable("files"), at(2)).await.unwrap();
    store.snapfs_ingest(call(0..0, at(2))).await.unwrap();
    assert_eq!(store.snapfs_next(durable("files"), 10, 1).await.unwrap().bodies.len(), 1);
}

#[tokio::test]
async fn a_token_ends_a_week_after_its_last_use_or_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), at(0)).await.unwrap();
    let key = ApiKey {
        id: ApiKeyId::new(),
        name: "scanner".into(),
        role: Role::Operator,
        hint: "hst_".into(),
        created_at: at(0),
        last_used_at: None,
        expires_at: Some(at(100 * DAY)),
    };
    store.create_api_key(key.clone(), secret()).await.unwrap();
    let scopes = vec![SnapfsScope::IngestWrite];
    let token = |made: i64| SnapfsToken {
        key: key.id,
        scopes: scopes.clone(),
        created_at: at(made),
        expires_at: at(made + 7 * DAY),
    };
    let used = secret();
    store.create_snapfs_token(token(0), used).await.unwrap();
    let works =
        async |hash, time| store.use_snapfs_token(hash, at(time)).await.unwrap().is_some_and(|(_, s)| s == scopes);
    for day in [3, 8, 14, 20] {
        assert!(works(used, day * DAY).await, "day {day}");
    }
    assert!(works(used, 21 * DAY).await);
    assert!(!works(used, 29 * DAY).await, "nobody used it for a week");
    // The oldest of too many goes.
    let first = secret();
    store.create_snapfs_token(token(30 * DAY), first).await.unwrap();
    for n in 0..MAX_SNAPFS_TOKENS as i64 {
        assert!(n != 1 || works(first, 30 * DAY).await);
        store.create_snapfs_token(token(30 * DAY + n + 1), secret()).await.unwrap();
    }
    assert!(!works(first, 30 * DAY).await);
    // It does not outlive its key.
    let last = secret();
    store.create_snapfs_token(token(99 * DAY), last).await.unwrap();
    assert!(works(last, 99 * DAY).await);
    assert!(!works(last, 101 * DAY).await, "the key has expired");
    store.revoke_api_key(key.id).await.unwrap();
    assert!(!works(last, 99 * DAY).await);
}
