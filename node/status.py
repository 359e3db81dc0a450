"""Status: what may be said of each peer and database, from proofs only.

A database is *synced* with a peer only if the digests of all its scopes matched, and nothing has
changed here since. While the peer is away that stays true until the next local change; after a
restart it is known from the root digest that was proved last. Everything else is counted or
*unknown*.

Contract: docs/cli.md, `status`. Bytes are an estimate from what went over the link so far.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..crypto.identity import shown_id
from ..storage import event_rows, peer_rows
from ..storage.peer_rows import Peer
from ..sync.registry import Device
from ..sync.session_standing import Condition, scope_standing
from .rekeying import is_outdated
from .times import iso_time

if TYPE_CHECKING:
    from .engine import Engine
    from .links import Link

ENTRY_BYTES_GUESS = 400
_WORST_FIRST = (
    Condition.DIVERGED,
    Condition.UNKNOWN,
    Condition.SYNCING,
    Condition.BEHIND,
    Condition.AHEAD,
    Condition.SYNCED,
    Condition.NOT_SHARED,
)


@dataclass(frozen=True, slots=True)
class Standing:
    """All of one peer: proved means every shared scope is, now."""

    proved: bool
    settled: bool
    """Proved, but for databases that are held: nothing more will move for now."""
    behind: int
    ahead: int
    bytes_left: int


def peer_standing(engine: "Engine", device: bytes) -> Standing:
    """How we stand with a connected device; nothing is proved with one that is not."""
    links = engine.switchboard.links_to(device)
    if not links:
        return Standing(False, False, 0, 0, 0)
    link = links[-1]
    scopes = engine.ledger.holdings.scopes(link.state.sharing)
    standings = [scope_standing(link.state, scope, engine.ledger.holdings) for scope in scopes]
    behind = sum(standing.behind for standing in standings)
    ahead = sum(standing.ahead for standing in standings)
    told = link.state.knowledge.proved
    proved = told == (
        engine.ledger.holdings.control_digest(),
        engine.ledger.holdings.root(link.state.sharing),
    )
    settled = proved or _is_settled(engine, link)
    return Standing(proved, settled, behind, ahead, behind * _entry_bytes(link))


def _is_settled(engine: "Engine", link: "Link") -> bool:
    """Whether everything that may move on a link is proved, the membership first."""
    holdings, timing = engine.ledger.holdings, link.state.timing
    held = timing.schedule.held | timing.theirs
    if not held or link.state.knowledge.control != holdings.control_digest():
        return False
    return all(
        scope_standing(link.state, scope, holdings).condition is Condition.SYNCED
        for scope in holdings.scopes(link.state.sharing)
        if holdings.database(scope) not in held
    )


async def node_status(engine: "Engine") -> dict[str, Any]:
    """The document of `covey status --json`."""
    await engine.notes.flush()
    peers, alarms = await engine.database.read(
        lambda conn: ({p.device: p for p in peer_rows.peers(conn)}, event_rows.alarms(conn))
    )
    us = engine.our_device()
    rows = [
        await _peer_row(engine, device, peers.get(device.sig_pk))
        for device in sorted(engine.mesh.registry.active(), key=lambda d: (d.name, d.sig_pk))
        if device.sig_pk != us.sig_pk
    ]
    reachable = [row for row in rows if row["state"] == "connected"]
    return {
        "device": {"id": shown_id(us.sig_pk), "name": us.name},
        "mesh": engine.mesh.id.hex(),
        "peers": rows,
        "alarms": [{"time": iso_time(a.time_ms), "kind": a.kind} for a in alarms],
        "waiting_entries": engine.ingest.waiting(),
        "shelf": engine.directory.shelf_rows(),
        "paper_key": bool(engine.mesh.registry.recovery),
        "removed": not us.active,
        "outdated_key": is_outdated(engine),
        "held": engine.scheduling.rows(),
        "schemas_newer": await engine.schemas.newer(),
        "reachable_all_synced": bool(reachable) and all(row["proved"] for row in reachable),
        "reachable_all_settled": bool(reachable) and all(row["settled"] for row in reachable),
    }


async def _peer_row(engine: "Engine", device: Device, seen: Peer | None) -> dict[str, Any]:
    links = engine.switchboard.links_to(device.sig_pk)
    link = links[-1] if links else None
    latest = link or engine.switchboard.latest.get(device.sig_pk)
    standing = peer_standing(engine, device.sig_pk)
    row: dict[str, Any] = {
        "device_id": shown_id(device.sig_pk),
        "name": device.name,
        "state": "connected" if link else "away",
        "path": None,
        "address": None,
        "last_seen": None if not seen or not seen.last_seen_ms else iso_time(seen.last_seen_ms),
        "resting": link is None and engine.phone.is_resting(device.sig_pk),
        "proved": standing.proved,
        "settled": standing.settled,
        "sent_bytes": latest.channel.bytes_sent if latest else 0,
        "received_bytes": latest.channel.bytes_received if latest else 0,
        "sent_entries": latest.traffic.sent_entries if latest else 0,
        "received_entries": latest.traffic.received_entries if latest else 0,
        "databases": [
            {
                **_database_row(engine, device, latest, seen, name, tag),
                "waiting_for": engine.scheduling.waiting_for(device.sig_pk, name),
            }
            for name, tag in _databases(engine)
        ],
    }
    if link:
        row["path"] = engine.reach.path_of(link.channel.remote)
        row["address"] = str(link.channel.remote)
    return row


def _databases(engine: "Engine") -> list[tuple[str, list[bytes]]]:
    names: dict[str, list[bytes]] = {}
    for scope in engine.ledger.scopes():
        names.setdefault(scope.database, []).append(scope.tag)
    return sorted(names.items())


def _database_row(
    engine: "Engine",
    device: Device,
    link: "Link | None",
    seen: Peer | None,
    name: str,
    tags: list[bytes],
) -> dict[str, Any]:
    if link is None:
        return _remembered(engine, device, seen, name, tags)
    now_ms = engine.clock.monotonic_ms()
    standings = [scope_standing(link.state, tag, engine.ledger.holdings) for tag in tags]
    shared = [s for s in standings if s.condition is not Condition.NOT_SHARED] or standings
    worst = min((s.condition for s in shared), key=_WORST_FIRST.index)
    proofs = [s.proved_at_ms for s in shared if s.proved_at_ms is not None]
    behind, ahead = sum(s.behind for s in shared), sum(s.ahead for s in shared)
    proved_at = None
    if proofs and len(proofs) == len(shared):
        proved_at = iso_time(engine.clock.wall_ms() - (now_ms - min(proofs)))
    return {
        "name": name,
        "state": worst.value,
        "behind": behind,
        "ahead": ahead,
        "bytes_left": (behind + ahead) * _entry_bytes(link),
        "proved_at": proved_at,
    }


def _remembered(
    engine: "Engine", device: Device, seen: Peer | None, name: str, tags: list[bytes]
) -> dict[str, Any]:
    """Before the first session of this run: what the last proof of an earlier run still says."""
    sharing = engine.mesh.sharing_with(device.sig_pk).with_floors(engine.mesh.buckets.floors())
    if not any(engine.ledger.holdings.is_shared(tag, sharing) for tag in tags):
        state = Condition.NOT_SHARED
    elif seen is not None and seen.proof_root == engine.ledger.holdings.root(sharing):
        state = Condition.SYNCED
    else:
        state = Condition.UNKNOWN
    proved_at = None if seen is None or not seen.last_proof_ms else iso_time(seen.last_proof_ms)
    return {
        "name": name,
        "state": state.value,
        "behind": 0,
        "ahead": 0,
        "bytes_left": 0,
        # The time is of one proof over everything; it speaks for this database only if it holds.
        "proved_at": proved_at if state is Condition.SYNCED else None,
    }


def _entry_bytes(link: "Link") -> int:
    """Bytes an entry took on this link so far, about."""
    entries = link.traffic.received_entries + link.traffic.sent_entries
    if not entries:
        return ENTRY_BYTES_GUESS
    return (link.channel.bytes_received + link.channel.bytes_sent) // entries
