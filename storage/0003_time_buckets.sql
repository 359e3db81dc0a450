-- Scopes may be cut into time buckets (docs/protocol.md, section 2): `bucket` 0 is none.
-- A unique constraint cannot be taken off a table, so it is made anew, and with it those that refer
-- to it. They are small: a row a scope, log or collection.

ALTER TABLE scopes RENAME TO scopes_before;
ALTER TABLE logs RENAME TO logs_before;
ALTER TABLE collections RENAME TO collections_before;

CREATE TABLE scopes (
  scope_no INTEGER PRIMARY KEY,
  tag BLOB NOT NULL UNIQUE,
  database TEXT NOT NULL,
  privacy INTEGER NOT NULL,
  bucket INTEGER NOT NULL,
  UNIQUE (database, privacy, bucket)
);
INSERT INTO scopes SELECT scope_no, tag, database, privacy, 0 FROM scopes_before;

CREATE TABLE logs (
  log_no INTEGER PRIMARY KEY,
  scope_no INTEGER NOT NULL REFERENCES scopes,
  instance BLOB NOT NULL,
  author BLOB NOT NULL,
  UNIQUE (scope_no, instance)
);
INSERT INTO logs SELECT log_no, scope_no, instance, author FROM logs_before;

CREATE TABLE collections (
  coll_no INTEGER PRIMARY KEY,
  scope_no INTEGER NOT NULL REFERENCES scopes,
  name TEXT NOT NULL,
  UNIQUE (scope_no, name)
);
INSERT INTO collections SELECT coll_no, scope_no, name FROM collections_before;

DROP TABLE logs_before;
DROP TABLE collections_before;
DROP TABLE scopes_before;

-- A record that is written again stays in the bucket it was born into.
ALTER TABLE carried ADD COLUMN bucket INTEGER NOT NULL DEFAULT 0;
