"""Writer: puts and deletes of this device become change sets.

Given the writes of one transaction it finds the records, lets the CRDT compute the smallest
change for each, and stages one entry for each scope touched. All of them are committed in one
transaction of the store, or none is. A record stays in the scope it was born into.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .. import CoveyError
from ..sync import crdt
from ..sync.changeset import RecordChange, encode_change_set
from ..sync.errors import BadValueError
from ..sync.hlc import tick
from ..sync.limits import COLLECTION_NAME_BYTES_MAX, RECORD_ID_BYTES_MAX
from ..sync.record_state import RecordState, past_of
from .committer import Committer, Outlet, Staged
from .happenings import Board, RecordChanged
from .ledger import PRIVACY_NAMES, Ledger
from .mesh import Mesh
from .ports import Clock, Entropy
from .projection import Key, project
from .shelf import Shelf
from .turns import Turns

CHANGES_PER_TRANSACTION_MAX = 5_000
ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
DATABASE_NAME_BYTES_MAX = 64


class PrivacyFixedError(CoveyError):
    """A put names another privacy level than the record was born with. Nothing was written.

    Moving a record would leave copies under the old level's keys; delete it and write a new one.
    """

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Put:
    collection: str
    id: str | None
    value: Mapping[str, Any]
    privacy: str | None
    replace: bool


@dataclass(frozen=True, slots=True)
class Delete:
    collection: str
    id: str


@dataclass(frozen=True, slots=True)
class Written:
    """What became of one write. `version` names the record's state: equal states, equal names."""

    id: str
    version: str
    changed: bool


@dataclass(slots=True)
class _Draft:
    """The change set under construction for one scope."""

    outlet: Outlet
    changes: list[RecordChange] = field(default_factory=list)
    states: dict[Key, RecordState] = field(default_factory=dict)
    """The newest state of each record touched; later requests build on it."""


