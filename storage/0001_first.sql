-- The first schema. One migration is one transaction; a released file is never changed again.
-- Units: *_ms are milliseconds since 1970; hlc is milliseconds << 16 | counter (docs/protocol.md,
-- section 3). Ids, tags, keys and digests are BLOBs of the sizes that the protocol gives.

CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value BLOB NOT NULL
) WITHOUT ROWID;

-- Logs and entries ---------------------------------------------------------------------------

CREATE TABLE scopes (
  scope_no INTEGER PRIMARY KEY,
  tag BLOB NOT NULL UNIQUE,
  database TEXT NOT NULL,
  privacy INTEGER NOT NULL,
  UNIQUE (database, privacy)
);

-- The head of a log is its last entry. It is not repeated here: that would be one more page to
-- encrypt in every commit, and a second truth.
CREATE TABLE logs (
  log_no INTEGER PRIMARY KEY,
  scope_no INTEGER NOT NULL REFERENCES scopes,
  instance BLOB NOT NULL,
  author BLOB NOT NULL,
  UNIQUE (scope_no, instance)
);

-- What consecutive entries have in common: kind, key id, and the membership heads (32 bytes each,
-- sorted, joined) whose hash is their auth_ref.
CREATE TABLE headings (
  heading_no INTEGER PRIMARY KEY,
  kind INTEGER NOT NULL,
  key_id BLOB NOT NULL,
  heads BLOB NOT NULL,
  UNIQUE (kind, key_id, heads)
);

-- state: 0 applied, 1 pending, 2 quarantined. arrival is the order in which this store got them.
-- Entries and records do not declare their parents: looking them up for each row costs an eighth of
-- a bulk commit, and the numbers come from this store.
CREATE TABLE entries (
  arrival INTEGER PRIMARY KEY,
  log_no INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  heading_no INTEGER NOT NULL,
  salt BLOB NOT NULL,
  ct BLOB NOT NULL,
  entry_id BLOB NOT NULL,
  signature BLOB,
  state INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  why TEXT,
  UNIQUE (log_no, seq)
);
CREATE INDEX entries_not_applied ON entries (state, arrival) WHERE state != 0;

-- Records ------------------------------------------------------------------------------------

CREATE TABLE collections (
  coll_no INTEGER PRIMARY KEY,
  scope_no INTEGER NOT NULL REFERENCES scopes,
  name TEXT NOT NULL,
  UNIQUE (scope_no, name)
);

-- value is the JSON of a live record, NULL when deleted. (log_no, seq, item) is its latest change.
CREATE TABLE records (
  record_no INTEGER PRIMARY KEY,
  coll_no INTEGER NOT NULL,
  id TEXT NOT NULL,
  value TEXT,
  hlc INTEGER NOT NULL,
  log_no INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  item INTEGER NOT NULL,
  doc BLOB,
  meta BLOB,
  UNIQUE (coll_no, id)
);
CREATE INDEX records_deleted ON records (coll_no) WHERE value IS NULL;

-- Full text, rowid = record_no. The words only: the text itself is in `records`.
CREATE VIRTUAL TABLE record_text USING fts5 (
  body, content = '', contentless_delete = 1, tokenize = 'unicode61 remove_diacritics 2'
);

-- Texts that are not in `record_text` yet (text_rows.py). indexed: an older text is in there.
CREATE TABLE text_pending (
  record_no INTEGER PRIMARY KEY,
  indexed INTEGER NOT NULL,
  body TEXT
);

-- Records that wait to be written again after the device changed meshes (carried_rows.py).
CREATE TABLE carried (
  carried_no INTEGER PRIMARY KEY,
  database TEXT NOT NULL,
  collection TEXT NOT NULL,
  id TEXT NOT NULL,
  value TEXT NOT NULL,
  privacy INTEGER NOT NULL
);

-- Membership ---------------------------------------------------------------------------------

CREATE TABLE operations (
  operation_no INTEGER PRIMARY KEY,
  op_id BLOB NOT NULL UNIQUE,
  author BLOB NOT NULL,
  body BLOB NOT NULL
);

CREATE TABLE scope_keys (
  key_id BLOB PRIMARY KEY,
  scope_tag BLOB NOT NULL,
  epoch INTEGER NOT NULL,
  key BLOB NOT NULL
) WITHOUT ROWID;

-- Peers --------------------------------------------------------------------------------------

CREATE TABLE peers (
  device BLOB PRIMARY KEY,
  last_seen_ms INTEGER,
  last_proof_ms INTEGER,
  proof_root BLOB,
  state BLOB
) WITHOUT ROWID;

CREATE TABLE addresses (
  device BLOB NOT NULL,
  host TEXT NOT NULL,
  port INTEGER NOT NULL,
  source TEXT NOT NULL,
  last_ok_ms INTEGER,
  last_try_ms INTEGER,
  failures INTEGER NOT NULL,
  PRIMARY KEY (device, host, port)
) WITHOUT ROWID;

-- Events -------------------------------------------------------------------------------------

-- detail is JSON without content of records. chain hashes the event and the chain before it.
CREATE TABLE events (
  event_no INTEGER PRIMARY KEY,
  time_ms INTEGER NOT NULL,
  kind TEXT NOT NULL,
  detail TEXT NOT NULL,
  chain BLOB NOT NULL
);

CREATE TABLE alarms (
  alarm_no INTEGER PRIMARY KEY,
  time_ms INTEGER NOT NULL,
  kind TEXT NOT NULL,
  detail TEXT NOT NULL,
  UNIQUE (kind, detail)
);
