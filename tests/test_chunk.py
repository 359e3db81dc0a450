"""Changes as bytes: our decoder against the library, and everything that it must refuse."""

from contextlib import suppress
from typing import Any

import pytest
from automerge import core
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.sync import crdt
from covey.sync.change import DELETE, MAKE_LIST, PUT, Change, Operations, chunk_hash
from covey.sync.chunk import (
    assemble,
    decode_chunk,
    decode_general,
    decode_tail,
    shorten,
)
from covey.sync.column_writing import encode_tail, number, signed
from covey.sync.errors import DecodeError, GateError, GateRefusal
from covey.sync.flat import decode_flat, encode_flat
from covey.sync.values import timestamp_of

from .record_worlds import (
    ACTOR,
    ACTORS,
    MESSAGE,
    Replica,
    craft,
    deliver,
    flat_records,
    records,
    refusal_of,
)

OTHER = ACTORS[1]
# One put of 1 at the root key "k", column by column: the canvas for everything wrong below.
GOOD = {
    0x15: b"\x7f\x01k",
    0x34: b"\x01",
    0x42: b"\x7f\x01",
    0x56: b"\x7f\x14",
    0x57: b"\x01",
    0x70: b"\x7f\x00",
}


def sample_history() -> list[Change]:
    """A record with everything in it, edited on two devices at once."""
    one, two = Replica(ACTOR), Replica(OTHER)
    one.write({**MESSAGE, "l": [1, "x", {"y": None}], "m": {"n": {"o": b"z"}}}, replace=False)
    deliver(one, two, 1)
    one.write({"l": [1, "q", {"y": True}, 2.5], "topic": "sea"}, replace=False)
    two.write({"l": [{"y": 0}], "m": {"n": 1}}, replace=False)
    deliver(two, one, 1)
    one.write({"topic": "end"}, replace=True)
    one.delete()
    return [*one.own, *two.own]


HISTORY = sample_history()


def tail_of(change: Change) -> bytes:
    shortened: bytes = shorten(change.chunk, change.actor)
    return shortened


def operations(rows: int, **columns: list[Any]) -> Operations:
    """Rows that put 1 at root keys, but for the columns given."""
    plain = Operations(
        [None] * rows,
        [f"k{row}" for row in range(rows)],
        [False] * rows,
        [PUT] * rows,
        [1] * rows,
        [()] * rows,
    )
    return plain._replace(**columns)


def in_list(insert: bool, action: int, scalar: Any, predecessors: tuple[Any, ...]) -> Operations:
    """A new list, and one operation at its head."""
    return Operations(
        [None, (1, ACTOR)],
        ["k", None],
        [False, insert],
        [MAKE_LIST, action],
        [None, scalar],
        [(), predecessors],
    )


def tail(rows: Operations, **numbers: int) -> bytes:
    seq, start_op = numbers.get("seq", 1), numbers.get("start_op", 1)
    encoded: bytes = encode_tail(rows, ACTOR, deps=(), seq=seq, start_op=start_op)
    return encoded


def raw_document(fields: dict[str, Any]) -> Any:
    """A document that the library itself makes of scalar fields."""
    kinds = {int: "Int", str: "Str", float: "F64", bool: "Boolean", bytes: "Bytes"}
    document = core.Document(actor_id=ACTOR)
    with document.transaction() as transaction:
        for name in fields:
            kind = getattr(core.ScalarType, kinds.get(type(fields[name]), "Timestamp"))
            if fields[name] is None:
                kind = core.ScalarType.Null
            transaction.put(core.ROOT, name, kind, fields[name])
    return document


# --- agreement with the library --------------------------------------------------------------


@given(flat_records.filter(bool))
def test_flat_changes_are_byte_for_byte_those_of_the_library(fields: dict[str, Any]) -> None:
    """Records that we make without the library must be records that it would have made."""
    (made,) = raw_document(fields).get_changes([])
    change = decode_tail(encode_flat(fields), ACTOR)

    assert change.chunk == made.raw_bytes
    assert change.hash == made.hash
    assert (change.seq, change.start_op, change.max_op) == (made.seq, made.start_op, made.max_op)
    assert change.flat == fields and change.root_keys == tuple(fields)
    assert {name: type(value) for name, value in change.flat.items()} == {
        name: type(value) for name, value in fields.items()
    }


