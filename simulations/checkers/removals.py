"""I5: whoever was removed learns nothing any more, whatever it keeps and whoever helps it.

At rest an attacker takes the place of each removed device. It has every key of that device's
store, its private keys, every grant that anybody holds, and every entry of every store. What was
written by a device that knew of the removal, it must not open. Nobody is linked to it, and no frame
went to it from a device that knew.

One kind of entry it may open: the grant of a control key, which goes under an older one so that
those who lack the newer can read it. Its boxes are for them.
"""

from collections.abc import Iterator
from functools import partial
from typing import ClassVar, NamedTuple

from ...crypto.entry import CONTROL_SCOPE, entry_id, open_sealed
from ...crypto.errors import CryptoError
from ...crypto.grants import open_key
from ...crypto.identity import DeviceKeys
from ...node.hello import HELLO_BYTES_MAX, MAGIC
from ...node.ledger import Log
from ...node.status import node_status
from ...node.stored import StoredEntry, split_heads, stored_entry
from ...storage import membership_rows
from ...storage.store import Conn
from ...sync.errors import DecodeError
from ...sync.membership import Membership, decode_operation
from ...sync.operations import GRANT, is_control_grant, is_well_formed
from ...sync.registry import LEVEL_ORDER, Device, may_hold
from ..run import Run
from ..sim_device import SimDevice
from .checker import Checker
from .operations import Operations, fold_of, operations_of

_SEALED = """
SELECT DISTINCT e.log_no, h.key_id, h.heads FROM entries e JOIN headings h USING (heading_no)
"""
_UNDER = """
SELECT e.seq FROM entries e JOIN headings h USING (heading_no)
WHERE e.log_no = ? AND h.key_id = ? AND h.heads = ? ORDER BY e.seq
"""
HANDSHAKE_BYTES = (48, 96)
"""What the two messages of the handshake IK have (docs/protocol.md, section 5)."""
REMOVING = ("revoke", "leave")
LIMITING = (*REMOVING, "set-level")


class _Sealed(NamedTuple):
    """Entries of one log that were sealed under one key, by whoever knew these operations."""

    holder: SimDevice
    log: Log
    key_id: bytes
    heads: bytes


class RemovalChecker(Checker):
    """Watches the wire, and attacks every store at the end."""

    claims: ClassVar[dict[str, str]] = {
        "I5": "who was removed opens nothing sealed by who knew of it, and is told nothing",
        "I6": "no device holds a key or a record beyond its level, or another's of level device",
    }

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._told: dict[tuple[str, str], None] = {}

    def at_message(self, source: str, target: str, message: bytes) -> None:
        """No frame goes to a device that its sender knows to be removed.

        The hello and the handshake go to whoever has an address, before it is known who that is;
        they hold nothing but fresh keys.
        """
        if self.run.done.keys().isdisjoint(REMOVING):
            return
        device, id = self.run.device(source), self.run.ids.get(target)
        if device is None or id is None or (source, target) in self._told:
            return
        known = device.engine.mesh.registry.devices.get(id)
        if known is None or known.active:
            return
        is_hello = message[: len(MAGIC)] == MAGIC and len(message) <= HELLO_BYTES_MAX
        if is_hello or len(message) in HANDSHAKE_BYTES:
            return
        self._told[source, target] = None
        told = f"{len(message)} bytes went to {target}, which it knows to be removed"
        self.violate("I5", source, told)

    async def at_rest(self) -> None:
        if not any(self.run.done[do] for do in LIMITING):
            return
        for device in self.sound():
            await self._has_no_company(device)
        running = self.run.world.running()
        operations: Operations = {}
        for device in running:
            operations |= operations_of(device)
        fold = fold_of(running[0].engine.mesh.id, operations)
        sealed = [one for device in self.sound() for one in _sealed(device)]
        for attacker in running:
            self._attack(attacker, fold, operations, sealed)

    async def _has_no_company(self, device: SimDevice) -> None:
        """Nobody who was removed is linked, in sync, or shown as somebody to wait for."""
        engine = device.engine
        gone = {d.sig_pk: d for d in engine.mesh.registry.devices.values() if not d.active}
        for link in engine.switchboard.links.values():
            if link.device in gone:
                self.violate("I5", device.name, "at rest, it is linked to who was removed")
        shown = {row["device_id"] for row in (await node_status(engine))["peers"]}
        for id in gone:
            if engine.shown_id(id) in shown or engine.standing_with(id).proved:
                self.violate("I5", device.name, "who was removed is shown as somebody in sync")

    def _attack(
        self,
        attacker: SimDevice,
        fold: Membership,
        operations: Operations,
        sealed: list[_Sealed],
    ) -> None:
        """Try what somebody with all that this device has could open, and should not."""
        us = attacker.engine.keys.sig_pk
        now = fold.registry.devices[us]
        keys = _keys_of(attacker, operations)
        honest = {*self.run.ids.values()} - {us}
        for one in sealed:
            if one.log.author not in honest or one.key_id not in keys:
                continue  # Whoever is hostile may say that it knows, and tell its keys to anybody.
            then = fold.at(split_heads(one.heads))
            known = None if then is None else then.devices.get(us)
            if known is None or not _is_closed_to(known, one.log):
                continue
            if known.active and _was_raised(fold, operations, us):
                continue  # It has been given the keys of what was written meanwhile.
            if not _is_closed_to(now, one.log):
                continue  # So has a senior whose removal, or limitation, turned out not to count.
            if known.revoked_at in fold.registry.ignored:
                continue  # It was a member until something else ended that, and had those keys.
            for seq in _opened(one, keys[one.key_id]):
                whom = "was removed" if not known.active else f"had become {known.level}"
                told = (
                    f"opens entry {seq} of {one.log.scope.database or 'the membership'}"
                    f" in the store of {one.holder.name}, whose author knew that it {whom}"
                )
                self.violate("I5" if not known.active else "I6", attacker.name, told)


