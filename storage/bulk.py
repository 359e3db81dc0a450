"""Bulk: many rows in few steps of a statement, and one row that must be there.

The database library lets go of the interpreter lock for each step of a statement. Next to a busy
event loop every step then waits for a switch of threads: measured, one `executemany` of 1,000 rows
took 1.2 s beside a busy thread and 10 ms alone. A statement with 64 rows of VALUES takes one step
for all of them: 82 us a row beside a busy thread, and 6 instead of 10 us alone.

Statement texts come in the sizes 64, 32, ... 1 only, so that they stay in the statement cache.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain

from .store import Conn, Value

ROWS_PER_STATEMENT = 64


@lru_cache(maxsize=256)
def _values(head: str, columns: int, rows: int, tail: str) -> str:
    row = "(" + ",".join("?" * columns) + ")"
    return f"{head} VALUES {','.join([row] * rows)} {tail}"


def execute_rows(
    conn: Conn, head: str, columns: int, rows: Sequence[Sequence[Value]], tail: str = ""
) -> None:
    """Run `{head} VALUES (?, ...), ... {tail}` over rows of `columns` values, in order.

    The head is an INSERT, or an UPDATE whose FROM is the parenthesis around the rows.
    """
    start, count = 0, len(rows)
    size = ROWS_PER_STATEMENT
    while start < count:
        while size > count - start:
            size >>= 1
        flat = list(chain.from_iterable(rows[start : start + size]))
        conn.execute(_values(head, columns, size, tail), flat)
        start += size


@lru_cache(maxsize=64)
def marks(count: int) -> str:
    """`?,?,…`: as many parameters."""
    return ",".join("?" * count)


def select_in(
    conn: Conn, head: str, fixed: Sequence[Value], wanted: Sequence[Value], tail: str = ""
) -> list[tuple[Value, ...]]:
    """All rows of `{head} IN (?, ...) {tail}` for any number of wanted values, in no order.

    The parameters of `head` are `fixed`. A chunk is filled up by repeating its last value.
    """
    found: list[tuple[Value, ...]] = []
    for start in range(0, len(wanted), ROWS_PER_STATEMENT):
        chunk = list(wanted[start : start + ROWS_PER_STATEMENT])
        size = 1
        while size < len(chunk):
            size <<= 1
        chunk += chunk[-1:] * (size - len(chunk))
        found += conn.execute(f"{head} IN ({marks(size)}) {tail}", [*fixed, *chunk]).fetchall()
    return found


Statement = tuple[str, Sequence[Value]]


def ensure_row(conn: Conn, select: Statement, insert: Statement) -> int:
    """The number that `select` finds, after `insert` if it found none.

    Not by RETURNING: that makes SQLite look for rows that refer to the new one, table by table.
    """
    row = conn.execute(*select).fetchone()
    if row is None:
        conn.execute(*insert)
        row = conn.execute(*select).fetchone()
    return int(row[0])
