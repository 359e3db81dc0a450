"""Errors of the `sync` floor.

`DecodeError` is the peer's fault: bytes from outside that are not what the protocol allows. A
decoder raises it, the one gate that called the decoder catches it, the connection or the entry
ends there and the node goes on. It never reaches a person as a trace. `GateError` is the one
for a change of a record: its `refusal` names the rule of docs/protocol.md, section 3, "The gate".

The other leaves are the world's or the caller's fault and carry the exit code of the command
line (docs/cli.md, "Exit codes"). What only we can get wrong is an `assert`, never one of these.

A message is one line and contains no secret and no content of a record, only names and numbers.
"""

from enum import Enum

from .. import CoveyError


class SyncError(CoveyError):
    """The base of what the `sync` floor raises on purpose."""


class DecodeError(SyncError):
    """Bytes from outside break docs/protocol.md. Nothing was applied.

    Raised by decoders. Decoding the same bytes again cannot succeed.
    """

    exit_code = 3


class GateRefusal(Enum):
    """Why a change of a record was not let in. The value is the sentence for the person."""

    CHUNK = "it is no uncompressed change chunk of its author"
    TRUNCATED = "it ends too early"
    TRAILING = "bytes follow its last column"
    TOO_LARGE = "it is larger than a change may be"
    NUMBER = "a number is not in its shortest form, or too large"
    DEPENDENCIES = "its dependencies are not in order"
    ACTORS = "its list of actors is not canonical"
    TIME_OR_MESSAGE = "it carries a time or a message"
    COLUMN = "a column is unknown, compressed, empty or out of order"
    ROWS = "its columns are not of equal length"
    OPERATION_COUNT = "it has no operations, or too many"
    RUNS = "a column is not run-length encoded in the canonical way"
    ACTION = "an operation is none of put, delete, insert and make"
    VALUE = "a value is of a type, size or range that records do not have"
    KEY = "a key is missing, doubled, empty or too long"
    REFERENCE = "an operation refers to one that is not in its past"
    KIND = "an operation does not fit the object that it names"
    DEPTH = "it nests objects too deep"
    UNKNOWN_DEPENDENCY = "a dependency is not a change of this record that we hold"
    SEQUENCE = "its number is not the next one of its author"
    START = "its operations are not numbered from the largest one of its dependencies"
    ENGINE = "the CRDT library does not take it"


class GateError(DecodeError):
    """A change of a record was not let in; the record is as it was.

    Raised by the gate, for changes of peers and for our own alike. The entry that carries the
    change is to be quarantined whole (docs/protocol.md, section 3).
    """

    def __init__(self, refusal: GateRefusal) -> None:
        super().__init__(f"change refused: {refusal.value}")
        self.refusal = refusal


class BadValueError(SyncError):
    """A value given by the application cannot be stored in a record. Nothing was changed.

    Raised before anything is written. The message names the place in the record and the rule.
    """

    exit_code = 2


class WrongAutomergeError(SyncError):
    """The installed `automerge` is not the one Covey is built on. Nothing was opened.

    Raised when `covey.sync.crdt` is imported. A bare `pip install automerge` brings an unrelated
    package of 2022; the message says the cure.
    """

    exit_code = 2

    def __init__(self, found: str) -> None:
        super().__init__(
            f"automerge {found} is installed, Covey needs 1.0.0rc1:"
            " run `pip install automerge==1.0.0rc1`"
        )
