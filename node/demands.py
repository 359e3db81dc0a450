"""Demands: what does not come by itself is asked for, and said who answered.

A whole database is *fetched*: for as long as somebody waits, this device takes it like any other,
and what has come stays. One record is asked for by a *question* to every peer that is linked; the
newest answer is shown and not kept. We answer as `decide_asked` allows.

Spec: docs/protocol.md, sections 7 and 12.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .. import CoveyError
from ..storage import record_rows
from ..storage.record_rows import Record
from ..sync.demand import Answer, Ask, Demand, Question, Said
from ..sync.hlc import wall_ms_of
from ..sync.policy import Item, decide_asked, when_asked
from ..sync.record_state import decode_meta
from ..sync.session_events import Demanded, SharedScopesChanged
from ..sync.session_limits import ANSWER_BYTES_MAX, QUESTIONS_OPEN_MAX
from ..sync.session_standing import Condition, scope_standing

if TYPE_CHECKING:
    from .engine import Engine
    from .ledger import Log
    from .links import Link

ANSWER_ROOM_BYTES = 1_024
"""What an answer takes beside the record."""


class NobodyNearError(CoveyError):
    """Nobody is linked who could be asked. Start the node (`covey up`), or bring a device near."""

    exit_code = 4


class NotToBeHadError(CoveyError):
    """What was asked for may not come to this device. Nothing was changed."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Reply:
    """What one device said of a record."""

    device: bytes
    said: Said
    value: bytes
    hlc: int
    author: bytes
    privacy: int


@dataclass(slots=True)
class _Open:
    """A question that waits for its answers."""

    waiting: dict[bytes, None]
    """Links that have not answered."""
    replies: list[Reply]


