"""Adopting: a device leaves its mesh of one for the mesh that admitted it.

`check_adoption` believes nothing before it has folded the membership log itself. `adopt_mesh` then
changes everything that belongs to the old mesh in one transaction of the store: a crash leaves
either mesh whole. What the device wrote before is put into `carried` in that same transaction, and
`take_carried` writes it again under the new mesh's keys, now, when a disk that refused it takes it,
or after any restart; a record leaves `carried` only after it is durable under its new keys.

Spec: docs/protocol.md, section 6, "B ... MUST check".
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING

from ..crypto.entry import CONTROL_SCOPE, KIND_MEMBERSHIP, Heading, auth_ref, open_sealed
from ..crypto.errors import CryptoError
from ..crypto.grants import mesh_id, open_key
from ..crypto.identity import DeviceKeys, read_certificate
from ..storage import carried_rows, log_rows, membership_rows, meta_rows
from ..storage.carried_rows import Carried
from ..storage.errors import StorageError
from ..storage.instance_rule import pieces, renew_instance
from ..storage.log_rows import EntryState, NewEntry
from ..storage.membership_rows import ScopeKey
from ..storage.store import Conn
from ..sync.errors import DecodeError
from ..sync.membership import Membership, Operation, decode_operation
from ..sync.messages import Run, decode_batch
from ..sync.tagging import strictest, tags_of
from ..sync.values import from_json
from .background import AGAIN_MS
from .birth import rules_for
from .founding import MESH_ID
from .ledger import PRIVACY_NAMES, Log, Scope
from .mesh import INSTANCE_BYTES
from .pairing_frames import PairingRefusedError, Refusal, Welcome
from .receiving import Arrived, Fresh, check_run
from .record_requests import Delete, PrivacyFixedError, Put, Was

if TYPE_CHECKING:
    from .engine import Engine

CARRIED_PER_WRITE = 500


@dataclass(frozen=True, slots=True)
class AdoptedEntry:
    author: bytes
    instance: bytes
    key_id: bytes
    heads: tuple[bytes, ...]
    arrived: Arrived
    body: bytes | None
    """None if it does not open with the key that we were given; it waits like any such entry."""


@dataclass(frozen=True, slots=True)
class Adoption:
    """A membership log that passed every check, ready to become ours."""

    mesh: bytes
    heads: tuple[bytes, ...]
    control: tuple[ScopeKey, ...]
    entries: tuple[AdoptedEntry, ...]

    def __repr__(self) -> str:
        return f"<Adoption of mesh {self.mesh.hex()}, {len(self.entries)} operations>"


@dataclass(frozen=True, slots=True)
class Opened:
    """A membership log that is that of the mesh offered, with a sponsor who belongs to it."""

    membership: Membership
    control: dict[bytes, ScopeKey]
    entries: list[AdoptedEntry]


def check_adoption(
    keys: DeviceKeys, mesh: bytes, sponsor: bytes, welcome: Welcome, frames: Sequence[bytes]
) -> Adoption:
    """Verify, decrypt and fold what the admitting device sent. Raises PairingRefusedError.

    Holds afterwards: the genesis in it hashes to the mesh id that was offered, the sponsor is an
    active member, and so are we, by our own keys and the word of an admin (the fold sees to that).
    """
    opened = open_welcome(keys, mesh, sponsor, welcome, frames)
    registry = opened.membership.registry
    us = registry.devices.get(keys.sig_pk)
    ours = us is not None and us.dh_pk == keys.dh_pk and keys.receiving_with(us.seal_pk) is not None
    if us is None or not us.active or not ours:
        raise PairingRefusedError(
            Refusal.MALFORMED, "our own enrolment is not in the membership log"
        )
    return Adoption(mesh, registry.heads, tuple(opened.control.values()), tuple(opened.entries))


def open_welcome(
    keys: DeviceKeys, mesh: bytes, sponsor: bytes, welcome: Welcome, frames: Sequence[bytes]
) -> Opened:
    """As `check_adoption`, but that it says nothing about us: `keys` may be the paper key's."""
    try:
        control = {
            key_id: ScopeKey(
                CONTROL_SCOPE,
                epoch,
                key_id,
                open_key(box, keys, mesh, CONTROL_SCOPE, epoch, key_id),
            )
            for epoch, key_id, box in welcome.keys
        }
        entries = _open_log(mesh, control, frames)
    except (CryptoError, DecodeError) as error:
        raise PairingRefusedError(
            Refusal.MALFORMED, f"the other device sent a membership log that is not valid: {error}"
        ) from None
    membership = Membership(read_certificate, mesh_id, mesh)
    membership.add(_operations(entries))
    registry = membership.registry
    sponsor_device = registry.devices.get(sponsor)
    if registry.mesh != mesh or all(e.arrived.entry_id != welcome.genesis for e in entries):
        raise PairingRefusedError(
            Refusal.MALFORMED, "the membership log is not that of the mesh that was offered"
        )
    if sponsor_device is None or not sponsor_device.active:
        raise PairingRefusedError(
            Refusal.MALFORMED, "the device that shows the code does not belong to its mesh"
        )
    return Opened(membership, control, entries)


