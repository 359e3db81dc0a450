"""Mutants of the floor `storage`: what is durable, what belongs together, and whose store it is."""

from .mutant import Mutant

STORAGE_MUTANTS = (
    Mutant(
        "skip-fsync",
        "covey.storage.connector",
        '"synchronous=FULL",',
        '"synchronous=OFF",',
        "A commit does not wait for the disk.",
    ),
    Mutant(
        "failed-job-succeeds",
        "covey.storage.commit_queue",
        "            if error is None:\n",
        "            if broken is None:\n",
        "Only a failure of the whole group is told; what fails alone is called done.",
    ),
    Mutant(
        "wanted-range-one-short",
        "covey.storage.run_rows",
        "(not piece and entry.seq > last)",
        "(not piece and entry.seq >= last)",
        "The last entry that was wanted is left out of the answer.",
    ),
    Mutant(
        "bulk-forgets-the-odd-row",
        "covey.storage.bulk",
        "    while start < count:\n",
        "    while count - start > (count > 1):\n",
        "Of an odd number of rows above one, the last is not written.",
    ),
    Mutant(
        "pending-tail-is-no-head",
        "covey.storage.log_rows",
        "(SELECT max(seq) FROM entries WHERE log_no = l.log_no)",
        "(SELECT max(seq) FROM entries WHERE log_no = l.log_no AND state = 0)",
        "After a restart a log seems to end at its last applied entry.",
    ),
    Mutant(
        "copy-keeps-its-instance",
        "covey.storage.instance_rule",
        "        and get_meta(conn, _IDENTITY) == identity\n",
        "",
        "A copy of a home, or a backup that was put back, goes on under the instance it had.",
        scenario="restore",
    ),
    Mutant(
        "old-token-forgotten",
        "covey.storage.instance_rule",
        "    set_meta(conn, _TOKENS, new_token + still_there)\n",
        "    set_meta(conn, _TOKENS, new_token)\n",
        "A crash between the store and the token file costs a device its instance.",
        scenario="disk",
    ),
    Mutant(
        "fork-heals-without-its-values",
        "covey.storage.carried_rows",
        '    return row.doc is None and row.value == "null"\n',
        "    return row.doc is None\n",
        "Records with a single change are not carried over when a fork is healed.",
        plan="restored_machine.json",
    ),
    Mutant(
        "records-are-not-built-again",
        "covey.storage.carried_rows",
        "UPDATE entries SET state = 1, attempts = 0 WHERE state = 0",
        "UPDATE entries SET state = 1, attempts = 0 WHERE state = 1",
        "After a healed fork the entries of a scope still count as applied.",
        plan="restored_machine.json",
    ),
)
