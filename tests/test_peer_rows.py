"""Peers, addresses, membership and alarms: small tables that must not lie or grow."""

import sqlite3

import pytest

from covey.storage.event_rows import alarms, raise_alarm
from covey.storage.membership_rows import (
    Operation,
    ScopeKey,
    add_operations,
    add_scope_key,
    operations,
    remove_operations,
    scope_keys,
)
from covey.storage.meta_rows import delete_meta, get_meta, set_meta
from covey.storage.peer_rows import (
    ADDRESSES_MAX,
    AddressSource,
    Peer,
    address_failed,
    address_worked,
    addresses,
    forget_peer,
    note_address,
    peer,
    peers,
    proved_peer,
    saw_peer,
    set_peer_state,
)

from .store_rows import memory_conn

DEVICE = b"d" * 32


@pytest.fixture
def conn() -> sqlite3.Connection:
    return memory_conn()


def hosts(conn: sqlite3.Connection) -> list[str]:
    return [row.host for row in addresses(conn, DEVICE)]


def test_a_meta_value_is_replaced_and_forgotten(conn: sqlite3.Connection) -> None:
    """The device's keys lie under such names."""
    set_meta(conn, "a", b"1")
    set_meta(conn, "a", b"2")
    replaced = get_meta(conn, "a")
    delete_meta(conn, "a")
    delete_meta(conn, "a")

    assert (replaced, get_meta(conn, "a")) == (b"2", None)


def test_what_is_learnt_of_a_peer_adds_up(conn: sqlite3.Connection) -> None:
    """A later sight must not erase an earlier proof."""
    saw_peer(conn, DEVICE, 10)
    proved_peer(conn, DEVICE, 20, b"r" * 32)
    saw_peer(conn, DEVICE, 30)
    set_peer_state(conn, DEVICE, b"state")

    assert peer(conn, DEVICE) == Peer(DEVICE, 30, 20, b"r" * 32, b"state")
    assert peers(conn) == [Peer(DEVICE, 30, 20, b"r" * 32, b"state")]
    assert peer(conn, b"x" * 32) is None


def test_the_address_that_worked_last_is_tried_first(conn: sqlite3.Connection) -> None:
    """Reconnecting should take one try."""
    for host in ("a", "b", "c"):
        note_address(conn, DEVICE, host, 1, AddressSource.DISCOVERED)
    address_failed(conn, DEVICE, "a", 1, 5)
    address_worked(conn, DEVICE, "b", 1, 10)
    address_worked(conn, DEVICE, "c", 1, 20)
    address_failed(conn, DEVICE, "c", 1, 30)

    found = addresses(conn, DEVICE)

    assert [(row.host, row.last_ok_ms, row.last_try_ms, row.failures) for row in found] == [
        ("c", 20, 30, 1),
        ("b", 10, 10, 0),
        ("a", None, 5, 1),
    ]


def test_noting_an_address_again_keeps_what_is_known_of_it(conn: sqlite3.Connection) -> None:
    """It is sighted every few minutes."""
    note_address(conn, DEVICE, "a", 1, AddressSource.TYPED)
    address_worked(conn, DEVICE, "a", 1, 10)
    note_address(conn, DEVICE, "a", 1, AddressSource.DISCOVERED)

    (found,) = addresses(conn, DEVICE)

    assert (found.source, found.last_ok_ms) == (AddressSource.TYPED, 10)


def test_addresses_are_bounded_and_the_best_stay(conn: sqlite3.Connection) -> None:
    """Anyone on the network can announce a thousand; the typed and the working ones must stay."""
    note_address(conn, DEVICE, "typed", 1, AddressSource.TYPED)
    note_address(conn, DEVICE, "working", 1, AddressSource.ACCEPTED)
    address_worked(conn, DEVICE, "working", 1, 10)
    note_address(conn, b"o" * 32, "other", 1, AddressSource.DISCOVERED)
    for number in range(3 * ADDRESSES_MAX):
        note_address(conn, DEVICE, f"h{number:03d}", 1, AddressSource.DISCOVERED)

    found = hosts(conn)

    assert len(found) == ADDRESSES_MAX
    assert {"typed", "working", f"h{3 * ADDRESSES_MAX - 1:03d}"} <= set(found)
    assert len(addresses(conn, b"o" * 32)) == 1


def test_a_forgotten_peer_leaves_nothing(conn: sqlite3.Connection) -> None:
    """A removed device must not be dialled again."""
    saw_peer(conn, DEVICE, 1)
    note_address(conn, DEVICE, "a", 1, AddressSource.PAIRING)

    forget_peer(conn, DEVICE)

    assert (peers(conn), hosts(conn)) == ([], [])


def test_operations_keep_their_order_and_are_added_once(conn: sqlite3.Connection) -> None:
    """They are folded at every start, parents before children."""
    first, second = (Operation(bytes([n]) * 32, b"a" * 32, b"body") for n in (9, 1))
    add_operations(conn, [first])
    add_operations(conn, [first, second])
    both = operations(conn)
    remove_operations(conn, [first.op_id])

    assert both == [first, second]
    assert operations(conn) == [second]


def test_a_scope_key_is_kept_once_and_never_shown(conn: sqlite3.Connection) -> None:
    """A key in a log line is a key on every disk that the log reaches."""
    key = ScopeKey(b"t" * 16, 1, b"k" * 32, b"secret-key-bytes")

    assert add_scope_key(conn, key)
    assert not add_scope_key(conn, key)
    assert scope_keys(conn) == [key]
    assert "secret-key" not in repr(key) + str([key]) + f"{key}"


def test_the_same_alarm_is_raised_once(conn: sqlite3.Connection) -> None:
    """A fork is seen again at every connection; a person needs to see it once."""
    assert raise_alarm(conn, 1, "fork", '{"seq":5}')
    assert not raise_alarm(conn, 2, "fork", '{"seq":5}')
    assert raise_alarm(conn, 3, "fork", '{"seq":6}')
    assert [(row.time_ms, row.detail) for row in alarms(conn)] == [
        (1, '{"seq":5}'),
        (3, '{"seq":6}'),
    ]
