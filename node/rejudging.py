"""Rejudging: when rules change, what is in dispute in the store is judged anew by them.

The rows of conflicts, and the values of records that hold one, were made by the rules of their
moment. Rules change when people say others, when an application brings one, and when a newer
program decides otherwise. The store keeps a digest of the rules by which all of it was judged; it
is written after the last record was, so what a crash or a full disk cut short is done at the next
start.
"""

from collections.abc import Collection, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from ..storage import conflict_rows
from ..storage.meta_rows import get_meta, set_meta
from ..sync.packing import pack
from ..sync.policy import is_rule
from ..sync.record_state import RecordState
from ..sync.rules import DELETION_RULES, RULE_NAMES, RULES_VERSION
from .projection import Key, project, upsert

if TYPE_CHECKING:
    from .engine import Engine

JUDGED_BY = "judged_by"
"""The meta row with the digest of the rules by which what is in dispute was judged."""
RECORDS_PER_JUDGEMENT = 256


class Rejudging:
    """The rules of one engine, and what is judged anew by them."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._rules: dict[str, dict[str, Any]] = {}
        """Database (or "" for all) to its rules, as they were judged by last."""
        self._touched: dict[str, None] = {}
        """Databases (or "" for all) that are to be judged anew."""
        self._is_judging = False
        self._is_started = False

    async def start(self) -> None:
        """Judge anew what was judged by other rules than those that count now."""
        self._is_started, self._rules = True, self._rules_now()
        judged_by = await self._engine.database.read(lambda conn: get_meta(conn, JUDGED_BY))
        if judged_by != _digest(self._rules):
            self._judge_soon({""})

    def membership_changed(self) -> None:
        """Rules may have changed: then what is in dispute is judged anew."""
        if not self._is_started:
            return
        before, now = self._rules, self._rules_now()
        if before == now or self._engine.closing:
            return
        self._rules = now
        self._judge_soon({n for n in {**before, **now} if before.get(n) != now.get(n)})

    def rule_registered(self, name: str) -> None:
        """The application brought a rule: what waited for it here is judged anew."""
        if not self._engine.closing:
            everywhere = self._engine.ledger.databases()
            self._engine.spawn(self._judge_again(everywhere, name), "judge again")

    def _rules_now(self) -> dict[str, dict[str, Any]]:
        rules: dict[str, dict[str, Any]] = {}
        for (device, database), said in self._engine.mesh.registry.settings.items():
            if not device:
                rules[database] = {key: value for key, value in said.items() if is_rule(key)}
        return {database: said for database, said in rules.items() if said}

    def _judge_soon(self, databases: Collection[str]) -> None:
        self._touched.update(dict.fromkeys(sorted(databases)))
        if not self._is_judging:
            self._is_judging = True
            self._engine.spawn(self._judge_touched(), "judge again")

    async def _judge_touched(self) -> None:
        """Judge until nothing is left, then write down by which rules."""
        try:
            while self._touched:
                touched = dict(self._touched)
                self._touched.clear()
                try:
                    await self._judge_again(touched)
                except BaseException:
                    # Not forgotten: whatever is judged later, this is not.
                    self._touched.update(touched)
                    raise
        finally:
            self._is_judging = False
        digest = _digest(self._rules)
        self._engine.note(lambda conn: set_meta(conn, JUDGED_BY, digest), fact=JUDGED_BY)

    async def _judge_again(self, databases: Collection[str], rule: str | None = None) -> None:
        engine = self._engine
        names = engine.ledger.databases() if "" in databases else databases
        for name in sorted(names):
            keys = await engine.database.read(
                lambda conn, n=name: conflict_rows.contested_records(conn, n, rule)  # type: ignore[misc]
            )
            for start in range(0, len(keys), RECORDS_PER_JUDGEMENT):
                async with engine.turns.alone():
                    await self._judge(keys[start : start + RECORDS_PER_JUDGEMENT])

    async def _judge(self, keys: Sequence[Key]) -> None:
        """Write the rows of these records again, by the rules as they are now."""
        engine = self._engine
        by_scope: dict[int, list[Key]] = {}
        for key in keys:
            by_scope.setdefault(key[0], []).append(key)
        for scope, group in by_scope.items():
            with await engine.shelf.load([scope], [key[1:] for key in group]):
                states = [(key, engine.shelf.state(key)) for key in group]
                await self._write_rows([(k, state) for k, state in states if state is not None])

    async def _write_rows(self, states: Sequence[tuple[Key, RecordState]]) -> None:
        engine = self._engine
        places = await engine.database.read(
            lambda conn: conflict_rows.places(conn, [key for key, _ in states])
        )
        rows = []
        for key, state in states:
            if key not in places:
                continue
            log_no, seq, item, hlc = places[key]
            log = engine.ledger.log_numbered(log_no)
            resolution = engine.shelf.judge.resolution(key, state)
            rows.append(project(log, seq, hlc, key, item, state, resolution))
        await engine.database.write(lambda conn: upsert(conn, rows))


def _digest(rules: dict[str, dict[str, Any]]) -> bytes:
    """Of the rules that people said, and of what this program knows of rules."""
    said = {name: dict(sorted(rules[name].items())) for name in sorted(rules)}
    known = [RULES_VERSION, list(RULE_NAMES), list(DELETION_RULES)]
    return blake2b(pack([known, said]), digest_size=16).digest()
