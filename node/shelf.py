"""Shelf: the states of records that are being read for change, in memory.

Automerge documents are built only when a record is changed a second time. The shelf loads a
record's state from its row (or, while the record has a single change, from the entry that
carries it), keeps it while a change to it is on its way to the disk, and after that as long as
there is room. What is on the shelf is never older than the store.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

from ..crypto.errors import CryptoError
from ..storage import record_rows
from ..storage.errors import StoreDamagedError
from ..storage.record_rows import Record
from ..storage.store import Conn, Store
from ..sync.change import Change
from ..sync.changeset import ChangeSet, decode_change_set
from ..sync.chunk import decode_tail
from ..sync.crdt import decode_state, state_of_first
from ..sync.errors import DecodeError
from ..sync.record_state import RecordState
from ..sync.rules import Rule
from .judging import Judge
from .ledger import Ledger, Log
from .mesh import Mesh
from .projection import Key
from .stored import StoredEntry, stored_entry

RECORDS_KEPT_MAX = 2_048

Found = tuple[Key, Record, StoredEntry | None]


class Shelved:
    """One state; `pins` counts the reasons why it must stay."""

    __slots__ = ("pins", "state")

    def __init__(self, state: RecordState) -> None:
        self.state = state
        self.pins = 0


class Loaded:
    """Keeps what `Shelf.load` brought until the block ends."""

    def __init__(self, shelf: "Shelf", pinned: list[Shelved]) -> None:
        self._shelf = shelf
        self._pinned = pinned

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._shelf.unpin(self._pinned)


class Shelf:
    def __init__(
        self,
        database: Store,
        ledger: Ledger,
        mesh: Mesh,
        place: Path,
        own_rules: Mapping[str, Rule] = {},
    ) -> None:
        """`own_rules`: those that the application brought, by name."""
        self.judge = Judge(ledger, mesh, own_rules)
        self._database = database
        self._place = place
        self._ledger = ledger
        self._mesh = mesh
        self._records: dict[Key, Shelved] = {}
        self._loading: dict[int, set[Key]] = {}
        """For each load under way, what has left the shelf since it began."""

    def state(self, key: Key) -> RecordState | None:
        shelved = self._records.get(key)
        return None if shelved is None else shelved.state

    def put(self, key: Key, state: RecordState, *, pin: bool = False) -> Shelved:
        """Replace the state. With `pin`, `unpin` of the answer must follow when it is durable."""
        shelved = self._records.get(key)
        if shelved is None:
            shelved = self._records[key] = Shelved(state)
        shelved.state = state
        shelved.pins += pin
        return shelved

    def unpin(self, pinned: Iterable[Shelved]) -> None:
        for shelved in pinned:
            shelved.pins -= 1
        self._trim()

    def drop(self, keys: Iterable[Key]) -> None:
        """Forget these states, pinned or not: their changes will not become durable."""
        for key in keys:
            self._records.pop(key, None)
            for left in self._loading.values():
                left.add(key)

    async def load(self, scopes: Sequence[int], names: Iterable[tuple[str, str]]) -> Loaded:
        """Bring the named records (collection, id) of these scopes onto the shelf, if they exist.

        They stay at least until the `with` block over the answer ends. Raises StoreDamagedError.
        """
        names = dict.fromkeys(names)
        left: set[Key] = set()
        self._loading[id(left)] = left
        try:
            while True:
                loaded = await self._load(scopes, names)
                if not any(key[1:] in names for key in left):
                    return loaded
                # What has left the shelf meanwhile was not read, or read as it was before.
                loaded.__exit__(None, None, None)
                left.clear()
        finally:
            del self._loading[id(left)]

    async def durable(
        self, scopes: Sequence[int], names: Iterable[tuple[str, str]]
    ) -> list[tuple[Key, RecordState]]:
        """The named records (collection, id) of these scopes as the store has them, if it does.

        What is on its way to the disk is not in them. Each state is the caller's own, who may take
        time over it. Raises StoreDamagedError.
        """
        wanted: dict[str, dict[str, None]] = {}
        for collection, id in names:
            wanted.setdefault(collection, {})[id] = None
        if not scopes:
            return []
        found = await self._database.read(lambda conn: _read(conn, scopes, wanted))
        opened: dict[tuple[int, int], ChangeSet] = {}
        return [(key, self._state_of(row, entry, opened)) for key, row, entry in found]

    async def _load(self, scopes: Sequence[int], names: Iterable[tuple[str, str]]) -> Loaded:
        wanted: dict[str, dict[str, None]] = {}
        here: dict[Key, Shelved] = {}
        for collection, id in names:
            for scope in scopes:
                shelved = self._records.get((scope, collection, id))
                if shelved is None:
                    wanted.setdefault(collection, {})[id] = None
                else:
                    shelved.pins += 1
                    here[scope, collection, id] = shelved
        if wanted and scopes:
            try:
                found = await self._database.read(lambda conn: _read(conn, scopes, wanted))
                opened: dict[tuple[int, int], ChangeSet] = {}
                for key, row, entry in found:
                    if key in here:
                        continue
                    if key not in self._records:
                        self._records[key] = Shelved(self._state_of(row, entry, opened))
                    here[key] = self._records[key]
                    here[key].pins += 1
            except BaseException:
                self.unpin(here.values())
                raise
        return Loaded(self, list(here.values()))

    def _state_of(
        self, row: Record, stored: StoredEntry | None, opened: dict[tuple[int, int], ChangeSet]
    ) -> RecordState:
        """`opened` has the change sets of this load: many records may stand in one entry."""
        log = self._ledger.log_numbered(row.log_no)
        try:
            if row.meta is not None:
                first = partial(self._change_in, log, row, stored, opened)
                return decode_state(row.doc, row.meta, first, row.hlc)
            change = self._change_in(log, row, stored, opened)
            return state_of_first(change, log.instance, row.seq, row.hlc)
        except (CryptoError, DecodeError) as error:
            raise StoreDamagedError(self._place, f"record {row.id}: {error}") from error

    def _change_in(
        self,
        log: Log,
        row: Record,
        stored: StoredEntry | None,
        opened: dict[tuple[int, int], ChangeSet],
    ) -> Change:
        place = (row.log_no, row.seq)
        if place not in opened:
            body = None if stored is None else self._mesh.open_entry(log, stored)
            if body is None:
                raise DecodeError("its entry cannot be opened")
            opened[place] = decode_change_set(body)
        return decode_tail(opened[place].changes[row.item].tail, log.instance)

    def _trim(self) -> None:
        if len(self._records) > RECORDS_KEPT_MAX:
            loose = [key for key, shelved in self._records.items() if shelved.pins <= 0]
            self.drop(loose[: max(len(self._records) - RECORDS_KEPT_MAX * 7 // 8, 0)])


def _read(conn: Conn, scopes: Sequence[int], wanted: dict[str, dict[str, None]]) -> list[Found]:
    scope_of: dict[int, int] = {}
    numbers: dict[str, list[int]] = {}
    for number, scope, collection in record_rows.collections(conn):
        if scope in scopes and collection in wanted:
            scope_of[number] = scope
            numbers.setdefault(collection, []).append(number)
    found: list[Found] = []
    entries: dict[tuple[int, int], StoredEntry | None] = {}
    for collection, of_scopes in numbers.items():
        for row in record_rows.existing_in(conn, of_scopes, list(wanted[collection])):
            entry = None
            if row.doc is None:
                place = (row.log_no, row.seq)
                if place not in entries:
                    entries[place] = stored_entry(conn, *place)
                entry = entries[place]
            found.append(((scope_of[row.coll_no], collection, row.id), row, entry))
    return found
