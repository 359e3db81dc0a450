"""Pairing: a short code, typed on the new device, proves that nobody sits between two devices.

Inside a Noise XX channel both sides run SPAKE2 over the code, bound to the handshake hash `h` and
to both static keys: a man in the middle has two handshakes, so two values of `h`, and learns only
whether one guess was right. `PakeInitiator` is the new device B, where the code was typed;
`PakeResponder` is A, which shows it. Each makes and takes the contents of steps 1 to 4, without
their type byte, and gives no second chance after the first error.

A confirms nothing before B's confirmation was right, so a wrong guess teaches B nothing more. The
caller keeps the clock, counts burned codes and closes the window: `WrongCodeError` burns one.

With a picture instead of a code there is no key exchange here: its token becomes the pre-shared key
of a Noise IKpsk2 handshake (`qr_psk`), and only the proof of the device key follows.

PyPI `spake2` is pure Python and not constant-time, which one guess a code makes useless to
measure. It is imported where it is used, since importing it takes 0.1 s.

Spec: docs/protocol.md, section 6. Sizes are bytes: `h` and static keys 32, points 33 (a side letter
and an edwards25519 point), confirmations 32, proofs 64.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

from nacl.bindings import crypto_core_ed25519_is_valid_point

from .errors import CryptoError
from .hashing import derive, digest, equal, mac
from .identity import verify
from .secret import Secret

LABEL_CID = b"cvy-pair-cid-v1-"
LABEL_CONFIRM_KEY_A = b"cvy-pair-confA-1"
LABEL_CONFIRM_KEY_B = b"cvy-pair-confB-1"
LABEL_CONFIRM_A = b"cvy-pair-mac-A-1"
LABEL_CONFIRM_B = b"cvy-pair-mac-B-1"
LABEL_KEY_PROOF = b"cvy-pair-key-v1\0"
LABEL_PAPER_PROOF = b"cvy-pair-paper-1\0"
LABEL_QR_PSK = b"cvy-pair-qr-psk1"
LABEL_QR_CHECK = b"cvy-pair-qr-chk1"

HANDSHAKE_HASH_BYTES = 32
STATIC_BYTES = 32
POINT_BYTES = 33
CONFIRMATION_BYTES = 32
PROOF_BYTES = 64
TOKEN_BYTES = 16
QR_CHECK_BYTES = 4

# `spake2` names its sides the other way round: its A speaks first, and that is our B.
_SIDE_OF_B = b"A"
_SIDE_OF_A = b"B"


class PairingFailed(CryptoError):  # noqa: N818 - an outcome, named as people see it
    """This attempt to pair is over. Nothing was enrolled; the cure is to connect again.

    Raised for malformed or hostile points, wrong order, and by every call after the first error.
    The code was not tested, so it is still good for its one guess.
    """

    exit_code = 3


class WrongCodeError(PairingFailed):
    """The other side proved that it used another code, or that somebody is in between.

    Raised only by the side that checked a confirmation. The code is burned: both sides say so.
    """


class Side(Enum):
    """The value enters the channel id of a side (docs/protocol.md, section 6)."""

    A_SHOWS = b"A"
    B_TYPES = b"B"


class _Step(Enum):
    START = "start"
    SENT_POINT = "sent point"
    SENT_CONFIRMATION = "sent confirmation"
    AGREED = "agreed"
    DEAD = "dead"


def pair_cid(handshake_hash: bytes, side: Side, static: bytes) -> bytes:
    """Return the 32-byte channel id of one side: its static key, bound to this one handshake."""
    assert len(handshake_hash) == HANDSHAKE_HASH_BYTES and len(static) == STATIC_BYTES
    return digest(LABEL_CID, handshake_hash, side.value, static)


class _Pake:
    """What both sides have in common: the code, the transcript, and one way forward."""

    __slots__ = ("_h", "_pa", "_pb", "_spake", "_step", "_their_confirmation")

    def __init__(self, handshake_hash: bytes, spake: Any) -> None:
        self._h = handshake_hash
        self._spake = spake
        self._pa = b""
        self._pb = b""
        self._their_confirmation = b""
        self._step = _Step.START

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._step.value}>"

    @property
    def agreed(self) -> bool:
        """Whether both sides are proved to have used the same code in the same handshake."""
        return self._step is _Step.AGREED

    def _begin(self, expected: _Step) -> None:
        # Dead until this step succeeds, so that no exception leaves a way on.
        before, self._step = self._step, _Step.DEAD
        if before is not expected:
            raise PairingFailed("pairing failed: a message came out of order, or after a failure")

    def _own_point(self) -> bytes:
        point: bytes = _guarded(self._spake.start)
        assert len(point) == POINT_BYTES
        return point

    def _shared_key(self, their_point: bytes) -> bytes:
        key: bytes = _guarded(lambda: self._spake.finish(their_point))
        self._spake = None
        return key

    def _confirmations(self, key: bytes) -> tuple[bytes, bytes]:
        """Return the confirmations of A and of B."""
        transcript = self._h, self._pb, self._pa
        return (
            mac(derive(key, LABEL_CONFIRM_KEY_A), LABEL_CONFIRM_A, *transcript),
            mac(derive(key, LABEL_CONFIRM_KEY_B), LABEL_CONFIRM_B, *transcript),
        )

    def _check(self, confirmation: bytes) -> None:
        if len(confirmation) != CONFIRMATION_BYTES or not equal(
            confirmation, self._their_confirmation
        ):
            raise WrongCodeError(
                "pairing failed: the codes differ, or someone is between the devices;"
                " show a new code"
            )


class PakeInitiator(_Pake):
    """B, the new device, on which the code was typed. Speaks first.

    `code` is in its normal form (`words.normalise_code`); `handshake_hash` and the public static
    keys are those of the finished Noise handshake. `draw(64)` gives fresh randomness.
    """

    __slots__ = ()

    def __init__(
        self,
        code: str,
        handshake_hash: bytes,
        static_a: bytes,
        static_b: bytes,
        draw: Callable[[int], bytes],
    ) -> None:
        from spake2 import SPAKE2_A

        cid_a, cid_b = _cids(handshake_hash, static_a, static_b)
        super().__init__(
            handshake_hash,
            _guarded(lambda: SPAKE2_A(code.encode(), idA=cid_b, idB=cid_a, entropy_f=draw)),
        )

    def start(self) -> bytes:
        """Return `pB`, the content of step 1. Raises: PairingFailed."""
        self._begin(_Step.START)
        self._pb = self._own_point()
        self._step = _Step.SENT_POINT
        return self._pb

    def confirm(self, pa: bytes) -> bytes:
        """Take `pA`, the content of step 2, and return B's confirmation, the content of step 3.

        Raises: PairingFailed for anything but a usable point of A's side.
        """
        self._begin(_Step.SENT_POINT)
        _check_point(pa, _SIDE_OF_A)
        key = self._shared_key(pa)
        self._pa = pa
        self._their_confirmation, own = self._confirmations(key)
        self._step = _Step.SENT_CONFIRMATION
        return own

    def finish(self, confirmation: bytes) -> None:
        """Check A's confirmation, the content of step 4; then both sides have agreed.

        Raises: WrongCodeError if it is not the one that A must have made.
        """
        self._begin(_Step.SENT_CONFIRMATION)
        self._check(confirmation)
        self._step = _Step.AGREED


class PakeResponder(_Pake):
    """A, the member that shows the code. Speaks second. Arguments as of `PakeInitiator`."""

    __slots__ = ("_own_confirmation",)

    def __init__(
        self,
        code: str,
        handshake_hash: bytes,
        static_a: bytes,
        static_b: bytes,
        draw: Callable[[int], bytes],
    ) -> None:
        from spake2 import SPAKE2_B

        cid_a, cid_b = _cids(handshake_hash, static_a, static_b)
        super().__init__(
            handshake_hash,
            _guarded(lambda: SPAKE2_B(code.encode(), idA=cid_b, idB=cid_a, entropy_f=draw)),
        )
        self._own_confirmation = b""

    def answer(self, pb: bytes) -> bytes:
        """Take `pB`, the content of step 1, and return `pA`, the content of step 2.

        Raises: PairingFailed for anything but a usable point of B's side.
        """
        self._begin(_Step.START)
        _check_point(pb, _SIDE_OF_B)
        self._pa = self._own_point()
        key = self._shared_key(pb)
        self._pb = pb
        self._own_confirmation, self._their_confirmation = self._confirmations(key)
        self._step = _Step.SENT_POINT
        return self._pa

    def finish(self, confirmation: bytes) -> bytes:
        """Check B's confirmation, the content of step 3, and return A's, the content of step 4.

        Raises: WrongCodeError if it is not the one that B must have made. The code is then burned.
        """
        self._begin(_Step.SENT_POINT)
        self._check(confirmation)
        self._step = _Step.AGREED
        return self._own_confirmation


def prove_key(sign: Callable[[bytes], bytes], handshake_hash: bytes) -> bytes:
    """Return the proof of step 5: B's device key signs this one handshake. 64 bytes."""
    assert len(handshake_hash) == HANDSHAKE_HASH_BYTES
    return sign(LABEL_KEY_PROOF + handshake_hash)


