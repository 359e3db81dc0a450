"""Packing: a packed record is the same record, whatever happens to it, and takes less room."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from covey.storage import pack_rows
from covey.storage.feed_rows import last_change
from covey.storage.pack_rows import Tier, ages, drop_idle_dictionaries, pack, unpacked
from covey.storage.record_rows import (
    NewRecord,
    Record,
    RecordUpdate,
    existing,
    existing_in,
    insert_records,
    locate,
    remove_records,
    update_records,
    wipe_projection,
)
from covey.storage.store import Conn

from .store_rows import a_collection, memory_conn

TIERS = [Tier.WARM, Tier.COLD]


def document(number: int) -> bytes:
    """A document as records of one collection have it: much in common, and something of its own."""
    return b"\x85oJ\x83 actor 0123456789abcdef columns text author thread" * 4 + b"%08d" % number


def insert(
    conn: Conn, coll_no: int, id: str, doc: bytes | None, meta: bytes | None = b"meta"
) -> int:
    row = NewRecord(coll_no, id, '{"n":1}', 7 << 16, 1, 2, 0, doc, meta, "words")
    return insert_records(conn, [row])[0]


def fill(conn: Conn, coll_no: int, count: int = 40) -> list[int]:
    return [insert(conn, coll_no, f"r{n:03}", document(n), b"meta%d" % n) for n in range(count)]


def packs(conn: Conn) -> list[Any]:
    return conn.execute("SELECT record_no, tier FROM record_packs ORDER BY record_no").fetchall()


@pytest.mark.parametrize("tier", TIERS)
def test_a_packed_record_reads_as_it_was(tier: Tier) -> None:
    """Writing, syncing and judging go by documents: a byte that differs splits devices."""
    conn = memory_conn()
    notes = a_collection(conn)
    numbers = fill(conn, notes)
    ids = [f"r{n:03}" for n in range(40)]
    before = existing(conn, notes, ids)
    done = pack(conn, tier, notes, numbers)

    assert existing(conn, notes, ids) == before
    assert existing(conn, notes, ["r007"]) == {"r007": before["r007"]}
    assert sorted(existing_in(conn, [notes, 99], ids)) == sorted(before.values())
    assert locate(conn, "memory", "notes", "r003") == [before["r003"]]
    assert done.records == 40 and done.after < done.before * 0.4
    assert packs(conn) == [(number, tier) for number in numbers]


@pytest.mark.parametrize("doc", [b"d", document(1), bytes(range(256)) * 400])
@pytest.mark.parametrize("meta", [None, b"", b"m" * 300])
@pytest.mark.parametrize("tier", TIERS)
def test_any_document_and_meta_come_back(doc: bytes, meta: bytes | None, tier: Tier) -> None:
    """What they hold is not this floor's business, so nothing of it may matter."""
    conn = memory_conn()
    notes = a_collection(conn)
    fill(conn, notes, 30)
    number = insert(conn, notes, "x", doc, meta)
    pack(conn, tier, notes, [number])

    found = existing(conn, notes, ["x"])["x"]
    assert (found.doc, found.meta) == (doc, meta or (None if meta is None else b""))


def test_a_record_that_has_no_document_is_passed_over() -> None:
    """Most records were written once: their entry is all there is."""
    conn = memory_conn()
    notes = a_collection(conn)
    number = insert(conn, notes, "x", None, None)

    assert pack(conn, Tier.COLD, notes, [number, 999]).records == 0
    assert existing(conn, notes, ["x"])["x"].doc is None


def test_few_records_are_packed_without_a_dictionary() -> None:
    """It would take more room than it saves."""
    conn = memory_conn()
    notes = a_collection(conn)
    numbers = fill(conn, notes, 3)
    pack(conn, Tier.COLD, notes, numbers)

    assert conn.execute("SELECT count(*) FROM pack_dictionaries").fetchone() == (0,)
    assert existing(conn, notes, ["r001"])["r001"].doc == document(1)


def test_packing_is_no_change_of_a_record() -> None:
    """Whoever follows the records must not read all of them again."""
    conn = memory_conn()
    notes = a_collection(conn)
    numbers = fill(conn, notes)
    seen = last_change(conn)
    pack(conn, Tier.WARM, notes, numbers)
    pack(conn, Tier.COLD, notes, numbers)

    assert last_change(conn) == seen


