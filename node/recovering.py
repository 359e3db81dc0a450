"""Recovering: what the paper key decides, and the proof beforehand that it will be able to.

The paper key outranks every device: it admits, removes and replaces itself, and no device can undo
it (`sync/authority.py`). Its keys come from the words and are held for one command only. What it
says is written by a device that has the mesh, in a log of its own for each time.

`take_over` is for the worst day: the words and an old copy of some device's home (a backup) make a
new device, which is admitted by the paper key as an admin. In the same command lost devices are
removed, all keys changed, and a new paper key may take the place of the old one.

`drill` proves, without changing anything, that the paper key opens every key that data needs.

Spec: docs/protocol.md, section 4.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .. import CoveyError
from ..crypto.entry import CONTROL_SCOPE
from ..crypto.identity import DeviceKeys, check_name, make_certificate
from ..crypto.recovery import RecoveryKeys
from ..storage import log_rows, membership_rows, meta_rows
from ..storage.instance_rule import renew_instance
from ..storage.store import Conn
from ..sync.errors import DecodeError
from ..sync.operations import decode_operation, is_known, is_well_formed
from ..sync.registry import Grant
from .founding import DEVICE_KEYS
from .granting import granted_keys
from .introducing import keep_former
from .mesh import INSTANCE_BYTES
from .mesh_view import Said

if TYPE_CHECKING:
    from .engine import Engine


class RecoveryRefusedError(CoveyError):
    """The paper key does not belong to this mesh, or one is there already. Nothing was changed."""

    exit_code = 3


class DrillFailedError(CoveyError):
    """The paper key would not bring everything back. Nothing was changed."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Drill:
    """What a rehearsal found."""

    keys: int
    """How many keys the paper key opens."""
    databases: tuple[str, ...]
    entries: int
    """How many entries of this store are under them."""


