"""Vouching: which entries of removed devices count, and what becomes of those that do not.

An entry counts by itself if its author still belongs by the word under which it wrote, or if a
removal of its author had seen it (the *cut*). It counts as well if an entry that counts rests on
it: whoever belongs and built on it, before hearing of the removal, vouches for it. All others are
on the *shelf*: stored and passed on like any entry, but of no effect until an admin adopts them.
So what a store shows is a function of the entries and operations that it holds, in whatever order
they came, and a removed device cannot vouch for itself.

An entry that arrives is judged by the applier. This module is for the other case: the membership
changes, and entries that were applied do not count any more, or others on the shelf do. Then the
scopes concerned are read once through, and every record that such an entry had changed is built
again from the changes that count. That is one transaction; nobody sees a record half-way.

The caller holds the turn (`turns.py`). Spec: docs/protocol.md, section 4, "What a removed device
wrote".
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

from ..crypto.entry import CONTROL_SCOPE
from ..crypto.errors import CryptoError
from ..storage import log_rows, meta_rows
from ..storage.store import Conn, Store
from ..sync import crdt
from ..sync.change import Change
from ..sync.changeset import RecordChange, decode_change_set
from ..sync.chunk import decode_tail
from ..sync.errors import DecodeError
from ..sync.record_state import RecordState
from ..sync.resolution import Resolution
from .applying import WHY_SHELVED, Applier
from .audit import Audit
from .happenings import RecordChanged
from .ingest_rows import APPLIED, PENDING, QUARANTINED, SHELVED
from .ledger import Ledger, Log, Scope
from .mesh import Mesh
from .projection import Key, Row, project, remove, upsert
from .shelf import Shelf
from .stored import StoredEntry, stored_entries
from .waiting import Place

JUDGED = "trust.judged"
"""Under which membership the entries of this store were last judged."""
ENTRIES_PER_PAGE = 256


@dataclass(slots=True)
class _Survey:
    """What one reading of a scope found."""

    by_itself: set[Place] = field(default_factory=set)
    """Entries of removed devices that count by the cut or by a later enrolment."""
    excluded: dict[Place, int] = field(default_factory=dict)
    """Entries of removed devices that do not count by themselves, with their state."""
    rests_on: dict[Place, list[Place]] = field(default_factory=dict)
    """What an entry rests on of logs of removed devices."""
    records: dict[Place, list[Key]] = field(default_factory=dict)
    """The records that entries of removed devices touch."""

    def vouched(self) -> set[Place]:
        """Those of the excluded that an entry which counts rests on, directly or not."""
        found: set[Place] = set()
        line = [p for e, past in self.rests_on.items() if e not in self.excluded for p in past]
        while line:
            place = line.pop()
            if place in self.excluded and place not in found:
                found.add(place)
                line += self.rests_on.get(place, ())
        return found


@dataclass(slots=True)
class _Verdict:
    """What is to change in one scope."""

    scope: Scope
    to_shelf: list[Place]
    from_shelf: list[Place]
    rows: list[Row] = field(default_factory=list)
    states: dict[Key, RecordState] = field(default_factory=dict)
    gone: list[Key] = field(default_factory=list)
    waiting_again: list[Place] = field(default_factory=list)
    """Entries that rest on what is gone without having said so."""


class Vouching:
    """Judges the entries of a store anew when the membership has changed."""

    def __init__(
        self,
        database: Store,
        ledger: Ledger,
        mesh: Mesh,
        shelf: Shelf,
        applier: Applier,
        audit: Audit,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._mesh = mesh
        self._shelf = shelf
        self._applier = applier
        self._audit = audit
        self._judged: bytes | None = None

    @property
    def is_due(self) -> bool:
        """Whether the membership is another one than when entries were judged last."""
        return self._token(self._concerned()) != self._judged

    async def judge_again(self) -> None:
        """Bring every entry in line with the membership. Raises StorageError.

        Cheap if nothing of the membership that matters here has changed.
        """
        concerned = self._concerned()
        token = self._token(concerned)
        if token == self._judged:
            return
        if self._judged is None and concerned:
            self._judged = await self._database.read(lambda conn: meta_rows.get_meta(conn, JUDGED))
            if token == self._judged:
                return
        for scope in self._ledger.scopes():
            of_scope = {log.instance: log for log in concerned if log.scope is scope}
            if of_scope:
                await self._judge(scope, of_scope)
        # What came off the shelf may concern nobody any more.
        token = self._token(self._concerned())
        if concerned or self._judged:
            await self._database.write(lambda conn: meta_rows.set_meta(conn, JUDGED, token))
        self._judged = token

    def _concerned(self) -> list[Log]:
        """Logs of which something may not count, or be on the shelf."""
        logs = [
            log
            for log in self._ledger.logs()
            if log.head_seq
            and log.scope.tag != CONTROL_SCOPE
            and (log.shelved or not self._mesh.counts_wholly(log))
        ]
        return sorted(logs, key=lambda log: log.number)

    def _token(self, concerned: Sequence[Log]) -> bytes:
        """A name for everything that decides about these logs, but for entries yet to come."""
        digest = blake2b(digest_size=16)
        for log in concerned:
            digest.update(log.scope.tag + log.instance)
            digest.update(self._mesh.standing_name(log))
        return digest.digest()

    async def _judge(self, scope: Scope, concerned: Mapping[bytes, Log]) -> None:
        survey = await self._survey(scope, concerned)
        vouched = survey.vouched()
        counting = vouched | survey.by_itself
        verdict = _Verdict(
            scope,
            [
                place
                for place, state in survey.excluded.items()
                if place not in vouched and state in (APPLIED, PENDING)
            ],
            [place for place in sorted(counting) if self._is_on_shelf(place)],
        )
        if not verdict.to_shelf and not verdict.from_shelf:
            return
        applied = [place for place in verdict.to_shelf if survey.excluded[place] == APPLIED]
        touched = {key for place in applied for key in survey.records.get(place, ())}
        if touched:
            await self._build_again(verdict, touched)
        await self._carry_out(verdict)

    def _is_on_shelf(self, place: Place) -> bool:
        return place[1] in self._ledger.log_numbered(place[0]).shelved

    async def _survey(self, scope: Scope, concerned: Mapping[bytes, Log]) -> _Survey:
        """Read a scope once: who counts by themselves, and who rests on whom."""
        survey = _Survey()
        async for stored in self._entries(scope):
            row = stored.entry
            log = self._ledger.log_numbered(row.log_no)
            place = (row.log_no, row.seq)
            if row.state == QUARANTINED:
                continue
            _, changes = self._read(log, stored)
            past = dict.fromkeys(
                (concerned[instance].number, seq)
                for change, _ in changes
                for instance, seq in change.past
                if instance in concerned
            )
            past.pop(place, None)
            if past:
                survey.rests_on[place] = list(past)
            if log.instance not in concerned:
                continue
            survey.records[place] = [(scope.number, c.collection, c.id) for c, _ in changes]
            if self._mesh.counts(log, row.seq, stored.heads):
                survey.by_itself.add(place)
            else:
                survey.excluded[place] = row.state
        return survey

    async def _build_again(self, verdict: _Verdict, touched: set[Key]) -> None:
        """The states of records from the changes that count, oldest first."""
        scope, out = verdict.scope, set(verdict.to_shelf)
        found: dict[Key, list[tuple[Change, Log, int, int, int]]] = {}
        async for stored in self._entries(scope):
            row = stored.entry
            place = (row.log_no, row.seq)
            if row.state != APPLIED or place in out:
                continue
            log = self._ledger.log_numbered(row.log_no)
            hlc, changes_in_it = self._read(log, stored)
            for item, (record_change, change) in enumerate(changes_in_it):
                key = (scope.number, record_change.collection, record_change.id)
                if key in touched:
                    found.setdefault(key, []).append((change, log, row.seq, item, hlc))
        for key in sorted(touched):
            # A change rests on none with a higher number of its first operation.
            changes = sorted(found.get(key, ()), key=lambda c: (c[0].start_op, c[1].instance, c[2]))
            state: RecordState | None = None
            last: tuple[Log, int, int, int] | None = None
            for change, log, seq, item, hlc in changes:
                try:
                    state = crdt.apply(state, log.instance, change, seq, hlc)
                except DecodeError:
                    verdict.waiting_again.append((log.number, seq))
                    continue
                last = log, seq, hlc, item
            if state is None or last is None:
                verdict.gone.append(key)
            else:
                log, seq, hlc, item = last
                resolution = self._shelf.judge.resolution(key, state)
                if resolution is None:  # What was in dispute before is not any more.
                    resolution = Resolution(state.value, ())
                verdict.states[key] = state
                verdict.rows.append(project(log, seq, hlc, key, item, state, resolution))

    async def _carry_out(self, verdict: _Verdict) -> None:
        def write(conn: Conn) -> None:
            for places, state, why in (
                (verdict.to_shelf, SHELVED, WHY_SHELVED),
                (verdict.from_shelf, PENDING, None),
                (verdict.waiting_again, PENDING, None),
            ):
                for log_no, seq in places:
                    log_rows.set_entry_state(conn, log_no, [(seq, state, why)])
            remove(conn, verdict.gone)
            upsert(conn, verdict.rows)

        await self._database.write(write)
        if any(row.blobs for row in verdict.rows):
            self._audit.board.blobs_noticed()
        for place in verdict.to_shelf:
            self._applier.put_on_shelf(self._ledger.log_numbered(place[0]), place[1])
        for place in verdict.from_shelf:
            self._applier.take_off_shelf(self._ledger.log_numbered(place[0]), place[1])
        for place in verdict.waiting_again:
            self._applier.wait_again(self._ledger.log_numbered(place[0]), place[1])
        self._shelf.drop([*verdict.gone, *verdict.states])
        for log_no, _ in verdict.to_shelf:
            self._applier.tell_shelved(self._ledger.log_numbered(log_no))
        self._post(verdict)

    def _post(self, verdict: _Verdict) -> None:
        """Tell whoever watches what the records are now."""
        if not self._audit.board.wants_records:
            return
        database, us = verdict.scope.database, self._mesh.us().sig_pk
        for row in verdict.rows:
            log = self._ledger.log_numbered(row.log)
            self._audit.board.post(
                RecordChanged(database, row.collection, row.id, log.author, row.fields)
            )
        for _, collection, id in verdict.gone:
            self._audit.board.post(RecordChanged(database, collection, id, us, None))

    async def _entries(self, scope: Scope) -> AsyncIterator[StoredEntry]:
        """Every entry of a scope in order of arrival, page by page."""
        after = 0
        while page := await self._database.read(
            lambda conn, a=after: _page(conn, scope.number, a)  # type: ignore[misc]
        ):
            after = page[-1].entry.arrival
            for stored in page:
                yield stored

    def _read(
        self, log: Log, stored: StoredEntry
    ) -> tuple[int, Sequence[tuple[RecordChange, Change]]]:
        """An entry's stamp and what it did; nothing if it cannot be read (yet)."""
        try:
            body = self._mesh.open_entry(log, stored)
            if body is None:
                return 0, ()
            found = decode_change_set(body)
            tails = [(change, decode_tail(change.tail, log.instance)) for change in found.changes]
            return found.hlc, tails
        except (CryptoError, DecodeError):
            return 0, ()


def _page(conn: Conn, scope_no: int, after: int) -> list[StoredEntry]:
    rows = log_rows.entries_of_scope(conn, scope_no, after, ENTRIES_PER_PAGE)
    return stored_entries(conn, rows)
