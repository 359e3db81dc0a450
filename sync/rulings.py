"""Rulings: the word of an author on which branch of a forked log of its own counts.

A *ruling* names the first place at which the branches differ and the entry that stands there on
the branch that stays. It says as well up to which entry of another branch its author has written
again what that branch said. It is signed by the author (crypto/ruling.py), so anybody may pass it
on, and it is about one log of that author and nothing else.

Of two rulings about one log that of the greater number counts; of the same number, the smaller one
as bytes. What a device holds is bounded by `room_for`. Pure.

Spec: docs/protocol.md, section 7, "Rulings". A ruling is `RULING_BYTES` bytes, a frame one more.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from .errors import DecodeError
from .session_limits import (
    CONTROL_SCOPE,
    ID_BYTES,
    RULING_NUMBER_MAX,
    RULINGS_MAX,
    RULINGS_PER_AUTHOR_MAX,
    SEQ_MAX,
    TAG_BYTES,
    ZERO_ID,
)

FEATURE = "rulings"
RULING = 0x18
RULING_TYPE = bytes((RULING,))
SIGNATURE_BYTES = 64
SAID_BYTES = 2 * TAG_BYTES + 3 * ID_BYTES + 3 * 8
RULING_BYTES = SAID_BYTES + SIGNATURE_BYTES

Name = tuple[bytes, bytes]
"""Scope and instance of a log."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What an author has decided about one log of its own."""

    scope: bytes
    author: bytes
    instance: bytes
    number: int
    """From 1; greater than that of every other ruling that its author knew of."""
    seq: int
    entry_id: bytes
    """Of the entry that stands at `seq` on the branch that stays."""
    lost_seq: int = 0
    lost_id: bytes = ZERO_ID
    """The last entry of a branch that its author had, and has written again; 0 for none."""
    signature: bytes = b""

    @property
    def name(self) -> Name:
        """The log that it is about."""
        return self.scope, self.instance

    @property
    def said(self) -> bytes:
        """What is signed, less the label and the mesh."""
        return b"".join(
            (
                self.scope,
                self.author,
                self.instance,
                self.number.to_bytes(8, "big"),
                self.seq.to_bytes(8, "big"),
                self.entry_id,
                self.lost_seq.to_bytes(8, "big"),
                self.lost_id,
            )
        )

    def outranks(self, other: "Ruling") -> bool:
        """Whether this one counts where both were made."""
        if self.number != other.number:
            return self.number > other.number
        return self.said < other.said


def encode_ruling(ruling: Ruling) -> bytes:
    """The bytes of a ruling, as they are kept and, after the type byte, travel."""
    assert len(ruling.signature) == SIGNATURE_BYTES
    return ruling.said + ruling.signature


def decode_ruling(data: bytes) -> Ruling:
    """The ruling in these bytes; whether its author signed it is not looked at.

    Raises: DecodeError if they are not exactly what `encode_ruling` writes for one.
    """
    if len(data) != RULING_BYTES:
        raise DecodeError(f"ruling: {len(data)} bytes, {RULING_BYTES} expected")
    parts = []
    at = 0
    for size in (TAG_BYTES, ID_BYTES, TAG_BYTES, 8, 8, ID_BYTES, 8, ID_BYTES):
        parts.append(data[at : at + size])
        at += size
    scope, author, instance, *rest = parts
    number, seq, lost_seq = (int.from_bytes(rest[index], "big") for index in (0, 1, 3))
    if scope == CONTROL_SCOPE:
        raise DecodeError("ruling: a log of the membership is not ruled on")
    if not (1 <= number <= RULING_NUMBER_MAX and 1 <= seq <= SEQ_MAX):
        raise DecodeError("ruling: a number out of its range")
    if not (seq <= lost_seq <= SEQ_MAX if lost_seq else rest[4] == ZERO_ID):
        raise DecodeError("ruling: a branch that ends before it begins")
    return Ruling(scope, author, instance, number, seq, rest[2], lost_seq, rest[4], data[at:])


def room_for(held: Iterable[Ruling], ruling: Ruling) -> list[Ruling] | None:
    """Those that go when this one is kept; None if it is not to be kept.

    One stays for each log. Of one author those of the greatest numbers stay.
    """
    held = list(held)
    of_author = [one for one in held if one.author == ruling.author]
    for one in held:
        if one.name == ruling.name:
            return [one] if one.author == ruling.author and ruling.outranks(one) else None
    if len(of_author) >= RULINGS_PER_AUTHOR_MAX:
        oldest = min(of_author, key=lambda one: (one.number, one.said))
        return [oldest] if ruling.number > oldest.number else None
    return [] if len(held) < RULINGS_MAX else None
