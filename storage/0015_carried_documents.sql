-- What a branch of a forked log said is written again as something that knew what it had known
-- (carried_rows.py): the document of the record with it, as `records` has them. NULL where there is
-- none, and for a record that changes meshes. The value of a deleted record is JSON null.

ALTER TABLE carried ADD COLUMN doc BLOB;
ALTER TABLE carried ADD COLUMN meta BLOB;