def _opened(one: _Sealed, key: bytes) -> Iterator[int]:
    """The numbers of entries of this kind that open, but for those that may be opened."""
    name = (one.log.number, one.key_id, one.heads)
    rows = one.holder.store.look(lambda conn: conn.execute(_UNDER, name).fetchall())
    for (seq,) in rows:
        stored = one.holder.store.look(partial(_stored, log=one.log.number, seq=seq))
        body = _body(one, stored, key)
        if body is not None and not (one.log.scope.tag == CONTROL_SCOPE and _is_key_grant(body)):
            yield seq


def _stored(conn: Conn, log: int, seq: int) -> StoredEntry:
    found = stored_entry(conn, log, seq)
    assert found is not None, "it was just listed"
    return found


def _body(one: _Sealed, stored: StoredEntry, key: bytes) -> bytes | None:
    """What an entry says to somebody with this key; None if it does not open."""
    log, row = one.log, stored.entry
    shared = one.holder.engine.mesh.heading(
        log.scope.tag, log.author, log.instance, one.key_id, stored.heads
    )
    _, ad, nonce = entry_id(shared, row.seq, stored.prev, row.salt, row.ct)
    try:
        return open_sealed(key, ad, nonce, row.ct)
    except CryptoError:
        return None


def _is_key_grant(body: bytes) -> bool:
    """Whether an operation is the grant of a control key."""
    try:
        operation = decode_operation(body)
    except DecodeError:
        return False
    return (
        operation.kind == GRANT
        and is_well_formed(operation)
        and is_control_grant(operation.details)
    )


def _sealed(device: SimDevice) -> list[_Sealed]:
    ledger = device.engine.ledger
    rows = device.store.look(lambda conn: conn.execute(_SEALED).fetchall())
    return [_Sealed(device, ledger.log_numbered(log), key, heads) for log, key, heads in rows]


def _keys_of(device: SimDevice, operations: Operations) -> dict[bytes, bytes]:
    """Every key that a device kept, or could take out of any grant that anybody holds."""
    keys: DeviceKeys = device.engine.keys
    found = {key.key_id: key.key for key in device.store.look(membership_rows.scope_keys)}
    mesh = device.engine.mesh.id
    for _, operation in operations.values():
        if operation.kind != GRANT or not is_well_formed(operation):
            continue
        details = operation.details
        box = dict(details["sealed"]).get(keys.sig_pk)
        if box is None or details["key_id"] in found:
            continue
        try:
            name = (details["scope"], details["epoch"], details["key_id"])
            found[details["key_id"]] = open_key(box, keys, mesh, *name)
        except CryptoError:
            continue
    return found


def _is_closed_to(device: Device, log: Log) -> bool:
    """Whether a device may not read a log, as it was known to be at some moment."""
    if log.scope.tag == CONTROL_SCOPE:
        return not device.active
    return not device.active or not may_hold(device.level, log.scope.tag, log.scope.privacy)


def _was_raised(fold: Membership, operations: Operations, device: bytes) -> bool:
    """Whether a device was ever trusted more than just before."""
    for _, operation in operations.values():
        if operation.kind != "set-level" or operation.details.get("device") != device:
            continue
        before = fold.at(operation.parents)
        known = None if before is None else before.devices.get(device)
        level = operation.details.get("level")
        if known is None or level not in LEVEL_ORDER:
            continue
        if LEVEL_ORDER.index(level) > LEVEL_ORDER.index(known.level):
            return True
    return False
