-- Who links to whom, for the way back (link_rows.py): made from the records, and following the feed.

-- Text fields that an application declared to hold the id of a record of another collection.
CREATE TABLE link_fields (
  database TEXT NOT NULL,
  collection TEXT NOT NULL,
  field TEXT NOT NULL,
  to_database TEXT NOT NULL,
  to_collection TEXT NOT NULL,
  PRIMARY KEY (database, collection, field)
) WITHOUT ROWID;

-- How far the feed was followed: one row, or none before anybody asked for a way back.
CREATE TABLE link_progress (
  only INTEGER PRIMARY KEY CHECK (only = 1),
  reached INTEGER NOT NULL
);

CREATE TABLE record_links (
  database TEXT NOT NULL,
  collection TEXT NOT NULL,
  id TEXT NOT NULL,
  type TEXT NOT NULL,
  record_no INTEGER NOT NULL,
  PRIMARY KEY (database, collection, id, type, record_no)
) WITHOUT ROWID;
CREATE INDEX record_links_from ON record_links (record_no);

-- What was deleted or removed leaves nothing behind, not even until the feed is read.
CREATE TRIGGER records_removed_links AFTER DELETE ON records BEGIN
  DELETE FROM record_links WHERE record_no = OLD.record_no;
END;
CREATE TRIGGER records_deleted_links AFTER UPDATE OF value ON records WHEN NEW.value IS NULL BEGIN
  DELETE FROM record_links WHERE record_no = NEW.record_no;
END;
