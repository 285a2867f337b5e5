//! Copies of the database: out while it is used, and back in.
//!
//! A copy also holds the files beside the database that are the gateway's identity. Without them a restored gateway would
//! be another one to its hosts, and all of them would have to join anew.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hostler_model::{Timestamp, bytestr};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::{pool, scans, schema, snapfs};
use crate::store::{Result, StoreError};

/// Pages copied between two looks at whether somebody still waits: 4 MiB.
const PAGES: i32 = 1024;

/// The gateway's identity, in the directory of the database.
const BESIDE: &[&str] = &["gateway.id", "tls/cert.pem", "tls/key.pem"];
/// Largest of them, bytes.
const MAX_BESIDE: u64 = 64 * 1024;

/// Writes what `db` in `dir` holds now to a new file, readable by its owner only.
pub fn copy_out(db: &Connection, dir: &Path, path: &Path) -> Result<()> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path).map_err(file_error(path))?;
    let mut copy = Connection::open(path)?;
    // The caller's transaction holds one generation of the database while the copy is made.
    db.query_row("SELECT COUNT(*) FROM sqlite_schema", [], |_| Ok(()))?;
    copy_all(db, &mut copy)?;
    // One file that needs no log beside it.
    copy.pragma_update(None, "journal_mode", "delete")?;
    copy.execute_batch("DELETE FROM sessions; DELETE FROM sign_in_links; DELETE FROM snapfs_tokens;")?;
    // What SnapFS clients sent is for consumers that live now; their positions stay.
    if copy.execute("DELETE FROM snapfs_messages", [])? > 0 {
        copy.execute_batch("UPDATE snapfs_subjects SET bytes = 0; VACUUM")?;
    }
    for name in BESIDE {
        if let Some(content) = read_beside(&dir.join(name))? {
            copy.execute("INSERT INTO files_beside VALUES (?, ?)", (name, content))?;
        }
    }
    copy.close().map_err(|(_, error)| error)?;
    file.sync_all().map_err(file_error(path))
}

fn read_beside(path: &Path) -> Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file_error(path)(error)),
    };
    let mut content = Vec::new();
    file.take(MAX_BESIDE).read_to_end(&mut content).map_err(file_error(path))?;
    Ok(Some(content))
}

/// Puts the files that a restored backup brought with it where they belong, and takes them out of the database.
///
/// Called after a restore, and at each start: a restore that was cut short is brought to its end.
pub fn put_files_back(db: &Connection, dir: &Path) -> Result<()> {
    let mut query = db.prepare("SELECT name, content FROM files_beside")?;
    let files = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for file in files.collect::<rusqlite::Result<Vec<(String, Vec<u8>)>>>()? {
        let (name, content) = file;
        // A backup names files; only these are written.
        if BESIDE.contains(&name.as_str()) {
            let path = dir.join(name);
            write_beside(&path, &content).map_err(file_error(&path))?;
        }
    }
    db.execute("DELETE FROM files_beside", [])?;
    Ok(())
}