@given(flat_records.filter(bool), st.data())
def test_the_shortcut_agrees_with_the_general_decoder(fields: dict[str, Any], data: Any) -> None:
    """Two decoders that differ on one input are two protocols."""
    spoiled = bytearray(encode_flat(fields))
    for _ in range(data.draw(st.integers(0, 2))):
        spoiled[data.draw(st.integers(0, len(spoiled) - 1))] = data.draw(st.integers(0, 255))
    quick = decode_flat(bytes(spoiled), ACTOR)

    if quick is not None:
        assert quick == decode_general(bytes(spoiled), ACTOR)


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
        st.sampled_from([1, -1, "x" * 8, "y" * 100, "z" * 2000, b"z" * 300, 0.5, None, 10**15]),
        min_size=2,
        max_size=63,
    )
)
def test_the_shortcut_takes_what_it_is_made_for(fields: dict[str, Any]) -> None:
    """If it silently declined, receiving would be three times slower and no test would fail."""
    encoded = encode_flat(fields)
    fits = all(len(name.encode()) < 128 for name in fields) and any(
        value is not None for value in fields.values()
    )

    quick = decode_flat(encoded, ACTOR)

    assert quick is None or quick.flat == fields
    if fits and len(encoded) < 9000 and sum(len(name.encode()) for name in fields) < 2000:
        assert quick is not None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), records, st.booleans()), min_size=1, max_size=6))
def test_every_change_of_a_history_decodes_as_the_library_has_it(
    writes: list[tuple[int, dict[str, Any], bool]],
) -> None:
    """Hash, dependencies and numbers decide what the gate lets in: they must be the library's."""
    replicas = [Replica(actor) for actor in ACTORS[:3]]
    for who, value, replace in writes:
        replicas[who].write(value, replace=replace)
        deliver(replicas[who], replicas[(who + 1) % 3], 99)
    for replica in replicas:
        if replica.state is None:
            continue
        document = core.Document.load(b"".join(replica.state.chunks))
        for made in document.get_changes([]):
            change = decode_chunk(made.raw_bytes)

            assert change.chunk == made.raw_bytes and change.hash == made.hash
            assert list(change.deps) == made.deps and change.actor == made.actor_id
            assert (change.seq, change.start_op) == (made.seq, made.start_op)
            assert change.max_op == made.max_op
            if change.operations is not None:
                numbers = {"seq": change.seq, "start_op": change.start_op}
                again = encode_tail(change.operations, change.actor, deps=change.deps, **numbers)
                assert again == tail_of(change)


def test_a_deletion_and_the_fields_of_a_change_are_seen() -> None:
    """The gate and the conflict rules go by these."""
    first, second, third, deletion, other = HISTORY

    assert deletion.deletes_record and not third.deletes_record
    assert set(first.root_keys) == {*MESSAGE, "l", "m"}
    assert second.root_keys == ("topic",) and other.root_keys == ()  # the rest is deeper down
    assert second.flat is None


def test_a_tail_leaves_out_what_the_header_says_and_no_more() -> None:
    """A change must come back to the byte, or its hash is another."""
    for change in HISTORY:
        shortened = tail_of(change)

        assert assemble(shortened, change.actor) == change.chunk
        assert len(change.chunk) - len(shortened) in (27, 28)
        assert chunk_hash(change.body) == change.hash


# --- refusals, named -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [0, 2, 3])
def test_only_uncompressed_change_chunks_can_be_shortened(kind: int) -> None:
    """A compressed chunk of a megabyte takes the library 4 GB; a document skips the gate."""
    chunk = bytearray(HISTORY[0].chunk)
    chunk[8] = kind
    chunk[4:8] = chunk_hash(bytes(chunk[8:]))[:4]

    with pytest.raises(GateError) as caught:
        shorten(bytes(chunk), ACTOR)
    assert caught.value.refusal is GateRefusal.CHUNK


@pytest.mark.parametrize(
    "chunk",
    [
        b"",
        HISTORY[0].chunk[:20],
        HISTORY[0].chunk + b"\0",
        b"\0" + HISTORY[0].chunk[1:],
        HISTORY[0].chunk[:4] + b"\0\0\0\0" + HISTORY[0].body,
        HISTORY[4].chunk,
    ],
)
def test_a_chunk_that_is_not_exactly_one_of_its_author_is_refused(chunk: bytes) -> None:
    """A wrong checksum, a second chunk or a foreign author would travel under our name."""
    with pytest.raises(GateError):
        shorten(chunk, ACTOR)