@pytest.mark.parametrize("tier", TIERS)
def test_packing_leaves_whole_pages_free(tier: Tier) -> None:
    """Room within a page is of use to nobody: without this the store would even grow."""
    conn = memory_conn()
    notes = a_collection(conn)
    numbers = [insert(conn, notes, f"r{n}", document(n) * 6) for n in range(400)]
    (before,) = conn.execute("PRAGMA page_count").fetchone()
    for start in range(0, 400, 50):
        pack(conn, Tier.WARM, notes, numbers[start : start + 50])
    if tier is Tier.COLD:
        pack(conn, tier, notes, numbers)
    (free,) = conn.execute("PRAGMA freelist_count").fetchone()

    assert free > before * 0.5
    assert [age.record_no for age in ages(conn, 0, 999)] == numbers


def test_writing_makes_a_record_hot_and_leaves_nothing_behind() -> None:
    """A pack that stayed would be read in the place of the new document some day."""
    conn = memory_conn()
    notes = a_collection(conn)
    numbers = fill(conn, notes)
    pack(conn, Tier.COLD, notes, numbers)
    update_records(conn, [RecordUpdate(numbers[0], "{}", 9, 1, 3, 0, b"new", b"m", "")])
    remove_records(conn, notes, ["r001"])

    assert existing(conn, notes, ["r000"])["r000"].doc == b"new"
    assert packs(conn) == [(number, Tier.COLD) for number in numbers[2:]]
    wipe_projection(conn, 1)
    assert packs(conn) == []
    assert drop_idle_dictionaries(conn) == 1


def test_ages_tell_the_tier_and_what_is_not_packed() -> None:
    """They are all that packing is decided by."""
    conn = memory_conn()
    notes = a_collection(conn)
    first, second = insert(conn, notes, "a", b"dd", b"mmm"), insert(conn, notes, "b", None, None)
    third = insert(conn, notes, "c", b"dd", b"mmm")
    pack(conn, Tier.WARM, notes, [third])

    assert ages(conn, 0, 2) == [
        (first, notes, 7 << 16, Tier.HOT, 5, False),
        (second, notes, 7 << 16, Tier.HOT, 0, False),
    ]
    assert ages(conn, second, 9) == [(third, notes, 7 << 16, Tier.WARM, 0, False)]


class Model(RuleBasedStateMachine):
    """Records that are packed whenever it likes, beside a dict of what they are."""

    def __init__(self) -> None:
        super().__init__()
        self.conn = memory_conn()
        self.notes = a_collection(self.conn)
        self.model: dict[str, tuple[bytes | None, bytes | None]] = {}

    def _numbers(self) -> dict[str, int]:
        found: dict[str, Record] = existing(self.conn, self.notes, list(self.model))
        return {id: record.record_no for id, record in found.items()}

    @rule(id=st.sampled_from("abcdef"), doc=st.none() | st.binary(min_size=1, max_size=40))
    def put(self, id: str, doc: bytes | None) -> None:
        meta = None if doc is None else b"m" + doc[:3]
        if id in self.model:
            number = self._numbers()[id]
            update_records(self.conn, [RecordUpdate(number, "{}", 1, 1, 1, 0, doc, meta, "")])
        else:
            insert(self.conn, self.notes, id, doc, meta)
        self.model[id] = doc, meta

    @rule(ids=st.sets(st.sampled_from("abcdef")), tier=st.sampled_from(TIERS))
    def pack(self, ids: set[str], tier: Tier) -> None:
        numbers = self._numbers()
        pack(self.conn, tier, self.notes, [numbers[id] for id in sorted(ids) if id in numbers])

    @rule(id=st.sampled_from("abcdef"))
    def remove(self, id: str) -> None:
        remove_records(self.conn, self.notes, [id])
        self.model.pop(id, None)

    @rule()
    def tidy(self) -> None:
        drop_idle_dictionaries(self.conn)

    def teardown(self) -> None:
        found = existing(self.conn, self.notes, list(self.model))
        assert {id: (one.doc, one.meta) for id, one in found.items()} == self.model
        packed = [number for number, _ in packs(self.conn)]
        assert set(unpacked(self.conn, packed)) == set(packed)


test_whatever_is_packed_records_are_what_they_were = Model.TestCase


def test_the_dictionary_of_a_collection_is_within_the_window() -> None:
    """Beyond it the compressor sees nothing, and every reading would fetch it all the same."""
    conn = memory_conn()
    notes = a_collection(conn)
    numbers = [insert(conn, notes, f"r{n}", document(n) * 30) for n in range(60)]
    pack(conn, Tier.COLD, notes, numbers)

    (size,) = conn.execute("SELECT length(body) FROM pack_dictionaries").fetchone()
    assert size == pack_rows.DICTIONARY_BYTES_MAX
