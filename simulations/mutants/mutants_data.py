"""Bugs in what is made from records and follows them, in migrations, and in the age of records."""

from .mutant import Mutant

DATA_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "feed-reaches-one-too-far",
        "covey.storage.feed_rows",
        "rows[-1][0] if rows else after)",
        "rows[-1][0] + 1 if rows else after)",
        "The change that comes next counts as taken.",
        scenario="data",
    ),
    Mutant(
        "deletions-end-no-kept-answer",
        "covey.storage.feed_rows",
        "(r.coll_no IS NULL OR r.coll_no IN ({marks})) LIMIT 1",
        "r.coll_no IN ({marks}) AND r.value NOTNULL LIMIT 1",
        "A query that was asked before goes on to show a record that was deleted since.",
        scenario="data",
    ),
    Mutant(
        "index-keeps-the-row-of-before",
        "covey.storage.index_rows",
        """    if index.reached:  # Until then there are no rows.
        conn.execute(
            f"DELETE FROM {index.table} WHERE record_no IN"
            " (SELECT record_no FROM record_marks WHERE change_no > ? AND change_no <= ?)",
            span,
        )
    numbers = numbers_of(conn, index.database, index.collection)
    if numbers:
        ranks = joined([rank_of(field) for field in index.fields], ", ")
        take = (
            Sql(f"INSERT OR REPLACE INTO""",
        """    numbers = numbers_of(conn, index.database, index.collection)
    if numbers:
        ranks = joined([rank_of(field) for field in index.fields], ", ")
        take = (
            Sql(f"INSERT OR IGNORE INTO""",
        "A record that was changed stays in an index where it was.",
        scenario="data",
    ),
    Mutant(
        "index-alone-is-looked-at",
        "covey.storage.finding",
        '    return select + old + " UNION ALL " + select + new + made.tests\n',
        "    return select + old\n",
        "A query does not see what its index has yet to take.",
        scenario="data",
    ),
    Mutant(
        "index-cuts-equal-ones",
        "covey.storage.finding",
        "{'>=' if down else '<='} ?\", (row[0],))",
        "{'>' if down else '<'} ?\", (row[0],))",
        "Of records that are equal in the order of an index the last ones of a page are left out.",
        scenario="data",
    ),
    Mutant(
        "answers-are-kept-for-ever",
        "covey.node.data.queries",
        "    return not changed_since(conn, kept.seen, numbers_of(conn, database, collection))\n",
        "    return True\n",
        "A query that was asked before is answered as it was then.",
        scenario="data",
    ),
    Mutant(
        "view-counts-before-its-rows-are-there",
        "covey.node.data.views",
        "            await database.write(partial(view_rows.apply, ",
        "            reach = 'UPDATE views SET reached = ? WHERE name = ?'\n"
        "            mark = (changes.reached, self.name)\n"
        "            await database.write(lambda conn: conn.execute(reach, mark).rowcount)\n"
        "            changes = changes._replace(start=changes.reached)\n"
        "            await database.write(partial(view_rows.apply, ",
        "A crash between two commits leaves a view that has taken changes without their rows.",
        scenario="data",
    ),
    Mutant(
        "view-keeps-rows-of-another-version",
        "covey.storage.view_rows",
        "    elif stored[2:5] == (version, database, collection):\n",
        "    elif stored[3:5] == (database, collection):\n",
        "A view of a new version goes on with the rows of the old one.",
        scenario="data",
    ),
    Mutant(
        "second-change-leaves-the-words",
        "covey.storage.text_rows",
        '        "ON CONFLICT (record_no) DO UPDATE SET body = excluded.body",\n',
        '        "ON CONFLICT (record_no) DO NOTHING",\n',
        "A record is found by the words that it had before its last change.",
        scenario="data",
    ),
    Mutant(
        "links-of-an-undeclared-field-stay",
        "covey.storage.link_rows",
        "    if removed:\n        start_over(conn)\n",
        "",
        "The way back goes on through a field that counts as text again.",
        scenario="data",
    ),
    Mutant(
        "vector-of-a-changed-record-stays",
        "covey.storage.vector_rows",
        "    if read is None:\n        if before is not None:\n",
        "    if read is None:\n        if before is not None and mark.value is None:\n",
        "A record is near to what it was near to before its embedding was taken away.",
        scenario="data",
    ),
    Mutant(
        "unpacking-loses-the-last-byte",
        "covey.storage.pack_rows",
        "        found[record_no] = doc, meta if doc_bytes > 0 else None\n",
        "        found[record_no] = doc[:-1], meta if doc_bytes > 0 else None\n",
        "A document that was packed comes back a byte short.",
        scenario="data",
    ),
    Mutant(
        "packing-forgets-the-times",
        "covey.storage.pack_rows",
        "        doc_bytes = len(doc) if meta is not None else -len(doc)\n",
        "        doc_bytes = -len(doc)\n",
        "A packed record has lost when its changes were made.",
        scenario="data",
    ),
    Mutant(
        "migration-a-record-at-a-time",
        "covey.node.data.remaking",
        "SLICE_RECORDS = 2_000\n",
        "SLICE_RECORDS = 1\n",
        "A crash leaves some records of a small migration at the old version.",
        scenario="data",
    ),
    Mutant(
        "past-has-the-time-of-the-last-change",
        "covey.sync.versions",
        "        said = times[change.seq - 1] if change.seq <= len(times) else UNKNOWN\n",
        "        said = times[-1] if change.seq <= len(times) else UNKNOWN\n",
        "All changes of a device to a record count from its last one on.",
        scenario="data",
    ),
    Mutant(
        "days-are-kept-as-seconds",
        "covey.node.data.lifecycle",
        "(hlc >> 16) + rule.keep_days * DAY_MS)",
        "(hlc >> 16) + rule.keep_days * 1_000)",
        "Records are deleted long before their time.",
        scenario="data",
    ),
    Mutant(
        "erasing-passes-over-the-first",
        "covey.node.data.deleting",
        "        part = deletes[start : start + DELETE_RECORDS]\n",
        "        part = deletes[start + 1 : start + DELETE_RECORDS]\n",
        "The first record that is to be erased stays.",
        scenario="data",
    ),
)
