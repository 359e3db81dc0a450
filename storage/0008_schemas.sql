-- Schemas installed on this device, and what was done with each. `definition` and `running` are
-- JSON whose meaning is the node's. Neither travels.

CREATE TABLE schemas (
  name TEXT PRIMARY KEY,
  definition TEXT NOT NULL,
  at_version INTEGER NOT NULL,
  -- The number of the last change of the feed that was brought to that version.
  change_no INTEGER NOT NULL,
  -- The step that is under way, and how far it came; NULL if there is none.
  running TEXT,
  installed_ms INTEGER NOT NULL
);

CREATE TABLE schema_history (
  history_no INTEGER PRIMARY KEY,
  time_ms INTEGER NOT NULL,
  name TEXT NOT NULL,
  action TEXT NOT NULL,
  detail TEXT NOT NULL
);
CREATE INDEX schema_history_of ON schema_history (name, history_no);
