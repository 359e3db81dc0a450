"""Writer: puts and deletes of this device become change sets.

Given the writes of one transaction it finds the records, lets the CRDT compute the smallest
change for each, and stages one entry for each scope touched. All of them are committed in one
transaction of the store, or none is. A record stays in the scope it was born into, which is that
of its privacy level and, where some device takes only what is new, of the time it was born at
(`buckets.py`); only `Move` takes it to another level. What its tags say of that level
(`covey.sync.tagging`) holds for every write of this device.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..sync import crdt
from ..sync.changeset import RecordChange, encode_change_set
from ..sync.editing import Rewrite
from ..sync.errors import BadValueError
from ..sync.hlc import tick
from ..sync.record_state import NewChange, RecordState, past_of
from ..sync.resolution import settling
from ..sync.tagging import TagRules
from .birth import (
    birth_level,
    by_tags,
    edited_value,
    privacy_level,
    require_fit,
    require_move,
    rules_for,
    tagged_value,
)
from .committer import Committer, Staged
from .data.fitting import Fitting
from .drafts import Draft
from .happenings import Board, RecordChanged
from .ledger import PRIVACY_NAMES, Ledger, Log, Scope
from .mesh import Mesh
from .mesh_view import DEVICE_PRIVACY
from .ports import Clock, Entropy
from .projection import Key, project
from .record_requests import (
    Aside,
    Delete,
    Move,
    MoveRefusedError,
    NotOpenError,
    PrivacyFixedError,
    Put,
    Request,
    Was,
    Written,
    as_they_are,
    check_place,
    checked,
    time_ordered_id,
    version,
)
from .rewriting import Past, Rewritten, written_again
from .shelf import Shelf
from .turns import Turns

CHANGES_PER_TRANSACTION_MAX = 5_000


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
        self.aside: Aside = as_they_are
        """Puts what is large beside the records (`Summaries.aside`)."""
        self.resolve: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]] | None = None
        """Puts manifests into blobs that are only named (`Blobs.resolve`)."""
        self.fitting = Fitting()
        """What schemas say of writes; the engine's."""
        self.successor: Writer | None = None
        """Set when the store was changed under us: whoever comes later is sent there."""

    async def write(self, database: str, requests: Sequence[Request]) -> list[Written]:
        """Carry out the requests as one transaction; durable when it returns.

        Raises BadValueError, PrivacyFixedError, TagRefusedError, MoveRefusedError, NotEntitledError
        or a StorageError; then nothing was written.
        """
        requests = self._check(database, requests)
        async with self.aside(database, requests) as smaller:
            return await self._write(database, smaller)

    async def _write(self, database: str, requests: Sequence[Request]) -> list[Written]:
        requests = [await self._with_blobs(each) for each in requests]
        prepared = None
        async with self._turns.shared():
            if self.successor is None:
                prepared = await self._prepare(database, requests)
        if prepared is None:
            assert self.successor is not None
            return await self.successor._write(database, requests)
        results, staged = prepared
        for one in staged:
            # Shielded: a caller that gives up does not undo what is on its way to the disk.
            await asyncio.shield(one.done)
        return results

    async def _with_blobs(self, request: Request) -> Request:
        if not isinstance(request, Put) or self.resolve is None:
            return request
        value = await self.resolve(request.value)
        return request if value is request.value else replace(request, value=value)

    async def _prepare(
        self, database: str, requests: Sequence[Request]
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
                try:
                    results, drafts = self._draft(database, scopes, judged, rules)
                except NotOpenError as error:
                    closed = error.privacy, error.bucket
                else:
                    return results, self._stage(drafts)
            await self._open(database, *closed)

    def _check(self, database: str, requests: Sequence[Request]) -> Sequence[Request]:
        check_place(database)
        if len(requests) > CHANGES_PER_TRANSACTION_MAX:
            raise BadValueError(
                f"{len(requests)} writes in one transaction, {CHANGES_PER_TRANSACTION_MAX} allowed:"
                " split it"
            )
        return [self.fitting.judged(database, checked(each, self.new_id)) for each in requests]

    def new_id(self) -> str:
        """A new record id; sorts by time."""
        return time_ordered_id(self._clock.wall_ms(), self._entropy.draw(7))

    async def _scopes(self, database: str) -> list[Scope]:
        """The scopes of a database that this device may write to, most private first."""
        # A scope that is not for this device holds no record of it; only to ask for it is wrong.
        mesh = self._mesh
        known = self._ledger.scopes_of(database)
        usable = {scope.key_tag for scope in known if not scope.bucket and mesh.can_write(scope)}
        scopes = [scope for scope in known if scope.key_tag in usable]
        for scope in scopes:
            if mesh.needs_key(scope) and mesh.can_make_key(scope):
                await mesh.renew_key(scope)
        return scopes

    async def _open(self, database: str, level: int, bucket: int) -> None:
        """Make the scope, and our log in it. Raises NotEntitledError."""
        scope = self._ledger.scope_named(database, level)
        if scope is None:
            scope = await self._mesh.open_scope(database, level)
        if bucket:
            scope = await self._mesh.buckets.open(scope, bucket)
        await self._mesh.outlet(scope)

    def _draft(
        self, database: str, scopes: list[Scope], requests: Sequence[Request], rules: TagRules
    ) -> tuple[list[Written], list[Draft]]:
        """Compute every change without touching shared state: an error here leaves no trace."""
        drafts = {scope.number: Draft(scope, rules=rules) for scope in scopes}
        results = [
            self._move(database, drafts, request)
            if isinstance(request, Move)
            else self._change(database, drafts, request)
            for request in requests
        ]
        return results, [draft for draft in drafts.values() if draft.changes]

    def _log_for(self, draft: Draft) -> Log:
        """Our log in the scope of a draft, which from now on has an outlet.

        Raises NotEntitledError where this device has records and no key to change them under.
        """
        if draft.outlet is None:
            scope = draft.scope
            if self._mesh.needs_key(scope):
                self._mesh.require_key(scope)
            if self._ledger.log(scope.tag, self._mesh.instance) is None:
                raise NotOpenError(scope.privacy, scope.bucket)
            draft.outlet = self._mesh.outlet_now(scope)
        return draft.outlet.log

    def _stamp(self, draft: Draft) -> tuple[bytes, dict[str, int]]:
        """As whom, at which place of our log and when a change of a draft is made."""
        log = self._log_for(draft)
        if not draft.hlc:
            draft.hlc = self._committer.hlc = tick(self._committer.hlc, self._clock.wall_ms())
        return log.instance, {"entry_seq": log.tail_seq + 1, "hlc": draft.hlc}

    def _change(self, database: str, drafts: dict[int, Draft], request: Put | Delete) -> Written:
        if request.was:
            again = self._rewritten(drafts, request, request.was)
            if isinstance(again, Written):
                return again
            request = again
        assert request.id is not None
        draft, key, current = self._locate(database, drafts, request)
        fitted = None if draft is None else self._fitted(database, request, key, current)
        if draft is None or fitted is None:
            return Written(request.id, "", False)
        request = fitted
        actor, stamp = self._stamp(draft)
        if isinstance(request, Delete):
            change = None if current is None else crdt.delete(current, actor, **stamp)
        elif current is None:
            change = crdt.create(actor, tagged_value(request, None), **stamp)
        else:
            value = edited_value(request, current, actor)
            # An edit without fields would bring a deleted record back.
            change = None
            if value or not request.is_late:
                change = crdt.edit(
                    current,
                    actor,
                    value,
                    replace=request.replace,
                    rewrite=self._rewrite(request, key, current, value),
                    **stamp,
                )
        if change is None:
            return Written(key[2], "" if current is None else version(current), False)
        if isinstance(request, Put) and not request.is_late and request.remake is None:
            require_fit(request, change.state, draft.scope.privacy, rules=draft.rules)
        return self._add(draft, key, change)

    def _rewritten(
        self, drafts: dict[int, Draft], request: Put | Delete, was: Was
    ) -> Written | Put | Delete:
        """What a branch did; a request if that is to be put like anything that was carried over."""
        assert request.id is not None
        found = self._found(drafts, request.collection, request.id)
        draft, key, state = next((it for it in found if was.lived_in(it[0].scope)), (None,) * 3)
        if draft is None or key is None:
            again = written_again(None, request, was)
        else:
            resolve = partial(self._shelf.judge.resolution, key)
            again = written_again(state, request, was, resolve, partial(self._stamp, draft))
            if isinstance(again, Rewritten) and again.changes:
                return [self._add(draft, key, each, again.past) for each in again.changes][-1]
        if isinstance(again, Put | Delete):
            return again
        return Written(request.id, "" if state is None else version(state), False)

    def _add(self, draft: Draft, key: Key, change: NewChange, past: Past | None = None) -> Written:
        """One more change in the change set of a scope; `past` if it does not rest on all."""
        # A second change of one record in one change set has the past of the first one.
        past = past_of(self._shelf.state(key)) if past is None else past
        draft.changes.append(RecordChange(*key[1:], past, change.tail, change.fields))
        draft.states[key] = change.state
        return Written(key[2], version(change.state), True)

    def _move(self, database: str, drafts: dict[int, Draft], move: Move) -> Written:
        """Delete a record where it lives, and write it anew at another level.

        It stays in its time bucket: that tells when it was born, and moving does not make it new.
        """
        level = privacy_level(move.privacy)
        found = self._found(drafts, move.collection, move.id)
        living = [one for one in found if not one[2].deleted]
        if not living:
            return Written(move.id, "", False)
        draft, key, state = living[0]
        was = PRIVACY_NAMES[draft.scope.privacy]
        if draft.scope.privacy == level:
            return Written(move.id, version(state), False, was)
        if any(one[0].scope.privacy == level for one in living):
            raise MoveRefusedError(
                f"{move.collection}/{move.id} exists {was} and {move.privacy}: two devices made it"
                f" apart. Delete one first; `covey delete` takes the one that is {was}"
            )
        at_level = [one for one in found if one[0].scope.privacy == level]
        if at_level:  # It was deleted there once, and lives again.
            new, new_key, dead = at_level[0]
        else:
            bucket = draft.scope.bucket if draft.scope.privacy else None
            new, dead = self._birthplace(database, drafts, level, bucket), None
            new_key = (new.scope.number, move.collection, move.id)
        require_move(move, state, level, draft.rules)
        value = dict(state.value or {})
        actor, stamp = self._stamp(draft)
        gone = crdt.delete(state, actor, **stamp)
        actor, stamp = self._stamp(new)
        born: NewChange | None
        if dead is None:
            born = crdt.create(actor, value, **stamp)
        else:
            born = crdt.edit(dead, actor, value, replace=True, rewrite=(), **stamp)
        assert gone is not None and born is not None, "a living record and a dead one change"
        self._add(draft, key, gone)
        return replace(self._add(new, new_key, born), was=was)

    def _found(
        self, drafts: dict[int, Draft], collection: str, id: str
    ) -> list[tuple[Draft, Key, RecordState]]:
        """The records with this id, deleted ones too, where they are looked for first first."""
        found = []
        for number, draft in drafts.items():
            key = (number, collection, id)
            state = draft.states.get(key) or self._shelf.state(key)
            if state is not None:
                found.append((draft, key, state))
        return found

    def _birthplace(
        self, database: str, drafts: dict[int, Draft], level: int, bucket: int | None
    ) -> Draft:
        """The draft of the scope that a new record is born into. Raises `NotOpenError`.

        What never leaves this device needs no bucket: nobody else's window reaches to it.
        """
        if level == DEVICE_PRIVACY:
            bucket = 0
        elif bucket is None:
            bucket = self._mesh.buckets.current() if self._mesh.is_bucketed(database) else 0
        places = (d for d in drafts.values() if d.scope.bucket == bucket)
        born = next((d for d in places if d.scope.privacy == level), None)
        if born is None:
            raise NotOpenError(level, bucket)
        return born

    def _fitted(
        self, database: str, request: Put | Delete, key: Key, current: RecordState | None
    ) -> Put | Delete | None:
        """The request as the schema will have it; None if nothing is to be done."""
        if isinstance(request, Delete):
            return None if request.is_over(key, current) else request
        if not self.fitting.concerns(database, request):
            return request
        found = None if current is None else self._shelf.judge.resolution(key, current)
        held = None if current is None else current.value
        return self.fitting.fitted(database, request, held, held if found is None else found.value)

    def _rewrite(
        self, request: Put, key: Key, current: RecordState, value: Mapping[str, Any]
    ) -> Sequence[str | Rewrite]:
        """What is in dispute of a put: to write what is shown settles it as well."""
        if request.settle is not None:
            return (*request.rewrite, request.settle(key, current))
        found = None if request.remake else self._shelf.judge.resolution(key, current)
        return (*request.rewrite, *(() if found is None else settling(found, value)))

    def _locate(
        self, database: str, drafts: dict[int, Draft], request: Put | Delete
    ) -> tuple[Draft | None, Key, RecordState | None]:
        """The scope in which the record lives, or would be born, and its newest state."""
        assert request.id is not None
        dead: tuple[Draft, Key, RecordState] | None = None
        for draft, key, state in self._found(drafts, request.collection, request.id):
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
                    f"{request.collection}/{request.id} was born {level_name} and a put does not"
                    f" make it {wanted}: `covey move {database} {request.collection} {request.id}"
                    f" --privacy {wanted}` does, and says what remains"
                )
        if dead is not None:
            return dead
        if isinstance(request, Delete):
            return None, (0, "", ""), None
        level = birth_level(request)
        born = self._birthplace(database, drafts, level, request.bucket)
        return born, (born.scope.number, request.collection, request.id), None

    def _stage(self, drafts: Sequence[Draft]) -> list[Staged]:
        """Seal the change sets, and put the new states on the shelf, pinned: all or none."""
        bodies = [(d, d.hlc, encode_change_set(d.hlc, d.changes)) for d in drafts]
        return [self._stage_one(*body) for body in bodies]

    def _stage_one(self, draft: Draft, hlc: int, body: bytes) -> Staged:
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

    def _landed(self, draft: Draft, done: asyncio.Future[None]) -> None:
        """What failed was dropped from the shelf, pins and all; the caller hears of it."""
        if not done.cancelled() and done.exception() is None:
            self._shelf.unpin(draft.pinned)
            self._post(draft)

    def _post(self, draft: Draft) -> None:
        if not self._board.wants_records:
            return
        for row in draft.rows:
            value = None if row.fields is None else dict(row.fields)
            us = self._mesh.us().sig_pk
            self._board.post(RecordChanged(draft.scope.database, row.collection, row.id, us, value))
