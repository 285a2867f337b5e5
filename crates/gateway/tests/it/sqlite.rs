//! The embedded store: it conforms, and what it keeps outlives the process.

use std::sync::Arc;

use hostler_gateway::store::sqlite::SqliteStore;
use hostler_gateway::store::{
    AUDIT_SECONDS, ActivityFilter, AuditEntry, AuditFilter, AuditResult, MAX_ACTIVITY, NewEvent, Severity, Store,
    StoreError, Via,
};
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
async fn the_newest_events_and_two_years_of_audit_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    SqliteStore::open(dir.path(), at(0)).await.unwrap().close();
    let db = rusqlite::Connection::open(dir.path().join("hostler.db")).unwrap();
    let mut row = db.prepare("INSERT INTO activity VALUES (?, NULL, 0, 0, 0, 'old', 1, '', '', '')").unwrap();
    (1..=300).chain([MAX_ACTIVITY + 200]).for_each(|id| assert_eq!(row.execute([id]).unwrap(), 1));
    drop(row);
    drop(db);
    let store = SqliteStore::open(dir.path(), at(0)).await.unwrap();
    let event = NewEvent::of_gateway("new", Severity::Info, "new".into());
    assert_eq!(store.append_gateway_event(event).await.unwrap().id, MAX_ACTIVITY + 201);
    let kept = store.activity(ActivityFilter::default(), first_page(1000)).await.unwrap().items;
    assert_eq!((kept.last().map(|e| e.id), kept.len()), (Some(202), 101), "the oldest beyond the bound are gone");

    let entry = |n: i64| AuditEntry {
        id: 0,
        at: at(n),
        who: "ada".into(),
        role: None,
        from: "192.0.2.7".into(),
        via: Via::Web,
        action: "hosts.remove".into(),
        host: None,
        host_name: String::new(),
        target: String::new(),
        result: AuditResult::Ok,
        detail: String::new(),
    };
    for n in [0, 10, AUDIT_SECONDS, AUDIT_SECONDS + 5] {
        store.append_audit(entry(n)).await.unwrap();
    }
    let kept = store.audit(AuditFilter::default(), first_page(9)).await.unwrap().items;
    assert_eq!(kept.iter().map(|e| e.at).collect::<Vec<_>>(), [AUDIT_SECONDS + 5, AUDIT_SECONDS, 10].map(at));
}

#[tokio::test]
async fn a_removal_that_was_cut_short_is_taken_up_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), at(0)).await.unwrap();
    let (gone, stays) = (new_host(&store, "gone").await, new_host(&store, "stays").await);
    for host in [gone, stays] {
        let scan = running(&store, host, "/srv", true).await;
        store.stage(scan, vec![dir_op("", 1), file_op("", "a", file(2, 10, 1))]).await.unwrap();
        store.commit_index(commit(scan, host, "/srv", 1, true)).await.unwrap();
    }
    store.close();
    let file = dir.path().join("hostler.db");
    let db = rusqlite::Connection::open(&file).unwrap();
    db.execute("UPDATE hosts SET removed = 1, public_key = NULL WHERE id = ?", [gone.to_string()]).unwrap();
    let count = |table: &str| db.query_row(&format!("SELECT COUNT(*) FROM {table}"), [], |row| row.get::<_, i64>(0));

    let store = SqliteStore::open(dir.path(), at(1)).await.unwrap();
    assert_eq!(store.hosts().await.unwrap().iter().map(|h| h.id).collect::<Vec<_>>(), [stays]);
    for _ in 0..500 {
        if count("hosts").unwrap() == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let left = ["hosts", "roots", "dirs", "chunks", "segments", "scans"].map(|table| count(table).unwrap());
    assert_eq!(left, [1; 6]);
    assert_eq!(store.roots(Some(stays)).await.unwrap()[0].files, 1);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("hostler.db"), "this is no database, whatever it is called".repeat(100)).unwrap();
    assert!(SqliteStore::open(dir.path(), at(0)).await.is_err());
}