class Demands:
    """What this device asks for, and what it answers."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._fetching: dict[str, int] = {}
        self._open: dict[int, _Open] = {}
        self._number = 0
        self._answering: dict[bytes, int] = {}
        """Link to how many of its questions are being looked up."""

    # A whole database --------------------------------------------------------------------------

    @property
    def asked(self) -> Collection[str]:
        """The databases that this device takes now although it holds them on demand."""
        return self._fetching.keys()

    async def fetch(self, database: str, timeout_ms: int) -> dict[str, Any]:
        """Take all of a database from whoever is linked, until proved or the time is over.

        Returns `{"database", "complete", "entries", "from": [{"device", "name", "complete"}]}`.
        Raises NotToBeHadError if a policy or level is against it, NobodyNearError,
        StoreClosedError if the node is closed meanwhile.
        """
        self._refuse_forbidden(database)
        await self._engine.go_online()
        before = self._entries(database)
        self._fetching[database] = self._fetching.get(database, 0) + 1
        self._tell()
        try:
            await self._engine.patience.holds(lambda: self._is_whole(database), timeout_ms)
        finally:
            asked = self._standings(database)
            self._fetching[database] -= 1
            if not self._fetching[database]:
                del self._fetching[database]
            self._tell()
        if not asked:
            raise NobodyNearError(
                f"{database}: no device is near that has it: bring one near, and run this again"
            )
        return {
            "database": database,
            "complete": all(asked.values()),
            "entries": self._entries(database) - before,
            "from": [self._named(device, complete=done) for device, done in asked.items()],
        }

    def ask_on(self, link: "Link") -> None:
        """Tell a new link what we take on demand now."""
        if self._fetching:
            link.deliver(Demanded(self._ask()))

    def _tell(self) -> None:
        self._engine.scheduling.judge_again()
        board = self._engine.switchboard
        for link in list(board.links.values()):
            # First they are told, so that they share it when our wishes come.
            link.deliver(Demanded(self._ask()))
            link.deliver(SharedScopesChanged(board.sharing_on(link)))

    def _ask(self) -> Ask:
        return Ask(tuple(sorted(self._engine.mesh.database_tag(name) for name in self._fetching)))

    def _refuse_forbidden(self, database: str) -> None:
        mesh = self._engine.mesh
        us = mesh.party(self._engine.keys.sig_pk, database, is_asking=True)
        decided = decide_asked(Item(3, b""), us, us)
        if not decided.allowed:
            raise NotToBeHadError(f"{database}: {decided.because} (rule {decided.rule})")

    def _entries(self, database: str) -> int:
        logs = self._engine.ledger.logs()
        return sum(log.head_seq for log in logs if log.scope.database == database)

    def _standings(self, database: str) -> dict[bytes, bool]:
        """The linked devices that share the database, and whether we are proved to have all."""
        found: dict[bytes, bool] = {}
        holdings = self._engine.ledger.holdings
        tags = [s.tag for s in self._engine.ledger.scopes() if s.database == database]
        for link in self._engine.switchboard.links.values():
            said = [scope_standing(link.state, tag, holdings).condition for tag in tags]
            shared = [condition for condition in said if condition is not Condition.NOT_SHARED]
            if shared:
                found[link.device] = all(condition is Condition.SYNCED for condition in shared)
        return found

    def _is_whole(self, database: str) -> bool:
        standings = self._standings(database)
        return bool(standings) and all(standings.values())

    # One record --------------------------------------------------------------------------------

    def may_be_elsewhere(self, database: str) -> bool:
        """Whether others can have records of a database that are not here.

        Not if this device takes everything and is proved to have what everybody near has.
        """
        policy = self._engine.mesh.policy(self._engine.keys.sig_pk, database)
        takes_all = policy == when_asked(policy) and policy.direction != "send"
        return not (takes_all and self._is_whole(database))

    async def ask(
        self, database: str, collection: str, id: str, timeout_ms: int
    ) -> tuple[list[Reply], list[bytes]]:
        """Ask every linked device for a record.

        Returns the replies, and the devices that have not answered in time. Raises
        NobodyNearError, StoreClosedError.
        """
        links = [
            link
            for link in self._engine.switchboard.links.values()
            if link.state.telling.met and link.closed_for is None
        ]
        if not links:
            raise NobodyNearError(
                f"{collection}/{id} is not here, and no device is near that could be asked"
            )
        self._number += 1
        number = self._number
        question = Question(number, self._engine.mesh.database_tag(database), collection, id)
        mine = _Open({link.key: None for link in links}, [])
        self._open[number] = mine
        try:
            for link in links:
                link.deliver(Demanded(question))
            links_left = self._engine.switchboard.links
            await self._engine.patience.holds(
                lambda: not any(key in links_left for key in mine.waiting), timeout_ms
            )
        finally:
            del self._open[number]
        silent = [link.device for link in links if link.key in mine.waiting]
        return mine.replies, silent

    # What peers ask ----------------------------------------------------------------------------

    def heard(self, link: "Link", message: Demand) -> None:
        """A peer asks, or answers."""
        match message:
            case Ask(databases, _):
                link.asks = databases
                link.deliver(Demanded(Ask(databases, is_echo=True)))
                link.deliver(SharedScopesChanged(self._engine.switchboard.sharing_on(link)))
            case Question():
                self._look_up(link, message)
            case Answer():
                self._take(link, message)

    def _take(self, link: "Link", answer: Answer) -> None:
        mine = self._open.get(answer.number)
        if mine is None or link.key not in mine.waiting:
            return  # Late, or to nothing that we asked.
        del mine.waiting[link.key]
        mine.replies.append(
            Reply(link.device, answer.said, answer.value, answer.hlc, answer.author, answer.privacy)
        )
        self._engine.patience.look_again()

    def _look_up(self, link: "Link", question: Question) -> None:
        busy = self._answering.get(link.key, 0)
        if busy >= QUESTIONS_OPEN_MAX:
            link.deliver(Demanded(Answer(question.number, Said.BUSY)))
            return
        self._answering[link.key] = busy + 1
        self._engine.spawn(self._answer(link, question), "answer")

    async def _answer(self, link: "Link", question: Question) -> None:
        try:
            answer = await self._found(link.device, question)
        finally:
            self._answering[link.key] -= 1
            if not self._answering[link.key]:
                del self._answering[link.key]
        link.deliver(Demanded(answer))

    async def _found(self, device: bytes, question: Question) -> Answer:
        engine = self._engine
        nothing = Answer(question.number, Said.NOT_HERE)
        tags = {engine.mesh.database_tag(name): name for name in engine.ledger.databases()}
        name = tags.get(question.database)
        if name is None:
            return nothing
        row = await engine.database.read(
            lambda conn: record_rows.get(conn, name, question.collection, question.id)
        )
        if row is None or row.value is None:
            return nothing
        log = engine.ledger.log_numbered(row.log_no)
        us = engine.mesh.party(engine.keys.sig_pk, name, is_asking=True)
        them = engine.mesh.party(device, name, is_asking=True)
        items = [Item(log.scope.privacy, author) for author in self._authors(row, log)]
        if not all(decide_asked(item, us, them).allowed for item in items):
            # To say that it is refused would say that it is here.
            return nothing
        value = row.value.encode()
        if len(value) + ANSWER_ROOM_BYTES > ANSWER_BYTES_MAX:
            return Answer(question.number, Said.REFUSED)
        return Answer(question.number, Said.HERE, value, row.hlc, log.author, log.scope.privacy)

    def _authors(self, row: Record, log: "Log") -> Collection[bytes]:
        """Whose changes a record was made of: what is shown may be anybody's of them."""
        instances = () if row.meta is None else decode_meta(row.meta).actors
        found = {author for i in instances if (author := self._engine.ledger.author_of(i))}
        return found | {log.author}

    def _named(self, device: bytes, **more: Any) -> dict[str, Any]:
        known = self._engine.mesh.registry.devices.get(device)
        name = None if known is None else known.name
        return {"device": self._engine.shown_id(device), "name": name, **more}


def newest(replies: Collection[Reply]) -> Reply | None:
    """The reply with the newest write; of equal ones that of the smallest author, then device."""
    here = [reply for reply in replies if reply.said is Said.HERE]
    return min(here, key=lambda r: (-wall_ms_of(r.hlc), -r.hlc, r.author, r.device), default=None)
