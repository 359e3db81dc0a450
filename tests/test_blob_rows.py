"""Blob rows: references follow records, and nothing is deleted that somebody may still need."""

import sqlite3

import pytest

from covey.storage import blob_rows, record_rows
from covey.storage.blob_rows import Blob, BlobState, Reference
from covey.storage.log_rows import ensure_log

from .store_rows import a_collection, a_scope, memory_conn

CAT, DOG = b"c" * 32, b"d" * 32
PLACE = b"p" * 32


def reference(id: bytes, field: str = "photo", variant: str = "", size: int = 700) -> Reference:
    return Reference(field, variant, id, size, "image/png", "cat.png", b"manifest of " + id[:1])


@pytest.fixture
def conn() -> sqlite3.Connection:
    return memory_conn()


def a_record(conn: sqlite3.Connection, id: str = "one", *references: Reference) -> int:
    log = ensure_log(conn, a_scope(conn), b"i" * 16, b"a" * 32)
    new = record_rows.NewRecord(a_collection(conn), id, "{}", 0, log, 1, 0, None, None, "")
    (number,) = record_rows.insert_records(conn, [new])
    blob_rows.refer(conn, number, references)
    return number


def known(conn: sqlite3.Connection, id: bytes) -> Blob:
    blob = blob_rows.by_id(conn, id)
    assert blob is not None
    return blob


def put(conn: sqlite3.Connection, id: bytes = CAT, now_ms: int = 5) -> int:
    """A blob of one chunk that was put here, and that no record refers to."""
    number = blob_rows.begin(conn, PLACE, now_ms)
    blob_rows.finish(conn, number, id, 700, b"manifest", b"\x01", now_ms)
    return number


def test_a_reference_makes_a_blob_known(conn: sqlite3.Connection) -> None:
    """A device must be able to say that a picture exists before a byte of it is here."""
    a_record(conn, "one", reference(CAT), reference(DOG, variant="thumbnail"))

    cat = known(conn, CAT)
    assert (cat.size, cat.held, cat.bits, cat.place, cat.state) == (700, 0, b"", None, 0)
    assert blob_rows.manifest(conn, cat.blob_no) == b"manifest of c"
    (place,) = blob_rows.places(conn, known(conn, DOG).blob_no)
    assert (place.database, place.collection, place.record) == ("memory", "notes", "one")
    assert (place.field, place.variant, place.name) == ("photo", "thumbnail", "cat.png")


def test_references_are_replaced_with_their_record(conn: sqlite3.Connection) -> None:
    """What a record no longer shows must not keep a gigabyte alive."""
    number = a_record(conn, "one", reference(CAT))
    blob_rows.refer(conn, number, [reference(DOG, "other")])

    assert blob_rows.places(conn, known(conn, CAT).blob_no) == []
    found = blob_rows.at(conn, "memory", "notes", "one", "other", "")
    assert found is not None and found[0].id == DOG
    assert blob_rows.at(conn, "memory", "notes", "one", "photo", "") is None


@pytest.mark.parametrize("how", ["removed", "wiped"])
def test_references_go_with_their_record(conn: sqlite3.Connection, how: str) -> None:
    """A number of a record is used again: its references would be those of a stranger."""
    a_record(conn, "one", reference(CAT))
    if how == "removed":
        record_rows.remove_records(conn, a_collection(conn), ["one"])
    else:
        record_rows.wipe_projection(conn, a_scope(conn))

    assert blob_rows.places(conn, known(conn, CAT).blob_no) == []


def test_two_records_may_refer_to_one_blob(conn: sqlite3.Connection) -> None:
    """The same photo in two albums is stored once."""
    a_record(conn, "one", reference(CAT))
    a_record(conn, "two", reference(CAT))

    assert [place.record for place in blob_rows.places(conn, known(conn, CAT).blob_no)] == [
        "one",
        "two",
    ]
    assert len(blob_rows.referred(conn, 0, 10)) == 1


def test_only_what_nobody_refers_to_for_long_enough_is_deleted(conn: sqlite3.Connection) -> None:
    """A record that is edited twice in a minute must not lose its picture in between."""
    a_record(conn, "one", reference(DOG))
    number = put(conn)
    blob_rows.mark_unreferenced(conn, 100)

    assert blob_rows.begin_deleting(conn, 5, ()) == []
    assert [blob.blob_no for blob in blob_rows.begin_deleting(conn, 6, ())] == [number]
    assert known(conn, DOG).state is BlobState.KEPT


def test_what_is_held_is_not_deleted(conn: sqlite3.Connection) -> None:
    """A put that is not linked yet, or a transfer, needs what no record refers to."""
    number = put(conn)

    assert blob_rows.begin_deleting(conn, 1_000, [number]) == []


def test_a_new_reference_takes_the_delay_back(conn: sqlite3.Connection) -> None:
    """Else a blob could be deleted in the minute in which it is referred to again."""
    put(conn, CAT, 5)
    a_record(conn, "one", reference(CAT))

    assert blob_rows.begin_deleting(conn, 1_000, ()) == []


def test_a_reference_that_comes_while_files_are_removed_finds_the_blob_absent(
    conn: sqlite3.Connection,
) -> None:
    """It must be fetched again, and not be shown as here."""
    number = put(conn)
    blob_rows.begin_deleting(conn, 1_000, ())
    a_record(conn, "one", reference(CAT))
    blob_rows.deleted(conn, number)

    cat = known(conn, CAT)
    assert (cat.state, cat.held, cat.bits, cat.place) == (BlobState.KEPT, 0, b"", None)


def test_what_is_deleted_leaves_nothing(conn: sqlite3.Connection) -> None:
    """The key of a blob is in its manifest, and must not outlive it."""
    number = put(conn)
    blob_rows.add_holder(conn, number, b"h" * 32)
    blob_rows.begin_deleting(conn, 1_000, ())
    blob_rows.deleted(conn, number)

    for table in ("blobs", "blob_manifests", "blob_chunks", "blob_holders"):
        assert conn.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_a_crash_leaves_what_was_under_way_to_be_found(conn: sqlite3.Connection) -> None:
    """Files without a row would fill the disk for ever."""
    putting = blob_rows.begin(conn, PLACE, 5)
    deleting = put(conn)
    blob_rows.give_up(conn, deleting)

    assert [b.blob_no for b in blob_rows.unfinished(conn, BlobState.PUTTING)] == [putting]
    assert [b.blob_no for b in blob_rows.unfinished(conn, BlobState.DELETING)] == [deleting]


def test_only_what_another_device_holds_is_evicted(conn: sqlite3.Connection) -> None:
    """The only copy of a picture is not a cache."""
    alone, shared = put(conn, CAT), put(conn, DOG, 3)
    blob_rows.add_holder(conn, shared, b"h" * 32)

    assert [blob.blob_no for blob in blob_rows.evictable(conn)] == [shared]
    assert blob_rows.holders(conn, alone) == []
    assert blob_rows.held_bytes(conn, 262_144) == 1_400
