"""Misbehaviours of a member in what it writes: sealed, signed, in its place, and poison inside.

The CRDT library can crash the interpreter on what a member can craft, so every change passes the
gate (docs/protocol.md, section 3). What it refuses is set aside on every device alike; what it
lets in is a record like any other, whatever its names say.
"""

import zlib
from collections.abc import Callable

from ...sync.change import CHUNK_MAGIC, DELETE, DELETED_KEY, MAKE_LIST, MAKE_MAP, PUT, Operations
from ...sync.chunk import assemble
from ...sync.column_writing import encode_tail
from ...sync.crdt import create, delete
from ...sync.packing import pack
from .attacker import Attacker
from .misbehaviour import Act, Subject
from .wild_changes import WildChanges

CHANGES = Subject()

_VALUE_COLUMN, _COMPRESSED = 0x57, 0x08
_HLC_MAX = 2**64 - 1
_HUGE_BYTES = 900_000
_WILD_CHANGES = 24
_DECEPTIVE_IDS = (
    "../../etc/passwd", "a\0b", "\x1b[2J\x1b]0;owned\x07", "line\r\nbreak", "\u202eevil",
    "'; DROP TABLE records; --", "C:\\Windows\\System32", "$deleted", "x" * 200,
)  # fmt: skip
_DECEPTIVE_FIELDS = (
    "$shown", "__class__", "__proto__", "../x", "\x1b[31m", "a\0b", "\u202e", "constructor", " ",
)  # fmt: skip

# Changes that must not reach the library ----------------------------------------------------------

Tail = Callable[[Attacker, bytes], bytes]
"""The tail of a change of one actor."""


def _put_at_root(actor: bytes, *, start_op: int = 1, seq: int = 1) -> bytes:
    rows = Operations([None], ["x"], [False], [PUT], [1], [()])
    return encode_tail(rows, actor, deps=(), seq=seq, start_op=start_op)


def _start_op_beyond_32_bits(attacker: Attacker, actor: bytes) -> bytes:
    # The writer knows the bound, so the number is written over: it stands after deps and seq.
    tail = _put_at_root(actor)
    return tail[:2] + b"\xff\xff\xff\xff\x0f" + tail[3:]


def _compressed_chunk(attacker: Attacker, actor: bytes) -> bytes:
    chunk = assemble(_put_at_root(actor), actor)
    body = zlib.compress(chunk[10:])
    return chunk[:8] + b"\x02" + bytes((len(body),)) + body


def _document_chunk(attacker: Attacker, actor: bytes) -> bytes:
    body = b"\x01\x10" + actor + bytes(6)
    return CHUNK_MAGIC + attacker.rubbish(4) + b"\x00" + bytes((len(body),)) + body


def _compressed_column(attacker: Attacker, actor: bytes) -> bytes:
    tail = _put_at_root(actor)
    at = tail.rindex(bytes((_VALUE_COLUMN, 1)))
    return tail[:at] + bytes((_VALUE_COLUMN | _COMPRESSED,)) + tail[at + 1 :]


def _message(attacker: Attacker, actor: bytes) -> bytes:
    tail = _put_at_root(actor)
    return tail[:4] + b"\x02hi" + tail[5:]


def _delete_of_nothing(attacker: Attacker, actor: bytes) -> bytes:
    rows = Operations([None], ["x"], [False], [DELETE], [None], [((9, actor),)])
    return encode_tail(rows, actor, deps=(), seq=1, start_op=10)


def _no_such_element(attacker: Attacker, actor: bytes) -> bytes:
    rows = Operations(
        [None, (1, actor)], ["x", (7, actor)], [False, True], [MAKE_LIST, PUT], [None, 1], [(), ()]
    )
    return encode_tail(rows, actor, deps=(), seq=1, start_op=1)


def _too_deep(attacker: Attacker, actor: bytes) -> bytes:
    depth = 40
    targets = [None, *((counter, actor) for counter in range(1, depth))]
    rows = Operations(
        targets, ["x"] * depth, [False] * depth, [MAKE_MAP] * depth, [None] * depth, [()] * depth
    )
    return encode_tail(rows, actor, deps=(), seq=1, start_op=1)


def _changed_byte(attacker: Attacker, actor: bytes) -> bytes:
    tail = create(actor, {"a": [1, "two", {"b": None}], "c": 2.5}, entry_seq=1).tail
    at = attacker.random.randrange(len(tail))
    return tail[:at] + attacker.rubbish(1) + tail[at + 1 :]


