"""Founding: the first transaction of a new store, which makes a mesh of one device.

Two membership operations: `genesis`, whose body names the mesh for ever, and the grant of the
control key to ourselves and to the paper key, if there is one. With them the store gets the
device's keys. Either all of it is durable or the store has no mesh and `covey init` may be run
again.

Spec: docs/protocol.md, sections 1 and 4.
"""

from collections.abc import Iterable

from ..crypto.entry import (
    CONTROL_SCOPE,
    KIND_MEMBERSHIP,
    ZERO_ID,
    Heading,
    auth_ref,
    key_id,
    seal,
    sign_entry,
)
from ..crypto.grants import mesh_id
from ..crypto.identity import DeviceKeys, check_name
from ..storage import log_rows, membership_rows, meta_rows
from ..storage.log_rows import EntryState, NewEntry
from ..storage.membership_rows import ScopeKey
from ..storage.store import Conn, Store
from ..sync.hlc import tick
from ..sync.membership import Operation, encode_operation
from ..sync.registry import Recipient, Recovery
from .committer import SALT_BYTES
from .granting import grant_details
from .ports import Clock, Entropy

KEY_BYTES = 32
GENESIS_SALT_BYTES = 16
DEVICE_KEYS = "device_keys"
MESH_ID = "mesh_id"
"""The mesh of this store. Known apart from the membership log, so that no genesis in it can say
otherwise."""


async def found_mesh(
    database: Store,
    instance: bytes,
    name: str,
    kind: str,
    clock: Clock,
    entropy: Entropy,
    recovery: tuple[bytes, bytes] | None = None,
) -> DeviceKeys:
    """Make the device's keys and its mesh of one. Raises FormatError for a name that is none.

    `recovery` is the paper key of the mesh, its public signing and sealing key. It is set by the
    founding itself, so that nothing is senior to it, and gets the first control key like us.
    """
    keys = DeviceKeys.generate(entropy.draw)
    now_ms = clock.wall_ms()
    control = entropy.draw(KEY_BYTES)
    hlc = tick(0, now_ms)
    genesis = encode_operation(
        Operation(
            "genesis",
            (),
            hlc,
            {
                "sig": keys.sig_pk,
                "dh": keys.dh_pk,
                "seal": keys.seal_pk,
                "name": check_name(name),
                "type": kind,
                "salt": entropy.draw(GENESIS_SALT_BYTES),
                "created": now_ms,
                **({} if recovery is None else {"recovery": list(recovery)}),
            },
        )
    )
    mesh = mesh_id(genesis)
    first = _Entry(keys, mesh, instance, control, 1, ZERO_ID, (), genesis, entropy)
    holders: list[Recipient] = [keys]
    if recovery is not None:
        holders.append(Recovery(*recovery, set_by=first.id))
    details = grant_details(mesh, (CONTROL_SCOPE, "", 0, 1), control, holders, entropy)
    grant = encode_operation(Operation("grant", (first.id,), tick(hlc, now_ms), details))
    second = _Entry(keys, mesh, instance, control, 2, first.id, (first.id,), grant, entropy)
    control_key = ScopeKey(CONTROL_SCOPE, 1, key_id(control), control)
    await database.write(
        lambda conn: _store(conn, keys, mesh, instance, control_key, (first, second))
    )
    return keys


class _Entry:
    """One sealed operation of the founding transaction."""

    def __init__(
        self,
        keys: DeviceKeys,
        mesh: bytes,
        instance: bytes,
        control: bytes,
        seq: int,
        prev: bytes,
        heads: tuple[bytes, ...],
        body: bytes,
        entropy: Entropy,
    ) -> None:
        heading = Heading(
            KIND_MEMBERSHIP,
            mesh,
            CONTROL_SCOPE,
            keys.sig_pk,
            instance,
            auth_ref(heads),
            key_id(control),
        )
        self.body = body
        self.heads = heads
        self._seq = seq
        self._salt = entropy.draw(SALT_BYTES)
        self._ciphertext, self.id = seal(heading, control, seq, prev, self._salt, body)
        self._signature = sign_entry(keys, self.id)

    def row(self, heading: int) -> NewEntry:
        return NewEntry(
            self._seq,
            heading,
            self._salt,
            self._ciphertext,
            self.id,
            self._signature,
            EntryState.APPLIED,
            0,
        )


def _store(
    conn: Conn,
    keys: DeviceKeys,
    mesh: bytes,
    instance: bytes,
    control: ScopeKey,
    entries: Iterable[_Entry],
) -> None:
    meta_rows.set_meta(conn, DEVICE_KEYS, keys.encode().reveal())
    meta_rows.set_meta(conn, MESH_ID, mesh)
    scope = log_rows.ensure_scope(conn, CONTROL_SCOPE, "", 0)
    log = log_rows.ensure_log(conn, scope, instance, keys.sig_pk)
    membership_rows.add_scope_key(conn, control)
    for entry in entries:
        heads = b"".join(entry.heads)
        heading = log_rows.ensure_heading(conn, KIND_MEMBERSHIP, control.key_id, heads)
        log_rows.append_entries(conn, log, [entry.row(heading)])
        membership_rows.add_operations(
            conn, [membership_rows.Operation(entry.id, keys.sig_pk, entry.body)]
        )
