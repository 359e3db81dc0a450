-- The feed of changes: each record once, numbered by its latest change in this store, whatever made
-- it (a write here, a batch of a peer, a removal of the copy). Triggers keep it, so that nothing
-- that follows the records can miss one (feed_rows.py). A record that is gone keeps its mark.

CREATE TABLE record_marks (
  record_no INTEGER PRIMARY KEY,
  change_no INTEGER NOT NULL UNIQUE
);
INSERT INTO record_marks SELECT record_no, record_no FROM records;

-- The greatest number is never free again: whoever has read so far must not miss what comes.
CREATE TRIGGER records_inserted AFTER INSERT ON records BEGIN
  INSERT INTO record_marks
  VALUES (NEW.record_no, (SELECT ifnull(max(change_no), 0) + 1 FROM record_marks))
  ON CONFLICT (record_no) DO UPDATE SET change_no = excluded.change_no;
END;
CREATE TRIGGER records_updated AFTER UPDATE OF value ON records BEGIN
  INSERT INTO record_marks
  VALUES (NEW.record_no, (SELECT ifnull(max(change_no), 0) + 1 FROM record_marks))
  ON CONFLICT (record_no) DO UPDATE SET change_no = excluded.change_no;
END;
CREATE TRIGGER records_removed AFTER DELETE ON records BEGIN
  INSERT INTO record_marks
  VALUES (OLD.record_no, (SELECT ifnull(max(change_no), 0) + 1 FROM record_marks))
  ON CONFLICT (record_no) DO UPDATE SET change_no = excluded.change_no;
END;