_TAILS: tuple[tuple[str, str, Tail], ...] = (
    (
        "last-start-op",
        "Counts its operations from the last number that there can be.",
        lambda _, actor: _put_at_root(actor, start_op=2**31 - 1),
    ),
    (
        "start-op-beyond-32-bits",
        "Counts its operations from 2^32-1, after which nobody could write any more.",
        _start_op_beyond_32_bits,
    ),
    (
        "seq-out-of-nowhere",
        "Begins with its seventh change of a record.",
        lambda _, actor: _put_at_root(actor, seq=7),
    ),
    (
        "whole-chunk",
        "Sends a whole chunk where the tail of one should be.",
        lambda _, actor: assemble(_put_at_root(actor), actor),
    ),
    ("compressed-chunk", "Sends a chunk of type 2, which inflates.", _compressed_chunk),
    ("document-chunk", "Sends a chunk of type 0, which is a whole document.", _document_chunk),
    ("compressed-column", "Sends a column that inflates.", _compressed_column),
    ("change-with-a-message", "Lets a message ride on a change.", _message),
    ("empty-tail", "Sends a change of no bytes.", lambda *_: b""),
    ("rubbish-tail", "Sends random bytes for a change.", lambda a, _: a.rubbish(200)),
    ("endless-leb128", "Sends a number that never ends.", lambda *_: b"\xff" * 500),
    ("delete-of-nothing", "Deletes what has never been there.", _delete_of_nothing),
    ("element-that-is-not-there", "Inserts after an element that there is not.", _no_such_element),
    ("too-deep", "Nests maps deeper than a record may.", _too_deep),
    ("changed-byte-of-a-change", "Changes one byte of a good change.", _changed_byte),
)


def _pill(tail: Tail) -> Act:
    """Write such a change twice, to two records, and a good one behind them."""

    async def act(attacker: Attacker) -> None:
        forger = attacker.log()
        for word in ("pill", "first"):
            change = forger.change(attacker.record_id(word), tail(attacker, forger.instance))
            forger.changes([change])
        forger.record(attacker.record_id("behind"), {"x": 1})
        await attacker.deliver(forger.frame())

    return act


for _name, _about, _tail in _TAILS:
    CHANGES.add(_name, "full", _pill(_tail), _about)


@CHANGES.act("full")
async def good_and_bad_changes(attacker: Attacker) -> None:
    """Puts a good change and one that the gate refuses into one change set."""
    forger = attacker.log()
    good = create(forger.instance, {"x": 1}, entry_seq=1).tail
    bad = _put_at_root(forger.instance, seq=7)
    changes = [("good", good), ("bad", bad)]
    forger.changes([forger.change(attacker.record_id(word), tail) for word, tail in changes])
    await attacker.deliver(forger.frame())


@CHANGES.act("full")
async def one_record_twice_in_a_change_set(attacker: Attacker) -> None:
    """Makes one record twice in one change set."""
    forger = attacker.log()
    tail = create(forger.instance, {"x": 1}, entry_seq=1).tail
    forger.changes([forger.change(attacker.record_id("twice"), tail)] * 2)
    await attacker.deliver(forger.frame())


# Bodies that are no change sets -------------------------------------------------------------------

_BODIES: tuple[bytes, ...] = (
    b"",
    pack({"hlc": 1}),
    pack([1, []]),
    pack([1, [["facts", "hostile-x", []]]]),
    pack([1, [["facts", "", [], b"x"]]]),
    pack([1, [["facts", "hostile-" + "x" * 250, [], b"x"]]]),
    pack([1, [["c" * 65, "hostile-x", [], b"x"]]]),
    pack([1, [["facts", "hostile-x", [bytes(16)], b"x"]]]),
    pack([1, [["facts", "hostile-x", [bytes(16), 0], b"x"]]]),
    pack([1.0, [["facts", "hostile-x", [], b"x"]]]),
    pack([-1, [["facts", "hostile-x", [], b"x"]]]),
    b"\x92\x01\xdd\xff\xff\xff\xff",
    b"\x92\x01\x91\x94\xa2\xff\xfe\xa1x\x90\xc4\x01x",
    b"\x91" * 5_000,
)


@CHANGES.act("full")
async def bodies_that_are_no_change_sets(attacker: Attacker) -> None:
    """Seals and signs one body after the other that is no change set."""
    forger = attacker.log()
    for body in (*_BODIES, attacker.rubbish(300)):
        forger.entry(body)
    await attacker.deliver(forger.frame())