class Writer:
    def __init__(
        self,
        ledger: Ledger,
        mesh: Mesh,
        shelf: Shelf,
        committer: Committer,
        turns: Turns,
        board: Board,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._ledger = ledger
        self._mesh = mesh
        self._shelf = shelf
        self._committer = committer
        self._turns = turns
        self._board = board
        self._clock = clock
        self._entropy = entropy
        self.successor: Writer | None = None
        """Set when the store was changed under us: whoever comes later is sent there."""

    async def write(self, database: str, requests: Sequence[Put | Delete]) -> list[Written]:
        """Carry out the requests as one transaction; durable when it returns.

        Raises BadValueError, PrivacyFixedError or a StorageError; then nothing was written.
        """
        requests = self._check(database, requests)
        prepared = None
        async with self._turns.shared():
            if self.successor is None:
                prepared = await self._prepare(database, requests)
        if prepared is None:
            assert self.successor is not None
            return await self.successor.write(database, requests)
        results, pairs = prepared
        try:
            for staged, _ in pairs:
                await staged.done
        finally:
            for _, draft in pairs:
                self._shelf.unpin(draft.states)
        for _, draft in pairs:
            self._post(draft)
        return results

    async def _prepare(
        self, database: str, requests: Sequence[Put | Delete]
    ) -> tuple[list[Written], list[tuple[Staged, _Draft]]]:
        """Compute and stage; what is staged is not durable yet."""
        outlets = await self._outlets(database, requests)
        loaded = await self._shelf.load(
            [outlet.scope.number for outlet in outlets],
            [(r.collection, r.id) for r in requests if r.id is not None],
        )
        with loaded:
            # From here to the end of the block nothing awaits: no other write comes between.
            results, drafts = self._draft(outlets, requests)
            pairs = [(self._stage(draft), draft) for draft in drafts]
        return results, pairs

    def _check(self, database: str, requests: Sequence[Put | Delete]) -> Sequence[Put | Delete]:
        check_name("database", database, DATABASE_NAME_BYTES_MAX)
        if len(requests) > CHANGES_PER_TRANSACTION_MAX:
            raise BadValueError(
                f"{len(requests)} writes in one transaction, {CHANGES_PER_TRANSACTION_MAX} allowed:"
                " split it"
            )
        named = []
        for request in requests:
            check_name("collection", request.collection, COLLECTION_NAME_BYTES_MAX)
            if isinstance(request, Put) and request.id is None:
                request = replace(request, id=self.new_id())
            assert request.id is not None
            check_name("id", request.id, RECORD_ID_BYTES_MAX)
            named.append(request)
        return named

    def new_id(self) -> str:
        """A new record id of 20 characters: 48 bits of time, then 52 random bits; sorts by time."""
        number = (self._clock.wall_ms() & (1 << 48) - 1) << 52 | (
            int.from_bytes(self._entropy.draw(7), "big") >> 4
        )
        return "".join(ID_ALPHABET[number >> shift & 31] for shift in range(95, -1, -5))

    async def _outlets(self, database: str, requests: Sequence[Put | Delete]) -> list[Outlet]:
        """The ways out of every scope these requests may touch, most private first."""
        for level in sorted({privacy_level(r.privacy) for r in requests if isinstance(r, Put)}):
            if self._ledger.scope_named(database, level) is None:
                await self._mesh.open_scope(database, level)
        scopes = [self._ledger.scope_named(database, level) for level in range(len(PRIVACY_NAMES))]
        return [await self._mesh.outlet(scope) for scope in scopes if scope is not None]

    def _draft(
        self, outlets: list[Outlet], requests: Sequence[Put | Delete]
    ) -> tuple[list[Written], list[_Draft]]:
        """Compute every change without touching shared state: an error here leaves no trace."""
        drafts = {outlet.scope.number: _Draft(outlet) for outlet in outlets}
        results = [self._change(drafts, request) for request in requests]
        return results, [draft for draft in drafts.values() if draft.changes]

    def _change(self, drafts: dict[int, _Draft], request: Put | Delete) -> Written:
        assert request.id is not None
        draft, key, current = self._locate(drafts, request)
        if draft is None:
            return Written(request.id, "", False)
        log = draft.outlet.log
        actor, seq = log.instance, log.tail_seq + 1
        if isinstance(request, Delete):
            change = None if current is None else crdt.delete(current, actor, entry_seq=seq)
        elif current is None:
            change = crdt.create(actor, dict(request.value), entry_seq=seq)
        else:
            change = crdt.edit(
                current, actor, dict(request.value), entry_seq=seq, replace=request.replace
            )
        if change is None:
            return Written(request.id, "" if current is None else version(current), False)
        # A second change of one record in one change set has the past of the first one.
        shelved = self._shelf.state(key)
        draft.changes.append(
            RecordChange(
                request.collection, request.id, past_of(shelved), change.tail, change.fields
            )
        )
        draft.states[key] = change.state
        return Written(request.id, version(change.state), True)

    def _locate(
        self, drafts: dict[int, _Draft], request: Put | Delete
    ) -> tuple[_Draft | None, Key, RecordState | None]:
        """The scope in which the record lives, or would be born, and its newest state."""
        assert request.id is not None
        for number, draft in drafts.items():
            key = (number, request.collection, request.id)
            state = draft.states.get(key)
            if state is None:
                state = self._shelf.state(key)
            if state is not None:
                level = draft.outlet.scope.privacy
                if isinstance(request, Put) and request.privacy not in (
                    None,
                    PRIVACY_NAMES[level],
                ):
                    raise PrivacyFixedError(
                        f"{request.collection}/{request.id} was born {PRIVACY_NAMES[level]} and"
                        f" cannot become {request.privacy}: delete it and write it anew"
                    )
                return draft, key, state
        if isinstance(request, Delete):
            return None, (0, "", ""), None
        level = privacy_level(request.privacy)
        born = next(d for d in drafts.values() if d.outlet.scope.privacy == level)
        return born, (born.outlet.scope.number, request.collection, request.id), None

    def _stage(self, draft: _Draft) -> Staged:
        """Seal the change set, and put the new states on the shelf, pinned."""
        hlc = self._committer.hlc = tick(self._committer.hlc, self._clock.wall_ms())
        outlet = draft.outlet
        body = encode_change_set(hlc, draft.changes)
        items = {(c.collection, c.id): index for index, c in enumerate(draft.changes)}
        rows = [
            project(outlet.log, outlet.log.tail_seq + 1, hlc, key, items[key[1:]], state)
            for key, state in draft.states.items()
        ]
        staged = self._committer.stage(outlet, body, rows=rows)
        for key, state in draft.states.items():
            self._shelf.put(key, state, pin=True)
        return staged

    def _post(self, draft: _Draft) -> None:
        if not self._board.wants_records:
            return
        for (_, collection, id), state in draft.states.items():
            value = None if state.value is None else dict(state.value)
            self._board.post(
                RecordChanged(
                    draft.outlet.scope.database, collection, id, draft.outlet.log.author, value
                )
            )


def privacy_level(name: str | None) -> int:
    """The privacy byte for a level's name; private where none is given. Raises BadValueError."""
    if name is None:
        return PRIVACY_NAMES.index("private")
    if name not in PRIVACY_NAMES:
        raise BadValueError(f"privacy {name!r} is not one of {', '.join(PRIVACY_NAMES)}")
    return PRIVACY_NAMES.index(name)


def check_name(what: str, text: str, bytes_max: int) -> None:
    """Names and ids: 1 to `bytes_max` bytes of UTF-8 that print. Raises BadValueError."""
    size = len(text.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= bytes_max:
        raise BadValueError(f"{what}: {size} bytes, 1 to {bytes_max} allowed")
    if not text.isprintable():
        raise BadValueError(f"{what}: contains a character that cannot be printed")


def version(state: RecordState) -> str:
    """A name for a record's state: 16 hex digits over its heads."""
    names = b"".join(sorted(head.hash for head in state.heads))
    return hashlib.blake2b(names, digest_size=8).hexdigest()
