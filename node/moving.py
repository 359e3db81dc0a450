"""Moving: a record goes to another privacy level, and people are told what that does not undo.

A move deletes the record at its level and writes it anew at the other, in one transaction of this
device (`record_requests.Move`). Others get the two in the logs of two scopes: for a moment they may
hold both, or neither; who may not hold the new level sees a deletion, who may not hold the old one
a new record. What it was before lies on the devices that had it, under keys of the old level.

Somebody who edits the record at its old level before the move arrives keeps it alive there, as an
edit beside a deletion always does; then there are two records of that id, and nothing is lost.
"""

from typing import TYPE_CHECKING

from .record_requests import Move, Written

if TYPE_CHECKING:
    from .engine import Engine

REMAINS = (
    "devices that held it at its old level may keep copies of what it was; to move it does not take"
    " them back"
)


async def move(engine: "Engine", database: str, collection: str, id: str, privacy: str) -> Written:
    """Move one record; `Written.was` is None if there is none. Durable when it returns.

    Raises BadValueError, MoveRefusedError, NotEntitledError, StorageError; then nothing changed.
    """
    (result,) = await engine.writer.write(database, [Move(collection, id, privacy)])
    if result.changed:
        engine.tell("moved", {"database": database, "from": result.was, "to": privacy})
    return result
