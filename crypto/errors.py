"""Errors of the crypto floor: what can go wrong with bytes and keys, by what the reader does next.

`OpenError`: these bytes do not open under this key. Another key may open them.
`FormatError`: bytes or text from outside do not have the one form they may have. No key helps.
`BodyTooLargeError`: we were asked to seal more than one entry may hold. Nothing was sealed.
`SelfTestError`: the libraries under us do not compute what they must. The program must not run.

No message of this floor contains a key, a plaintext or a password. A wrong argument that only our
own code can produce is an `assert`, not an error of this file. Sizes in messages are bytes.

Spec: docs/protocol.md; exit codes: docs/cli.md.
"""

from __future__ import annotations

from .. import CoveyError


class CryptoError(CoveyError):
    """The base of this floor. Catch it at a gate where every leaf means "refuse this input"."""


class OpenError(CryptoError):
    """A ciphertext does not open: wrong key, or changed on its way. Nothing of it was used."""

    exit_code = 5


class FormatError(CryptoError):
    """Bytes or text from outside are malformed, or a second spelling of something.

    A peer's bytes end at the gate that decodes them. What reaches the command line is therefore
    about something a person typed, such as a device id or a name: a usage error.
    """

    exit_code = 2


class BodyTooLargeError(CryptoError):
    """A body exceeds what one entry may hold. Nothing was sealed; a smaller change will do."""

    exit_code = 3


class SelfTestError(CryptoError):
    """A cryptographic library failed a known answer. Running on would be unsafe; upgrade it."""

    exit_code = 6
