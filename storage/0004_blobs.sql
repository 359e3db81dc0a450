-- Blobs: what records refer to, and what of it is here. The chunks themselves are files
-- (storage/blob_files.py). Units and sizes as in the first schema.

-- state: 0 kept, 1 being put (no manifest yet), 2 being deleted. place: 32 random bytes that name
-- its files, NULL while it has none. wanted: 0 if the policy wants it, 1 a person asked for it, 2 not,
-- because it was put away to make room. unreferenced_ms: since when no record refers to it.
-- used_ms: when it was put, fetched or read last.
CREATE TABLE blobs (
  blob_no INTEGER PRIMARY KEY,
  blob_id BLOB UNIQUE,
  size INTEGER NOT NULL,
  state INTEGER NOT NULL,
  place BLOB,
  wanted INTEGER NOT NULL,
  used_ms INTEGER NOT NULL,
  unreferenced_ms INTEGER
);
CREATE INDEX blobs_unreferenced ON blobs (unreferenced_ms) WHERE unreferenced_ms IS NOT NULL;

-- Apart, because it is large and never changes.
CREATE TABLE blob_manifests (
  blob_no INTEGER PRIMARY KEY,
  manifest BLOB NOT NULL
);

-- bits: bit i of byte i / 8, lowest first, is set if chunk i is a file here; held counts them.
CREATE TABLE blob_chunks (
  blob_no INTEGER PRIMARY KEY,
  held INTEGER NOT NULL,
  bits BLOB NOT NULL
);

-- variant: empty for the blob itself, else the name of a small stand-in of it.
CREATE TABLE blob_refs (
  record_no INTEGER NOT NULL,
  field TEXT NOT NULL,
  variant TEXT NOT NULL,
  blob_no INTEGER NOT NULL,
  media_type TEXT NOT NULL,
  name TEXT NOT NULL,
  PRIMARY KEY (record_no, field, variant)
) WITHOUT ROWID;
CREATE INDEX blob_refs_blob ON blob_refs (blob_no);

-- Devices that said that they hold all of a blob.
CREATE TABLE blob_holders (
  blob_no INTEGER NOT NULL,
  device BLOB NOT NULL,
  PRIMARY KEY (blob_no, device)
) WITHOUT ROWID;
