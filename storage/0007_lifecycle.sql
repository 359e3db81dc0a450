-- Lifecycle: what a person said of the age of records, and documents of old records in less room.

-- keep_days: days after its last change at which a record is deleted; expires_field: the field with
-- the time at which it is. Both may be NULL. warm_days and cold_days: days after which its document
-- is packed here.
CREATE TABLE lifecycle_rules (
  database TEXT NOT NULL,
  collection TEXT NOT NULL,
  expires_field TEXT,
  keep_days INTEGER,
  warm_days INTEGER NOT NULL,
  cold_days INTEGER NOT NULL,
  PRIMARY KEY (database, collection)
) WITHOUT ROWID;

-- A packed record has an empty doc and no meta in `records`: both are in its pack (pack_rows.py).
-- Apart, so that what is left of the row leaves pages free. tier: 1 warm, 2 cold. doc_bytes is
-- negative if there is no meta, plain_bytes the size of both.
CREATE TABLE record_packs (
  record_no INTEGER PRIMARY KEY,
  tier INTEGER NOT NULL,
  dictionary_no INTEGER,
  doc_bytes INTEGER NOT NULL,
  plain_bytes INTEGER NOT NULL,
  body BLOB NOT NULL
);

-- What the documents of a collection have in common. Never changed while a pack refers to it.
CREATE TABLE pack_dictionaries (
  dictionary_no INTEGER PRIMARY KEY,
  coll_no INTEGER NOT NULL,
  body BLOB NOT NULL
);
CREATE INDEX pack_dictionaries_coll ON pack_dictionaries (coll_no);

CREATE TRIGGER records_unpacked AFTER UPDATE OF doc ON records
WHEN OLD.doc = x'' AND NEW.doc IS NOT x'' BEGIN
  DELETE FROM record_packs WHERE record_no = OLD.record_no;
END;
CREATE TRIGGER records_pack_removed AFTER DELETE ON records WHEN OLD.doc = x'' BEGIN
  DELETE FROM record_packs WHERE record_no = OLD.record_no;
END;

-- Erasures: what was erased, as numbers, and which devices proved that they hold the deletions. The
-- ids are not kept: digest is the BLAKE2b-256 of them, for whoever has a list to compare.
CREATE TABLE erasures (
  erasure_no INTEGER PRIMARY KEY,
  database TEXT NOT NULL,
  erased_ms INTEGER NOT NULL,
  records INTEGER NOT NULL,
  blobs INTEGER NOT NULL,
  digest BLOB NOT NULL
);
CREATE TABLE erasure_proofs (
  erasure_no INTEGER NOT NULL,
  device BLOB NOT NULL,
  proved_ms INTEGER NOT NULL,
  PRIMARY KEY (erasure_no, device)
) WITHOUT ROWID;