# Records that deceive -----------------------------------------------------------------------------


@CHANGES.act("full")
async def deceptive_ids(attacker: Attacker) -> None:
    """Writes records with ids that a terminal, a path or a query would obey."""
    forger = attacker.log()
    for id in _DECEPTIVE_IDS:
        forger.record(f"hostile-{id}", {"x": 1})
    await attacker.deliver(forger.frame())


@CHANGES.act("full")
async def deceptive_field_names(attacker: Attacker) -> None:
    """Writes fields with names that mean something to us, to a terminal or to a language."""
    forger = attacker.log()
    names = sorted(_DECEPTIVE_FIELDS)
    count = len(names)
    rows = Operations(
        [None] * count, list(names), [False] * count, [PUT] * count, ["x"] * count, [()] * count
    )
    tail = encode_tail(rows, forger.instance, deps=(), seq=1, start_op=1)
    forger.changes([forger.change(attacker.record_id("fields"), tail)])
    await attacker.deliver(forger.frame())


@CHANGES.act("full")
async def fields_that_were_not_touched(attacker: Attacker) -> None:
    """Says that its change touched other fields than it did."""
    forger = attacker.log()
    tail = create(forger.instance, {"x": 1}, entry_seq=1).tail
    fields = (DELETED_KEY, "other", "y")
    forger.changes([forger.change(attacker.record_id("touched"), tail, (), fields)])
    await attacker.deliver(forger.frame())


@CHANGES.act("full")
async def record_born_deleted(attacker: Attacker) -> None:
    """Makes a record whose first change deletes it, and one that is neither here nor gone."""
    forger = attacker.log()
    for number, mark in enumerate((True, False, "yes", None)):
        rows = Operations([None], [DELETED_KEY], [False], [PUT], [mark], [()])
        tail = encode_tail(rows, forger.instance, deps=(), seq=1, start_op=1)
        forger.changes([forger.change(attacker.record_id(f"born-{number}"), tail)])
    await attacker.deliver(forger.frame())


@CHANGES.act("full")
async def deleted_and_written_at_once(attacker: Attacker) -> None:
    """Deletes a record in one log and writes it in another, neither having seen the other."""
    first, second = attacker.log(), attacker.log()
    id = attacker.record_id("undead")
    made = create(first.instance, {"x": 1}, entry_seq=1)
    gone = delete(made.state, first.instance, entry_seq=2)
    assert gone is not None, "it was not deleted yet"
    first.changes([first.change(id, made.tail)])
    first.changes([first.change(id, gone.tail, ((first.instance, 1),), gone.fields)])
    second.record(id, {"y": 2})
    await attacker.deliver(first.frame(), second.frame())


@CHANGES.act("full")
async def huge_record(attacker: Attacker) -> None:
    """Writes a record as large as one may be."""
    forger = attacker.log()
    forger.record(attacker.record_id("huge"), {"text": "x" * _HUGE_BYTES})
    await attacker.deliver(forger.frame())


@CHANGES.act("full")
async def clock_of_another_century(attacker: Attacker) -> None:
    """Writes records at the end and at the beginning of all time."""
    forger = attacker.log()
    for number, hlc in enumerate((0, 2**63 - 1, 2**63, _HLC_MAX)):
        tail = create(forger.instance, {"x": number}, entry_seq=1).tail
        forger.changes([forger.change(attacker.record_id(f"late-{number}"), tail)], hlc=hlc)
    await attacker.deliver(forger.frame())


# Whatever the gate lets in ------------------------------------------------------------------------


@CHANGES.act("full", leaves_waiting=True)
async def whatever_the_gate_lets_in(attacker: Attacker) -> None:
    """Writes perfectly spelled nonsense to one record from three logs that know parts of it."""
    logs = [attacker.log() for _ in range(3)]
    id = attacker.record_id("wild")
    wild = WildChanges(attacker.random, tuple(log.instance for log in logs))
    by_instance = {log.instance: log for log in logs}
    for _ in range(_WILD_CHANGES):
        wild.write()
    for written in wild.written:
        log = by_instance[written.actor]
        log.changes([log.change(id, written.tail, wild.past(written), None)])
    wrote = [log for log in logs if log.entries]
    attacker.random.shuffle(wrote)
    await attacker.deliver(*(log.frame() for log in wrote))
