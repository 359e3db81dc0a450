"""Hello: what each side of a connection says in clear before anything is encrypted.

It carries no identity: what the connection is for, the protocol versions spoken and the names of
optional features. The bytes of both hellos go into the Noise prologue exactly as they were sent,
so whoever changes one on its way makes the handshake fail: nobody can talk two nodes down to an
older version.

One value has one encoding. Versions and features ascend without repetition, features are 1 to 64
printable ASCII characters without a space, and at least one version is spoken.

Spec: docs/protocol.md, section 5, step 1. Sizes are bytes; integers are big-endian.
"""

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from ..sync.errors import DecodeError

MAGIC = b"CVH1"
HELLO_BYTES_MAX = 256
FEATURE_BYTES_MAX = 64
VERSION_BYTES = 2
_FIXED_BYTES = len(MAGIC) + 2


class Purpose(IntEnum):
    """What a connection is for. The number travels."""

    MEMBER = 0
    PAIRING = 1
    QR = 2


@dataclass(frozen=True, slots=True)
class Hello:
    purpose: Purpose
    versions: tuple[int, ...]
    features: tuple[str, ...] = ()


def encode_hello(hello: Hello) -> bytes:
    """Return the one encoding of `hello`, at most 256 bytes."""
    parts = [MAGIC, bytes((hello.purpose, len(hello.versions)))]
    parts += [version.to_bytes(VERSION_BYTES, "big") for version in hello.versions]
    parts.append(bytes((len(hello.features),)))
    for feature in hello.features:
        parts.append(bytes((len(feature),)) + feature.encode("ascii"))
    data = b"".join(parts)
    assert decode_hello(data) == hello, "our own hello breaks the rules of hellos"
    return data


def decode_hello(data: bytes) -> Hello:
    """Read what the other side sent. Raises: DecodeError for anything but one encoding."""
    if len(data) > HELLO_BYTES_MAX:
        raise DecodeError(f"a hello has {len(data)} bytes, {HELLO_BYTES_MAX} allowed")
    if len(data) <= _FIXED_BYTES or not data.startswith(MAGIC):
        raise DecodeError("this is no hello")
    try:
        purpose = Purpose(data[4])
    except ValueError:
        raise DecodeError(f"a hello is for purpose {data[4]}, which is unknown") from None
    at = _FIXED_BYTES + VERSION_BYTES * data[5]
    words = data[_FIXED_BYTES:at]
    versions = tuple(
        int.from_bytes(words[i : i + VERSION_BYTES], "big")
        for i in range(0, len(words), VERSION_BYTES)
    )
    # The count of features stands right behind, so a hello cut short shows there.
    if not versions or at >= len(data) or not _ascend(versions):
        raise DecodeError("a hello lists no versions, or not in order")
    return Hello(purpose, versions, _features(data, at))


def shared_version(ours: tuple[int, ...], theirs: tuple[int, ...]) -> int | None:
    """Return the highest version both speak, so that upgraded nodes leave an old one behind."""
    return max(set(ours) & set(theirs), default=None)


def _features(data: bytes, at: int) -> tuple[str, ...]:
    count = data[at]
    at += 1
    features: list[bytes] = []
    for _ in range(count):
        size = data[at] if at < len(data) else 0
        feature = data[at + 1 : at + 1 + size]
        if len(feature) != size or not 1 <= size <= FEATURE_BYTES_MAX:
            raise DecodeError("a feature in a hello is empty, too long or cut short")
        if not all(0x21 <= byte <= 0x7E for byte in feature):
            raise DecodeError("a feature in a hello is not printable ASCII")
        features.append(feature)
        at += 1 + size
    if at != len(data) or not _ascend(features):
        raise DecodeError("a hello has bytes left over, or features out of order")
    return tuple(feature.decode("ascii") for feature in features)


def _ascend(items: tuple[int, ...] | list[bytes]) -> bool:
    return all(low < high for low, high in pairwise(items))  # type: ignore[operator]
