"""What a decoded change of a record is, and the bytes that its hash covers.

`Change` and `Operations` are tuples and not dataclasses: one is made for every record that
arrives, and a tuple costs a fifth. They are made by `decode_tail` in chunk.py only, so whoever
holds a `Change` holds one that was checked in itself.

Ids of operations are `(counter, actor)`, the actor as its 16 bytes, and so compare in the order
that Automerge gives them. Column specifications are `id << 4 | type`; bit 3 means "compressed",
and none of ours has it. Spec: docs/protocol.md, section 3; the Automerge binary format.
"""

from hashlib import sha256
from typing import Any, NamedTuple

CHUNK_MAGIC = b"\x85\x6f\x4a\x83"
CHANGE_CHUNK = 1
ACTOR_BYTES = 16
DELETED_KEY = "$deleted"

# Column specifications: id << 4 | type. Bit 3 would say "compressed".
OBJECT_ACTOR, OBJECT_COUNTER = 0x01, 0x02
KEY_ACTOR, KEY_COUNTER, KEY_STRING = 0x11, 0x13, 0x15
INSERT, ACTION, VALUE_META, VALUE = 0x34, 0x42, 0x56, 0x57
PRED_COUNT, PRED_ACTOR, PRED_COUNTER = 0x70, 0x71, 0x73
COLUMNS = frozenset((0x01, 0x02, 0x11, 0x13, 0x15, 0x34, 0x42, 0x56, 0x57, 0x70, 0x71, 0x73))

MAKE_MAP, PUT, MAKE_LIST, DELETE, MAKE_TEXT = range(5)

OpId = tuple[int, bytes]  # counter and actor


class Operations(NamedTuple):
    """The operations of a change, column by column; row i has the id `(start_op + i, actor)`."""

    objects: list[OpId | None]  # None: the root
    keys: list[str | OpId | None]  # a field name, a list element, or None: the list's head
    inserts: list[bool]
    actions: list[int]
    scalars: list[Any]
    predecessors: list[tuple[OpId, ...]]


class Change(NamedTuple):
    """A decoded change. A tuple, because one is made for every record that arrives."""

    hash: bytes
    actor: bytes
    deps: tuple[bytes, ...]
    seq: int
    start_op: int
    max_op: int
    root_keys: tuple[str, ...]  # distinct, in order of first appearance
    deletes_record: bool
    flat: dict[str, Any] | None  # the fields, if it only puts scalars at new root keys
    operations: Operations | None  # None if and only if `flat` says it all
    body: bytes  # the chunk from its type byte on: what the hash covers

    @property
    def chunk(self) -> bytes:
        """The whole chunk, as the library takes it."""
        return CHUNK_MAGIC + self.hash[:4] + self.body


def chunk_hash(body: bytes) -> bytes:
    """Automerge's hash of a change: SHA-256 from the type byte on."""
    return sha256(body).digest()


def change_body(tail: bytes, end: int, actor: bytes) -> bytes:
    """Type, length and payload of the chunk; `end` is where the dependencies of `tail` end."""
    length = len(tail) + 1 + ACTOR_BYTES
    if length < 0x80:
        head = bytes((CHANGE_CHUNK, length))
    elif length < 0x4000:
        head = bytes((CHANGE_CHUNK, length & 0x7F | 0x80, length >> 7))
    else:
        head = bytes((CHANGE_CHUNK, length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14))
    return b"%b%b\x10%b%b" % (head, tail[:end], actor, tail[end:])
