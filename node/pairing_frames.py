"""Pairing frames: the bytes of docs/protocol.md, section 6, and why a pairing can end.

One type byte, then the content. Everything from the other side is checked here: sizes, types,
names, keys. Nothing of it is trusted before both sides have proved the code.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from .. import CoveyError
from ..crypto.errors import FormatError
from ..crypto.identity import check_name, check_public_keys
from ..sync.errors import DecodeError
from ..sync.packing import pack, unpack

TYPE_POINT_B = 0x21
TYPE_POINT_A = 0x22
TYPE_CONFIRM_B = 0x23
TYPE_CONFIRM_A = 0x24
TYPE_DEVICE = 0x25
TYPE_OFFER = 0x26
TYPE_CERTIFICATE = 0x27
TYPE_WELCOME = 0x28
TYPE_DONE = 0x29
TYPE_LOG = 0x2A
TYPE_BEARER = 0x2B
TYPE_PAPER_WELCOME = 0x2C
TYPE_WORD = 0x2D
TYPE_REFUSAL = 0x2F

DEVICE_TYPES = ("laptop", "phone", "tablet", "desktop", "server", "mailbox")
LEVELS = ("full", "limited", "guest")


class Refusal(IntEnum):
    """Why a side ends the pairing. The number travels."""

    DECLINED = 1
    WRONG_CODE = 2
    EXPIRED = 3
    BUSY = 4
    ALREADY_MEMBER = 5
    OTHER_MESH = 6
    MALFORMED = 7
    FAILED = 8
    PENDING = 9
    NOT_THE_PAPER_KEY = 10


REFUSAL_SENTENCES = {
    Refusal.DECLINED: "the person at the other device said no",
    Refusal.WRONG_CODE: "the code was wrong, and is used up: ask for a new one with `covey pair`",
    Refusal.EXPIRED: "the code has expired: ask for a new one with `covey pair`",
    Refusal.BUSY: "another device is being paired with this code",
    Refusal.ALREADY_MEMBER: "this device is already a member of that mesh",
    Refusal.OTHER_MESH: "this device belongs to a mesh with other devices: use another --home",
    Refusal.MALFORMED: "the other device speaks another dialect: update covey on both",
    Refusal.FAILED: "the other device could not finish: see its output",
    Refusal.PENDING: "an admin of the mesh has to approve this device first",
    Refusal.NOT_THE_PAPER_KEY: "the words are no paper key of that mesh: it has another, or none",
}


class PairingRefusedError(CoveyError):
    """The pairing is over and nobody was admitted. The text says whose decision it was."""

    exit_code = 3

    def __init__(self, refusal: Refusal, sentence: str | None = None) -> None:
        super().__init__(sentence or REFUSAL_SENTENCES[refusal])
        self.refusal = refusal


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Step 5: the device that wants to join."""

    sig: bytes
    dh: bytes
    seal: bytes
    name: str
    type: str
    proof: bytes

    BINARY: ClassVar[dict[str, int]] = {"sig": 32, "dh": 32, "seal": 32, "proof": 64}
    TEXTS: ClassVar[tuple[str, ...]] = ("name", "type")

    def encode(self) -> bytes:
        return bytes((TYPE_DEVICE,)) + pack(
            {
                "sig": self.sig,
                "dh": self.dh,
                "seal": self.seal,
                "name": self.name,
                "type": self.type,
                "proof": self.proof,
            }
        )

    @classmethod
    def decode(cls, content: bytes) -> "Newcomer":
        """Raises PairingRefusedError."""
        return cls.checked(_fields(content, cls.BINARY, cls.TEXTS))

    @classmethod
    def checked(cls, fields: dict[str, object]) -> "Newcomer":
        """Of fields of the right form. Raises PairingRefusedError."""
        newcomer = cls(**fields)  # type: ignore[arg-type]
        try:
            check_public_keys(newcomer.sig, newcomer.dh, newcomer.seal)
        except FormatError as error:
            raise PairingRefusedError(Refusal.MALFORMED, str(error)) from None
        if newcomer.type not in DEVICE_TYPES:
            raise PairingRefusedError(Refusal.MALFORMED)
        return newcomer


@dataclass(frozen=True, slots=True)
class Bearer:
    """Step 5 of a device that brings the paper key: it is admitted by that key's word."""

    newcomer: Newcomer
    paper: bytes
    paper_proof: bytes

    def encode(self) -> bytes:
        of_device = {field: getattr(self.newcomer, field) for field in Newcomer.__slots__}
        of_paper = {"paper": self.paper, "paper_proof": self.paper_proof}
        return bytes((TYPE_BEARER,)) + pack({**of_device, **of_paper})

    @classmethod
    def decode(cls, content: bytes) -> "Bearer":
        """Raises PairingRefusedError."""
        paper = {"paper": 32, "paper_proof": 64}
        fields = _fields(content, {**Newcomer.BINARY, **paper}, Newcomer.TEXTS)
        said: dict[str, bytes] = {name: fields.pop(name) for name in paper}  # type: ignore[misc]
        return cls(Newcomer.checked(fields), said["paper"], said["paper_proof"])


