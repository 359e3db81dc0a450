"""Writer: puts and deletes of this device become change sets.

Given the writes of one transaction it finds the records, lets the CRDT compute the smallest
change for each, and stages one entry for each scope touched. All of them are committed in one
transaction of the store, or none is. A record stays in the scope it was born into. What its tags
say of that scope (`covey.sync.tagging`) holds for every write of this device.
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from .. import CoveyError
from ..sync import crdt
from ..sync.changeset import RecordChange, encode_change_set
from ..sync.errors import BadValueError
from ..sync.hlc import tick
from ..sync.limits import COLLECTION_NAME_BYTES_MAX, RECORD_ID_BYTES_MAX
from ..sync.record_state import RecordState, past_of
from ..sync.tagging import TagRules
from .birth import birth_level, by_tags, require_fit, rules_for, tagged_value
from .committer import Committer, Outlet, Staged
from .happenings import Board, RecordChanged
from .ledger import PRIVACY_NAMES, Ledger, Scope
from .mesh import Mesh
from .ports import Clock, Entropy
from .projection import Key, Row, project
from .shelf import Shelf, Shelved
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
    rewrite: tuple[str, ...] = ()
    """Fields to be written even if they are so already, which settles a conflict."""
    is_late: bool = False
    """It was written long ago, and carried over: what our instance has written since stands."""
    tags: tuple[str, ...] = ()
    """To be added to those that the record has."""
    widest: int | None = None
    """The widest level that the rules of its tags allow; None if they have none. The writer's."""


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

    scope: Scope
    outlet: Outlet | None
    """None where this device has records and no key to change them under (`Mesh.needs_key`)."""
    hlc: int = 0
    """The time of its entry, once there is a change."""
    changes: list[RecordChange] = field(default_factory=list)
    states: dict[Key, RecordState] = field(default_factory=dict)
    """The newest state of each record touched; later requests build on it."""
    pinned: list[Shelved] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    rules: TagRules = field(default_factory=dict)


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

        Raises BadValueError, PrivacyFixedError, TagRefusedError or a StorageError; then nothing
        was written.
        """
        requests = self._check(database, requests)
        prepared = None
        async with self._turns.shared():
            if self.successor is None:
                prepared = await self._prepare(database, requests)
        if prepared is None:
            assert self.successor is not None
            return await self.successor.write(database, requests)
        results, staged = prepared
        for one in staged:
            # Shielded: a caller that gives up does not undo what is on its way to the disk.
            await asyncio.shield(one.done)
        return results

    async def _prepare(
        self, database: str, requests: Sequence[Put | Delete]
    ) -> tuple[list[Written], list[Staged]]:
        """Compute and stage; what is staged is not durable yet."""
        names = [(r.collection, r.id) for r in requests if r.id is not None]
        while True:
            scopes = await self._scopes(database)
            numbers = [scope.number for scope in scopes]
            with await self._shelf.load(numbers, names):
                if any(self._mesh.needs_key(s) and self._mesh.can_make_key(s) for s in scopes):
                    continue  # Somebody was removed meanwhile: the next key comes first.
                # From here to the end of the block nothing awaits: no other write comes between.
                rules = rules_for(self._mesh.registry, database)
                judged = [by_tags(request, rules) for request in requests]
                closed = self._closed_level(scopes, judged)
                if closed is None:
                    results, drafts = self._draft(scopes, judged, rules)
                    return results, self._stage(drafts)
            await self._open(database, closed)

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
            if isinstance(request, Put) and not isinstance(request.value, Mapping):
                raise BadValueError(
                    f"{request.collection}/{request.id}: a record is a map of fields,"
                    f" not {type(request.value).__name__}"
                )
            named.append(request)
        return named

    def new_id(self) -> str:
        """A new record id of 20 characters: 48 bits of time, then 52 random bits; sorts by time."""
        number = (self._clock.wall_ms() & (1 << 48) - 1) << 52 | (
            int.from_bytes(self._entropy.draw(7), "big") >> 4
        )
        return "".join(ID_ALPHABET[number >> shift & 31] for shift in range(95, -1, -5))

    async def _scopes(self, database: str) -> list[Scope]:
        """The scopes of a database that this device may write to, most private first."""
        known = [self._ledger.scope_named(database, level) for level in range(len(PRIVACY_NAMES))]
        # A scope that is not for this device holds no record of it; only to ask for it is wrong.
        scopes = [scope for scope in known if scope is not None and self._mesh.can_write(scope)]
        for scope in scopes:
            if not self._mesh.needs_key(scope) or self._mesh.can_make_key(scope):
                await self._mesh.outlet(scope)
        return scopes

    def _closed_level(
        self, scopes: Sequence[Scope], requests: Sequence[Put | Delete]
    ) -> int | None:
        """A privacy level at which a record will be born, and which is not among the scopes."""
        levels = {scope.privacy for scope in scopes}
        held: set[tuple[str, str | None]] = set()
        dead: set[tuple[str, str | None]] = set()
        for request in requests:
            name = (request.collection, request.id)
            if isinstance(request, Delete):
                dead.add(name)
                continue
            level = birth_level(request)
            if level not in levels and not self._stays(scopes, request, name in held, name in dead):
                return level
            held.add(name)
            dead.discard(name)
        return None

    def _stays(self, scopes: Sequence[Scope], request: Put, is_held: bool, is_dead: bool) -> bool:
        """Whether a record is written where it is, and not born.

        `is_held`: these requests put it before; `is_dead`: and deleted it.
        """
        assert request.id is not None
        found = [
            (state, request.widest is None or scope.privacy <= request.widest)
            for scope in scopes
            if (state := self._shelf.state((scope.number, request.collection, request.id)))
        ]
        living = any(not state.deleted for state, _ in found)
        if request.privacy is None and any(fits for _, fits in found):
            return True  # A deleted record lives again where it was.
        if request.privacy is None and request.widest is None:
            return is_held
        return not is_dead and (is_held or living)

    async def _open(self, database: str, level: int) -> None:
        """Make the scope. Raises NotEntitledError."""
        scope = self._ledger.scope_named(database, level)
        if scope is None:
            await self._mesh.open_scope(database, level)
        else:
            await self._mesh.outlet(scope)

    def _draft(
        self, scopes: list[Scope], requests: Sequence[Put | Delete], rules: TagRules
    ) -> tuple[list[Written], list[_Draft]]:
        """Compute every change without touching shared state: an error here leaves no trace."""
        mesh = self._mesh
        drafts = {
            scope.number: _Draft(
                scope, None if mesh.needs_key(scope) else mesh.outlet_now(scope), rules=rules
            )
            for scope in scopes
        }
        results = [self._change(drafts, request) for request in requests]
        return results, [draft for draft in drafts.values() if draft.changes]

    def _change(self, drafts: dict[int, _Draft], request: Put | Delete) -> Written:
        assert request.id is not None
        draft, key, current = self._locate(drafts, request)
        if draft is None:
            return Written(request.id, "", False)
        if draft.outlet is None:
            self._mesh.require_key(draft.scope)
        assert draft.outlet is not None
        log = draft.outlet.log
        actor = log.instance
        if not draft.hlc:
            draft.hlc = self._committer.hlc = tick(self._committer.hlc, self._clock.wall_ms())
        stamp: dict[str, int] = {"entry_seq": log.tail_seq + 1, "hlc": draft.hlc}
        if isinstance(request, Delete):
            change = None if current is None else crdt.delete(current, actor, **stamp)
        elif current is None:
            change = crdt.create(actor, tagged_value(request, None), **stamp)
        else:
            value = (
                _late(request, current, actor)
                if request.is_late
                else tagged_value(request, current)
            )
            # An edit without fields would bring a deleted record back.
            change = None
            if value or not request.is_late:
                change = crdt.edit(
                    current,
                    actor,
                    value,
                    replace=request.replace,
                    rewrite=(*request.rewrite, *self._disputed(key, current, value)),
                    **stamp,
                )
        if change is None:
            return Written(request.id, "" if current is None else version(current), False)
        if isinstance(request, Put) and not request.is_late:
            require_fit(request, change.state, draft.scope.privacy, rules=draft.rules)
        # A second change of one record in one change set has the past of the first one.
        shelved = self._shelf.state(key)
        draft.changes.append(
            RecordChange(
                request.collection, request.id, past_of(shelved), change.tail, change.fields
            )
        )
        draft.states[key] = change.state
        return Written(request.id, version(change.state), True)

    def _disputed(self, key: Key, current: RecordState, value: Mapping[str, Any]) -> list[str]:
        """The fields of a put that are in dispute: to write what is shown settles them as well."""
        resolution = self._shelf.judge.resolution(key, current)
        if resolution is None:
            return []
        standing = {c.root for c in resolution.conflicts if c.state != "resolved"}
        return [name for name in sorted(value) if name in standing]

    def _locate(
        self, drafts: dict[int, _Draft], request: Put | Delete
    ) -> tuple[_Draft | None, Key, RecordState | None]:
        """The scope in which the record lives, or would be born, and its newest state."""
        assert request.id is not None
        dead: tuple[_Draft, Key, RecordState] | None = None
        for number, draft in drafts.items():
            key = (number, request.collection, request.id)
            state = draft.states.get(key)
            if state is None:
                state = self._shelf.state(key)
            if state is None:
                continue
            level_name = PRIVACY_NAMES[draft.scope.privacy]
            wanted = request.privacy if isinstance(request, Put) else None
            widest = request.widest if isinstance(request, Put) else None
            fits = wanted in (None, level_name)
            if state.deleted:
                # It may live at another level: two devices can have made it at the same time.
                allowed = widest is None or draft.scope.privacy <= widest
                if fits and allowed and dead is None:
                    dead = draft, key, state
            elif fits:
                return draft, key, state
            else:
                raise PrivacyFixedError(
                    f"{request.collection}/{request.id} was born {level_name} and"
                    f" cannot become {wanted}: delete it and write it anew"
                )
        if dead is not None:
            return dead
        if isinstance(request, Delete):
            return None, (0, "", ""), None
        level = birth_level(request)
        born = next(d for d in drafts.values() if d.scope.privacy == level)
        return born, (born.scope.number, request.collection, request.id), None

    def _stage(self, drafts: Sequence[_Draft]) -> list[Staged]:
        """Seal the change sets, and put the new states on the shelf, pinned: all or none."""
        bodies = []
        for draft in drafts:
            bodies.append((draft, draft.hlc, encode_change_set(draft.hlc, draft.changes)))
        return [self._stage_one(*body) for body in bodies]

    def _stage_one(self, draft: _Draft, hlc: int, body: bytes) -> Staged:
        outlet = draft.outlet
        assert outlet is not None, "a draft with changes has one"
        items = {(c.collection, c.id): index for index, c in enumerate(draft.changes)}
        rows = draft.rows = [
            project(
                outlet.log,
                outlet.log.tail_seq + 1,
                hlc,
                key,
                items[key[1:]],
                state,
                self._shelf.judge.resolution(key, state),
            )
            for key, state in draft.states.items()
        ]
        staged = self._committer.stage(outlet, body, rows=rows)
        for key, state in draft.states.items():
            draft.pinned.append(self._shelf.put(key, state, pin=True))
        staged.done.add_done_callback(partial(self._landed, draft))
        return staged

    def _landed(self, draft: _Draft, done: asyncio.Future[None]) -> None:
        """What failed was dropped from the shelf, pins and all; the caller hears of it."""
        if not done.cancelled() and done.exception() is None:
            self._shelf.unpin(draft.pinned)
            self._post(draft)

    def _post(self, draft: _Draft) -> None:
        if not self._board.wants_records:
            return
        for row in draft.rows:
            value = None if row.fields is None else dict(row.fields)
            us = self._mesh.us().sig_pk
            self._board.post(RecordChanged(draft.scope.database, row.collection, row.id, us, value))


def _late(request: Put, current: RecordState, instance: bytes) -> dict[str, Any]:
    """What a late put has still to write: nothing that our instance has deleted or replaced."""
    value = dict(request.value)
    if instance not in current.past:
        return value
    standing = value if current.value is None else current.value
    return {name: value[name] for name in value if name not in standing}


def check_name(what: str, text: str, bytes_max: int) -> None:
    """Names and ids: 1 to `bytes_max` bytes of UTF-8 that print. Raises BadValueError."""
    if not isinstance(text, str):
        raise BadValueError(f"{what}: a text is needed, not {type(text).__name__}")
    size = len(text.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= bytes_max:
        raise BadValueError(f"{what}: {size} bytes, 1 to {bytes_max} allowed")
    if not text.isprintable():
        raise BadValueError(f"{what}: contains a character that cannot be printed")


def version(state: RecordState) -> str:
    """A name for a record's state: 16 hex digits over its heads."""
    names = b"".join(sorted(head.hash for head in state.heads))
    return hashlib.blake2b(names, digest_size=8).hexdigest()