def _open_log(
    mesh: bytes, control: Mapping[bytes, ScopeKey], frames: Sequence[bytes]
) -> list[AdoptedEntry]:
    """Every entry of the membership log, chains and signatures verified, decrypted."""
    scope = Scope(0, CONTROL_SCOPE, "", 0)
    logs: dict[bytes, Log] = {}
    opened: list[AdoptedEntry] = []
    for frame in frames:
        batch = decode_batch(frame)
        if batch.scope != CONTROL_SCOPE:
            raise DecodeError("a batch of another scope")
        for run in batch.runs:
            log = logs.setdefault(run.instance, Log(0, scope, run.instance, run.author))
            if log.author != run.author:
                raise DecodeError("an instance has one author")
            headings = [_heading(mesh, run, index) for index in range(len(run.segments))]
            verdict = check_run(run, headings, log)
            if not isinstance(verdict, Fresh):
                raise DecodeError("a log that does not start at its beginning, or is not signed")
            for arrived in verdict.entries:
                heading, segment = headings[arrived.heading], run.segments[arrived.heading]
                body = None
                key = control.get(heading.key_id)
                if key is not None:
                    with suppress(CryptoError):
                        body = open_sealed(key.key, arrived.ad, arrived.nonce, arrived.ciphertext)
                opened.append(
                    AdoptedEntry(
                        run.author, run.instance, segment.key_id, segment.heads, arrived, body
                    )
                )
            last = verdict.entries[-1]
            log.tail_seq, log.tail_id = last.seq, last.entry_id
    return opened


def _operations(entries: Sequence[AdoptedEntry]) -> dict[bytes, tuple[bytes, Operation]]:
    """What can be read. A member may have written rubbish, which counts for nothing."""
    operations: dict[bytes, tuple[bytes, Operation]] = {}
    for entry in entries:
        if entry.body is not None:
            with suppress(DecodeError):
                operations[entry.arrived.entry_id] = (entry.author, decode_operation(entry.body))
    return operations


def _heading(mesh: bytes, run: Run, index: int) -> Heading:
    segment = run.segments[index]
    if segment.kind != KIND_MEMBERSHIP:
        raise DecodeError("an entry of another kind in the membership log")
    ref = auth_ref(segment.heads)
    return Heading(
        KIND_MEMBERSHIP, mesh, CONTROL_SCOPE, run.author, run.instance, ref, segment.key_id
    )


async def adopt_mesh(engine: "Engine", adoption: Adoption) -> None:
    """Change meshes in the store, in one transaction. The engine must be loaded anew after."""
    instance = engine.entropy.draw(INSTANCE_BYTES)
    keep = engine.schemas.sealing.retiring()

    def job(conn: Conn) -> None:
        keep(conn)
        _replace_mesh(conn, adoption, instance)

    await engine.database.write(job)
    engine.instance = instance
    await engine.schemas.sealing.start()


