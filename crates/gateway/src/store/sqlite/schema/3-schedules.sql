-- Schedules of scans, and webhooks.

CREATE TABLE schedules (
    id TEXT PRIMARY KEY,
    host_id TEXT NOT NULL REFERENCES hosts(id) ON DELETE CASCADE,
    root BLOB NOT NULL,
    options TEXT NOT NULL,
    cadence TEXT NOT NULL,
    zone TEXT NOT NULL,
    time_window TEXT,
    spread INTEGER NOT NULL,
    enabled INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    anchor INTEGER NOT NULL,
    revision INTEGER NOT NULL DEFAULT 0,
    next_run_at INTEGER,
    due_at INTEGER,
    waits_for TEXT,
    running TEXT,
    last_run TEXT NOT NULL DEFAULT 'null',
    last_slot INTEGER,
    cut_short INTEGER NOT NULL DEFAULT 0,
    told_late INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX schedules_by_host ON schedules (host_id, root);
CREATE INDEX schedules_by_time ON schedules (next_run_at) WHERE next_run_at IS NOT NULL;
CREATE INDEX schedules_at_work ON schedules (id) WHERE due_at IS NOT NULL OR running IS NOT NULL;

-- The secret and the URL are kept as they are: both are needed to sign and to send.
CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    secret TEXT NOT NULL,
    events TEXT NOT NULL,
    host_id TEXT REFERENCES hosts(id) ON DELETE CASCADE,
    root BLOB,
    enabled INTEGER NOT NULL,
    disabled_because TEXT,
    created_by TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    delivered_at INTEGER,
    failing_since INTEGER,
    dropped INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    webhook_id TEXT NOT NULL REFERENCES webhooks(id) ON DELETE CASCADE,
    event TEXT NOT NULL,
    body TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at INTEGER,
    tried_at INTEGER,
    response INTEGER,
    error TEXT
) STRICT;
CREATE INDEX deliveries_of ON deliveries (webhook_id, number);
CREATE INDEX deliveries_to_try ON deliveries (webhook_id, next_at) WHERE state = 'pending';

-- What webhooks are still to be told of, written in the transaction of what happened: nothing is lost in between.
CREATE TABLE happened (
    number INTEGER PRIMARY KEY,
    scan_id TEXT,
    missed TEXT
) STRICT;

-- However a scan ends, and whoever writes it.
CREATE TRIGGER scan_happened AFTER UPDATE OF state ON scans
    WHEN NEW.state IN ('completed', 'failed') AND OLD.state IN ('queued', 'running')
        AND EXISTS (SELECT 1 FROM webhooks WHERE enabled = 1)
BEGIN
    INSERT INTO happened (scan_id) VALUES (NEW.id);
END;
