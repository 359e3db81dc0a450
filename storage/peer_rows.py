"""Peer rows: what we know of other devices beside membership: sight, proof of sync, addresses.

Nothing here is trusted: an address is a place to try. A device keeps at most `ADDRESSES_MAX`; the
one that worked longest ago, or never, makes room. Times are milliseconds since 1970.
"""

from enum import StrEnum
from typing import NamedTuple

from .store import Conn

ADDRESSES_MAX = 64


class AddressSource(StrEnum):
    """How we came to an address. The values are those of the column."""

    DISCOVERED = "discovered"
    TYPED = "typed"
    ACCEPTED = "accepted"
    PAIRING = "pairing"


class Peer(NamedTuple):
    """`proof_root` is the root digest that matched at `last_proof_ms`; `state` is the caller's."""

    device: bytes
    last_seen_ms: int | None
    last_proof_ms: int | None
    proof_root: bytes | None
    state: bytes | None


class KnownAddress(NamedTuple):
    """`failures` counts the tries since the last success."""

    device: bytes
    host: str
    port: int
    source: AddressSource
    last_ok_ms: int | None
    last_try_ms: int | None
    failures: int


_PEER_COLUMNS = "device, last_seen_ms, last_proof_ms, proof_root, state"
_BEST_FIRST = "ORDER BY ifnull(last_ok_ms, 0) DESC, failures, host, port"


def peers(conn: Conn) -> list[Peer]:
    """All peers ever seen, by device."""
    rows = conn.execute(f"SELECT {_PEER_COLUMNS} FROM peers ORDER BY device")
    return [Peer(*row) for row in rows.fetchall()]


def peer(conn: Conn, device: bytes) -> Peer | None:
    """One peer, or None if it was never seen."""
    row = conn.execute(f"SELECT {_PEER_COLUMNS} FROM peers WHERE device = ?", (device,)).fetchone()
    return None if row is None else Peer(*row)


def saw_peer(conn: Conn, device: bytes, now_ms: int) -> None:
    """The peer is there."""
    conn.execute(
        "INSERT INTO peers (device, last_seen_ms) VALUES (?, ?)"
        " ON CONFLICT (device) DO UPDATE SET last_seen_ms = excluded.last_seen_ms",
        (device, now_ms),
    )


def proved_peer(conn: Conn, device: bytes, now_ms: int, root: bytes) -> None:
    """Our root digest and the peer's were equal."""
    conn.execute(
        "INSERT INTO peers (device, last_seen_ms, last_proof_ms, proof_root) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (device) DO UPDATE SET last_seen_ms = excluded.last_seen_ms,"
        " last_proof_ms = excluded.last_proof_ms, proof_root = excluded.proof_root",
        (device, now_ms, now_ms, root),
    )


def set_peer_state(conn: Conn, device: bytes, state: bytes) -> None:
    """Keep what the caller wants to know of the peer at the next start."""
    conn.execute(
        "INSERT INTO peers (device, state) VALUES (?, ?)"
        " ON CONFLICT (device) DO UPDATE SET state = excluded.state",
        (device, state),
    )


def note_address(conn: Conn, device: bytes, host: str, port: int, source: AddressSource) -> None:
    """Remember an address to try; what is known of it already stays."""
    conn.execute(
        "INSERT INTO addresses (device, host, port, source, failures) VALUES (?, ?, ?, ?, 0)"
        " ON CONFLICT (device, host, port) DO NOTHING",
        (device, host, port, str(source)),
    )
    # A typed address is a person's wish and goes last; the newest one must not be the first to go.
    conn.execute(
        "DELETE FROM addresses WHERE device = ? AND (host, port) IN"
        " (SELECT host, port FROM addresses WHERE device = ? AND NOT (host = ? AND port = ?)"
        " ORDER BY source = 'typed' DESC, ifnull(last_ok_ms, 0) DESC, failures, host, port"
        f" LIMIT -1 OFFSET {ADDRESSES_MAX - 1})",
        (device, device, host, port),
    )


def address_worked(conn: Conn, device: bytes, host: str, port: int, now_ms: int) -> None:
    """The device was reached there and proved to be itself."""
    conn.execute(
        "UPDATE addresses SET last_ok_ms = ?, last_try_ms = ?, failures = 0"
        " WHERE device = ? AND host = ? AND port = ?",
        (now_ms, now_ms, device, host, port),
    )


def address_failed(conn: Conn, device: bytes, host: str, port: int, now_ms: int) -> None:
    """The device was not reached there."""
    conn.execute(
        "UPDATE addresses SET last_try_ms = ?, failures = failures + 1"
        " WHERE device = ? AND host = ? AND port = ?",
        (now_ms, device, host, port),
    )


def addresses(conn: Conn, device: bytes) -> list[KnownAddress]:
    """The addresses of a device, the one that worked last first."""
    rows = conn.execute(
        "SELECT device, host, port, source, last_ok_ms, last_try_ms, failures FROM addresses"
        f" WHERE device = ? {_BEST_FIRST}",
        (device,),
    )
    return [
        KnownAddress(device, host, port, AddressSource(source), *rest)
        for device, host, port, source, *rest in rows.fetchall()
    ]


def forget_peer(conn: Conn, device: bytes) -> None:
    """Forget sight, proof and addresses of a device (it was removed)."""
    conn.execute("DELETE FROM addresses WHERE device = ?", (device,))
    conn.execute("DELETE FROM peers WHERE device = ?", (device,))
