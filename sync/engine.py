"""The boundary round the CRDT library: all that we ever ask of it, and all that it may throw.

An `Engine` is given the library's module by crdt.py, the only one that imports it; everything
above knows documents as opaque objects and calls the methods below, so another library could
take its place here.

Promises: whatever the library throws, a panic included (pyo3 derives it from BaseException),
comes out of here as EngineError, and the caller then drops the document; what must stop the
program passes through. A document whose transaction panicked is never freed, because that is
what crashes the interpreter. Nobody may hand in bytes that the gate has not seen.

The counters of the library are not used (writing one panics); neither is anything compressed.
Works around the binding: a change is applied inside a hand-built sync message, bytes come out as
lists of numbers, timestamps as naive local datetimes. Change times are 0, there are no messages.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar

from .. import CoveyError
from .change import MAKE_LIST, MAKE_MAP, MAKE_TEXT
from .column_writing import number
from .first_change import too_many_operations
from .limits import OPS_PER_CHANGE_MAX
from .values import Text, timestamp_of

_T = TypeVar("_T")


class EngineError(Exception):
    """The library threw something, or did not do what it was asked. Never leaves this floor."""


class Engine:
    """The library, behind its boundary."""

    __slots__ = ("_kinds", "_library", "_scalars", "root")

    def __init__(self, library: Any) -> None:
        kinds, scalars = library.ObjType, library.ScalarType
        self._library = library
        self.root: bytes = library.ROOT
        self._kinds = {MAKE_MAP: kinds.Map, MAKE_LIST: kinds.List, MAKE_TEXT: kinds.Text}
        self._scalars = {
            str: scalars.Str,
            int: scalars.Int,
            float: scalars.F64,
            bool: scalars.Boolean,
            bytes: scalars.Bytes,
            datetime: scalars.Timestamp,
            type(None): scalars.Null,
        }

    def open_document(self, chunks: Iterable[bytes]) -> Any:
        """The document that these chunks make up. Raises: EngineError."""
        return _inside(lambda: self._library.Document.load(b"".join(chunks)))

    def receive(self, document: Any, chunk: bytes) -> None:
        """Apply one change chunk. Raises: EngineError; the document is then to be dropped."""
        message = b"\x42\0\0\0\1" + number(len(chunk)) + chunk
        library = self._library
        _inside(
            lambda: document.receive_sync_message(
                library.SyncState(), library.Message.decode(message)
            )
        )

    def read_document(self, document: Any, heads: set[bytes]) -> dict[str, Any]:
        """The plain value. Raises: EngineError, also if the heads are not exactly `heads`."""

        def work() -> dict[str, Any]:
            if set(document.get_heads()) != heads:
                raise EngineError("other heads")
            return self._read_map(document, self.root)

        return _inside(work)

    def change_chunks(self, document: Any) -> list[bytes]:
        """The chunks of all changes, each after its dependencies. Raises: EngineError."""
        return _inside(lambda: [bytes(change.raw_bytes) for change in document.get_changes([])])

    def save_document(self, document: Any) -> bytes:
        """The document as one chunk. Raises: EngineError, also if it does not load again the same.

        The library rebuilds every change from its tables when it loads a saved document, and
        does not give back one that it misunderstood.
        """

        def work() -> bytes:
            saved = bytes(document.save())
            if _hashes(self._library.Document.load(saved)) != _hashes(document):
                raise EngineError("saved as another document")
            return saved

        return _inside(work)

    def transact(
        self, document: Any, actor: bytes, work: Callable[["Transaction"], _T]
    ) -> tuple[_T, bytes | None]:
        """Do `work` in one transaction of `actor`.

        Returns what `work` does, and the chunk of the change; None if nothing was written.

        Raises: EngineError, and what `work` raises; the document is then to be dropped.
        """
        return _inside(lambda: self._transact(document, actor, work))

    def _transact(self, document: Any, actor: bytes, work: Any) -> tuple[Any, bytes | None]:
        before = document.get_heads()
        document.set_actor(actor)
        try:
            with document.transaction() as transaction:
                result = work(Transaction(transaction, self._kinds, self._scalars))
        except CoveyError:
            raise
        except BaseException:
            _leak(document)
            raise
        changes = document.get_changes(before)
        return result, bytes(changes[0].raw_bytes) if changes else None

    def _read_map(self, document: Any, target: bytes) -> dict[str, Any]:
        names = document.keys(target)
        values = document.values(target)
        return {
            name: self._read_value(document, value, found)
            for name, (value, found) in zip(names, values, strict=True)
        }

    def _read_value(self, document: Any, value: Any, found: bytes) -> Any:
        if type(value) is tuple:
            scalar = value[1]
            kind = type(scalar)
            if kind is list:
                return bytes(scalar)
            if kind is datetime:
                # Far from now the seconds, a double, are only near the millisecond.
                return timestamp_of(round(scalar.timestamp() * 1000))
            return scalar
        if value == self._kinds[MAKE_MAP]:
            return self._read_map(document, found)
        if value == self._kinds[MAKE_LIST]:
            return [self._read_value(document, item, at) for item, at in document.values(found)]
        return Text(document.text(found))


class Transaction:
    """An open transaction, as the Writer of editing.py. Lives inside `transact`."""

    __slots__ = ("_kinds", "_operations", "_scalars", "_transaction")

    def __init__(self, transaction: Any, kinds: dict[int, Any], scalars: dict[type, Any]) -> None:
        self._transaction = transaction
        self._kinds = kinds
        self._scalars = scalars
        self._operations = 0

    def put(self, target: bytes, key: str | int, scalar: Any, insert: bool) -> None:
        self._count()
        write = self._transaction.insert if insert else self._transaction.put
        write(target, key, self._scalars[type(scalar)], scalar)

    def make(self, target: bytes, key: str | int, kind: int, insert: bool) -> Any:
        self._count()
        write = self._transaction.insert_object if insert else self._transaction.put_object
        return write(target, key, self._kinds[kind])

    def delete(self, target: bytes, key: str | int) -> None:
        self._count()
        self._transaction.delete(target, key)

    def child(self, target: bytes, key: str | int) -> Any:
        return self._transaction.get(target, key)[1]

    def _count(self) -> None:
        self._operations += 1
        if self._operations > OPS_PER_CHANGE_MAX:
            raise too_many_operations()


def _inside(work: Callable[[], _T]) -> _T:
    """Run `work`: the only way into the library."""
    try:
        return work()
    except (CoveyError, EngineError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        kind = type(error)
        # By name: this floor does not know asyncio.
        if kind.__name__ == "CancelledError" and kind.__module__.startswith("asyncio"):
            raise
        raise EngineError(kind.__name__) from None


def _leak(document: Any) -> None:
    """Keep a document for good: its broken transaction points into it, and is freed after it."""
    from ctypes import py_object, pythonapi

    pythonapi.Py_IncRef(py_object(document))


def _hashes(document: Any) -> list[bytes]:
    return sorted(change.hash for change in document.get_changes([]))
