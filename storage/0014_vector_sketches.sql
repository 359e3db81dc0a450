-- Sketches of vectors (sketch_rows.py): a quarter of the bytes, in blocks that are read one after the
-- other, so that comparing all of them decrypts little. `block_no` of a place is NULL as long as the
-- vector is in no block. What a block holds of a vector goes when the vector does.

CREATE TABLE vector_blocks (
  block_no INTEGER PRIMARY KEY,
  field_no INTEGER NOT NULL,
  count INTEGER NOT NULL,
  sketches BLOB NOT NULL
);
CREATE INDEX vector_blocks_of_field ON vector_blocks (field_no);

CREATE TABLE vector_places (
  field_no INTEGER NOT NULL,
  record_no INTEGER NOT NULL,
  block_no INTEGER,
  PRIMARY KEY (field_no, record_no)
) WITHOUT ROWID;
CREATE INDEX vector_places_loose ON vector_places (field_no, record_no) WHERE block_no ISNULL;
INSERT INTO vector_places SELECT field_no, record_no, NULL FROM vectors WHERE vector NOTNULL;