class Recovering:
    """What the paper key does on one engine."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def require(self, paper: DeviceKeys) -> None:
        """Raises RecoveryRefusedError unless these words are of this mesh's paper key."""
        known = self._engine.mesh.registry.recovery
        if any(key.sig_pk == paper.sig_pk for key in known):
            return
        if not known:
            raise RecoveryRefusedError(
                "this mesh has no paper key: `covey recovery create` makes one on its oldest admin"
            )
        raise RecoveryRefusedError(
            "these words are a paper key, but not the one of this mesh: it was replaced, or the"
            " words belong to another mesh"
        )

    def require_right_to_create(self, old: RecoveryKeys | None) -> None:
        """Raises RecoveryRefusedError unless this device may set a paper key, in place of `old`.

        To be asked before somebody writes new words down: words that count nowhere are a trap.
        """
        engine = self._engine
        registry = engine.mesh.registry
        us = engine.our_device()
        if old is not None:
            self.require(old)
        elif registry.recovery:
            raise RecoveryRefusedError(
                "this mesh has a paper key, and only its words may replace it: run `covey recovery"
                " create --replace`"
            )
        elif us.role != "admin" or any(d.role == "admin" for d in registry.seniors(us)):
            raise RecoveryRefusedError(
                "only the oldest admin of a mesh may give it its first paper key: run this there"
            )

    async def create(self, paper: RecoveryKeys, old: RecoveryKeys | None) -> None:
        """Give the mesh a paper key, or another one in place of `old`.

        Raises RecoveryRefusedError.
        """
        self.require_right_to_create(old)
        engine = self._engine
        details = {"recovery": list(paper.public)}
        await engine.mesh.write([("recovery-replace", details)], with_grants=True, signer=old)
        if old is not None:
            # The old words may be in somebody's hands: from here on they open nothing new.
            await engine.mesh.rotate_stale()

    async def revoke(self, paper: RecoveryKeys, devices: Collection[bytes]) -> None:
        """Remove devices by the word of the paper key, which none of them can contest."""
        self.require(paper)
        await self._engine.trust.remove(devices, paper)

    async def drill(self, paper: RecoveryKeys) -> Drill:
        """Whether the words would bring back everything that this device can read.

        Raises RecoveryRefusedError, DrillFailedError.
        """
        self.require(paper)
        engine = self._engine
        registry = engine.mesh.registry
        opened = granted_keys(registry.mesh, registry.grants, paper, (), _any)
        found = {key.key_id for key in opened}
        counts = await engine.database.read(log_rows.entries_by_key)
        shared = {grant.key_id for grant in registry.grants}
        missing = sum(n for id, n in counts.items() if id in shared and id not in found)
        if missing:
            raise DrillFailedError(
                f"{missing} entries are under keys that the paper key does not have yet: let the"
                " devices sync, then rehearse again"
            )
        names = {g.database for g in registry.grants if g.key_id in found and g.database}
        entries = sum(n for id, n in counts.items() if id in found)
        return Drill(len(found), tuple(sorted(names)), entries)

    async def take_over(
        self,
        paper: RecoveryKeys,
        name: str,
        kind: str,
        lost: Collection[bytes],
        fresh_paper: RecoveryKeys | None,
    ) -> DeviceKeys:
        """Make this home, an old copy of another device's, a new device of the mesh.

        The engine has to be closed afterwards and the home opened anew: it is another device then.
        Raises RecoveryRefusedError, FormatError.
        """
        self.require(paper)
        engine = self._engine
        keys = DeviceKeys.generate(engine.entropy.draw)
        certificate = make_certificate(keys, engine.mesh.id, engine.clock.wall_ms())
        enrolment = {
            "cert": certificate,
            "name": check_name(name),
            "type": kind,
            "level": "full",
            "role": "admin",
        }
        said: list[Said] = [("enroll", enrolment)]
        if fresh_paper is not None:
            said.append(("recovery-replace", {"recovery": list(fresh_paper.public)}))
        # First of all: whose word admitted a device must not be lost with the device's own keys.
        instance = engine.entropy.draw(INSTANCE_BYTES)
        await engine.database.write(lambda conn: _become(conn, engine.keys, keys, instance))
        await self._speak(paper, fresh_paper or paper, said, lost)
        return keys

    def require_right_to_promote(self, paper: DeviceKeys) -> None:
        """Raises RecoveryRefusedError unless the paper key can make this device an admin."""
        self.require(paper)
        if not self._engine.our_device().active:
            raise RecoveryRefusedError(
                "this device was removed from the mesh: make a new one, from a backup (--backup) or"
                " with a code of a device that is left (--code)"
            )

    async def promote(
        self, paper: RecoveryKeys, lost: Collection[bytes], fresh_paper: RecoveryKeys | None
    ) -> None:
        """Make this device a full admin by the word of the paper key, and remove lost ones.

        For a mesh of which no admin is left: this device can then admit others. It gets every key
        that the paper key has. Raises RecoveryRefusedError.
        """
        self.require_right_to_promote(paper)
        engine = self._engine
        us, mesh = engine.our_device(), engine.mesh
        await mesh.keep(granted_keys(mesh.id, mesh.registry.grants, paper, mesh.held_keys(), _any))
        said: list[Said] = []
        if us.level != "full":
            said.append(("set-level", {"device": us.sig_pk, "level": "full"}))
        if us.role != "admin":
            said.append(("set-role", {"device": us.sig_pk, "role": "admin"}))
        if fresh_paper is not None:
            said.append(("recovery-replace", {"recovery": list(fresh_paper.public)}))
        await self._speak(paper, fresh_paper or paper, said, lost)

    async def _speak(
        self,
        paper: RecoveryKeys,
        speaker: RecoveryKeys,
        said: Sequence[Said],
        lost: Collection[bytes],
    ) -> None:
        """Say something as the paper key, and let the next one remove devices and change keys."""
        engine = self._engine
        if said:
            await engine.mesh.write(said, signer=paper)
        await engine.mesh.write([], with_grants=True, signer=speaker)
        if lost:
            await engine.trust.remove(lost, speaker)
            return

        mesh = engine.mesh
        await mesh.write(
            lambda: mesh.new_epochs(mesh.stale_scopes() or [CONTROL_SCOPE]), signer=speaker
        )

    def others(self, names: Sequence[str]) -> list[bytes]:
        """The devices of these names or ids. Raises UnknownDeviceError; RecoveryRefusedError if
        this device is one of them: it would be left with no part in what it does.
        """
        found = [self._engine.directory.find_device(name).sig_pk for name in names]
        if self._engine.keys.sig_pk in found:
            raise RecoveryRefusedError(
                "this is the device you are on: remove it with the paper key on another device, or"
                " let it leave with `covey devices revoke`"
            )
        return found


async def former_paper_keys(engine: "Engine") -> list[bytes]:
    """The sealing keys of paper keys that were those of this mesh and are no more."""
    current = [key.seal_pk for key in engine.mesh.registry.recovery]
    ever: dict[bytes, None] = {}
    for row in await engine.database.read(membership_rows.operations):
        with suppress(DecodeError):
            operation = decode_operation(row.body)
            if is_known(operation.kind) and is_well_formed(operation):
                ever.update(dict.fromkeys(operation.details.get("recovery", ())[1:]))
    return [seal_pk for seal_pk in ever if seal_pk not in current]


def _become(conn: Conn, former: DeviceKeys, keys: DeviceKeys, instance: bytes) -> None:
    keep_former(conn, former)
    meta_rows.set_meta(conn, DEVICE_KEYS, keys.encode().reveal())
    renew_instance(conn, instance)


def _any(_: Grant) -> bool:
    return True
