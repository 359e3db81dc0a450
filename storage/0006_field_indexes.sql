-- Indexes that an application declared for this device. Each has a table of its own, `index_N`, that
-- follows the feed up to `reached` (index_rows.py). fields is a JSON list of field names.
CREATE TABLE field_indexes (
  index_no INTEGER PRIMARY KEY,
  database TEXT NOT NULL,
  collection TEXT NOT NULL,
  fields TEXT NOT NULL,
  reached INTEGER NOT NULL,
  UNIQUE (database, collection, fields)
);

-- Shapes of queries that were asked: names of fields and no values. walked counts those for which
-- the collection was walked, records those that were in it, used_ms when it was asked last.
CREATE TABLE query_shapes (
  database TEXT NOT NULL,
  collection TEXT NOT NULL,
  shape TEXT NOT NULL,
  asked INTEGER NOT NULL,
  walked INTEGER NOT NULL,
  used_ms INTEGER NOT NULL,
  PRIMARY KEY (database, collection, shape)
) WITHOUT ROWID;
