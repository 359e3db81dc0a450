"""Histories of a mesh for tests: operations as devices write them, with names for keys.

`read_certificate` and `mesh_id` stand for those of `covey.crypto`, without signatures.
"""

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


def certificate(name: str, mesh: bytes) -> bytes:
    return (b"CVC1" + mesh + key(name) + key(name, "dh") + key(name, "seal")).ljust(188, b"c")


def read_certificate(data: bytes) -> Certificate:
    if data[:4] != b"CVC1":
        raise DecodeError("no certificate")
    return Certificate(data[4:20], data[20:52], data[52:84], data[84:116])


def mesh_id(body: bytes) -> bytes:
    return blake2b(body, digest_size=32, person=b"covey-mesh-id-v1").digest()[:16]


class History:
    """Operations as devices write them, by id, and shorthands to write the next one."""

    def __init__(self, founder: str = "anna") -> None:
        self.operations: dict[bytes, tuple[bytes, Operation]] = {}
        details = {
            "sig": key(founder),
            "dh": key(founder, "dh"),
            "seal": key(founder, "seal"),
            "name": founder,
            "type": "laptop",
            "salt": b"s" * 16,
            "created": 0,
        }
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
        cert = more.pop("cert", certificate(name, self.mesh))
        details = {"cert": cert, "name": name, "type": "phone", "level": level, "role": role}
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

    def heads(self) -> tuple[bytes, ...]:
        inner = {parent for _, op in self.operations.values() for parent in op.parents}
        return tuple(sorted(self.operations.keys() - inner))[:PARENTS_MAX]

    def fold(self) -> Registry:
        return fold(
            self.operations, read_certificate=read_certificate, mesh_id=mesh_id, mesh=self.mesh
        )
