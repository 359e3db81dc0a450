"""I3 and I1 where devices were removed: what of theirs counts, and what is on the shelf.

An entry of a removed device counts if the removal had seen it, or if an entry that counts rests on
it. This is worked out here from what a store holds, without what the node has worked out, and
compared. What does not count is on the shelf, is told by `status`, and is the same for all.
"""

from collections.abc import Iterator
from typing import ClassVar

from ...crypto.entry import CONTROL_SCOPE
from ...crypto.errors import CryptoError
from ...node.ingest_rows import QUARANTINED, SHELVED
from ...node.ledger import Log, Scope
from ...node.stored import split_heads, stored_entry
from ...storage import log_rows
from ...storage.store import Conn
from ...sync.changeset import decode_change_set
from ...sync.errors import DecodeError
from ...sync.membership import Membership
from ...sync.operations import ADOPT, REVOKE, is_well_formed
from ..sim_device import SimDevice
from .belonging import circles, shared_between
from .checker import Checker
from .convergence import may_read
from .operations import Operations, fold_of, operations_of
from .travel import is_plain

_STATES = """
SELECT e.log_no, e.seq, e.state, h.heads FROM entries e JOIN headings h USING (heading_no)
"""
Place = tuple[int, int]
"""Number of a log in a store, and number of an entry in the log."""
Shelf = dict[tuple[bytes, bytes], frozenset[int]]
"""(scope tag, instance) -> the numbers of entries on the shelf."""


SHELF_LOOKED_AT = 100_000


class ShelfChecker(Checker):
    """Judges the entries of removed devices anew."""

    claims: ClassVar[dict[str, str]] = {
        "I3": "no acknowledged write is lost, and none that was surely replaced comes back",
        "I1": "with the same entries go the same records, conflicts, members and digests",
    }

    async def at_rest(self) -> None:
        for circle in circles(list(self.sound())):
            for device in circle:
                self._is_listed(device)
                registry = device.engine.mesh.registry
                if registry.cuts or not all(d.active for d in registry.devices.values()):
                    operations = operations_of(device)
                    self._is_right(device, fold_of(device.engine.mesh.id, operations))
                    self._holds_what_was_cut(device, circle, operations)
                    self._tells_all_that_was_seen(device, operations)
            for device in circle[1:]:
                self._are_equal(circle[0], device)

    def _is_listed(self, device: SimDevice) -> None:
        """The shelf in memory is that on the disk, and `status` tells all of it."""
        engine = device.engine
        on_disk = len(device.store.look(_on_shelf))
        in_memory = sum(len(log.shelved) for log in engine.ledger.logs())
        told = sum(row["entries"] for row in engine.directory.shelf_rows())
        if not on_disk == in_memory == told:
            counts = f"{on_disk} entries, {in_memory} are known of and {told} told"
            self.violate("I3", device.name, f"the shelf has {counts}")

    def _is_right(self, device: SimDevice, fold: Membership) -> None:
        engine = device.engine
        rows = device.store.look(lambda conn: conn.execute(_STATES).fetchall())
        for scope in engine.ledger.scopes():
            if scope.tag == CONTROL_SCOPE or not scope.privacy:
                continue
            states, direct = {}, set()
            for log_no, seq, state, heads in rows:
                log = engine.ledger.log_numbered(log_no)
                if log.scope is not scope or state == QUARANTINED:
                    continue
                states[log_no, seq] = state
                if _counts_by_itself(fold, log, seq, split_heads(heads)):
                    direct.add((log_no, seq))
            counting = _with_their_past(device, scope, direct)
            for place, state in sorted(states.items()):
                if (state == SHELVED) == (place in counting):
                    author = engine.ledger.log_numbered(place[0]).author
                    whose = next((n for n, id in self.run.ids.items() if id == author), "somebody")
                    what = (
                        "on the shelf, and counts" if state == SHELVED else "applied all the same"
                    )
                    self.violate("I3", device.name, f"entry {place[1]} of {whose} is {what}")

    def _holds_what_was_cut(
        self, device: SimDevice, circle: list[SimDevice], operations: Operations
    ) -> None:
        """What somebody of this circle had seen of a device, when it removed it, has come."""
        registry, ledger = device.engine.mesh.registry, device.engine.ledger
        ids = {other.engine.keys.sig_pk for other in circle}
        for id, (author, operation) in sorted(operations.items()):
            if operation.kind not in (REVOKE, ADOPT) or not is_well_formed(operation):
                continue
            if id in registry.ignored or author not in ids or self._was_set_back(author):
                continue
            if registry.devices[author].level != "full":
                continue
            for tag, instance, seq, entry in operation.details["cut"]:
                scope = ledger.scope(tag)
                if scope is None or not scope.privacy or not may_read(device, scope.privacy):
                    continue
                log = ledger.log(tag, instance)
                if log is None or _id_at(device, log, seq) != entry:
                    self.violate("I3", device.name, f"lacks entry {seq}, which a removal had seen")
                elif log.shelved and min(log.shelved) <= seq:
                    told = f"entry {min(log.shelved)} is on the shelf, which a removal had seen"
                    self.violate("I3", device.name, told)

    def _tells_all_that_was_seen(self, device: SimDevice, operations: Operations) -> None:
        """A removal or adoption says how far its author had the other's logs, and leaves out none.

        What it leaves out goes on the shelf, and nobody can tell that it should not.
        """
        for cut in self.run.cuts:
            rows = [
                operation.details["cut"]
                for author, operation in operations.values()
                if (author, operation.kind) == (cut.author, cut.kind)
                and operation.details["device"] == cut.about
            ]
            told = {
                (tag, instance): seq
                for tag, instance, seq, _ in sorted(row for part in rows for row in part)
            }
            if rows and any(told.get(at, 0) < seq for at, seq in cut.seen.items()):
                self.violate("I3", device.name, "a removal says less than its author had seen")

    def _was_set_back(self, author: bytes) -> bool:
        """Whether a device may have lost what it had seen."""
        names = [name for name, id in self.run.ids.items() if id == author]
        return bool(self.run.images) or any(name in self.run.spoiled for name in names)

    def _are_equal(self, one: SimDevice, other: SimDevice) -> None:
        ours, theirs = _shelf(one, other), _shelf(other, one)
        if ours != theirs:
            told = f"has {_size(theirs)} entries on the shelf, and {one.name} has {_size(ours)}"
            self.violate("I1", other.name, told)