def _replace_mesh(conn: Conn, adoption: Adoption, instance: bytes) -> None:
    carried_rows.carry_all(conn)
    carried_rows.forget_mesh(conn)
    renew_instance(conn, instance)
    meta_rows.set_meta(conn, MESH_ID, adoption.mesh)
    scope = log_rows.ensure_scope(conn, CONTROL_SCOPE, "", 0)
    for control in adoption.control:
        membership_rows.add_scope_key(conn, control)
    by_log: dict[int, list[NewEntry]] = {}
    for entry in adoption.entries:
        log = log_rows.ensure_log(conn, scope, entry.instance, entry.author)
        heading = log_rows.ensure_heading(
            conn, KIND_MEMBERSHIP, entry.key_id, b"".join(entry.heads)
        )
        arrived = entry.arrived
        by_log.setdefault(log, []).append(
            NewEntry(
                arrived.seq,
                heading,
                arrived.salt,
                arrived.ciphertext,
                arrived.entry_id,
                arrived.signature,
                EntryState.PENDING if entry.body is None else EntryState.APPLIED,
                0,
            )
        )
    for log, entries in by_log.items():
        log_rows.append_entries(conn, log, entries)
    membership_rows.add_operations(
        conn,
        [
            membership_rows.Operation(e.arrived.entry_id, e.author, e.body)
            for e in adoption.entries
            if e.body is not None
        ],
    )


async def take_carried(engine: "Engine") -> None:
    """Write what was carried over; called after every start, usually with nothing to do.

    What the disk refuses now is written later: until then its records are nowhere to be seen.
    """
    try:
        await _take_carried(engine)
    except StorageError:
        engine.spawn(_take_later(engine), "take carried")


async def _take_later(engine: "Engine") -> None:
    """Ask the disk again until it takes everything."""
    while True:
        await engine.clock.sleep_ms(AGAIN_MS)
        with suppress(StorageError):
            return await _take_carried(engine)


async def _take_carried(engine: "Engine") -> None:
    """Raises StorageError; what was written until then is not written again.

    What this device is not entitled to write at the level it had, or that its tags allow in this
    mesh, is kept on this device only.
    """
    while rows := await engine.database.read(
        lambda conn: carried_rows.next_carried(conn, CARRIED_PER_WRITE)
    ):
        by_database: dict[str, list[Put | Delete]] = {}
        for row in rows:
            request = _request(engine, row)
            if request is not None:
                by_database.setdefault(row.database, []).append(request)
        for database, requests in by_database.items():
            await _write_carried(engine, database, requests)
        last = rows[-1].carried_no
        await engine.database.write(lambda conn, n=last: carried_rows.drop_carried(conn, n))  # type: ignore[misc]


def _request(engine: "Engine", row: Carried) -> Put | Delete | None:
    """What writes a row again; None for what this device may not write any more, and need not."""
    value = from_json(json.loads(row.value))
    rule = strictest(tags_of(value), rules_for(engine.mesh.registry, row.database))
    level = row.privacy if rule is None else min(row.privacy, rule.level)
    if not engine.mesh.can_open(row.database, level):
        level = 0
    was = None
    if row.spared is not None and level != row.privacy:
        return None  # Whether anything of it is missing cannot be told elsewhere.
    if row.maker is not None or (
        row.doc is not None and row.meta is not None and level == row.privacy
    ):
        was = Was(
            row.doc or b"",
            row.meta or b"",
            row.privacy,
            row.bucket,
            None if row.spared is None else frozenset(pieces(row.spared, INSTANCE_BYTES)),
            row.maker,
        )
    if value is None:
        return None if was is None else Delete(row.collection, row.id, was=was)
    privacy = PRIVACY_NAMES[level]
    return Put(
        row.collection, row.id, value, privacy, False, is_late=True, bucket=row.bucket, was=was
    )


async def _write_carried(engine: "Engine", database: str, requests: Sequence[Put | Delete]) -> None:
    """All of them. An id that lives at another privacy level by now gets a new one beside it.

    The new id follows from the old one, so that who crashes here writes no record twice.
    """
    try:
        await engine.writer.write(database, requests)
    except PrivacyFixedError:
        if len(requests) > 1:
            for request in requests:
                await _write_carried(engine, database, [request])
            return
        (put,) = requests
        assert isinstance(put, Put) and put.id is not None, "a deletion has no level of its own"
        id = f"carried-{blake2b(put.id.encode(), digest_size=10).hexdigest()}"
        await _write_carried(engine, database, [replace(put, id=id, was=None)])
        engine.tell("carried_renamed", {"database": database, "collection": put.collection})
