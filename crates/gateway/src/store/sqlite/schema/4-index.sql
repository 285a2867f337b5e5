-- Indexes in packed parts: a chunk holds up to 256 entries of one directory, a segment the searchable columns of 64 chunks.

-- `fresh` is 1 while the columns are those of the segment's chunks; `slots` counts the chunk ids it gave out.
CREATE TABLE segments (
    id INTEGER PRIMARY KEY,
    root_id INTEGER NOT NULL,
    slots INTEGER NOT NULL,
    fresh INTEGER NOT NULL
) STRICT;
CREATE INDEX segments_by_root ON segments (root_id, id);
CREATE INDEX segments_stale ON segments (id) WHERE fresh = 0;

-- `id` is four times the segment's, plus 0 for names, 1 for sizes, times, kinds and owners, 2 for hashes. Apart from
-- `segments`, whose rows are rewritten often, and from each other: a search by name reads names only.
CREATE TABLE columns (
    id INTEGER PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

-- `id` is 64 times its segment's, plus its slot; `first` is its first name; `bytes` saturates.
CREATE TABLE chunks (
    id INTEGER PRIMARY KEY,
    dir_id INTEGER NOT NULL,
    first BLOB NOT NULL,
    entries INTEGER NOT NULL,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX chunks_by_dir ON chunks (dir_id, first);

-- Where hashes occur, by their first eight bytes.
CREATE TABLE hashes (
    prefix INTEGER NOT NULL,
    chunk_id INTEGER NOT NULL,
    entries INTEGER NOT NULL,
    PRIMARY KEY (prefix, chunk_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE stale_duplicates (prefix INTEGER PRIMARY KEY) STRICT;

-- `scope` is 0 for the fleet, twice the number of a host, or twice the id of a root plus one.
CREATE TABLE duplicates (
    prefix INTEGER NOT NULL,
    scope INTEGER NOT NULL,
    algorithm INTEGER NOT NULL,
    hash BLOB NOT NULL,
    size INTEGER NOT NULL,
    copies INTEGER NOT NULL,
    names INTEGER NOT NULL,
    reclaimable INTEGER NOT NULL,
    PRIMARY KEY (prefix, scope, algorithm, hash, size)
) STRICT, WITHOUT ROWID;
CREATE INDEX duplicates_by_gain ON duplicates (scope, reclaimable DESC, hash, size, copies);

-- A directory after a scan that changed what is below it.
CREATE TABLE growth (
    dir_id INTEGER NOT NULL,
    at INTEGER NOT NULL,
    root_id INTEGER NOT NULL,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    more_files INTEGER NOT NULL,
    more_bytes INTEGER NOT NULL,
    written_bytes INTEGER NOT NULL,
    removed_bytes INTEGER NOT NULL,
    changes INTEGER NOT NULL,
    PRIMARY KEY (dir_id, at)
) STRICT, WITHOUT ROWID;
CREATE INDEX growth_by_root ON growth (root_id, at);

ALTER TABLE roots ADD COLUMN tracked_since INTEGER;
UPDATE roots SET tracked_since = indexed_at;

ALTER TABLE scan_changes ADD COLUMN moved_from BLOB;

DROP TABLE staged;
