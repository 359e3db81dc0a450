"""Folding: the registry of a set of operations, from what was entitled and what still counts.

Describes; decides nothing: entitlement.py and authority.py have done so. Where several operations
say something of one device, names, descriptions and keys are taken in order of (depth, id).

Spec: docs/protocol.md, section 4. Ids and public keys are 32 bytes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .authority import Authority, Standing, Verdict, latest
from .entitlement import Entitlement, Keys
from .hlc import wall_ms_of
from .operations import ENROLL, GENESIS, REKEY
from .policy import Value, is_setting
from .registry import Device, Grant, Ignored, Recovery, Registry, Request, Seniority
from .removals import Node, recovery_of
from .session_limits import REQUESTS_PER_DEVICE_MAX

Row = tuple[int, bytes, Node]
"""Depth, id, operation: rows sort in the order in which operations of equal standing stand."""


class Fold:
    """One pass over operations that are closed under parents, in order of (depth, id)."""

    def __init__(
        self,
        authority: Authority,
        entitlement: Entitlement,
        ignored: Mapping[bytes, Ignored],
        unknown: Mapping[bytes, str],
        past: int,
    ) -> None:
        self._authority = authority
        self._entitlement = entitlement
        self._refused = ignored
        self._unknown = unknown
        self._verdict: Verdict = authority.verdict(past & authority.recorded)
        self._past = past
        self._genesis = b""
        self._order: dict[bytes, Node] = {}
        """Device to its first enrolment, in order."""
        self._names: dict[bytes, str] = {}
        self._described: dict[bytes, Node] = {}
        self._certified: dict[bytes, list[Node]] = {}
        self._cuts: dict[bytes, dict[tuple[bytes, bytes], tuple[int, bytes]]] = {}
        self._requests: list[Node] = []
        self._settings: dict[tuple[bytes, str], dict[str, Value]] = {}
        self._said_by: dict[tuple[bytes, str], dict[str, bytes]] = {}
        self._grants: list[Grant] = []
        self._kinds: set[str] = set()
        self._ignored: dict[bytes, Ignored] = {}

    def registry(self, rows: Sequence[Row], heads: tuple[bytes, ...], mesh: bytes) -> Registry:
        live, grants = self._verdict.live, self._entitlement.grants
        for _, id, node in rows:
            if node.bit & live:
                self._take(node)
            elif id in grants:
                self._grants.append(grants[id])
            elif id in self._unknown:
                self._kinds.add(self._unknown[id])
            elif id in self._refused:
                self._ignored[id] = self._refused[id]
            else:
                self._ignored[id] = Ignored.VOIDED
                if node.operation.kind == ENROLL:
                    self._order.setdefault(self._entitlement.keys[id].sig_pk, node)
        devices = {device: self._device(device, first) for device, first in self._order.items()}
        return Registry(
            mesh if self._genesis else b"",
            self._genesis,
            devices,
            tuple(self._grants),
            heads,
            tuple(sorted(self._kinds)),
            self._ignored,
            self._recovery(),
            self._cuts,
            self._pending(devices),
            self._ranks(),
            self._settings,
            self._said_by,
        )

    def _take(self, node: Node) -> None:
        """What counts, by its kind; levels, roles and removals are with the verdict."""
        details = node.operation.details
        match node.operation.kind:
            case "genesis" | "enroll":
                device = self._entitlement.keys[node.id].sig_pk
                self._order.setdefault(device, node)
                self._certified.setdefault(device, []).append(node)
                self._names[device] = details["name"]
                if node.operation.kind == GENESIS:
                    self._genesis = node.id
            case "rename":
                self._names[details["device"]] = details["name"]
            case "describe":
                self._described[details["device"]] = node
            case "rekey":
                self._certified.setdefault(node.author, []).append(node)
            case "revoke" | "adopt":
                _unite(self._cuts.setdefault(details["device"], {}), details["cut"])
            case "request":
                self._requests.append(node)
            case "policy":
                self._set((details["device"], details["database"]), details["set"], node.author)

    def _set(self, place: tuple[bytes, str], said: Mapping[str, Any], author: bytes) -> None:
        """Key by key the last word counts. What this version does not know changes nothing."""
        settings = self._settings.setdefault(place, {})
        authors = self._said_by.setdefault(place, {})
        for key, value in said.items():
            if value is None:
                settings.pop(key, None)
            elif is_setting(key, value):
                settings[key] = value
            else:
                continue
            authors[key] = author

    def _device(self, device: bytes, first: Node) -> Device:
        authority, verdict = self._authority, self._verdict
        admitting = sorted(authority.admitting(verdict, device), key=_in_order)
        if admitting:
            return self._described_device(
                device, admitting[0], self._keys(device), authority.standing_in(verdict, device)
            )
        revoke = self._revoke(device)
        enrolments = [n for n in self._certified.get(device, ()) if n.operation.kind != REKEY]
        base = enrolments[-1] if enrolments else first
        was = None if revoke is None else authority.standing(device, revoke.past)
        if was is None:
            was = authority.standing(device, base.past | base.bit)
        gone = self._described_device(device, base, self._entitlement.keys[base.id], was)
        return replace(
            gone,
            active=False,
            expires_ms=None,
            revoked_by=None if revoke is None else revoke.author,
            revoked_at=None if revoke is None else revoke.id,
            revoked_ms=None if revoke is None else wall_ms_of(revoke.operation.hlc),
        )

    def _described_device(
        self, device: bytes, enrolment: Node, keys: Keys, standing: Standing | None
    ) -> Device:
        assert standing is not None, "an enrolment that counted has admitted its device"
        said = enrolment.operation.details
        about = self._described.get(device)
        described = {} if about is None else about.operation.details
        return Device(
            *keys,
            self._names.get(device, said["name"]),
            said["type"],
            standing.level,
            standing.role,
            enrolment.author,
            enrolment.id,
            expires_ms=self._expires_ms(device),
            enrolled_ms=wall_ms_of(enrolment.operation.hlc),
            relationship=described.get("relationship", ""),
            use=described.get("use", ""),
            capabilities=tuple(described.get("capabilities", ())),
        )

    def _keys(self, device: bytes) -> Keys:
        """Those of the last certificate that was new: an old one brought again changes nothing."""
        keys, seen = None, set()
        for node in self._certified[device]:
            cert = node.operation.details.get("cert")
            if cert not in seen and not self._authority.is_ended(self._verdict, device, node):
                keys = self._entitlement.keys[node.id]
            seen.add(cert)
        assert keys is not None, "the device belongs, so an enrolment of it lasts"
        return keys

    def _expires_ms(self, device: bytes) -> int | None:
        """The soonest that the last word says; a device that lowers itself keeps its own."""
        levels = self._authority.levels(self._verdict, device)
        decided = [said for said in levels if said.node.author != device]
        stated = {said.node.id: said.node for said in (*latest(decided), *latest(levels))}
        found = (node.operation.details.get("expires") for node in stated.values())
        return min((ms for ms in found if ms is not None), default=None)

    def _revoke(self, device: bytes) -> Node | None:
        """The removal that ended it: the first after its last enrolment."""
        revokes = sorted(self._authority.revoking(self._verdict, device), key=_in_order)
        answered = 0
        for node in self._certified.get(device, ()):
            answered |= node.past
        ending = [node for node in revokes if not node.bit & answered]
        return next(iter(ending or revokes), None)

    def _ranks(self) -> dict[bytes, Seniority]:
        within = self._past & self._authority.bits
        claimed = self._authority.ranks(within)
        assured = self._authority.ranks(within, within & ~self._verdict.live)
        return {key: Seniority(assured[key], rank) for key, rank in claimed.items()}

    def _recovery(self) -> tuple[Recovery, ...]:
        """In order of (depth, id), and each key once though it was set twice at the same time."""
        statements = sorted(self._authority.recoveries(self._verdict), key=_in_order)
        keys = (Recovery(*recovery_of(node), node.id) for node in statements)
        return tuple({key.sig_pk: key for key in keys}.values())

    def _pending(self, devices: Mapping[bytes, Device]) -> tuple[Request, ...]:
        """Requests that no enrolment has answered, the newest of each member."""
        pending: list[Request] = []
        made: Counter[bytes] = Counter()
        for node in reversed(self._requests):
            keys = self._entitlement.keys[node.id]
            device = devices.get(keys.sig_pk)
            enrolments = self._certified.get(keys.sig_pk, ())
            if device is not None and device.active:
                continue
            if any(not node.past & enrolment.bit for enrolment in enrolments):
                continue
            made[node.author] += 1
            if made[node.author] <= REQUESTS_PER_DEVICE_MAX:
                said = node.operation.details
                asked = said["name"], said["type"], said["level"]
                expires_ms = said.get("expires")
                pending.append(
                    Request(node.id, node.author, said["cert"], *keys, *asked, expires_ms)
                )
        return tuple(reversed(pending))


def _in_order(node: Node) -> tuple[int, bytes]:
    return node.depth, node.id


def _unite(
    cut: dict[tuple[bytes, bytes], tuple[int, bytes]],
    rows: Sequence[tuple[bytes, bytes, int, bytes]],
) -> None:
    """The further of two ends of a log; of two branches with equal ends that of the larger id."""
    for scope, instance, seq, entry in rows:
        at = (scope, instance)
        cut[at] = max(cut.get(at, (0, b"")), (seq, entry))
