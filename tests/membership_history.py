"""Histories of a mesh for tests: operations as devices write them, with names for keys.

`read_certificate` and `mesh_id` stand for those of `covey.crypto`, without signatures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from covey.sync.errors import DecodeError
from covey.sync.membership import fold
from covey.sync.operations import Operation, decode_operation, encode_operation
from covey.sync.registry import Registry
from covey.sync.session_limits import PARENTS_MAX

SCOPE = b"s" * 16
KEY_ID = b"k" * 32
NAMES = ("anna", "ben", "cleo", "dora", "emil")
LEVEL_NAMES = ("mailbox", "guest", "limited", "full")


def key(name: str, use: str = "sig") -> bytes:
    return f"{name} {use}".encode().ljust(32, b".")


@dataclass(frozen=True)
class Certificate:
    mesh: bytes
    sig_pk: bytes
    dh_pk: bytes
    seal_pk: bytes


def certificate(name: str, mesh: bytes, turn: int = 0) -> bytes:
    """Each turn is another certificate; those after the first have another seal key."""
    seal = key(name, f"seal{turn or ''}")
    return (b"CVC1" + mesh + key(name) + key(name, "dh") + seal).ljust(188, b"c")


def recovery_keys(name: str) -> list[bytes]:
    return [key(name), key(name, "seal")]


def read_certificate(data: bytes) -> Certificate:
    if data[:4] != b"CVC1":
        raise DecodeError("no certificate")
    return Certificate(data[4:20], data[20:52], data[52:84], data[84:116])


def mesh_id(body: bytes) -> bytes:
    return blake2b(body, digest_size=32, person=b"covey-mesh-id-v1").digest()[:16]


class History:
    """Operations as devices write them, by id, and shorthands to write the next one."""

    def __init__(self, founder: str = "anna", recovery: str | None = None) -> None:
        self.operations: dict[bytes, tuple[bytes, Operation]] = {}
        details: dict[str, Any] = {
            "sig": key(founder),
            "dh": key(founder, "dh"),
            "seal": key(founder, "seal"),
            "name": founder,
            "type": "laptop",
            "salt": b"s" * 16,
            "created": 0,
        }
        if recovery is not None:
            details["recovery"] = recovery_keys(recovery)
        genesis = Operation("genesis", (), 0, details)
        self.mesh = mesh_id(encode_operation(genesis))
        self.genesis = self.add(founder, genesis)

    def add(self, author: str, operation: Operation) -> bytes:
        body = encode_operation(operation)
        count = len(self.operations).to_bytes(8, "big")
        id = blake2b(count + key(author) + body, digest_size=32).digest()
        self.operations[id] = (key(author), decode_operation(body))
        return id

    def write(
        self, author: str, kind: str, details: dict[str, Any], after: list[bytes] | None = None
    ) -> bytes:
        parents = self.heads() if after is None else tuple(sorted(after))
        return self.add(author, Operation(kind, parents, len(self.operations), details))

    def enroll(
        self, author: str, name: str, level: str = "full", role: str = "member", **more: Any
    ) -> bytes:
        cert = more.pop("cert", certificate(name, self.mesh, more.pop("turn", 0)))
        details = {"cert": cert, "name": name, "type": "phone", "level": level, "role": role}
        if "expires" in more:
            details["expires"] = more.pop("expires")
        return self.write(author, "enroll", details, **more)

    def grant(self, author: str, to: tuple[str, ...], privacy: int = 1, **more: Any) -> bytes:
        details = {
            "scope": more.pop("scope", SCOPE),
            "database": more.pop("database", "memory"),
            "privacy": privacy,
            "epoch": more.pop("epoch", 1),
            "key_id": more.pop("key_id", KEY_ID),
            "sealed": [[recipient, b"b" * 164] for recipient in sorted(map(key, to))],
        }
        return self.write(author, "grant", details, **more)

    def rename(self, author: str, device: str, name: str, **more: Any) -> bytes:
        return self.write(author, "rename", {"device": key(device), "name": name}, **more)

    def set_level(self, author: str, device: str, level: str, **more: Any) -> bytes:
        details: dict[str, Any] = {"device": key(device), "level": level}
        if "expires" in more:
            details["expires"] = more.pop("expires")
        return self.write(author, "set-level", details, **more)

    def set_role(self, author: str, device: str, role: str, **more: Any) -> bytes:
        return self.write(author, "set-role", {"device": key(device), "role": role}, **more)

    def revoke(
        self,
        author: str,
        device: str,
        cut: Sequence[tuple[bytes, bytes, int, bytes]] = (),
        **more: Any,
    ) -> bytes:
        rows = [list(row) for row in cut]
        return self.write(author, "revoke", {"device": key(device), "cut": rows}, **more)

    def adopt(
        self,
        author: str,
        device: str,
        cut: Sequence[tuple[bytes, bytes, int, bytes]] = (),
        **more: Any,
    ) -> bytes:
        rows = [list(row) for row in cut]
        return self.write(author, "adopt", {"device": key(device), "cut": rows}, **more)

    def describe(self, author: str, device: str, **more: Any) -> bytes:
        said = {"relationship": "family", "use": "shared", "capabilities": ["camera", "print"]}
        said |= {name: more.pop(name) for name in said.keys() & more.keys()}
        return self.write(author, "describe", {"device": key(device), **said}, **more)

    def replace_recovery(self, author: str, recovery: str, **more: Any) -> bytes:
        details = {"recovery": recovery_keys(recovery)}
        return self.write(author, "recovery-replace", details, **more)

    def request(self, author: str, name: str, level: str = "full", **more: Any) -> bytes:
        cert = more.pop("cert", certificate(name, self.mesh, more.pop("turn", 0)))
        details = {"cert": cert, "name": name, "type": "phone", "level": level}
        return self.write(author, "request", details, **more)

    def rekey(self, author: str, turn: int, **more: Any) -> bytes:
        cert = more.pop("cert", certificate(author, self.mesh, turn))
        return self.write(author, "rekey", {"cert": cert}, **more)

    def policy(self, author: str, device: str, database: str, **said: Any) -> bytes:
        """`device` empty: of every one. In the names of keys `__` stands for a dot."""
        after = {name: said.pop(name) for name in ("after",) if name in said}
        details = {
            "device": key(device) if device else b"",
            "database": database,
            "set": {name.replace("__", "."): value for name, value in said.items()},
        }
        return self.write(author, "policy", details, **after)

    def copy(self) -> "History":
        other = object.__new__(History)
        other.mesh, other.genesis, other.operations = self.mesh, self.genesis, {**self.operations}
        return other

    def ancestors(self, ids: Iterable[bytes]) -> frozenset[bytes]:
        """All that these rest on, without themselves unless one rests on another."""
        found: set[bytes] = set()
        left = [parent for id in ids for parent in self.operations[id][1].parents]
        while left:
            id = left.pop()
            if id not in found:
                found.add(id)
                left += self.operations[id][1].parents
        return frozenset(found)

    def heads(self) -> tuple[bytes, ...]:
        inner = {parent for _, op in self.operations.values() for parent in op.parents}
        return tuple(sorted(self.operations.keys() - inner))[:PARENTS_MAX]

    def fold(self, ids: Iterable[bytes] | None = None) -> Registry:
        """Of everything, or of some operations."""
        chosen = self.operations if ids is None else {id: self.operations[id] for id in ids}
        return fold(chosen, read_certificate=read_certificate, mesh_id=mesh_id, mesh=self.mesh)