def test_the_pill_that_makes_a_document_unwritable_is_refused() -> None:
    """One change of 61 bytes with start_op 2^32 - 1, and every later write panics."""
    assert refusal_of(tail(operations(1), start_op=2**32 - 1)) is GateRefusal.NUMBER
    with pytest.raises(GateError) as caught:
        crdt.apply(None, ACTOR, tail(operations(1), start_op=2), 1)
    assert caught.value.refusal is GateRefusal.START


def test_the_canvas_of_the_cases_below_is_good() -> None:
    """A case that is refused for another reason than its own proves nothing."""
    assert decode_tail(craft(GOOD), ACTOR).flat == {"k": 1}
    assert craft(GOOD) == tail(operations(1, keys=["k"]))


COLUMN_CASES = [
    ("a compressed column", GateRefusal.COLUMN, {0x1D: GOOD[0x15]}, (0x15,)),
    ("an unknown column", GateRefusal.COLUMN, {0x80: b"\x01"}, ()),
    ("a column of marks", GateRefusal.COLUMN, {0xA5: b"\x7f\x01m"}, ()),
    ("a column that expands marks", GateRefusal.COLUMN, {0x94: b"\x00\x01"}, ()),
    ("an empty column", GateRefusal.COLUMN, {0x57: b""}, ()),
    ("no action", GateRefusal.OPERATION_COUNT, {}, (0x42,)),
    ("no values", GateRefusal.ROWS, {}, (0x56,)),
    ("no inserts", GateRefusal.ROWS, {}, (0x34,)),
    ("no predecessor counts", GateRefusal.ROWS, {}, (0x70,)),
    ("no key", GateRefusal.KEY, {}, (0x15,)),
    ("a key of no length", GateRefusal.KEY, {0x15: b"\x7f\x00"}, ()),
    ("a key of 257 bytes", GateRefusal.KEY, {0x15: b"\x7f\x81\x02" + b"k" * 257}, ()),
    ("a key that is not UTF-8", GateRefusal.VALUE, {0x15: b"\x7f\x01\xff"}, ()),
    ("a key and an element", GateRefusal.KEY, {0x13: b"\x7f\x00"}, ()),
    ("an element at the root", GateRefusal.KEY, {0x13: b"\x7f\x00"}, (0x15,)),
    ("an insert at a name", GateRefusal.KEY, {0x34: b"\x00\x01"}, ()),
    ("too many inserts", GateRefusal.ROWS, {0x34: b"\x02"}, ()),
    ("an empty run of inserts", GateRefusal.RUNS, {0x34: b"\x00"}, ()),
    ("a run of one", GateRefusal.RUNS, {0x42: b"\x01\x01"}, ()),
    ("an overlong count", GateRefusal.NUMBER, {0x42: b"\xff\x7f\x01"}, ()),
    ("an overlong value", GateRefusal.NUMBER, {0x42: b"\x7f\x81\x00"}, ()),
    ("a number of 65 bits", GateRefusal.NUMBER, {0x42: b"\x7f" + b"\xff" * 9 + b"\x02"}, ()),
    ("a null action", GateRefusal.RUNS, {0x42: b"\x00\x01"}, ()),
    ("a counter", GateRefusal.ACTION, {0x42: b"\x7f\x05"}, ()),
    ("a table", GateRefusal.ACTION, {0x42: b"\x7f\x06"}, ()),
    ("a mark", GateRefusal.ACTION, {0x42: b"\x7f\x07"}, ()),
    ("an action of the future", GateRefusal.ACTION, {0x42: b"\x7f\x08"}, ()),
    ("a deletion of nothing", GateRefusal.VALUE, {0x42: b"\x7f\x03"}, ()),
    ("a run of a billion", GateRefusal.ROWS, {0x42: signed(2**40) + b"\x01"}, ()),
    ("a billion nulls", GateRefusal.ROWS, {0x42: b"\x00" + number(2**40)}, ()),
    ("an unsigned value", GateRefusal.VALUE, {0x56: b"\x7f\x13"}, ()),
    ("a counter as a value", GateRefusal.VALUE, {0x56: b"\x7f\x18"}, ()),
    ("a value of an unknown type", GateRefusal.VALUE, {0x56: b"\x7f\x1a"}, ()),
    ("a true of one byte", GateRefusal.VALUE, {0x56: b"\x7f\x12"}, ()),
    ("a float of one byte", GateRefusal.VALUE, {0x56: b"\x7f\x15"}, ()),
    ("a value beyond the end", GateRefusal.TRUNCATED, {0x56: b"\x7f\x26"}, ()),
    ("values left over", GateRefusal.TRAILING, {0x57: b"\x01\x01"}, ()),
    ("an overlong integer", GateRefusal.NUMBER, {0x56: b"\x7f\x24", 0x57: b"\x81\x00"}, ()),
    ("an integer and a half", GateRefusal.VALUE, {0x56: b"\x7f\x24", 0x57: b"\x01\x01"}, ()),
    ("text that is not UTF-8", GateRefusal.VALUE, {0x56: b"\x7f\x16", 0x57: b"\xff"}, ()),
    ("a predecessor without an id", GateRefusal.ROWS, {0x70: b"\x7f\x01"}, ()),
    ("a billion predecessors", GateRefusal.OPERATION_COUNT, {0x70: b"\x7f" + number(2**40)}, ()),
    ("an id without a count", GateRefusal.ROWS, {0x71: b"\x7f\x00", 0x73: b"\x7f\x01"}, ()),
    ("an object without a counter", GateRefusal.REFERENCE, {0x01: b"\x7f\x00"}, ()),
    ("an object without an actor", GateRefusal.REFERENCE, {0x02: b"\x7f\x01"}, ()),
    ("an object 0", GateRefusal.REFERENCE, {0x01: b"\x7f\x00", 0x02: b"\x7f\x00"}, ()),
    ("an object not yet made", GateRefusal.REFERENCE, {0x01: b"\x7f\x00", 0x02: b"\x7f\x01"}, ()),
    ("an unlisted actor", GateRefusal.REFERENCE, {0x01: b"\x7f\x01", 0x02: b"\x7f\x01"}, ()),
]  # fmt: skip


