-- Vectors of declared fields, as they are searched by (vector_rows.py): made from the records, and
-- on this device only. `reached` is the last change of the feed that was taken, `declared` orders
-- the models of one field: the greatest is the one that a search means if it names none.

CREATE TABLE vector_fields (
  field_no INTEGER PRIMARY KEY,
  database TEXT NOT NULL,
  collection TEXT NOT NULL,
  field TEXT NOT NULL,
  model TEXT NOT NULL,
  version TEXT NOT NULL,
  dimension INTEGER NOT NULL,
  declared INTEGER NOT NULL,
  reached INTEGER NOT NULL DEFAULT 0,
  UNIQUE (database, collection, field, model, version)
);

-- `vector` is float32, little-endian; NULL where `standing` says that and why there is none.
-- `fields` is JSON of what conditions can be about. It is in an index as well, so that a condition is
-- tested without reading vectors: those of 50,000 records are 100 MB of pages to be decrypted.
CREATE TABLE vectors (
  vector_no INTEGER PRIMARY KEY,
  field_no INTEGER NOT NULL,
  record_no INTEGER NOT NULL,
  change_no INTEGER NOT NULL,
  standing INTEGER NOT NULL,
  fields TEXT NOT NULL,
  vector BLOB,
  UNIQUE (field_no, record_no)
);
CREATE INDEX vectors_left_out ON vectors (field_no, standing, record_no) WHERE vector IS NULL;
CREATE INDEX vectors_by_fields ON vectors (field_no, record_no, standing, fields);
