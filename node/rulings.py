"""Rulings: what authors have said of forked logs of theirs, told on and kept to.

The device whose log forked says which branch stays (`forks.py`). Whoever hears it keeps it, within
bounds and only if that author signed it, tells it to everybody with whom the log is shared, and
asks those for the entry that it names as long as it holds another one itself. What is done when
somebody shows that entry is in `forks.py`.

For a while after a ruling came, or a branch was taken out, the other branches of that log are not
taken in, so that the one that stays can come first. Not for ever: with the only device that had it
it may be gone.

An author can make others work by rulings on logs that it forks. So of one log a branch is taken out
a few times only, and of one author's logs after ever longer pauses.

Spec: docs/protocol.md, section 7, "Rulings".
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..crypto.ruling import sign_ruling, verify_ruling
from ..storage import log_rows, meta_rows
from ..storage.errors import StorageError
from ..storage.ruling_rows import KeptRuling, keep_ruling, next_number, rulings
from ..storage.store import Conn
from ..sync.errors import DecodeError
from ..sync.rulings import Name, Ruling
from ..sync.session_limits import (
    RULING_NUMBER_MAX,
    RULINGS_FOLLOWED_MAX,
    ZERO_ID,
)
from .founding import MESH_ID
from .ledger import Ledger, Log
from .receiving import Arrived
from .waiting import Missing, Place, Waiting

if TYPE_CHECKING:
    from .engine import Engine
    from .links import Link

KEPT_OUT_MS = 120_000
"""So long the branch that stays is waited for before another one is taken in."""
GATHER_MS = 1_000
"""So long other logs of an author that are to be taken out are waited for, to be taken with it."""
PAUSE_MS = 60_000
"""Before logs of one author are taken out for a second time; each further time twice as long."""
PAUSE_MS_MAX = 3_600_000


class Rulings:
    """The rulings that one engine knows."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._kept: dict[Name, KeptRuling] = {}
        self._kept_out_until_ms: dict[Name, int] = {}
        self._refused: set[Name] = set()
        """Logs of which another branch was offered meanwhile."""
        self._paces: dict[bytes, tuple[int, int]] = {}
        """When logs of an author were taken out the last time in this run, and how often."""

    def load(self, kept: Iterable[KeptRuling]) -> None:
        """These are in the store."""
        self._kept = {one.ruling.name: one for one in kept}

    def rulings(self) -> list[Ruling]:
        """All that are known."""
        return [kept.ruling for kept in self._kept.values()]

    def of(self, scope: bytes, instance: bytes) -> Ruling | None:
        """What counts of a log."""
        kept = self._kept.get((scope, instance))
        return None if kept is None else kept.ruling

    def may_follow(self, scope: bytes, instance: bytes) -> bool:
        """Whether a branch of this log may still be taken out because of what its author says."""
        return self.followed(scope, instance) < RULINGS_FOLLOWED_MAX

    def followed(self, scope: bytes, instance: bytes) -> int:
        """How often that was done."""
        kept = self._kept.get((scope, instance))
        return 0 if kept is None else kept.followed

    # Making ------------------------------------------------------------------------------------

    def rule(
        self, conn: Conn, log: Log, seq: int, entry_id: bytes, lost: tuple[int, bytes]
    ) -> None:
        """Rule on a log of our own, in the transaction that it belongs to.

        The branch stays that has `entry_id` at `seq`; of another, up to `lost`, we write again what
        it said.
        """
        engine = self._engine
        us = engine.keys.sig_pk
        number = next_number(conn, us)
        if number > RULING_NUMBER_MAX:
            return
        said = Ruling(log.scope.tag, us, log.instance, number, seq, entry_id, *lost)
        signature = sign_ruling(engine.keys, engine.mesh.id, said.said)
        keep_ruling(conn, replace(said, signature=signature))

    async def rule_for_ours(self, log: Log, seq: int) -> None:
        """Rule for the branch that we hold of a log of our own. We have nothing of the others."""

        def job(conn: Conn) -> None:
            entry_id = log_rows.entry_id_at(conn, log.number, seq)
            if entry_id is not None:
                self.rule(conn, log, seq, entry_id, (0, ZERO_ID))

        try:
            await self._engine.database.write(job)
            await self._learn((log.scope.tag, log.instance))
        except StorageError:
            return  # To be seen again when somebody connects.

    # Hearing and telling -----------------------------------------------------------------------

    def met(self, link: "Link") -> None:
        """Data may flow on a link to somebody who knows of rulings."""
        self.tell(link)
        if self._kept:
            self._engine.spawn(self._seek([link], list(self._kept)), "seek branches")

    def tell(self, link: "Link") -> None:
        """Tell a peer what it was not told yet of the logs that are shared."""
        for ruling in self.rulings():
            if self._is_shared(link, ruling):
                link.rulings.tell(ruling)

    def tell_again(self, link: "Link", scope: bytes, instance: bytes) -> None:
        """Tell a peer of a log once more: it shows another branch, so it may not have kept it."""
        ruling = self.of(scope, instance)
        if ruling is not None and self._is_shared(link, ruling):
            link.rulings.tell(ruling, again=True)

    def heard(self, link: "Link", ruling: Ruling) -> None:
        """A peer tells a ruling. Raises DecodeError if its author has not signed it."""
        if not self._is_wanted(link, ruling):
            return
        mesh = self._engine.mesh.id
        if not verify_ruling(ruling.author, mesh, ruling.said, ruling.signature):
            self._engine.counters.add("ruling.forged")
            raise DecodeError("ruling: its author has not signed it")
        self._engine.spawn(self._keep(mesh, ruling), "keep ruling")

    def _is_wanted(self, link: "Link", ruling: Ruling) -> bool:
        """Whether it is about a log of somebody who belongs, is shared, and is news."""
        engine, known = self._engine, self._kept.get(ruling.name)
        device = engine.mesh.registry.devices.get(ruling.author)
        return (
            device is not None
            and device.active
            and engine.ledger.author_of(ruling.instance) == ruling.author
            and self._is_shared(link, ruling)
            and (known is None or ruling.outranks(known.ruling))
        )

    def _is_shared(self, link: "Link", ruling: Ruling) -> bool:
        holdings = self._engine.ledger.holdings
        return holdings.shares(ruling.scope, ruling.author, link.state.sharing)

    async def _keep(self, mesh: bytes, ruling: Ruling) -> None:
        def job(conn: Conn) -> bool:
            # We may have changed meshes meanwhile.
            return meta_rows.get_meta(conn, MESH_ID) == mesh and keep_ruling(conn, ruling)

        try:
            if await self._engine.database.write(job):
                self._engine.counters.add("ruling.kept")
                await self._learn(ruling.name)
        except StorageError:
            return  # It is told again on the next link.

    async def _learn(self, name: Name) -> None:
        """There is another ruling on a log in the store. Raises StorageError."""
        self.load(await self._engine.database.read(rulings))
        self.keep_out([name])
        links = list(self._engine.switchboard.links.values())
        for link in links:
            self.tell(link)
        await self._seek(links, [name])

    async def _seek(self, links: Sequence["Link"], names: Sequence[Name]) -> None:
        """Ask for the entries that are named where we hold others."""
        ledger = self._engine.ledger
        wanted = [
            (log, ruling)
            for name in names
            if (ruling := self.of(*name)) and (log := ledger.log(*name)) and self.may_follow(*name)
        ]

        def held(conn: Conn) -> list[bytes | None]:
            return [log_rows.entry_id_at(conn, log.number, one.seq) for log, one in wanted]

        try:
            ids = await self._engine.database.read(held) if wanted else []
        except StorageError:
            return  # They are asked again on the next link.
        for (_, ruling), id in zip(wanted, ids, strict=True):
            for link in links:
                if id not in (None, ruling.entry_id) and self._is_shared(link, ruling):
                    link.want_entry(*ruling.name, ruling.seq)

    # Keeping to them ---------------------------------------------------------------------------

    def keep_out(self, names: Iterable[Name]) -> None:
        """The branch that stays is to come first for a while."""
        until_ms = self._engine.clock.monotonic_ms() + KEPT_OUT_MS
        for name in names:
            if name in self._kept:
                self._kept_out_until_ms[name] = until_ms

    def keeps_out(self, log: Log, entries: Iterable[Arrived]) -> bool:
        """Whether these entries, the next of a log, are another branch and not to be taken in."""
        name = log.scope.tag, log.instance
        ruling, until_ms = self.of(*name), self._kept_out_until_ms.get(name, 0)
        now_ms = self._engine.clock.monotonic_ms()
        if ruling is None or until_ms <= now_ms:
            return False
        if all(one.seq != ruling.seq or one.entry_id == ruling.entry_id for one in entries):
            return False
        if name not in self._refused:
            self._refused.add(name)
            self._engine.spawn(self._let_in(name, until_ms - now_ms), "let in")
        return True

    async def _let_in(self, name: Name, after_ms: int) -> None:
        """Take another branch after all if the one that stays has not come: peers offer it anew."""
        await self._engine.clock.sleep_ms(after_ms)
        self._refused.discard(name)
        log, ruling = self._engine.ledger.log(*name), self.of(*name)
        if ruling is not None and (log is None or log.head_seq < ruling.seq):
            self._engine.switchboard.hang_up()

    def pause_ms(self, author: bytes) -> int:
        """How long from now until logs of an author may be taken out."""
        if author not in self._paces:
            return GATHER_MS
        last_ms, times = self._paces[author]
        due_ms = last_ms + min(PAUSE_MS << min(times - 1, 16), PAUSE_MS_MAX)
        return max(GATHER_MS, due_ms - self._engine.clock.monotonic_ms())

    def took_out(self, author: bytes, names: Iterable[Name]) -> None:
        """Logs of an author were taken out because of what it said."""
        _, times = self._paces.get(author, (0, 0))
        self._paces[author] = self._engine.clock.monotonic_ms(), times + 1
        self.keep_out(names)

    def left_behind(self, waiting: Waiting) -> Mapping[int, int]:
        """By number of log, how many entries wait for a branch that does not stay, and in vain."""
        if not self._kept or not len(waiting):
            return {}
        return Counter(log for log, _ in _left_behind(waiting, self._engine.ledger, self))


def _left_behind(waiting: Waiting, ledger: Ledger, kept: Rulings) -> Collection[Place]:
    """Those that rest on what another branch said, on one another, or follow one of them.

    All that an entry names as its past is here and a change that it rests on is not: that one was
    on another branch of one of these logs.
    """
    left: set[Place] = set()
    first_left: dict[int, int] = {}
    """Of each log the first of them."""
    ruled = {ruling.scope for ruling in kept.rulings()}

    def rests_on_it(place: Place, missing: Missing | None) -> bool:
        match missing:
            case frozenset():
                return ledger.log_numbered(place[0]).scope.tag in ruled
            case (scope, instance, seq):
                ruling, log = kept.of(scope, instance), ledger.log(scope, instance)
                is_past_it = ruling is not None and seq >= ruling.seq
                return is_past_it or (log is not None and (log.number, seq) in left)
            case None:
                return first_left.get(place[0], place[1]) < place[1]
            case _:
                return False

    places, before = waiting.places(), -1
    while len(left) > before:
        before = len(left)
        for place, missing in places:
            if place not in left and rests_on_it(place, missing):
                left.add(place)
                first_left.setdefault(*place)
    return left
