-- Views: rows that functions of an application made of the records (view_rows.py). They follow the
-- feed of changes: `reached` is the last change that a view has taken.

CREATE TABLE views (
  view_no INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  version INTEGER NOT NULL,
  database TEXT NOT NULL,
  collection TEXT NOT NULL,
  reached INTEGER NOT NULL
);

-- key: a row of values as bytes in their order (value_order.py); value: canonical JSON. In the order
-- of the primary key the rows of a view are the same on every device with the same records; record_no
-- is of this store, to find what a record left here.
CREATE TABLE view_rows (
  view_no INTEGER NOT NULL,
  key BLOB NOT NULL,
  id TEXT NOT NULL,
  privacy INTEGER NOT NULL,
  bucket INTEGER NOT NULL,
  part INTEGER NOT NULL,
  record_no INTEGER NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (view_no, key, id, privacy, bucket, part)
) WITHOUT ROWID;
CREATE INDEX view_rows_record ON view_rows (record_no, view_no);

-- Records of which a view could make nothing, and the kind of error; never its text.
CREATE TABLE view_skips (
  view_no INTEGER NOT NULL,
  id TEXT NOT NULL,
  privacy INTEGER NOT NULL,
  bucket INTEGER NOT NULL,
  record_no INTEGER NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (view_no, id, privacy, bucket)
) WITHOUT ROWID;
CREATE INDEX view_skips_record ON view_skips (record_no, view_no);

-- What was deleted or removed leaves nothing behind, not even until the feed is read.
CREATE TRIGGER records_removed_views AFTER DELETE ON records BEGIN
  DELETE FROM view_rows WHERE record_no = OLD.record_no;
  DELETE FROM view_skips WHERE record_no = OLD.record_no;
END;
CREATE TRIGGER records_deleted_views AFTER UPDATE OF value ON records WHEN NEW.value IS NULL BEGIN
  DELETE FROM view_rows WHERE record_no = NEW.record_no;
  DELETE FROM view_skips WHERE record_no = NEW.record_no;
END;
