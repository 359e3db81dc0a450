"""Trust: what people decide about devices, and the upkeep of the keys that follows from it.

An admin limits, promotes, removes and adopts; each of these is one transaction of the membership
log together with the new keys that it asks for, so there is no moment in which somebody is removed
and still holds the newest key. First comes the decision, under the key that all have, then the next
control key, then everything else under that one. Everything is told in words on every device
(`announcing.py`).

Once online, a full device replaces keys that have grown old, and an admin removes guests whose time
is over. Seniors go first; each junior waits longer, so that usually one device does it.

Spec: docs/protocol.md, section 4.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from .. import CoveyError
from ..crypto.entry import CONTROL_SCOPE
from ..crypto.identity import DeviceKeys, check_name
from ..sync.operations import Operation, is_well_formed
from ..sync.policy import Value, is_for_admins, is_setting
from ..sync.registry import LEVEL_ORDER, LEVELS, ROLES, Device, Registry, may_hold
from ..sync.session_limits import CAPABILITIES_MAX, CUT_ROWS_MAX, WORD_BYTES_MAX
from .announcing import Told, told_of
from .mesh_view import Said
from .parameters import UsageError
from .rotation import aged_scopes

if TYPE_CHECKING:
    from .engine import Engine

UPKEEP_MS = 3_600_000
"""How often a running node looks whether keys have grown old and guests have expired."""


class TrustRefusedError(CoveyError):
    """What was asked would leave the mesh without an admin, or is about a device that is none.

    Nothing was changed.
    """

    exit_code = 3


class Trust:
    """The decisions of one engine's people."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._told = Registry()
        self._keeping = False

    # Decisions ---------------------------------------------------------------------------------

    async def rename(self, device: bytes, name: str) -> None:
        """Give a device another name. Raises NotAdminError for somebody else's, FormatError."""
        self._require_right(device)
        details = {"device": device, "name": check_name(name)}
        await self._engine.mesh.write([("rename", details)])

    async def describe(self, device: bytes, **what: Any) -> None:
        """Say what a device is for. `relationship`, `use`, `capabilities`; others stay as they are.

        Raises NotAdminError for somebody else's device, TrustRefusedError, UsageError.
        """
        self._require_right(device)
        known = self._member(device)
        details: dict[str, Any] = {
            "device": device,
            "relationship": what.get("relationship", known.relationship),
            "use": what.get("use", known.use),
            "capabilities": sorted(set(what.get("capabilities", known.capabilities))),
        }
        if not is_well_formed(Operation("describe", (), 0, details)):
            raise UsageError(
                f"capabilities: at most {CAPABILITIES_MAX} words of 1 to {WORD_BYTES_MAX} bytes"
                f" were expected, got {len(details['capabilities'])}"
            )
        await self._engine.mesh.write([("describe", details)])

    async def set_policy(
        self, device: bytes, database: str, said: Mapping[str, Value | None]
    ) -> None:
        """Say what a device wants of a database; both may be empty, for every one.

        `said`: keys and values of `sync/policy.py`, or None to take back what was said of a key.
        It takes effect on open links at once. Raises NotAdminError, TrustRefusedError.
        """
        if any(is_for_admins(device, key) for key in said):
            self._engine.mesh.require_admin()
        else:
            self._require_right(device)
        if device:
            self._member(device)
        bad = [
            key for key, value in said.items() if value is not None and not is_setting(key, value)
        ]
        if bad or not said:
            raise TrustRefusedError(f"{bad[0] if bad else 'policy'}: not a value that it may have")
        details = {"device": device, "database": database, "set": dict(said)}
        await self._engine.mesh.write([("policy", details)])

    async def set_level(self, device: bytes, level: str, expires_ms: int | None = None) -> None:
        """Trust a device more, or less. A new epoch begins where it may not read any more.

        Raises NotAdminError, TrustRefusedError.
        """
        known = self._member(device)
        if level not in LEVELS:
            raise TrustRefusedError(f"no level {level!r}: it is one of {', '.join(LEVELS)}")
        lowers = LEVEL_ORDER.index(level) < LEVEL_ORDER.index(known.level)
        if not (lowers and device == self._us):
            self._engine.mesh.require_admin()
        if level != "full" or expires_ms is not None:
            self._refuse_without_admin(device)
        mesh = self._engine.mesh
        details: dict[str, Any] = {"device": device, "level": level}
        if expires_ms is not None:
            details["expires"] = expires_ms

        def compose() -> Iterator[Said]:
            held = ((tag, self._engine.ledger.scope(tag)) for tag in mesh.stale_scopes({device}))
            lost = [tag for tag, s in held if s is not None and not may_hold(level, tag, s.privacy)]
            yield "set-level", details
            yield from mesh.new_epochs(lost, {device})

        await mesh.write(compose, with_grants=not lowers)

    async def set_role(self, device: bytes, role: str) -> None:
        """Let a device decide about others, or not. Raises NotAdminError, TrustRefusedError."""
        known = self._member(device)
        if role not in ROLES:
            raise TrustRefusedError(f"no role {role!r}: it is one of {', '.join(ROLES)}")
        if role == "admin" and known.level != "full":
            raise TrustRefusedError(
                f"{known.name} is of level {known.level}: an admin has level full, so run"
                " `covey devices level` first"
            )
        if not (role == "member" and device == self._us):
            self._engine.mesh.require_admin()
        if role != "admin":
            self._refuse_without_admin(device)
        await self._engine.mesh.write([("set-role", {"device": device, "role": role})])

    async def revoke(self, device: bytes) -> None:
        """Remove a device for good. From this transaction on everything is under keys it lacks.

        What of it was seen here stays; what it wrote and nobody had seen goes on the shelf. To
        remove ourselves is to leave: then the others make the new keys.

        Raises NotAdminError, TrustRefusedError.
        """
        self._member(device)
        self._refuse_without_admin(device)
        if device != self._us:
            self._engine.mesh.require_admin()
        await self.remove({device}, None)

    async def remove(self, devices: Collection[bytes], paper: DeviceKeys | None) -> None:
        """Remove devices in one transaction, by our own word or by that of the paper key."""
        mesh = self._engine.mesh

        # The new keys rest on the decision that asks for them. So whoever has a key has the
        # decision as well, and takes nobody for a member who merely lacks the key.
        def compose() -> Iterator[Said]:
            stale = set(mesh.stale_scopes(devices))
            gone: set[bytes] = set()
            for device in sorted(devices):
                cuts = self._cut_of(device)
                gone.add(device)
                for cut in cuts:
                    yield "revoke", {"device": device, "cut": cut}
                    if not leaves:
                        yield from mesh.new_epochs([CONTROL_SCOPE], gone)
            if not leaves:
                yield from mesh.new_epochs(sorted(stale - {CONTROL_SCOPE}), devices)

        leaves = paper is None and self._us in devices
        await mesh.write(compose, signer=paper)

    async def adopt(self, device: bytes) -> None:
        """Let count what a removed device wrote, as far as it is here. Raises NotAdminError."""
        self._engine.mesh.require_admin()
        if device not in self._engine.mesh.registry.devices:
            raise TrustRefusedError("only what a device of this mesh wrote can be adopted")
        await self._engine.mesh.write(
            lambda: [("adopt", {"device": device, "cut": cut}) for cut in self._cut_of(device)]
        )

    async def rotate(self) -> int:
        """Begin a new epoch everywhere; in how many scopes. Raises NotEntitledError."""
        control = self._engine.ledger.scope(CONTROL_SCOPE)
        assert control is not None
        mesh, ledger = self._engine.mesh, self._engine.ledger
        scopes = [s for s in ledger.scopes() if s.privacy and not s.bucket and mesh.can_write(s)]
        return await mesh.rotate([control, *scopes])

    def objectors(self, device: bytes) -> list[Device]:
        """Who could still undo a removal of this device by us: itself, if it is senior to us."""
        registry = self._engine.mesh.registry
        known = registry.devices[device]
        contested = device != self._us and known.role == "admin"
        return [known] if contested and registry.outranks(device, self._us) else []

    # Upkeep ------------------------------------------------------------------------------------

    def membership_changed(self) -> None:
        """Tell people what is different now."""
        before, self._told = self._told, self._engine.mesh.registry
        if before.genesis and before.mesh == self._told.mesh and before is not self._told:
            told: Sequence[Told] = told_of(before, self._told, self._us)
            for kind, detail in told:
                self._engine.tell(kind, detail)

    def start(self) -> None:
        """Look after keys and guests from now on, for as long as the node runs."""
        if not self._keeping:
            self._keeping = True
            self._engine.spawn(self._keep(), "trust")

    async def _keep(self) -> None:
        while True:
            with suppress(CoveyError):
                await self.look_after()
            await self._engine.clock.sleep_ms(UPKEEP_MS)

    async def look_after(self) -> None:
        """Remove guests whose time is over, and replace keys that have grown old."""
        mesh = self._engine.mesh
        now_ms = self._engine.clock.wall_ms()
        us = mesh.us()
        if us.active and us.role == "admin":
            seniors = sum(d.role == "admin" for d in mesh.registry.seniors(us))
            for device in mesh.registry.active():
                over = device.expires_ms is not None and device.sig_pk != us.sig_pk
                if over and device.expires_ms + UPKEEP_MS * seniors <= now_ms:  # type: ignore[operator]
                    await self.revoke(device.sig_pk)
                    self._engine.tell("expired", {"device": device.name})
        aged = aged_scopes(mesh.registry, mesh.held_keys(), us, now_ms)
        scopes = [scope for tag in aged if (scope := self._engine.ledger.scope(tag)) is not None]
        if scopes:
            await mesh.rotate(scopes)

    # Parts of these ----------------------------------------------------------------------------

    @property
    def _us(self) -> bytes:
        return self._engine.keys.sig_pk

    def _member(self, device: bytes) -> Device:
        known = self._engine.mesh.registry.devices.get(device)
        if known is None or not known.active:
            raise TrustRefusedError(
                "this device does not belong to the mesh any more: `covey devices` lists who does"
            )
        return known

    def _require_right(self, device: bytes) -> None:
        if device != self._us:
            self._engine.mesh.require_admin()

    def _refuse_without_admin(self, device: bytes) -> None:
        """There must be somebody left who may admit and remove."""
        registry = self._engine.mesh.registry
        left = [d for d in registry.active() if d.sig_pk != device]
        if not left:
            raise TrustRefusedError(
                "this device is alone in its mesh, and nobody could ever give it back what it gave"
                " up: pair another device first, and make it an admin"
            )
        if not any(d.role == "admin" for d in left):
            raise TrustRefusedError(
                "this is the only admin, and nobody could admit or remove devices any more: make"
                " another device admin first (`covey devices role NAME admin`)"
            )

    def _cut_of(self, device: bytes) -> list[list[list[Any]]]:
        """What is here of a device's logs: the ends of their chains, in as many parts as needed."""
        rows: list[list[Any]] = sorted(
            [log.scope.tag, log.instance, log.head_seq, log.head_id]
            for log in self._engine.ledger.logs()
            if log.author == device and log.head_seq and log.scope.tag != CONTROL_SCOPE
        )
        parts = [rows[at : at + CUT_ROWS_MAX] for at in range(0, len(rows), CUT_ROWS_MAX)]
        return parts or [[]]
