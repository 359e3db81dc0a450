"""The fold of a membership log of a thousand operations: a family of admins over some years.

Every kind is in it. Admins write with what they know, so the history forks and merges all the
time; some devices are removed, one of them in dispute, and come back. Certificates are real and
are verified again in each round.
"""

import statistics
import time
from itertools import pairwise
from random import Random

from covey.crypto.grants import mesh_id
from covey.crypto.identity import DeviceKeys, make_certificate, read_certificate
from covey.sync.membership import fold
from covey.sync.operations import Operation, decode_operation, encode_operation
from covey.sync.registry import Ignored

from .budgets import Measure

ADMINS = 6
DEVICES = 24
PAPER = DEVICES
"""The recovery key stands behind the devices."""
MEETING = 0.4
"""How often an admin hears of all others before it writes."""
KINDS = {
    "enroll": 6,
    "set-level": 14,
    "set-role": 9,
    "revoke": 3,
    "recovery-replace": 1,
    "adopt": 4,
    "rename": 14,
    "describe": 14,
    "grant": 29,
    "request": 3,
    "rekey": 3,
}
"""How many of a hundred operations."""


class MembershipLog:
    """A history that is still written, by `Random(seed)`."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)
        self._devices = [DeviceKeys.generate(self._rng.randbytes) for _ in range(DEVICES + 1)]
        self._mesh = b""
        self.bodies: dict[bytes, tuple[bytes, bytes]] = {}
        """Operation id to its author and encoding."""
        self._heads: set[bytes] = set()
        self._next_paper = self._devices[PAPER]
        self._found()
        for device in range(1, DEVICES):
            self._write(0, "enroll", self._enrolment(device, admin=device < ADMINS))
        self._views = {author: set(self._heads) for author in (*range(ADMINS), PAPER)}
        """What each admin knows: the operations that its next one rests on."""

    @property
    def mesh(self) -> bytes:
        return self._mesh

    def grow(self, count: int) -> None:
        kinds, weights = list(KINDS), list(KINDS.values())
        while len(self.bodies) < count:
            (kind,) = self._rng.choices(kinds, weights)
            author = PAPER if kind == "recovery-replace" else self._rng.randrange(ADMINS)
            if author == PAPER or self._rng.random() < MEETING:
                self._views[author] = set(self._heads)
            self._write(author, kind, self._details(kind, author), self._views[author])
            self._views[author] = {[*self.bodies][-1]}
            if author == PAPER:
                self._devices[PAPER] = self._next_paper

    def _found(self) -> None:
        founder, paper = self._devices[0], self._devices[PAPER]
        details = {
            "sig": founder.sig_pk,
            "dh": founder.dh_pk,
            "seal": founder.seal_pk,
            "name": "laptop",
            "type": "laptop",
            "salt": bytes(16),
            "created": 0,
            "recovery": [paper.sig_pk, paper.seal_pk],
        }
        body = encode_operation(Operation("genesis", (), 0, details))
        self._mesh = mesh_id(body)
        self._add(0, body, ())

    def _write(
        self, author: int, kind: str, details: dict[str, object], known: set[bytes] | None = None
    ) -> None:
        parents = tuple(sorted(self._heads if known is None else known))
        operation = Operation(kind, parents, len(self.bodies) << 16, details)
        self._add(author, encode_operation(operation), parents)

    def _add(self, author: int, body: bytes, parents: tuple[bytes, ...]) -> None:
        id = self._rng.randbytes(32)
        self.bodies[id] = (self._devices[author].sig_pk, body)
        self._heads = (self._heads - set(parents)) | {id}

    def _details(self, kind: str, author: int) -> dict[str, object]:
        rng = self._rng
        number = rng.randrange(ADMINS, DEVICES)
        device = self._devices[number].sig_pk
        cut = [[bytes(16), rng.randbytes(16), 7, bytes(32)]]
        match kind:
            case "enroll":
                return self._enrolment(number, admin=False)
            case "set-level":
                return {"device": device, "level": rng.choice(("full", "limited", "guest"))}
            case "set-role":
                # Now and then an admin takes authority from another, who may be at work, or gives.
                admin = self._devices[rng.randrange(1, ADMINS)].sig_pk
                role = rng.choice(("member", "admin", "admin", "admin"))
                return {"device": admin, "role": role}
            case "revoke" | "adopt":
                return {"device": device, "cut": cut}
            case "rename":
                return {"device": device, "name": f"name {len(self.bodies)}"}
            case "describe":
                said = {"relationship": "family", "use": "mobile", "capabilities": ["camera"]}
                return {"device": device, **said}
            case "request":
                asked = {"name": "new", "type": "phone", "level": "full"}
                return {"cert": self._certificate(number), **asked}
            case "recovery-replace":
                self._next_paper = DeviceKeys.generate(rng.randbytes)
                return {"recovery": [self._next_paper.sig_pk, self._next_paper.seal_pk]}
            case "rekey":
                self._renew(author)
                return {"cert": self._certificate(author)}
        recipients = sorted(one.sig_pk for one in rng.sample(self._devices[:ADMINS], 3))
        return {
            "scope": b"s" * 16,
            "database": "memory",
            "privacy": 3,
            "epoch": 1 + len(self.bodies),
            "key_id": rng.randbytes(32),
            "sealed": [[one, bytes(164)] for one in recipients],
        }

    def _enrolment(self, number: int, *, admin: bool) -> dict[str, object]:
        return {
            "cert": self._certificate(number),
            "name": f"device {number}",
            "type": "phone",
            "level": "full" if admin else self._rng.choice(("full", "limited", "guest")),
            "role": "admin" if admin else "member",
        }

    def _certificate(self, number: int) -> bytes:
        return make_certificate(self._devices[number], self._mesh, len(self.bodies))

    def _renew(self, number: int) -> None:
        """Another seal key, which is the last third of the keys."""
        kept = self._devices[number].encode().reveal()[:64]
        self._devices[number] = DeviceKeys.decode(kept + self._rng.randbytes(32))


def measure_fold(operations: int, rounds: int) -> list[Measure]:
    """From decoded operations to the registry, with nothing remembered.

    In processor time: it is one computation on one core, and others at work here are not it.
    """
    log = MembershipLog(1)
    log.grow(operations)
    decoding: list[float] = []
    folding: list[float] = []
    again: list[float] = []
    for _ in range(rounds):
        read_certificate.cache_clear()
        at = [time.process_time()]
        decoded = {id: (by, decode_operation(body)) for id, (by, body) in log.bodies.items()}
        at.append(time.process_time())
        for _ in range(2):
            registry = fold(
                decoded, read_certificate=read_certificate, mesh_id=mesh_id, mesh=log.mesh
            )
            at.append(time.process_time())
        for taken, (start, end) in zip((decoding, folding, again), pairwise(at), strict=True):
            taken.append((end - start) * 1e3)
    removed = sum(not device.active for device in registry.devices.values())
    void = sum(why is Ignored.VOIDED for why in registry.ignored.values())
    note = f"{len(registry.ignored)} do not count, {void} of them void; {removed} devices removed"
    certificates = sum("cert" in operation.details for _, operation in decoded.values())
    return [
        Measure("fold", statistics.median(folding), f"{note}; {max(folding):.0f} worst"),
        Measure("fold_again", statistics.median(again), f"{certificates} certificates known"),
        Measure("fold_decode", statistics.median(decoding)),
    ]
