"""Entitlement: whether an operation counts for what its author was when it was written (R1).

An operation is judged once, in the fold of its own ancestors, removals among them included. That
judgement never changes. Whether it still counts after what came later is authority.py.

What is refused has a reason (`Ignored`) and means nothing to the fold, but stays in the history.

Certificates and the mesh id are opaque here: the caller passes the functions that know them.

Spec: docs/protocol.md, section 4. Ids and public keys are 32 bytes, the mesh id 16.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from .. import CoveyError
from .authority import Authority, Standing
from .hlc import wall_ms_of
from .operations import (
    ADOPT,
    DESCRIBE,
    ENROLL,
    GENESIS,
    GRANT,
    POLICY,
    RECOVERY_REPLACE,
    REKEY,
    RENAME,
    REQUEST,
    REVOKE,
    SET_LEVEL,
    SET_ROLE,
    CertificateView,
    MeshId,
    Operation,
    ReadCertificate,
    encode_operation,
    is_control_grant,
    is_well_formed,
)
from .policy import is_for_admins
from .registry import LEVEL_ORDER, LEVELS, RELATIONSHIPS, ROLES, USES, Grant, Ignored, may_hold
from .removals import Node, recovery_of


class Keys(NamedTuple):
    """The public keys of a device."""

    sig_pk: bytes
    dh_pk: bytes
    seal_pk: bytes


class _Certified(NamedTuple):
    """An operation that brought a device keys, and the certificate (b"" for the founder's)."""

    node: Node
    keys: Keys
    cert: bytes


class Entitlement:
    """Judges operations, ancestors first, and records those that were entitled."""

    def __init__(
        self,
        read_certificate: ReadCertificate,
        mesh_id: MeshId,
        mesh: bytes | None,
        authority: Authority,
    ) -> None:
        self._read_certificate = read_certificate
        self._mesh_id = mesh_id
        self._mesh = mesh
        self._authority = authority
        self._control_keys: dict[tuple[int, bytes], int] = {}
        """(epoch, key id) of a control key to the grants of it that count."""
        self.grants: dict[bytes, Grant] = {}
        """By operation, like the next."""
        self.keys: dict[bytes, Keys] = {}
        """Those of the device that a genesis, enroll, rekey or request is about."""
        self.certified: dict[bytes, list[_Certified]] = {}
        """By device, in order of insertion."""
        self._rules: Mapping[str, Callable[[Node, Standing], Ignored | None]] = {
            ENROLL: self._enroll,
            SET_LEVEL: self._set_level,
            SET_ROLE: self._set_role,
            RENAME: self._about_a_device,
            DESCRIBE: self._describe,
            GRANT: self._grant,
            REVOKE: self._revoke,
            ADOPT: self._adopt,
            RECOVERY_REPLACE: self._replace_recovery,
            REQUEST: self._request,
            REKEY: self._rekey,
            POLICY: self._policy,
        }

    def judge(self, node: Node) -> Ignored | None:
        """Why an operation of a known kind does not count; None if it does, and is recorded."""
        if not is_well_formed(node.operation):
            return Ignored.MALFORMED
        if node.operation.kind == GENESIS:
            return self._genesis(node)
        author = self._authority.standing(node.author, node.past)
        if author is None:
            return Ignored.NOT_ENTITLED
        return self._rules[node.operation.kind](node, author)

    # Who belongs -------------------------------------------------------------------------------

    def _genesis(self, node: Node) -> Ignored | None:
        details = node.operation.details
        if node.operation.parents or details["sig"] != node.author:
            return Ignored.NOT_ENTITLED
        if self._mesh_id(encode_operation(node.operation)) != self._mesh:
            return Ignored.OTHER_MESH
        if "recovery" in details and details["recovery"][0] == node.author:
            return Ignored.MALFORMED
        self._authority.record(node)
        self._admit(node, Keys(details["sig"], details["dh"], details["seal"]), "full", "admin")
        if "recovery" in details:
            self._authority.recovery_set(node, details["recovery"][0])
        return None

    def _enroll(self, node: Node, author: Standing) -> Ignored | None:
        details = node.operation.details
        level, role = details["level"], details["role"]
        if level not in LEVELS or role not in ROLES or (role == "admin" and level != "full"):
            return Ignored.MALFORMED
        if author.role != "admin":
            return Ignored.NOT_ENTITLED
        keys = self._keys_of(details["cert"])
        if keys is None or self._comes_back_as_it_was(node, keys.sig_pk, details["cert"]):
            return Ignored.BAD_CERTIFICATE
        if self._authority.was_recovery(keys.sig_pk, node.past):
            return Ignored.NOT_ENTITLED
        self._authority.record(node)
        self._admit(node, keys, level, role)
        return None

    def _comes_back_as_it_was(self, node: Node, device: bytes, cert: bytes) -> bool:
        """Whether a removed device comes back with a certificate that it had already."""
        if not any(known.cert == cert for known in self._certified_in(node.past, device)):
            return False
        verdict = self._authority.verdict(node.past & self._authority.bits)
        return bool(self._authority.revoking(verdict, device))

    def _admit(self, node: Node, keys: Keys, level: str, role: str) -> None:
        self._authority.enrolled(node, keys.sig_pk, level, role)
        self._certify(node, keys)

    def _certify(self, node: Node, keys: Keys) -> None:
        self.keys[node.id] = keys
        cert = node.operation.details.get("cert", b"")
        self.certified.setdefault(keys.sig_pk, []).append(_Certified(node, keys, cert))

    def _certified_in(self, past: int, device: bytes) -> list[_Certified]:
        return [known for known in self.certified.get(device, ()) if known.node.bit & past]

    def _keys_of(self, cert: bytes) -> Keys | None:
        try:
            certificate: CertificateView = self._read_certificate(cert)
        except CoveyError:
            return None
        if certificate.mesh != self._mesh:
            return None
        return Keys(certificate.sig_pk, certificate.dh_pk, certificate.seal_pk)

    def _set_level(self, node: Node, author: Standing) -> Ignored | None:
        device, level = node.operation.details["device"], node.operation.details["level"]
        if level not in LEVELS:
            return Ignored.MALFORMED
        lowers_itself = device == node.author and (
            LEVEL_ORDER.index(level) < LEVEL_ORDER.index(author.level)
        )
        fault = self._fault_of_deciding(node, author, lowers_itself)
        if fault is None:
            self._authority.record(node)
            self._authority.level_set(node, device, level)
        return fault

    def _set_role(self, node: Node, author: Standing) -> Ignored | None:
        device, role = node.operation.details["device"], node.operation.details["role"]
        if role not in ROLES:
            return Ignored.MALFORMED
        fault = self._fault_of_deciding(node, author, device == node.author and role == "member")
        if fault is not None:
            return fault
        if role == "admin":
            standing = self._authority.standing(device, node.past)
            if standing is None or standing.level != "full":
                return Ignored.NOT_ENTITLED
        self._authority.record(node)
        self._authority.role_set(node, device, role)
        return None

    def _revoke(self, node: Node, author: Standing) -> Ignored | None:
        device = node.operation.details["device"]
        fault = self._fault_of_deciding(node, author, device == node.author)
        if fault is None:
            self._authority.record(node)
            self._authority.revoked(node, device)
        return fault

    def _fault_of_deciding(self, node: Node, author: Standing, may_itself: bool) -> Ignored | None:
        """Of an operation about a device: that it is a recovery key or none, or not its author's.

        A removed device is still known: a senior's word about it makes its removal final.
        """
        device = node.operation.details["device"]
        if author.role != "admin" and not may_itself:
            return Ignored.NOT_ENTITLED
        if self._authority.was_recovery(device, node.past):
            return Ignored.NOT_ENTITLED
        if not self._authority.was_enrolled(device, node.past):
            return Ignored.UNKNOWN_TARGET
        return None

    def _replace_recovery(self, node: Node, author: Standing) -> Ignored | None:
        sig_pk = recovery_of(node)[0]
        within = node.past & self._authority.bits
        verdict = self._authority.verdict(within)
        current = [recovery_of(statement)[0] for statement in self._authority.recoveries(verdict)]
        if current:
            may = node.author in current
        else:
            may = author.role == "admin" and node.author == self._most_senior_admin(within)
        if not may or self._authority.was_enrolled(sig_pk, node.past):
            return Ignored.NOT_ENTITLED
        self._authority.record(node)
        self._authority.recovery_set(node, sig_pk)
        return None

    def _most_senior_admin(self, within: int) -> bytes | None:
        verdict = self._authority.verdict(within)
        ranks = self._authority.ranks(within, within & ~verdict.live)
        for key in sorted(ranks, key=lambda key: ranks[key]):
            standing = self._authority.standing_in(verdict, key)
            if standing is not None and standing.role == "admin":
                return key
        return None

    # What else is said -------------------------------------------------------------------------

    def _about_a_device(self, node: Node, author: Standing) -> Ignored | None:
        device = node.operation.details["device"]
        if author.role != "admin" and device != node.author:
            return Ignored.NOT_ENTITLED
        if not self._authority.was_enrolled(device, node.past):
            return Ignored.UNKNOWN_TARGET
        self._authority.record(node)
        return None

    def _describe(self, node: Node, author: Standing) -> Ignored | None:
        details = node.operation.details
        if details["relationship"] not in RELATIONSHIPS or details["use"] not in USES:
            return Ignored.MALFORMED
        return self._about_a_device(node, author)

    def _policy(self, node: Node, author: Standing) -> Ignored | None:
        details = node.operation.details
        device = details["device"]
        may_itself = device == node.author and not any(
            is_for_admins(device, key) for key in details["set"]
        )
        if author.role != "admin" and not may_itself:
            return Ignored.NOT_ENTITLED
        if device and not self._authority.was_enrolled(device, node.past):
            return Ignored.UNKNOWN_TARGET
        self._authority.record(node)
        return None

    def _adopt(self, node: Node, author: Standing) -> Ignored | None:
        if author.role != "admin":
            return Ignored.NOT_ENTITLED
        return self._about_a_device(node, author)

    def _request(self, node: Node, author: Standing) -> Ignored | None:
        details = node.operation.details
        if details["level"] not in LEVELS:
            return Ignored.MALFORMED
        if author.level == "mailbox":
            return Ignored.NOT_ENTITLED
        keys = self._keys_of(details["cert"])
        if keys is None:
            return Ignored.BAD_CERTIFICATE
        self._authority.record(node)
        self.keys[node.id] = keys
        return None

    def _rekey(self, node: Node, author: Standing) -> Ignored | None:
        keys = self._keys_of(node.operation.details["cert"])
        if keys is None:
            return Ignored.BAD_CERTIFICATE
        if keys.sig_pk != node.author:
            return Ignored.NOT_ENTITLED
        known = self._certified_in(node.past, node.author)
        if not known:
            return Ignored.NOT_ENTITLED  # A recovery key has no certificate to renew.
        if any(keys.seal_pk == before.keys.seal_pk for before in known):
            return Ignored.BAD_CERTIFICATE
        if any(
            keys.dh_pk == other.keys.dh_pk
            for device in self.certified.keys() - {node.author}
            for other in self._certified_in(node.past, device)
        ):
            return Ignored.BAD_CERTIFICATE  # Or its links would be taken for the other's.
        self._authority.record(node)
        self._certify(node, keys)
        return None

    def _grant(self, node: Node, author: Standing) -> Ignored | None:
        details = node.operation.details
        scope, privacy = details["scope"], details["privacy"]
        if is_control_grant(details) != (not details["database"]):
            return Ignored.MALFORMED
        if author.level != "full" and not self._hands_on(node):
            return Ignored.NOT_ENTITLED
        for recipient, _ in details["sealed"]:
            standing = self._authority.standing(recipient, node.past)
            if standing is None:
                return Ignored.UNKNOWN_TARGET
            if not may_hold(standing.level, scope, privacy):
                return Ignored.NOT_ENTITLED
        # It is not recorded: no removal voids a grant, for data may need its key.
        self.grants[node.id] = grant_of(node.id, node.author, node.operation)
        if is_control_grant(details):
            given = (details["epoch"], details["key_id"])
            self._control_keys[given] = self._control_keys.get(given, 0) | node.bit
        return None

    def _hands_on(self, node: Node) -> bool:
        """Whether a grant is of a control key that was granted before.

        Of those anybody who reads the membership log may hand one on to who lacks it: it may be
        that nobody of level full has it any more.
        """
        details = node.operation.details
        given = self._control_keys.get((details["epoch"], details["key_id"]), 0)
        return is_control_grant(details) and bool(given & node.past)


def grant_of(id: bytes, author: bytes, operation: Operation) -> Grant:
    """What a well-formed grant operation says."""
    details = operation.details
    return Grant(
        id,
        author,
        details["scope"],
        details["database"],
        details["privacy"],
        details["epoch"],
        details["key_id"],
        dict(details["sealed"]),
        wall_ms_of(operation.hlc),
    )
