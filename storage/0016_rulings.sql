-- What authors have ruled on forked logs of theirs (ruling_rows.py), one for each log: the bytes
-- that travel, and how often a branch was taken out of that log here because of a ruling.

CREATE TABLE rulings (
  scope BLOB NOT NULL,
  instance BLOB NOT NULL,
  ruling BLOB NOT NULL,
  followed INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (scope, instance)
) WITHOUT ROWID;

-- Of a record that waits because somebody else's branch was taken out, it is to be told whether
-- anything of it is missing. `spared`: instances, 16 bytes each, joined, whose changes are written
-- again by who made them. `maker`: the instance that made a record of a single change. NULL where
-- the branch was our own.
ALTER TABLE carried ADD COLUMN spared BLOB;
ALTER TABLE carried ADD COLUMN maker BLOB;