@dataclass(frozen=True, slots=True)
class Offer:
    """Step 6: the mesh and the member that would admit."""

    mesh: bytes
    name: str
    sig: bytes
    level: str

    def encode(self) -> bytes:
        return bytes((TYPE_OFFER,)) + pack(
            {"mesh": self.mesh, "name": self.name, "sig": self.sig, "level": self.level}
        )

    @classmethod
    def decode(cls, content: bytes) -> "Offer":
        """Raises PairingRefusedError."""
        offer = cls(**_fields(content, {"mesh": 16, "sig": 32}, ("name", "level")))  # type: ignore[arg-type]
        if offer.level not in LEVELS:
            raise PairingRefusedError(Refusal.MALFORMED)
        return offer


@dataclass(frozen=True, slots=True)
class Welcome:
    """Step 8: how to open the membership log, which follows in `frames` frames."""

    genesis: bytes
    keys: tuple[tuple[int, bytes, bytes], ...]
    """Every control key, oldest first: epoch, key id, box."""
    frames: int

    def encode(self, type_: int = TYPE_WELCOME) -> bytes:
        return bytes((type_,)) + pack(
            {
                "genesis": self.genesis,
                "keys": [list(key) for key in self.keys],
                "frames": self.frames,
            }
        )

    @classmethod
    def decode(cls, content: bytes) -> "Welcome":
        """Raises PairingRefusedError."""
        try:
            fields = unpack(content)
        except DecodeError:
            raise PairingRefusedError(Refusal.MALFORMED) from None
        match fields:
            case {"genesis": bytes(genesis), "keys": list(keys), "frames": int(frames)}:
                pass
            case _:
                raise PairingRefusedError(Refusal.MALFORMED)
        fits = len(fields) == 3 and len(genesis) == 32 and not isinstance(frames, bool)
        if not fits or not 1 <= frames <= LOG_FRAMES_MAX or not 1 <= len(keys) <= CONTROL_KEYS_MAX:
            raise PairingRefusedError(Refusal.MALFORMED)
        return cls(genesis, tuple(_control_key(key) for key in keys), frames)


LOG_FRAMES_MAX = 256
CONTROL_KEYS_MAX = 256
WORD_FRAMES_MAX = 64


def _control_key(row: object) -> tuple[int, bytes, bytes]:
    match row:
        case [int(epoch), bytes(key_id), bytes(box)] if not isinstance(epoch, bool):
            if 1 <= epoch < 1 << 32 and len(key_id) == 32 and len(box) == 164:
                return epoch, key_id, box
    raise PairingRefusedError(Refusal.MALFORMED)


def refusal_frame(refusal: Refusal) -> bytes:
    return bytes((TYPE_REFUSAL, refusal))


def expect(frame: bytes, type_: int, size: int | None = None) -> bytes:
    """The content of a frame of this type. Raises PairingRefusedError for any other."""
    if len(frame) == 2 and frame[0] == TYPE_REFUSAL:
        known = frame[1] in Refusal._value2member_map_
        raise PairingRefusedError(Refusal(frame[1]) if known else Refusal.FAILED)
    content = frame[1:]
    if not frame or frame[0] != type_ or (size is not None and len(content) != size):
        raise PairingRefusedError(Refusal.MALFORMED)
    return content


def _fields(  # noqa: C901 - one check after the other, nothing nested
    content: bytes,
    binary: dict[str, int],
    texts: tuple[str, ...],
    numbers: tuple[str, ...] = (),
) -> dict[str, object]:
    """A map with exactly these fields: binaries of these sizes, names or words, numbers."""
    try:
        fields = unpack(content)
    except DecodeError:
        raise PairingRefusedError(Refusal.MALFORMED) from None
    if not isinstance(fields, dict) or set(fields) != {*binary, *texts, *numbers}:
        raise PairingRefusedError(Refusal.MALFORMED)
    for field, size in binary.items():
        if not isinstance(fields[field], bytes) or len(fields[field]) != size:
            raise PairingRefusedError(Refusal.MALFORMED)
    for field in numbers:
        if not isinstance(fields[field], int) or isinstance(fields[field], bool):
            raise PairingRefusedError(Refusal.MALFORMED)
    for field in texts:
        text = fields[field]
        if not isinstance(text, str):
            raise PairingRefusedError(Refusal.MALFORMED)
        try:
            if check_name(text) != text:
                raise PairingRefusedError(Refusal.MALFORMED)
        except FormatError:
            raise PairingRefusedError(Refusal.MALFORMED) from None
    return fields
