//! The embedded store: it conforms, and what it keeps outlives the process.

use std::sync::Arc;

use hostler_gateway::store::sqlite::SqliteStore;
use hostler_gateway::store::{Store, StoreError};
use hostler_model::ScanState;

use crate::conformance::{at, commit, conformance, dir_op, file, file_op, first_page, new_host, queued, running};

#[tokio::test]
async fn it_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance(Arc::new(SqliteStore::open(dir.path(), at(0)).await.unwrap())).await;
}

#[tokio::test]
async fn what_is_committed_is_there_after_a_restart_and_interrupted_scans_have_failed() {
    let data = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(data.path(), at(0)).await.unwrap();
    let host = new_host(&store, "h").await;
    let done = running(&store, host, "/srv", true).await;
    store.stage(done, vec![dir_op("", 1), file_op("", "a", file(2, 10, 1))]).await.unwrap();
    store.commit_index(commit(done, host, "/srv", 1, true)).await.unwrap();
    let (completed, listing) = (
        store.scan(done).await.unwrap(),
        store.list_dir(host, &"/srv".into(), Default::default(), false, first_page(9)).await.unwrap(),
    );
    let interrupted = running(&store, host, "/srv", false).await;
    store.stage(interrupted, vec![file_op("", "b", file(3, 10, 2))]).await.unwrap();
    let waiting = queued(host, "/srv", 5);
    store.create_scan(waiting.clone()).await.unwrap();
    store.close();
    assert!(matches!(store.hosts().await, Err(StoreError::Closed)));

    let store = SqliteStore::open(data.path(), at(500)).await.unwrap();
    assert_eq!(store.scan(done).await.unwrap(), completed);
    let again = store.list_dir(host, &"/srv".into(), Default::default(), false, first_page(9)).await.unwrap();
    assert_eq!(again, listing);
    for id in [interrupted, waiting.id] {
        let scan = store.scan(id).await.unwrap();
        assert_eq!((scan.state, scan.ended_at), (ScanState::Failed, Some(at(500))));
        assert!(scan.error.unwrap().contains("start it again"), "it says what to do");
    }
    // What it staged is gone: a commit of it adds nothing.
    store.commit_index(commit(interrupted, host, "/srv", 2, false)).await.unwrap();
    assert_eq!(store.roots(Some(host)).await.unwrap()[0].files, 1);
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    SqliteStore::open(dir.path(), at(0)).await.unwrap().close();
    let file = dir.path().join("hostler.db");
    let known: i64 = {
        let db = rusqlite::Connection::open(&file).unwrap();
        let known = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        db.pragma_update(None, "user_version", 9000).unwrap();
        known
    };
    let error = SqliteStore::open(dir.path(), at(1)).await.err().expect("a newer schema is refused");
    assert!(matches!(error, StoreError::TooNew { found: 9000, known: k } if k == known), "{error}");
    assert!(error.to_string().contains("newer Hostler"), "{error}");
    let db = rusqlite::Connection::open(&file).unwrap();
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    assert_eq!(found, 9000);
    db.pragma_update(None, "user_version", known).unwrap();
    drop(db);
    SqliteStore::open(dir.path(), at(2)).await.expect("the database was not touched");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hostler.db"), "this is no database, whatever it is called".repeat(100)).unwrap();
    assert!(SqliteStore::open(dir.path(), at(0)).await.is_err());
}
