"""Shape rows: which queries were asked how often, as functions inside a job.

A shape has the fields of a query and no value. Few are kept: the ones that were asked last.
"""

from typing import NamedTuple

from .store import Conn

SHAPES_MAX = 200


class Shape(NamedTuple):
    """How often a query was asked, and how often all of its collection was walked for it."""

    database: str
    collection: str
    shape: str
    asked: int
    walked: int


def count(conn: Conn, shape: Shape, now_ms: int) -> None:
    """Add to what is known of a shape, and forget the oldest beyond `SHAPES_MAX`."""
    conn.execute(
        "INSERT INTO query_shapes VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " asked = asked + excluded.asked, walked = walked + excluded.walked,"
        " used_ms = excluded.used_ms",
        (*shape, now_ms),
    )
    conn.execute(
        "DELETE FROM query_shapes WHERE (database, collection, shape) IN (SELECT database,"
        " collection, shape FROM query_shapes ORDER BY used_ms DESC, shape LIMIT -1 OFFSET ?)",
        (SHAPES_MAX,),
    )


def shapes(conn: Conn) -> list[Shape]:
    """All shapes, those that walked most often first."""
    rows = conn.execute(
        "SELECT database, collection, shape, asked, walked FROM query_shapes"
        " ORDER BY walked DESC, asked DESC, database, collection, shape"
    )
    return [Shape(*row) for row in rows.fetchall()]