def _counts_by_itself(fold: Membership, log: Log, seq: int, heads: tuple[bytes, ...]) -> bool:
    cut = fold.registry.cuts.get(log.author, {}).get((log.scope.tag, log.instance))
    return fold.admissible(log.author, heads) or (cut is not None and seq <= cut[0])


def _with_their_past(device: SimDevice, scope: Scope, direct: set[Place]) -> set[Place]:
    """These entries and all that they rest on."""
    found, line = set(direct), sorted(direct)
    while line:
        for place in _rests_on(device, scope, line.pop()):
            if place not in found:
                found.add(place)
                line.append(place)
    return found


def _rests_on(device: SimDevice, scope: Scope, place: Place) -> Iterator[Place]:
    engine = device.engine
    stored = device.store.look(lambda conn: stored_entry(conn, *place))
    if stored is None or stored.entry.state == QUARANTINED:
        return
    try:
        body = engine.mesh.open_entry(engine.ledger.log_numbered(place[0]), stored)
        changes = () if body is None else decode_change_set(body).changes
    except (CryptoError, DecodeError):
        return
    for change in changes:
        for instance, seq in change.past:
            log = engine.ledger.log(scope.tag, instance)
            if log is not None:
                yield log.number, seq


def _id_at(device: SimDevice, log: Log, seq: int) -> bytes | None:
    def read(conn: Conn) -> bytes | None:
        return log_rows.entry_id_at(conn, log.number, seq)

    return device.store.look(read)


def _shelf(device: SimDevice, other: SimDevice) -> Shelf:
    """The shelf of a device, as far as another one may read that, and policies let it go there."""
    ledger, is_anywhere = device.engine.ledger, is_plain(device.engine)
    sharing = shared_between(device, other)
    return {
        (log.scope.tag, log.instance): frozenset(log.shelved)
        for log in ledger.logs()
        if log.shelved
        and may_read(device, log.scope.privacy)
        and may_read(other, log.scope.privacy)
        and (is_anywhere or ledger.holdings.shares(log.scope.tag, log.author, sharing))
    }


def _size(shelf: Shelf) -> int:
    return sum(len(numbers) for numbers in shelf.values())


def _on_shelf(conn: Conn) -> list[log_rows.Entry]:
    return log_rows.entries_in_state(conn, SHELVED, 0, SHELF_LOOKED_AT)
