-- SnapFS clients: their machines, their scans, and the files that those told of.

-- How the host is reached: 0 by its own agent, 1 by SnapFS clients.
ALTER TABLE hosts ADD COLUMN snapfs INTEGER NOT NULL DEFAULT 0;

CREATE TABLE snapfs_hosts (
    host_id TEXT PRIMARY KEY REFERENCES hosts(id) ON DELETE CASCADE,
    scope TEXT NOT NULL,
    hostname TEXT,
    agent_id TEXT
) STRICT;
CREATE UNIQUE INDEX snapfs_hosts_by_name ON snapfs_hosts (scope, hostname) WHERE hostname IS NOT NULL;
CREATE UNIQUE INDEX snapfs_hosts_by_agent ON snapfs_hosts (scope, agent_id) WHERE agent_id IS NOT NULL;

-- `wire_id` is what the client calls it; empty while that is not known.
CREATE TABLE snapfs_scans (
    number INTEGER PRIMARY KEY,
    scan_id TEXT NOT NULL UNIQUE REFERENCES scans(id) ON DELETE CASCADE,
    scope TEXT NOT NULL,
    wire_id TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX snapfs_scans_by_wire ON snapfs_scans (scope, wire_id) WHERE wire_id <> '';

-- `scan` is the number of the scan; `dir` is relative to its root; `entries` as in a chunk, in no order. What has the greater
-- id was told later.
CREATE TABLE snapfs_told (
    id INTEGER PRIMARY KEY,
    scan INTEGER NOT NULL,
    dir BLOB NOT NULL,
    entries BLOB NOT NULL
) STRICT;
CREATE INDEX snapfs_told_by_dir ON snapfs_told (scan, dir);