def key_is_proved(sig_pk: bytes, handshake_hash: bytes, proof: bytes) -> bool:
    """Whether the owner of `sig_pk` signed this handshake. False for malformed input, too."""
    assert len(handshake_hash) == HANDSHAKE_HASH_BYTES
    return verify(sig_pk, LABEL_KEY_PROOF + handshake_hash, proof)


def prove_paper(sign: Callable[[bytes], bytes], handshake_hash: bytes, sig_pk: bytes) -> bytes:
    """Return the proof that who pairs holds the paper key: it signs this one handshake, 64 bytes.

    `sig_pk` is the device key that is proved beside it, so that neither can be used for the other.
    """
    assert len(handshake_hash) == HANDSHAKE_HASH_BYTES and len(sig_pk) == STATIC_BYTES
    return sign(LABEL_PAPER_PROOF + handshake_hash + sig_pk)


def paper_is_proved(paper_pk: bytes, handshake_hash: bytes, sig_pk: bytes, proof: bytes) -> bool:
    """Whether the paper key vouches for this device in this handshake. Never raises for bytes."""
    assert len(handshake_hash) == HANDSHAKE_HASH_BYTES
    return verify(paper_pk, LABEL_PAPER_PROOF + handshake_hash + sig_pk, proof)


def qr_psk(token: Secret) -> Secret:
    """Return the pre-shared key of the handshake for which a picture gave this 16-byte token.

    A token has 128 bits and cannot be guessed, offline or otherwise. A code has 30 and must never
    come here: one recorded handshake would give it away.
    """
    assert len(token.reveal()) == TOKEN_BYTES
    return Secret(derive(token.reveal(), LABEL_QR_PSK))


