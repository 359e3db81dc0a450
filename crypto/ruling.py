"""Ruling: the signature under what an author says of a forked log of its own.

It binds the mesh, so a device that has changed meshes is not held to what it said in another, and
starts with a label of its own, so nothing else that a device signs can be taken for a ruling.

Spec: docs/protocol.md, section 7, "Rulings".
"""

from .identity import DeviceKeys, verify

LABEL_RULING = b"cvy-ruling-v1\0"
MESH_BYTES = 16


def sign_ruling(keys: DeviceKeys, mesh: bytes, said: bytes) -> bytes:
    """Return the author's signature, 64 bytes."""
    assert len(mesh) == MESH_BYTES
    return keys.sign(LABEL_RULING + mesh + said)


def verify_ruling(author: bytes, mesh: bytes, said: bytes, signature: bytes) -> bool:
    """Say whether `author`, a 32-byte `sig` key, said this in this mesh. Never raises."""
    return verify(author, LABEL_RULING + mesh + said, signature)
