"""Messages: every frame of a session between members, as values and as bytes.

One type byte, then canonical msgpack; a batch is binary and has a file of its own (batch.py).
`encode` and `decode` are inverse. `decode` refuses whatever `encode` would not write: another
order of rows, a row twice, a field too many, a number out of its range. What is well formed may
still be wrong at this moment: that is for the session to judge (session.py).

Values are trusted when encoded: a message of ours that breaks a bound is a fault of ours.

Spec: docs/protocol.md, sections 7, 8 and 9. Tags and instances are 16 bytes; ids, authors and
digests 32; credit is counted in bytes of whole batch frames, the type byte included.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Any

from .batch import BATCH_TYPE, Batch, Run, Segment, decode_batch, encode_batch
from .demand import (
    ANSWER_TYPE,
    ASK_TYPE,
    QUESTION_TYPE,
    Answer,
    Ask,
    Demand,
    Question,
    decode_demand,
    encode_demand,
)
from .errors import DecodeError
from .limits import CONTROL_BYTES_MAX, CONTROL_TOKENS_MAX
from .packing import pack, unpack
from .policy import BUCKET_MAX
from .session_limits import (
    ACK_ROWS_MAX,
    DEVICE_STATE_BYTES_MAX,
    DIGEST_ROWS_MAX,
    FEATURE_BYTES_MAX,
    FEATURES_MAX,
    FLOORS_MAX,
    FRAME_BYTES_MAX,
    HOLD_ROWS_MAX,
    ID_BYTES,
    SEQ_MAX,
    TAG_BYTES,
    TEXT_BYTES_MAX,
    VECTOR_ROWS_MAX,
    VECTOR_TOKENS_MAX,
    WANT_ROWS_MAX,
)

__all__ = [
    "Ack",
    "Answer",
    "Ask",
    "Batch",
    "Digests",
    "Goodbye",
    "Greeting",
    "Have",
    "Hold",
    "Message",
    "Question",
    "Reason",
    "Root",
    "Run",
    "Segment",
    "VectorMessage",
    "Want",
    "decode",
    "decode_batch",
    "encode",
    "encode_batch",
]


class Reason(Enum):
    """Why a session ended. The value travels in *goodbye* (section 7), 200 and above never do."""

    DONE = 0
    NO_SHARED_VERSION = 1
    MALFORMED = 2
    OUT_OF_ORDER = 3
    MEMBERSHIP_FIRST = 4
    CREDIT_EXCEEDED = 5
    TOO_MUCH = 6
    BATCH_REFUSED = 7
    STORE_FULL = 8
    TOO_SLOW = 9
    REMOVED = 10
    REPLACED = 11
    RESTING = 12
    """Everything is done, and the sender saves its battery: it comes again by itself."""
    OTHER = 100
    """A number that this version does not know."""
    CONNECTION_LOST = 200


@dataclass(frozen=True, slots=True)
class Greeting:
    """The first frame of each side."""

    version: int
    features: tuple[str, ...]
    device_state: Mapping[str, Any]
    credit: int
    control: bytes
    root: bytes

    @property
    def floors(self) -> tuple[tuple[bytes, int], ...]:
        """(database tag, oldest time bucket that the sender takes); of others it takes all."""
        return tuple((tag, bucket) for tag, bucket in self.device_state.get(FLOORS, ()))


@dataclass(frozen=True, slots=True)
class Digests:
    """Level 0: the databases under the root, `node` empty. Level 1: the scopes of one database."""

    level: int
    node: bytes
    rows: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class VectorMessage:
    """All logs of a scope that the sender holds: (instance, author, seq, entry id), ascending."""

    scope: bytes
    heads: tuple[tuple[bytes, bytes, int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Want:
    """(instance, first, last), ascending, of one log without overlap."""

    scope: bytes
    ranges: tuple[tuple[bytes, int, int], ...]


@dataclass(frozen=True, slots=True)
class Ack:
    """Durable here: (instance, up to seq), ascending. `credit` more bytes are accepted."""

    scope: bytes
    heads: tuple[tuple[bytes, int], ...]
    credit: int


@dataclass(frozen=True, slots=True)
class Have:
    """The sender now holds this log up to here."""

    scope: bytes
    instance: bytes
    author: bytes
    seq: int
    entry_id: bytes


@dataclass(frozen=True, slots=True)
class Root:
    """The sender's digests now."""

    control: bytes
    root: bytes


