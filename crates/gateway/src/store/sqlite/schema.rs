//! The schema, as steps that only go forward. `PRAGMA user_version` counts those that were applied.

use rusqlite::Connection;

use crate::store::{Result, StoreError};

/// Each step runs once, in its own transaction. A step that has landed is never edited: add another.
const MIGRATIONS: &[&str] = &[FIRST, TRUST];

/// Hosts, indexes, scans, keys.
const FIRST: &str = r"
CREATE TABLE hosts (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    token_hash BLOB NOT NULL UNIQUE,
    facts TEXT NOT NULL DEFAULT '{}',
    capabilities TEXT NOT NULL DEFAULT '[]',
    created_at INTEGER NOT NULL,
    last_proof_at INTEGER,
    generation INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE owners (
    host_id TEXT NOT NULL REFERENCES hosts(id) ON DELETE CASCADE,
    is_group INTEGER NOT NULL,
    id INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (host_id, is_group, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE roots (
    id INTEGER PRIMARY KEY,
    host_id TEXT NOT NULL REFERENCES hosts(id) ON DELETE CASCADE,
    path BLOB NOT NULL,
    generation INTEGER NOT NULL,
    algorithm INTEGER NOT NULL,
    indexed_at INTEGER NOT NULL,
    UNIQUE (host_id, path)
) STRICT;

-- A directory's path is kept once; files hang on its id.
CREATE TABLE dirs (
    id INTEGER PRIMARY KEY,
    root_id INTEGER NOT NULL REFERENCES roots(id) ON DELETE CASCADE,
    parent_id INTEGER,
    path BLOB NOT NULL,
    name BLOB NOT NULL,
    mtime_ns INTEGER NOT NULL,
    dev INTEGER NOT NULL,
    ino INTEGER NOT NULL,
    nlink INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    gid INTEGER NOT NULL,
    own_files INTEGER NOT NULL DEFAULT 0,
    own_bytes INTEGER NOT NULL DEFAULT 0,
    total_files INTEGER NOT NULL DEFAULT 0,
    total_bytes INTEGER NOT NULL DEFAULT 0,
    UNIQUE (root_id, path)
) STRICT;
CREATE INDEX dirs_by_parent ON dirs (parent_id);

CREATE TABLE files (
    dir_id INTEGER NOT NULL,
    name BLOB NOT NULL,
    kind INTEGER NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    dev INTEGER NOT NULL,
    ino INTEGER NOT NULL,
    nlink INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    gid INTEGER NOT NULL,
    hash BLOB,
    PRIMARY KEY (dir_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX files_by_hash ON files (hash) WHERE hash IS NOT NULL;

CREATE TABLE scans (
    id TEXT PRIMARY KEY,
    host_id TEXT NOT NULL REFERENCES hosts(id) ON DELETE CASCADE,
    root BLOB NOT NULL,
    state TEXT NOT NULL,
    options TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    ended_at INTEGER,
    counters TEXT NOT NULL DEFAULT '{}',
    error TEXT,
    generation INTEGER,
    first INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX scans_by_time ON scans (created_at, id);

CREATE TABLE scan_errors (
    scan_id TEXT NOT NULL REFERENCES scans(id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    path BLOB NOT NULL,
    operation TEXT NOT NULL,
    message TEXT NOT NULL,
    PRIMARY KEY (scan_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE scan_changes (
    scan_id TEXT NOT NULL REFERENCES scans(id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    op INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    path BLOB NOT NULL,
    size_before INTEGER,
    size_after INTEGER,
    PRIMARY KEY (scan_id, seq)
) STRICT, WITHOUT ROWID;

-- Batches of a running scan, as they came: hostler.v1.ScanBatch.
CREATE TABLE staged (
    scan_id TEXT NOT NULL REFERENCES scans(id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    batch BLOB NOT NULL,
    PRIMARY KEY (scan_id, seq)
) STRICT;

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL,
    hint TEXT NOT NULL,
    key_hash BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER
) STRICT;

CREATE TABLE sign_in_links (
    token_hash BLOB PRIMARY KEY,
    role TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    token_hash BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    csrf TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";

/// Trust: keys of hosts, join tokens, users, the audit log and activity.
const TRUST: &str = r"
PRAGMA application_id = 1215263604;

-- `number` is small: events hang on it, many per host.
CREATE TABLE hosts_with_keys (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    public_key BLOB UNIQUE,
    facts TEXT NOT NULL DEFAULT '{}',
    capabilities TEXT NOT NULL DEFAULT '[]',
    grants TEXT NOT NULL DEFAULT '[]',
    created_at INTEGER NOT NULL,
    last_proof_at INTEGER,
    last_assertion_at INTEGER NOT NULL DEFAULT 0,
    generation INTEGER NOT NULL DEFAULT 0,
    removed INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO hosts_with_keys (id, name, facts, capabilities, created_at, last_proof_at, generation)
    SELECT id, name, facts, capabilities, created_at, last_proof_at, generation FROM hosts ORDER BY created_at, id;
DROP TABLE hosts;
ALTER TABLE hosts_with_keys RENAME TO hosts;
CREATE INDEX hosts_by_name ON hosts (name);

CREATE TABLE join_tokens (
    id TEXT PRIMARY KEY,
    secret_hash BLOB NOT NULL UNIQUE,
    note TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER,
    used_by TEXT,
    revoked_at INTEGER
) STRICT;

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    role TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_sign_in_at INTEGER
) STRICT;

ALTER TABLE api_keys ADD COLUMN expires_at INTEGER;

-- Sessions without an id cannot be listed or ended: who had one signs in again.
DROP TABLE sessions;
CREATE TABLE sessions (
    token_hash BLOB PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    user_id TEXT REFERENCES users(id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    csrf TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    address TEXT NOT NULL,
    agent TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (user_id) WHERE user_id IS NOT NULL;

-- Names are kept as they were: an entry outlives who and what it speaks of.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    role TEXT,
    from_address TEXT NOT NULL,
    via TEXT NOT NULL,
    action TEXT NOT NULL,
    host_id TEXT,
    host_name TEXT NOT NULL,
    target TEXT NOT NULL,
    result TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;

-- `from_host` is 1 for records of a host's journal.
CREATE TABLE activity (
    id INTEGER PRIMARY KEY,
    host INTEGER,
    at INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    from_host INTEGER NOT NULL,
    kind TEXT NOT NULL,
    severity INTEGER NOT NULL,
    subject TEXT NOT NULL,
    message TEXT NOT NULL,
    data TEXT NOT NULL
) STRICT;
CREATE INDEX activity_by_host ON activity (host) WHERE host IS NOT NULL;

-- In a backup: the files beside the database without which hosts would not know the gateway again. Else empty.
CREATE TABLE files_beside (
    name TEXT PRIMARY KEY,
    content BLOB NOT NULL
) STRICT;

CREATE TABLE journals (
    host INTEGER PRIMARY KEY REFERENCES hosts(number) ON DELETE CASCADE,
    journal BLOB NOT NULL,
    seq INTEGER NOT NULL
) STRICT;
";

/// `PRAGMA application_id` from the second schema on: "Host" in ASCII.
pub const APPLICATION_ID: i64 = 0x486f_7374;

/// The schema that this program writes.
pub const KNOWN: i64 = MIGRATIONS.len() as i64;

/// Brings the database to this program's schema.
pub fn migrate(db: &mut Connection) -> Result<()> {
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found > KNOWN {
        return Err(StoreError::TooNew { found, known: KNOWN });
    }
    if found == KNOWN {
        return Ok(());
    }
    // A table that others refer to is replaced: with keys enforced, dropping it would empty those as well.
    db.pragma_update(None, "foreign_keys", false)?;
    for (index, step) in MIGRATIONS.iter().enumerate().skip(found.max(0) as usize) {
        let tx = db.transaction()?;
        tx.execute_batch(step)?;
        tx.pragma_update(None, "user_version", index as i64 + 1)?;
        tx.commit()?;
    }
    db.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}
