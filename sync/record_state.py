"""What we hold of one record, and its two byte strings in the store.

A `RecordState` is a value: the changes that no other one rests on (`heads`), how far each
instance has come (`actors`, `past`) and the chunks of the CRDT document, of which the first may
be a saved document. The document itself is opened by crdt.py when it is needed.

In the store, `doc` is the chunks one after the other (each says its own length), and `meta` is
canonical msgpack: `[[[hash, max_op, deletes], …], [[instance, seq in the document], …],
[[instance, seq of the entry], …], [[instance, [time of its changes, …]], …], contested]`, all
sorted; an older store has only the first three. A record of a single change has no `doc`: the
store keeps a pointer to the entry instead. Neither is part of the protocol; a DecodeError for
them says that the store is damaged. Sizes are in bytes.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .change import CHUNK_MAGIC, Change
from .column_reading import read_number
from .errors import DecodeError, GateError
from .history import History
from .packing import pack, unpack
from .registers import Registers

_META_BYTES_MAX = 16_777_216
_META_TOKENS_MAX = 1_000_000


class Head(NamedTuple):
    """A change that no other one of the record rests on."""

    hash: bytes
    max_op: int
    deletes: bool


class Live:
    """The opened form of a state, owned by one state at a time."""

    __slots__ = ("document", "history", "last", "plain", "registers")

    def __init__(
        self,
        history: History,
        document: Any,
        plain: dict[str, Any] | None,
        registers: Registers | None = None,
        last: Change | None = None,
    ) -> None:
        self.history = history
        self.document = document  # None before it is needed, and after it failed
        self.plain = plain  # what was read from the document; None if that was not done yet
        self.registers = registers  # None before somebody asks for them
        self.last = last  # the newest change, decoded already: registers need not do it again


class RecordState:
    """A record after some of its changes. To its users a value: nothing of it is to be changed.

    `stamps` maps instances to the time (HLC) of each of their changes, in order. `contested` says
    that there ever were changes that did not know of one another.

    `heads` are sorted by hash. `actors` maps instances to the sequence number, in the document,
    of their last change; `past` to the seq of the last entry of their log that changed the
    record, which is the version vector that the next change carries.
    """

    __slots__ = ("_value", "actors", "chunks", "contested", "heads", "live", "past", "stamps")

    def __init__(
        self,
        heads: tuple[Head, ...],
        actors: dict[bytes, int],
        past: dict[bytes, int],
        chunks: tuple[bytes, ...],
        value: Any,
        live: Live | None = None,
        stamps: Mapping[bytes, tuple[int, ...]] = {},
        contested: bool = False,
    ) -> None:
        self.heads = heads
        self.actors = actors
        self.past = past
        self.chunks = chunks
        self._value = value
        self.live = live  # for crdt.py alone
        self.stamps = stamps
        self.contested = contested

    @property
    def held(self) -> Any:
        """What stands for the value: the value, or how to read it."""
        return self._value

    @property
    def value(self) -> dict[str, Any] | None:
        """The fields as the application sees them; None if the record is deleted.

        Raises: GateError(ENGINE) if the document has to be opened for it, and cannot be.
        """
        if type(self._value) is Unread:
            self._value = self._value.read(self)
        return self._value  # type: ignore[no-any-return]  # read above, or given as such

    @property
    def deleted(self) -> bool:
        """Whether every head is a deletion."""
        return all(head.deletes for head in self.heads)


class Unread(NamedTuple):
    """In the place of a value: how to get it."""

    read: Callable[[RecordState], dict[str, Any] | None]


class NewChange(NamedTuple):
    """A change of our own, to be sealed and stored together with `state`."""

    tail: bytes
    state: RecordState
    fields: tuple[str, ...] | None  # the root fields touched; None: the keys that the change names


def past_of(state: RecordState | None) -> tuple[tuple[bytes, int], ...]:
    """The version vector as a change set carries it, sorted by instance."""
    return () if state is None else tuple(sorted(state.past.items()))


def encode_meta(state: RecordState) -> bytes:
    """The `meta` of a state."""
    heads = [list(head) for head in state.heads]
    actors = [list(item) for item in sorted(state.actors.items())]
    past = [list(item) for item in sorted(state.past.items())]
    stamps = [[actor, list(times)] for actor, times in sorted(state.stamps.items())]
    return pack([heads, actors, past, stamps, state.contested])


class Meta(NamedTuple):
    """What the store keeps of a state beside its chunks."""

    heads: tuple[Head, ...]
    actors: dict[bytes, int]
    past: dict[bytes, int]
    stamps: dict[bytes, tuple[int, ...]]
    contested: bool


def decode_meta(meta: bytes) -> Meta:
    """The `meta` of a state. Raises: DecodeError."""
    try:
        found = unpack(meta, bytes_max=_META_BYTES_MAX, tokens_max=_META_TOKENS_MAX)
        heads, actors, past, *more = found
        stamps, contested = more or ([], len(heads) > 1)
        return Meta(
            tuple(Head(*head) for head in heads),
            dict(actors),
            dict(past),
            {actor: tuple(times) for actor, times in stamps},
            contested,
        )
    except (TypeError, ValueError):
        raise DecodeError("the state of a record is not of its form") from None


def split_chunks(doc: bytes) -> tuple[bytes, ...]:
    """The chunks of `doc`. Raises: DecodeError if it is not a row of whole chunks."""
    chunks = []
    at = 0
    try:
        while at < len(doc):
            size, start = read_number(doc, at + 9)
            end = start + size
            if doc[at : at + 4] != CHUNK_MAGIC or end > len(doc):
                raise DecodeError("the document of a record is damaged")
            chunks.append(doc[at:end])
            at = end
    except (IndexError, GateError):
        raise DecodeError("the document of a record is damaged") from None
    return tuple(chunks)
