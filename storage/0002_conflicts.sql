-- Conflicts of records: what was written apart, and what became of it. Made from the changes of the
-- record like its value, and made again with it. state: 0 open, 1 settled by a rule, 2 resolved.
-- body is JSON (node/inbox.py); hlc that of the newest candidate, or of what resolved it.
CREATE TABLE conflicts (
  record_no INTEGER NOT NULL,
  conflict_id BLOB NOT NULL,
  state INTEGER NOT NULL,
  hlc INTEGER NOT NULL,
  field TEXT NOT NULL,
  rule TEXT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (record_no, conflict_id)
) WITHOUT ROWID;
CREATE INDEX conflicts_by_id ON conflicts (conflict_id);
CREATE INDEX conflicts_by_state ON conflicts (state, hlc);
