-- The deletions of erasures, by the name of the version that each left (`record_requests.version`):
-- what a record was before one is not shown any more. No ids: names of changes tell nobody what.
CREATE TABLE erased_changes (
  version TEXT PRIMARY KEY,
  erasure_no INTEGER NOT NULL
) WITHOUT ROWID;
