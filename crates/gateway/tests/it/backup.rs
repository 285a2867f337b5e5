//! Backups of the embedded store: taken and restored while it is used.

use std::sync::Arc;

use hostler_gateway::store::sqlite::SqliteStore;
use hostler_gateway::store::{LinkAdmission, Session, Store, StoreError};
use hostler_model::{Role, SessionId};

use crate::activity::record;
use crate::conformance::{at, commit, dir_op, file, file_op, first_page, new_host, running, secret};

async fn open(dir: &std::path::Path) -> SqliteStore {
    SqliteStore::open(dir, at(0)).await.unwrap()
}

#[tokio::test]
async fn a_backup_taken_while_others_write_is_whole_and_restores_while_others_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(dir.path()).await);
    let host = new_host(&*store, "kept").await;
    let scan = running(&*store, host, "/srv", true).await;
    let files = (0..5000).map(|n| file_op("", &format!("f{n:05}"), file(n + 9, 5, (n % 250) as u8 + 1)));
    store.stage(scan, [dir_op("", 1)].into_iter().chain(files).collect()).await.unwrap();
    store.commit_index(commit(scan, host, "/srv", 1, true)).await.unwrap();
    let token = secret();
    let session = Session {
        id: SessionId::new(),
        user: None,
        name: "ada".into(),
        role: Role::Admin,
        csrf: "c".into(),
        created_at: at(0),
        last_seen_at: at(0),
        expires_at: at(1000),
        address: String::new(),
        agent: String::new(),
    };
    store.create_session(token, session).await.unwrap();

    // Events are written all the while.
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for seq in 1..=300 {
                store.append_host_events(host, [1; 16], vec![record(seq)], seq).await.unwrap();
            }
        }
    });
    let file = dir.path().join("backup.db");
    store.backup_to(&file).await.unwrap();
    writer.await.unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions()) & 0o777,
        0o600
    );
    let error = store.backup_to(&file).await.unwrap_err();
    assert!(matches!(&error, StoreError::File { path, .. } if path.contains("backup.db")), "not overwritten: {error}");

    assert!(matches!(store.admit_link(host, 0, at(50)).await.unwrap(), LinkAdmission::Admitted { generation: 1 }));
    let later = new_host(&*store, "made later").await;
    store.register_host(host, "renamed", secret(), at(3)).await.unwrap();
    let reader = tokio::spawn({
        let store = store.clone();
        async move {
            for _ in 0..200 {
                let names: Vec<String> = store.hosts().await.unwrap().into_iter().map(|h| h.name).collect();
                assert!(names == ["kept"] || names == ["made later", "renamed"], "{names:?}");
            }
        }
    });
    store.restore_from(&file, at(60)).await.unwrap();
    reader.await.unwrap();
    assert_eq!(store.host(host).await.unwrap().name, "kept");
    assert!(store.host(later).await.is_err());
    assert_eq!(store.roots(Some(host)).await.unwrap()[0].files, 5000);
    assert_eq!(store.session(token, at(1)).await.unwrap(), None, "nobody is signed in by a backup");
    let (journal, seq) = store.journal_position(host).await.unwrap().unwrap_or(([1; 16], 0));
    assert_eq!(journal, [1; 16]);
    let events = store.activity(Default::default(), first_page(1000)).await.unwrap().items;
    assert_eq!(events.len() as u64, seq, "events and position are of one moment");

    // What was restored is durable and can be written.
    store.register_host(host, "kept", secret(), at(70)).await.unwrap();
    store.close();
    let store = open(dir.path()).await;
    assert_eq!(store.hosts().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_restore_does_not_set_back_what_guards_links() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let host = new_host(&store, "h").await;
    let file = dir.path().join("backup.db");
    store.backup_to(&file).await.unwrap();
    store.admit_link(host, 0, at(50)).await.unwrap();
    store.restore_from(&file, at(60)).await.unwrap();
    assert_eq!(store.admit_link(host, 0, at(50)).await.unwrap(), LinkAdmission::Replayed);
    assert_eq!(store.admit_link(host, 0, at(51)).await.unwrap(), LinkAdmission::Admitted { generation: 2 });
}

