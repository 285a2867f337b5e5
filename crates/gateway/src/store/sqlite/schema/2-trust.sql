-- Trust: keys of hosts, join tokens, users, the audit log and activity.

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