@pytest.mark.parametrize(
    ("refusal", "put", "drop"),
    [case[1:] for case in COLUMN_CASES],
    ids=[c[0] for c in COLUMN_CASES],
)
def test_columns_that_no_honest_device_writes_are_refused(
    refusal: GateRefusal, put: dict[int, bytes], drop: tuple[int, ...]
) -> None:
    """Each was chosen because the library would read it, crash on it, or write it differently."""
    columns = {spec: GOOD[spec] for spec in GOOD if spec not in drop} | put

    assert refusal_of(craft(dict(sorted(columns.items())))) is refusal


@pytest.mark.parametrize(
    ("refusal", "columns"),
    [
        (GateRefusal.RUNS, b"\x7e\x01k\x01k"),
        (GateRefusal.RUNS, b"\x7f\x01k\x7f\x01l"),
        (GateRefusal.RUNS, b"\x00\x02"),
        (GateRefusal.RUNS, b"\x00\x01\x00\x01"),
        (GateRefusal.RUNS, b"\x00\x00\x02\x01k"),
        (GateRefusal.ROWS, b"\x7f\x01k"),
        (GateRefusal.ROWS, b"\x03\x01k"),
        (GateRefusal.KEY, b"\x7f\x01k\x00\x01"),
    ],
)
def test_run_lengths_have_one_form(refusal: GateRefusal, columns: bytes) -> None:
    """The library writes a change anew when it saves: another form means another hash, and loss."""
    good = dict(GOOD) | {0x34: b"\x02", 0x42: b"\x02\x01", 0x56: b"\x02\x14", 0x70: b"\x02\x00"}
    good |= {0x57: b"\x01\x02", 0x15: columns}

    assert refusal_of(craft(good)) is refusal


@pytest.mark.parametrize(
    ("refusal", "wrong"),
    [
        (GateRefusal.TIME_OR_MESSAGE, craft(GOOD, time_and_message=b"\x01\0")),
        (GateRefusal.TIME_OR_MESSAGE, craft(GOOD, time_and_message=b"\0\x01")),
        (GateRefusal.DEPENDENCIES, craft(GOOD, deps=(bytes(32), bytes(32)))),
        (GateRefusal.DEPENDENCIES, craft(GOOD, deps=(b"\1" * 32, bytes(32)))),
        (GateRefusal.DEPENDENCIES, number(257) + bytes(32 * 257)),
        (GateRefusal.NUMBER, craft(GOOD, numbers=b"\0\1")),
        (GateRefusal.NUMBER, craft(GOOD, numbers=b"\1\0")),
        (GateRefusal.NUMBER, craft(GOOD, numbers=b"\x81\x00\x01")),
        (GateRefusal.NUMBER, craft(GOOD, numbers=b"\x01" + number(2**31))),
        (GateRefusal.ACTORS, craft(GOOD, actors=(OTHER,))),
        (GateRefusal.ACTORS, craft(GOOD, actors=(ACTOR,))),
        (GateRefusal.ACTORS, craft(GOOD, actors=(ACTORS[2], OTHER))),
        (GateRefusal.ACTORS, craft(GOOD, actors=(b"short",))),
        (GateRefusal.COLUMN, craft(dict(reversed(GOOD.items())))),
        (GateRefusal.OPERATION_COUNT, craft({})),
        (GateRefusal.TRAILING, craft(GOOD) + b"\0"),
        (GateRefusal.TRUNCATED, craft(GOOD)[:-1]),
        (GateRefusal.TRUNCATED, b""),
        (GateRefusal.TRUNCATED, b"\x01" + bytes(31)),
        (GateRefusal.TOO_LARGE, bytes(1_048_577)),
        (GateRefusal.ROWS, tail(operations(10_001))),
    ],
)
def test_headers_that_no_honest_device_writes_are_refused(
    refusal: GateRefusal, wrong: bytes
) -> None:
    """Time, messages and unused actors would be lost or rewritten by a save: another hash."""
    assert refusal_of(wrong) is refusal