#[tokio::test]
async fn a_backup_brings_the_gateways_identity_to_another_machine() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let old = open(here.path()).await;
    std::fs::write(here.path().join("gateway.id"), "the old gateway").unwrap();
    std::fs::create_dir(here.path().join("tls")).unwrap();
    std::fs::write(here.path().join("tls/key.pem"), "its key").unwrap();
    std::fs::write(here.path().join("unrelated"), "stays here").unwrap();
    let file = here.path().join("backup.db");
    old.backup_to(&file).await.unwrap();

    let new = open(there.path()).await;
    std::fs::write(there.path().join("gateway.id"), "the new gateway").unwrap();
    new.restore_from(&file, at(1)).await.unwrap();
    let read = |name: &str| std::fs::read_to_string(there.path().join(name));
    assert_eq!(read("gateway.id").unwrap(), "the old gateway");
    assert_eq!(read("tls/key.pem").unwrap(), "its key");
    let mode = std::fs::metadata(there.path().join("tls/key.pem")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    assert!(read("unrelated").is_err());
    new.close();
    let db = rusqlite::Connection::open(there.path().join("hostler.db")).unwrap();
    let left: i64 = db.query_row("SELECT COUNT(*) FROM files_beside", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0, "the key does not stay in the database");
}

#[tokio::test]
async fn what_is_no_good_backup_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    new_host(&store, "h").await;
    let good = dir.path().join("good.db");
    store.backup_to(&good).await.unwrap();

    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("text"), "no database".repeat(1000)).unwrap();
    rusqlite::Connection::open(path("other"))
        .unwrap()
        .execute_batch("CREATE TABLE t (a); PRAGMA user_version = 2")
        .unwrap();
    let bytes = std::fs::read(&good).unwrap();
    std::fs::write(path("cut"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::copy(&good, path("newer")).unwrap();
    rusqlite::Connection::open(path("newer")).unwrap().pragma_update(None, "user_version", 9000).unwrap();
    for (name, word) in [
        ("text", "cannot be restored"),
        ("other", "another program"),
        ("cut", "cannot be restored"),
        ("newer", "newer Hostler"),
        ("missing", "cannot be restored"),
    ] {
        let error = store.restore_from(&path(name), at(1)).await.expect_err(name);
        assert!(error.to_string().contains(word), "{name}: {error}");
    }
    assert_eq!(store.hosts().await.unwrap()[0].name, "h");
    assert!(!path("restoring.db").exists(), "no scratch file is left");
}

/// The tables of the first schema that a backup of then has, with a host, a key and a session.
const FIRST: &str = include_str!("first_schema.sql");

#[tokio::test]
async fn a_database_of_the_first_schema_opens_and_restores() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old.db");
    rusqlite::Connection::open(&old).unwrap().execute_batch(FIRST).unwrap();
    // In place: nothing hangs on the old hosts table that would be lost with it.
    let place = tempfile::tempdir().unwrap();
    std::fs::copy(&old, place.path().join("hostler.db")).unwrap();
    // And from a backup.
    let restored = open(dir.path()).await;
    restored.restore_from(&old, at(1)).await.unwrap();
    for store in [open(place.path()).await, restored] {
        let host = store.hosts().await.unwrap().pop().unwrap();
        assert_eq!((host.name.as_str(), host.generation), ("web1", 7));
        assert_eq!(store.host_key(host.id).await.unwrap(), None, "it joins anew");
        let root = store.roots(Some(host.id)).await.unwrap().pop().unwrap();
        assert_eq!(root.path, "/srv".into());
        let listing = store.list_dir(host.id, &"/srv".into(), Default::default(), false, first_page(9)).await.unwrap();
        assert_eq!(listing.total_entries, 1);
        assert_eq!(store.api_keys().await.unwrap()[0].expires_at, None);
        store.register_host(host.id, "web1", secret(), at(2)).await.unwrap();
        assert_eq!(store.roots(Some(host.id)).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_backup_with_more_than_tables_of_ours_is_not_restored() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    for (number, change) in [
        "CREATE TRIGGER stays AFTER DELETE ON api_keys BEGIN INSERT INTO api_keys SELECT old.*; END",
        "CREATE VIEW more AS SELECT * FROM users",
        "ALTER TABLE users DROP COLUMN last_sign_in_at",
        "DROP TABLE audit",
    ]
    .into_iter()
    .enumerate()
    {
        let backup = dir.path().join(format!("{number}.db"));
        store.backup_to(&backup).await.unwrap();
        store.restore_from(&backup, at(1)).await.unwrap();
        rusqlite::Connection::open(&backup).unwrap().execute_batch(change).unwrap();
        let refused = store.restore_from(&backup, at(1)).await;
        assert!(matches!(refused, Err(StoreError::BadBackup(_))), "{change}: {refused:?}");
    }
    assert!(store.users().await.unwrap().is_empty());
}
