"""Padding: what a mailbox can learn of a body's length, cut down to a few hundred sizes.

A padded body is `u32 length ‖ body ‖ zeros`, in all `padme(max(256, 4 + length))` bytes. Padmé
rounds up so that at most O(log log n) bits of a length show, and wastes less than 12 percent.

`pad` and `unpad` are inverse on exactly one spelling: `unpad` refuses another total length, a
length field beyond the end and any byte of the filling that is not zero. Sizes are bytes.

Spec: docs/protocol.md, section 2; Padmé: Nikitin et al., "Reducing Metadata Leakage from Encrypted
Files and Communication with PURBs", PETS 2019, section 4.
"""

from __future__ import annotations

from .errors import FormatError

LENGTH_BYTES = 4
PADDED_BYTES_MIN = 256


def padme(length: int) -> int:
    """Return the smallest Padmé size that is not below `length`, which is 1 or more."""
    assert length >= 1, "Padmé sizes start at 1"
    e = length.bit_length() - 1
    mask = (1 << (e - e.bit_length())) - 1
    return (length + mask) & ~mask


def pad(body: bytes) -> bytes:
    """Return `body` with its length in front and zeros behind. Inverse of `unpad`."""
    n = len(body)
    total = padme(max(PADDED_BYTES_MIN, LENGTH_BYTES + n))
    return (n.to_bytes(LENGTH_BYTES, "big") + body).ljust(total, b"\0")


def unpad(plain: bytes) -> bytes:
    """Return the body of a padded plaintext.

    Raises: FormatError for anything that `pad` would not have written.
    """
    total = len(plain)
    if total < PADDED_BYTES_MIN:
        raise FormatError(f"padded body: {total} bytes, the least is {PADDED_BYTES_MIN}")
    end = LENGTH_BYTES + int.from_bytes(plain[:LENGTH_BYTES], "big")
    if end > total:
        raise FormatError(f"padded body: says {end} bytes but has {total}")
    if total != padme(end if end > PADDED_BYTES_MIN else PADDED_BYTES_MIN):
        raise FormatError(f"padded body: {total} bytes is not the size for {end}")
    if plain[end:] != bytes(total - end):
        raise FormatError("padded body: the filling is not all zeros")
    return plain[LENGTH_BYTES:end]
