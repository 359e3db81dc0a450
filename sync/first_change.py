"""The first change of a record, made without the CRDT library.

A record that does not exist yet has no predecessors, no conflicts and no tombstones, so its
first change follows from the value alone: a row for each scalar, list element and character,
in sorted order of names. Flat records, the commonest, take the shortcut of flat.py. Promises:
the tail is the one that the library would write for the same operations, and a function of the
value and the actor alone.

Spec: docs/protocol.md, section 3. At most OPS_PER_CHANGE_MAX operations.
"""

from datetime import datetime
from typing import Any

from .change import DELETED_KEY, PUT, Operations, OpId
from .column_writing import encode_tail
from .editing import write_fields
from .errors import BadValueError
from .flat import encode_flat
from .limits import OPS_PER_CHANGE_MAX

_SCALARS = frozenset((str, int, float, bool, bytes, datetime, type(None)))


def first_tail(plain: dict[str, Any], actor: bytes) -> bytes:
    """The tail of the change that makes a record of the plain value `plain`.

    Raises: BadValueError if that takes more operations than a change may have.
    """
    if not plain:
        # A change has an operation. This one shows nowhere and is no deletion.
        return encode_flat({DELETED_KEY: False})
    if len(plain) <= OPS_PER_CHANGE_MAX and _SCALARS.issuperset(map(type, plain.values())):
        return encode_flat({name: plain[name] for name in sorted(plain)})
    rows = _Rows(actor)
    write_fields(rows, None, {}, plain, actor, replace=False)
    return encode_tail(rows.operations, actor, deps=(), seq=1, start_op=1)


def too_many_operations() -> BadValueError:
    """The error for a write that does not fit one change."""
    return BadValueError(
        f"one write has at most {OPS_PER_CHANGE_MAX} values, list elements and characters of"
        " mergeable text: write in parts, or use a plain string, bytes or a vector"
    )


class _Rows:
    """A Writer that appends rows. Elements are only ever appended to a list."""

    __slots__ = ("_actor", "_last", "operations")

    def __init__(self, actor: bytes) -> None:
        self._actor = actor
        self._last: dict[OpId, OpId] = {}
        self.operations = Operations([], [], [], [], [], [])

    def put(self, target: OpId | None, key: str | int, scalar: Any, insert: bool) -> None:
        self._append(target, key, PUT, scalar)

    def make(self, target: OpId | None, key: str | int, kind: int, insert: bool) -> OpId:
        return self._append(target, key, kind, None)

    def delete(self, target: OpId | None, key: str | int) -> None:
        raise AssertionError("a new record has nothing to delete")

    def child(self, target: OpId | None, key: str | int) -> OpId:
        raise AssertionError("a new record has no objects to edit")

    def _append(self, target: OpId | None, key: str | int, action: int, scalar: Any) -> OpId:
        rows = self.operations
        if len(rows.actions) == OPS_PER_CHANGE_MAX:
            raise too_many_operations()
        own = (len(rows.actions) + 1, self._actor)
        rows.objects.append(target)
        if type(key) is str:
            rows.keys.append(key)
            rows.inserts.append(False)
        else:
            assert target is not None
            rows.keys.append(self._last.get(target))
            rows.inserts.append(True)
            self._last[target] = own
        rows.actions.append(action)
        rows.scalars.append(scalar)
        rows.predecessors.append(())
        return own