fn write_beside(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

/// A backup that was checked and has this program's schema.
pub struct Checked {
    db: Connection,
    /// Where an older one was brought up to date; goes with this.
    copy: Option<PathBuf>,
}

impl Drop for Checked {
    fn drop(&mut self) {
        if let Some(path) = &self.copy {
            // What is left of it is replaced by the next restore.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Opens a backup and checks it. One of an older schema is brought up to date in a copy in `scratch`.
pub fn open_checked(path: &Path, scratch: &Path) -> Result<Checked> {
    let bad = |error: rusqlite::Error| StoreError::BadBackup(format!("it is no database: {error}"));
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(bad)?;
    let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(bad)?;
    let application: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(bad)?;
    // The first schema had no application id.
    if version < 1 || (version > 1 && application != schema::APPLICATION_ID) {
        return Err(StoreError::BadBackup("it is a database of another program".into()));
    }
    let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(bad)?;
    if found != "ok" {
        return Err(StoreError::BadBackup(format!("it is damaged: {found}")));
    }
    let checked = match version == schema::KNOWN {
        true => Checked { db, copy: None },
        false => brought_up_to_date(path, scratch)?,
    };
    if shape(&checked.db)? != own_shape()? {
        return Err(StoreError::BadBackup("its tables are not those of a Hostler gateway".into()));
    }
    let dangling = checked.db.prepare("PRAGMA foreign_key_check")?.exists([])?;
    match dangling {
        true => Err(StoreError::BadBackup("it is damaged: rows refer to rows that are not there".into())),
        false => Ok(checked),
    }
}

/// Tables, their columns, indexes, and whatever else there is: a trigger would go on acting in the restored database.
fn shape(db: &Connection) -> Result<Vec<(String, String, String)>> {
    let mut query = db.prepare(
        r"SELECT type, name, tbl_name FROM sqlite_schema WHERE type NOT IN ('table', 'index') OR name NOT LIKE 'sqlite\_%' ESCAPE '\'
          UNION ALL
          SELECT 'column', tables.name, columns.name || ' ' || columns.type
          FROM sqlite_schema AS tables JOIN pragma_table_xinfo(tables.name) AS columns
          WHERE tables.type = 'table' AND tables.name NOT LIKE 'sqlite\_%' ESCAPE '\'
          ORDER BY 1, 2, 3",
    )?;
    let found = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

fn own_shape() -> Result<Vec<(String, String, String)>> {
    let mut db = Connection::open_in_memory()?;
    schema::migrate(&mut db)?;
    shape(&db)
}

fn brought_up_to_date(path: &Path, scratch: &Path) -> Result<Checked> {
    let copy = scratch.join("restoring.db");
    std::fs::copy(path, &copy).map_err(file_error(&copy))?;
    let mut checked = Checked { db: Connection::open(&copy)?, copy: Some(copy) };
    pool::configure(&checked.db)?;
    schema::migrate(&mut checked.db).map_err(|error| match error {
        StoreError::Database(error) => {
            StoreError::BadBackup(format!("it is of an older Hostler and cannot be brought up to date: {error}"))
        }
        other => other,
    })?;
    Ok(checked)
}

/// Replaces what `live` holds by what `backup` holds. Called outside of any transaction.
pub fn copy_in(live: &mut Connection, dir: &Path, backup: &Checked, at: Timestamp) -> Result<()> {
    let mut kept = live.prepare("SELECT id, public_key, last_assertion_at, generation FROM hosts")?;
    let guards = kept
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<rusqlite::Result<Vec<(String, Option<[u8; 32]>, i64, i64)>>>()?;
    drop(kept);
    live.flush_prepared_statement_cache();
    copy_all(&backup.db, live)?;
    let tx = live.transaction()?;
    for (id, key, asserted, generation) in guards {
        tx.prepare_cached(
            "UPDATE hosts SET last_assertion_at = MAX(last_assertion_at, ?), generation = MAX(generation, ?)
             WHERE id = ? AND public_key IS ?",
        )?
        .execute((asserted, generation, id, key))?;
    }
    tx.execute_batch("DELETE FROM sessions; DELETE FROM sign_in_links;")?;
    scans::end_interrupted(&tx, at)?;
    snapfs::scans::end_all(&tx, at)?;
    put_files_back(&tx, dir)?;
    tx.commit()?;
    Ok(())
}

fn copy_all(from: &Connection, to: &mut Connection) -> Result<()> {
    let backup = Backup::new(from, to)?;
    loop {
        match backup.step(PAGES)? {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            // Somebody reads the target just now.
            _ => std::thread::sleep(std::time::Duration::from_millis(20)),
        }
    }
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = bytestr::display(path.as_os_str().as_encoded_bytes()).into();
    move |source| StoreError::File { path, source }
}