def qr_check(content: bytes) -> bytes:
    """Return the 4 bytes that tell a text which was cut or mistyped from a wrong one."""
    return digest(LABEL_QR_CHECK, content)[:QR_CHECK_BYTES]


def _cids(handshake_hash: bytes, static_a: bytes, static_b: bytes) -> tuple[bytes, bytes]:
    return (
        pair_cid(handshake_hash, Side.A_SHOWS, static_a),
        pair_cid(handshake_hash, Side.B_TYPES, static_b),
    )


def _check_point(point: bytes, side: bytes) -> None:
    if len(point) != POINT_BYTES or point[:1] != side:
        raise PairingFailed(
            f"pairing failed: {len(point)} bytes received, a point of the other side"
            f" has {POINT_BYTES}"
        )
    # `spake2` alone would accept the neutral element in its second spelling.
    if not crypto_core_ed25519_is_valid_point(point[1:]):
        raise PairingFailed("pairing failed: what was received is no usable point")


def _guarded(call: Callable[[], Any]) -> Any:
    """Run a call of `spake2`, which fails with AssertionError, ValueError and errors of its own."""
    try:
        return call()
    except Exception as error:
        # The kind alone, and no chain: a text or a frame of the library may hold the code.
        raise PairingFailed(f"pairing failed: {type(error).__name__} in the key exchange") from None
