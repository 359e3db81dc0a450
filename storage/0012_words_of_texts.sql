-- Texts that merge were indexed in their wrapping, so that "content" found each of them. Records
-- that have one are indexed anew, by their own words: every text in them (`search_text`), with
-- the texts under $text and without the tags of other kinds (`covey.sync.values`).
INSERT INTO text_pending (record_no, indexed, body)
SELECT r.record_no, 1, ifnull(
  (SELECT substr(group_concat(t.atom, char(10)), 1, 100000) FROM (
    SELECT atom FROM json_tree(r.value) WHERE type = 'text'
    AND ifnull(key, '') NOT IN ('$bytes', '$time', '$vector') AND path NOT LIKE '%."$blob"%'
    ORDER BY id
  ) t), '')
FROM records r WHERE r.value LIKE '%{"$text":%'
ON CONFLICT (record_no) DO UPDATE SET body = excluded.body;

-- As `flush_texts`: nothing stays pending that could be more than a write expects.
DELETE FROM record_text
WHERE rowid IN (SELECT record_no FROM text_pending WHERE indexed = 1);
INSERT INTO record_text (rowid, body)
SELECT record_no, body FROM text_pending WHERE body IS NOT NULL ORDER BY record_no;
DELETE FROM text_pending;
