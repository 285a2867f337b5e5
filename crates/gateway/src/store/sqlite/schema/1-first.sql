-- Hosts, indexes, scans, keys.

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