@pytest.mark.parametrize(
    ("refusal", "rows"),
    [
        (GateRefusal.VALUE, operations(1, scalars=[float("nan")])),
        (GateRefusal.VALUE, operations(1, scalars=[float("-inf")])),
        (GateRefusal.VALUE, operations(1, scalars=[-(2**63)])),
        (GateRefusal.VALUE, operations(1, scalars=[timestamp_of(-62_104_060_800_001)])),
        (GateRefusal.VALUE, operations(1, scalars=[timestamp_of(253_370_764_800_000)])),
        (GateRefusal.VALUE, operations(1, actions=[0], scalars=["x"])),
        (GateRefusal.ACTION, operations(1, actions=[DELETE], scalars=[None])),
        (GateRefusal.REFERENCE, operations(1, predecessors=[((1, ACTOR),)])),
        (GateRefusal.REFERENCE, operations(1, objects=[(5, OTHER)])),
        (GateRefusal.ACTION, in_list(True, PUT, 1, ((1, ACTOR),))),
        (GateRefusal.ACTION, in_list(True, DELETE, None, ())),
        (GateRefusal.KEY, in_list(False, PUT, 1, ())),
    ],
)
def test_operations_that_no_honest_device_writes_are_refused(
    refusal: GateRefusal, rows: Operations
) -> None:
    """They are spelled well, and mean nothing."""
    assert refusal_of(tail(rows)) is refusal


def test_predecessors_are_in_order_and_none_twice() -> None:
    """The library panics when it writes them out of order."""
    rows = operations(3, keys=["k", "k", "k"])
    for wrong in (((2, ACTOR), (1, ACTOR)), ((1, ACTOR), (1, ACTOR)), ((1, ACTOR), (1, OTHER))):
        spoiled = rows._replace(predecessors=[(), (), wrong])

        assert refusal_of(tail(spoiled)) is GateRefusal.REFERENCE


# --- damage ----------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_mutated_tail_is_refused_or_harmless(data: Any) -> None:
    """Whatever a member sends: a refusal, or a record that can be read, edited and saved."""
    change = data.draw(st.sampled_from(HISTORY[:1] * 3 + HISTORY))
    mutated = bytearray(tail_of(change))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        mutated[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    try:
        accepted = decode_tail(bytes(mutated), change.actor)
        state = crdt.apply(None, change.actor, accepted, 1)
    except GateError:
        return

    after = crdt.edit(state, OTHER, {"new": [1]}, entry_seq=1, replace=False)
    assert after is not None and after.state.value is not None
    assert after.state.value["new"] == [1]
    assert crdt.compacted(after.state).heads == after.state.heads


@given(st.binary(max_size=200))
def test_random_bytes_raise_decode_error_and_nothing_else(junk: bytes) -> None:
    """The decoder is the first thing that touches what a stranger's key has sealed."""
    for data in (junk, b"\0\1\1\0\0\0\6\x15" + junk, craft(GOOD)[:9] + junk):
        with suppress(DecodeError):
            decode_tail(data, ACTOR)


def test_no_byte_of_a_flat_change_makes_the_shortcut_fail() -> None:
    """It reads on its own and refuses nothing: whatever is wrong is for the general decoder."""
    tail = encode_flat({"a": None, "b": 0.0, "c": 0.0})
    for at in range(len(tail)):
        for byte in range(256):
            decode_flat(tail[:at] + bytes((byte,)) + tail[at + 1 :], bytes(16))