@dataclass(frozen=True, slots=True)
class Hold:
    """The sender wants nothing of these databases now: tags, ascending. Replaces the last one."""

    databases: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The last frame. `text` is for a person, at most 256 bytes of UTF-8."""

    reason: Reason
    text: str


Message = (
    Greeting | Digests | VectorMessage | Want | Batch | Ack | Have | Root | Goodbye | Hold | Demand
)


def encode(message: Message) -> bytes:  # noqa: C901 - a flat branch for each message
    """The frame of a message: a type byte and its content."""
    if isinstance(message, Ask | Question | Answer):
        return encode_demand(message)
    match message:
        case Greeting(version, features, device_state, credit, control, root):
            content = {
                "version": version,
                "features": features,
                "state": dict(device_state),
                "credit": credit,
                "control": control,
                "root": root,
            }
            return b"\x01" + pack(content)
        case Digests(level, node, rows):
            return b"\x02" + pack((level, node, rows))
        case VectorMessage(scope, heads):
            return b"\x03" + pack((scope, heads))
        case Want(scope, ranges):
            return b"\x04" + pack((scope, ranges))
        case Batch(scope, runs):
            return encode_batch(scope, runs)
        case Ack(scope, acked, credit):
            return b"\x06" + pack((scope, acked, credit))
        case Have(scope, instance, author, seq, entry_id):
            return b"\x07" + pack((scope, instance, author, seq, entry_id))
        case Root(control, root):
            return b"\x08" + pack((control, root))
        case Goodbye(reason, text):
            return b"\x09" + pack((reason.value, text))
        case Hold(databases):
            return b"\x0a" + pack(databases)


def decode(frame: bytes) -> Message:
    """The message in a frame.

    Raises: DecodeError if the frame is not exactly what `encode` writes for some message, or is
    beyond a bound of session_limits.py.
    """
    if not 1 <= len(frame) <= FRAME_BYTES_MAX:
        raise DecodeError(f"frame: {len(frame)} bytes, 1 to {FRAME_BYTES_MAX} allowed")
    kind = frame[0]
    if kind == BATCH_TYPE:
        return decode_batch(frame)
    if kind in (ASK_TYPE, QUESTION_TYPE, ANSWER_TYPE):
        return decode_demand(frame)
    if kind not in _DECODERS:
        raise DecodeError(f"frame: type 0x{kind:02x} is unknown")
    large = _DECODERS[kind] is _vector
    value = unpack(
        frame[1:],
        bytes_max=FRAME_BYTES_MAX if large else CONTROL_BYTES_MAX,
        tokens_max=VECTOR_TOKENS_MAX if large else CONTROL_TOKENS_MAX,
    )
    return _DECODERS[kind](value)


FLOORS = "floors"
"""The key of device state that is more than news: by it both compute what they share."""
_CREDIT_MAX = 2**32 - 1
_GREETING_KEYS = ["control", "credit", "features", "root", "state", "version"]


def _greeting(value: Any) -> Greeting:
    if type(value) is not dict or list(value) != _GREETING_KEYS:
        raise DecodeError("greeting: not a map of its six fields")
    features = value["features"]
    if type(features) is not list or len(features) > FEATURES_MAX:
        raise DecodeError(f"greeting: features are no array of at most {FEATURES_MAX}")
    for feature in features:
        _text(feature, 1, FEATURE_BYTES_MAX)
        if not feature.isascii():
            raise DecodeError("greeting: a feature is not ASCII")
    _ascending(features)
    device_state = value["state"]
    if type(device_state) is not dict or len(pack(device_state)) > DEVICE_STATE_BYTES_MAX:
        raise DecodeError(f"greeting: state is no map of at most {DEVICE_STATE_BYTES_MAX} bytes")
    floors = device_state.get(FLOORS, [])
    for tag, bucket in _rows(floors, FLOORS_MAX, 2):
        _bytes(tag, TAG_BYTES)
        _number(bucket, 1, BUCKET_MAX)
    _ascending([row[0] for row in floors])
    return Greeting(
        _number(value["version"], 0, 0xFFFF),
        tuple(features),
        device_state,
        _number(value["credit"], 0, _CREDIT_MAX),
        _bytes(value["control"], ID_BYTES),
        _bytes(value["root"], ID_BYTES),
    )


def _digests(value: Any) -> Digests:
    level, node, rows = _fields(value, 3)
    if type(level) is not int or level not in (0, 1):
        raise DecodeError("digests: no such level")
    _bytes(node, TAG_BYTES if level else 0)
    for row in _rows(rows, DIGEST_ROWS_MAX, 2):
        _bytes(row[0], TAG_BYTES)
        _bytes(row[1], ID_BYTES)
    _ascending([row[0] for row in rows])
    return Digests(level, node, tuple((tag, digest) for tag, digest in rows))


def _vector(value: Any) -> VectorMessage:
    scope, heads = _fields(value, 2)
    _bytes(scope, TAG_BYTES)
    for instance, author, seq, entry_id in _rows(heads, VECTOR_ROWS_MAX, 4):
        _bytes(instance, TAG_BYTES)
        _bytes(author, ID_BYTES)
        _number(seq, 1, SEQ_MAX)
        _bytes(entry_id, ID_BYTES)
    _ascending([row[0] for row in heads])
    return VectorMessage(scope, tuple((i, a, s, e) for i, a, s, e in heads))


def _want(value: Any) -> Want:
    scope, ranges = _fields(value, 2)
    _bytes(scope, TAG_BYTES)
    before = (b"", 0)
    for instance, first, last in _rows(ranges, WANT_ROWS_MAX, 3):
        _bytes(instance, TAG_BYTES)
        _number(first, 1, SEQ_MAX)
        _number(last, first, SEQ_MAX)
        if (instance, first) <= before:
            raise DecodeError("want: ranges out of order, or overlapping")
        before = (instance, last)
    if not ranges:
        raise DecodeError("want: nothing is wanted")
    return Want(scope, tuple((i, f, t) for i, f, t in ranges))


def _ack(value: Any) -> Ack:
    scope, heads, credit = _fields(value, 3)
    _bytes(scope, TAG_BYTES)
    for instance, seq in _rows(heads, ACK_ROWS_MAX, 2):
        _bytes(instance, TAG_BYTES)
        _number(seq, 1, SEQ_MAX)
    _ascending([row[0] for row in heads])
    acked = tuple((instance, seq) for instance, seq in heads)
    return Ack(scope, acked, _number(credit, 0, _CREDIT_MAX))


def _have(value: Any) -> Have:
    scope, instance, author, seq, entry_id = _fields(value, 5)
    return Have(
        _bytes(scope, TAG_BYTES),
        _bytes(instance, TAG_BYTES),
        _bytes(author, ID_BYTES),
        _number(seq, 1, SEQ_MAX),
        _bytes(entry_id, ID_BYTES),
    )


def _root(value: Any) -> Root:
    control, root = _fields(value, 2)
    return Root(_bytes(control, ID_BYTES), _bytes(root, ID_BYTES))


def _goodbye(value: Any) -> Goodbye:
    number, text = _fields(value, 2)
    _number(number, 0, 255)
    _text(text, 0, TEXT_BYTES_MAX)
    return Goodbye(_REASONS.get(number, Reason.OTHER), text)


def _hold(value: Any) -> Hold:
    if type(value) is not list or len(value) > HOLD_ROWS_MAX:
        raise DecodeError(f"hold: not an array of at most {HOLD_ROWS_MAX} tags")
    for database in value:
        _bytes(database, TAG_BYTES)
    _ascending(value)
    return Hold(tuple(value))


_REASONS = {reason.value: reason for reason in Reason if reason.value < 200}

_DECODERS: dict[int, Callable[[Any], Message]] = {
    0x01: _greeting,
    0x02: _digests,
    0x03: _vector,
    0x04: _want,
    0x06: _ack,
    0x07: _have,
    0x08: _root,
    0x09: _goodbye,
    0x0A: _hold,
}


def _fields(value: Any, count: int) -> list[Any]:
    if type(value) is not list or len(value) != count:
        raise DecodeError(f"frame: not an array of {count} fields")
    return value


def _rows(value: Any, count_max: int, width: int) -> list[list[Any]]:
    if type(value) is not list or len(value) > count_max:
        raise DecodeError(f"frame: not an array of at most {count_max} rows")
    for row in value:
        if type(row) is not list or len(row) != width:
            raise DecodeError(f"frame: a row is not an array of {width}")
    return value


def _bytes(value: Any, size: int) -> bytes:
    if type(value) is not bytes or len(value) != size:
        raise DecodeError(f"frame: a field is not {size} bytes")
    return value


def _number(value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise DecodeError(f"frame: a field is no number from {least} to {most}")
    return value


def _text(value: Any, least: int, most: int) -> str:
    if type(value) is not str or not least <= len(value.encode()) <= most:
        raise DecodeError(f"frame: a field is no text of {least} to {most} bytes")
    return value


def _ascending(keys: list[Any]) -> None:
    if not all(one < other for one, other in pairwise(keys)):
        raise DecodeError("frame: rows are out of order, or one comes twice")
