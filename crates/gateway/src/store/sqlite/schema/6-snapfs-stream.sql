-- What SnapFS clients sent, for those who read it; and hashes they may ask for.

-- Whose hashes they are. `algorithm` is that of the last scan that began.
CREATE TABLE snapfs_scopes (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    algorithm INTEGER
) STRICT;

-- `key` is device and inode, or the BLAKE3 of a path. `hashes` is what is known of it by size, time and algorithm, the last
-- written at the end; `hour` is when that was, in hours since the epoch.
CREATE TABLE snapfs_hashes (
    scope INTEGER NOT NULL,
    key BLOB NOT NULL,
    hour INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

-- How far old hashes were looked for: one row. `oldest` is the oldest hour that this round has seen, and before the hour `due`
-- none is old enough.
CREATE TABLE snapfs_pruned (
    scope INTEGER NOT NULL,
    key BLOB NOT NULL,
    oldest INTEGER,
    due INTEGER NOT NULL
) STRICT;
INSERT INTO snapfs_pruned VALUES (0, x'', NULL, 0);

-- `last` is the number of the newest message, `bytes` what those that are kept take.
CREATE TABLE snapfs_subjects (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    last INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO snapfs_subjects (name) VALUES ('snapfs.files'), ('snapfs.events');

-- `number` is the subject's, and from the 40th bit down the message's: bodies are long, so they lie in a table with one key.
CREATE TABLE snapfs_messages (
    number INTEGER PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;

-- `position` is the last message that was applied; `lost` counts those that were dropped before.
CREATE TABLE snapfs_consumers (
    subject INTEGER NOT NULL REFERENCES snapfs_subjects(number),
    durable TEXT NOT NULL,
    position INTEGER NOT NULL,
    lost INTEGER NOT NULL DEFAULT 0,
    seen_at INTEGER NOT NULL,
    PRIMARY KEY (subject, durable)
) STRICT, WITHOUT ROWID;

-- What API keys were exchanged for. `token_hash` is SHA-256, `scopes` words with spaces between.
CREATE TABLE snapfs_tokens (
    token_hash BLOB PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES api_keys(id) ON DELETE CASCADE,
    scopes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX snapfs_tokens_by_key ON snapfs_tokens (key_id, created_at);
