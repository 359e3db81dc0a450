"""Demand: the frames by which a device asks for what does not come by itself.

*ask* names the databases that a device takes now although its policy says on demand or keeps a
window; a later one replaces it. *question* asks for one record, and *answer* brings it as its
holder has it. An answer is its sender's word: it carries no signature of the author, and whoever
asked shows it and does not store it.

Spec: docs/protocol.md, section 7. Tags are 16 bytes, ids 32; numbers name questions of one link.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Any

from .errors import DecodeError
from .limits import COLLECTION_NAME_BYTES_MAX, CONTROL_BYTES_MAX, RECORD_ID_BYTES_MAX
from .packing import pack, unpack
from .session_limits import (
    ANSWER_BYTES_MAX,
    ASKED_MAX,
    DEMAND_TOKENS_MAX,
    ID_BYTES,
    NUMBER_MAX,
    TAG_BYTES,
)

ASK_TYPE, QUESTION_TYPE, ANSWER_TYPE = 0x0C, 0x0D, 0x0E


class Said(Enum):
    """What an answer says."""

    NOT_HERE = 0
    HERE = 1
    REFUSED = 2
    """Membership, consent or a direction is against it."""
    BUSY = 3
    """Too many questions at once; ask again later."""


@dataclass(frozen=True, slots=True)
class Ask:
    """The sender takes all of these databases now: their tags, ascending.

    Whoever hears it sends it back before anything else: what comes after the echo is compared
    under the same terms on both sides.
    """

    databases: tuple[bytes, ...]
    is_echo: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """Who has this record of a database?"""

    number: int
    database: bytes
    collection: str
    id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the sender has of the record that question `number` was about."""

    number: int
    said: Said
    value: bytes = b""
    """The record as JSON, UTF-8; empty unless it is here."""
    hlc: int = 0
    author: bytes = bytes(ID_BYTES)
    """Who wrote it last, by the sender's word."""
    privacy: int = 0


Demand = Ask | Question | Answer


def encode_demand(message: Demand) -> bytes:
    """The frame of a message: a type byte and its content."""
    match message:
        case Ask(databases, is_echo):
            return bytes((ASK_TYPE,)) + pack((is_echo, databases))
        case Question(number, database, collection, id):
            return bytes((QUESTION_TYPE,)) + pack((number, database, collection, id))
        case Answer(number, said, value, hlc, author, privacy):
            content = (number, said.value, value, hlc, author, privacy)
            return bytes((ANSWER_TYPE,)) + pack(content)


def decode_demand(frame: bytes) -> Demand:
    """The message in a frame of one of the three types.

    Raises: DecodeError if it is not exactly what `encode_demand` writes.
    """
    kind = frame[0]
    bytes_max = ANSWER_BYTES_MAX if kind == ANSWER_TYPE else CONTROL_BYTES_MAX
    value = unpack(frame[1:], bytes_max=bytes_max, tokens_max=DEMAND_TOKENS_MAX)
    if type(value) is not list:
        raise DecodeError("demand: not an array")
    return _DECODERS[kind](value)


def _ask(value: list[Any]) -> Ask:
    if len(value) != 2 or type(value[0]) is not bool or type(value[1]) is not list:
        raise DecodeError("ask: not yes or no and an array")
    is_echo, tags = value
    if len(tags) > ASKED_MAX or not all(_is_tag(tag) for tag in tags):
        raise DecodeError(f"ask: not at most {ASKED_MAX} tags")
    if not all(one < other for one, other in pairwise(tags)):
        raise DecodeError("ask: tags out of order, or one comes twice")
    return Ask(tuple(tags), is_echo)


def _question(value: list[Any]) -> Question:
    if len(value) != 4 or not _is_number(value[0], NUMBER_MAX) or not _is_tag(value[1]):
        raise DecodeError("question: not a number, a tag and two names")
    if not _is_text(value[2], COLLECTION_NAME_BYTES_MAX) or not _is_text(
        value[3], RECORD_ID_BYTES_MAX
    ):
        raise DecodeError("question: a name is too long, or none")
    return Question(*value)


def _answer(value: list[Any]) -> Answer:
    if len(value) != 6 or not _is_number(value[0], NUMBER_MAX) or type(value[1]) is not int:
        raise DecodeError("answer: not its six fields")
    number, said, data, hlc, author, privacy = value
    if said not in _SAID or type(data) is not bytes or bool(data) != (said == Said.HERE.value):
        raise DecodeError("answer: a record is there if and only if it is here")
    if not _is_number(hlc, 2**64 - 1) or type(author) is not bytes or len(author) != ID_BYTES:
        raise DecodeError("answer: its time or author are not what they must be")
    if not _is_number(privacy, 3):
        raise DecodeError("answer: no such privacy")
    return Answer(number, _SAID[said], data, hlc, author, privacy)


_SAID = {said.value: said for said in Said}
_DECODERS: dict[int, Callable[[list[Any]], Demand]] = {
    ASK_TYPE: _ask,
    QUESTION_TYPE: _question,
    ANSWER_TYPE: _answer,
}


def _is_tag(value: object) -> bool:
    return type(value) is bytes and len(value) == TAG_BYTES


def _is_number(value: object, most: int) -> bool:
    return type(value) is int and 0 <= value <= most


def _is_text(value: object, bytes_max: int) -> bool:
    return type(value) is str and 1 <= len(value.encode()) <= bytes_max
