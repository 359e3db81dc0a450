"""I20 to I22: what people said of databases is what travels, and what is asked for ends.

Frames are looked at as they leave a device and as they come in, before they are sealed and after
they are opened. Each is judged by the rules of `travel.py`, with what the device at that end knew:
what leaves by what was so when the frame was made, at the earliest when the one before it had left;
what is stored by what was so when the frame came in. Not by what the other end knew, which may not
have heard yet.
"""

from collections import deque
from collections.abc import Collection, Iterable
from typing import Any, ClassVar, NamedTuple

from ...crypto.entry import CONTROL_SCOPE
from ...node.channel import SecureChannel
from ...node.engine import Engine
from ...node.ledger import PRIVACY_NAMES, Scope
from ...node.links import Link
from ...sync.batch import BATCH_TYPE, Batch
from ...sync.demand import ANSWER_TYPE, QUESTION_TYPE, Answer, Question, Said
from ...sync.messages import decode, decode_batch
from ...sync.registry import Registry
from ..run import Run
from ..sim_device import SimDevice
from ..witness import Write
from .belonging import are_together, floors_towards
from .checker import Checker
from .travel import forbidden, forbidden_asked, side

SCOPE = slice(1, 17)
"""Where a batch names its scope."""


class _View(NamedTuple):
    """What the device at one end of a link went by."""

    registry: Registry
    ask: Collection[str]
    """The databases that it took on demand."""
    they_ask: Collection[bytes]
    """Tags of those that the other end took, as far as it had heard."""
    floors: tuple[tuple[bytes, int], ...]
    """Tag of a database and the oldest time bucket that the device takes of it on this link."""


class _End:
    """One end of a channel to a member."""

    def __init__(self, device: SimDevice, engine: Engine, channel: SecureChannel) -> None:
        self.device = device
        self.engine = engine
        self.channel = channel
        self.told = engine.mesh.registry
        """What the links of the engine go by. A word of ours is known before it is durable; only
        then it counts."""
        self.views: list[_View] = []
        """Those under which a frame that leaves now may have been made, the newest last."""
        self.came: deque[tuple[bytes, list[_View]]] = deque()
        """Batches that came in and are not stored yet, and what was known then."""
        self.questions: dict[int, Question] = {}

    @property
    def link(self) -> Link | None:
        links = self.engine.switchboard.links.values()
        return next((link for link in links if link.channel is self.channel), None)

    @property
    def peer(self) -> bytes:
        device = self.engine.mesh.registry.by_dh(self.channel.remote_static)
        return b"" if device is None else device.sig_pk

    def now(self, ask: Collection[str]) -> list[_View]:
        """What the device goes by at this moment."""
        link = self.link
        they_ask, floors = ((), ()) if link is None else (link.asks, link.floors)
        registries = (self.told, self.engine.mesh.registry)
        return [_View(registry, tuple(ask), they_ask, tuple(floors)) for registry in registries]


class PolicyChecker(Checker):
    """Judges every batch and answer at both ends, and every log at rest."""

    claims: ClassVar[dict[str, str]] = {
        "I20": "nothing leaves or enters a store that policies, levels or membership forbid there",
        "I21": "at rest every device holds all that its linked peers hold and nothing forbids",
        "I22": "no answer tells what may not be handed out, and whoever has asked stops asking",
    }

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._ends: dict[str, list[_End]] = {}
        """By device: the ends of the channels of its engine."""

    def at_wired(self, device: SimDevice, engine: Engine) -> None:
        board = engine.switchboard
        run_link, prepare, changed = board.run_link, board.prepare_batch, board.membership_changed
        ends = self._ends[device.name] = []

        async def run_watched(channel: SecureChannel) -> None:
            end = _End(device, engine, channel)
            ends.append(end)
            self._listen(end)
            try:
                await run_link(channel)
            finally:
                ends.remove(end)

        async def prepare_watched(link: Link, batch: Batch) -> Any:
            for end in ends:
                if end.channel is link.channel:
                    self._stores(end, batch)
            return await prepare(link, batch)

        def note_change() -> None:
            changed()
            for end in ends:
                end.told = engine.mesh.registry
                end.views += end.now(engine.demands.asked)

        board.run_link = run_watched  # type: ignore[method-assign]
        board.prepare_batch = prepare_watched  # type: ignore[method-assign]
        board.membership_changed = note_change  # type: ignore[method-assign]

    def _listen(self, end: _End) -> None:
        channel = end.channel
        send, receive = channel.send, channel.receive

        async def send_watched(frame: bytes) -> None:
            end.views += end.now(end.engine.demands.asked)
            self._sends(end, frame)
            await send(frame)
            link = end.link
            if link is None or not link.outgoing_bytes:
                end.views.clear()  # What leaves next is made from now on.

        async def receive_watched() -> bytes:
            frame = await receive()
            if frame[:1] == bytes((BATCH_TYPE,)):
                end.came.append((frame, end.now(self.run.fetched_by(end.device))))
            elif frame[:1] == bytes((QUESTION_TYPE,)):
                self._heard(end, frame)
            return frame

        channel.send = send_watched  # type: ignore[method-assign]
        channel.receive = receive_watched  # type: ignore[method-assign]

    # Batches -----------------------------------------------------------------------------------

    def _sends(self, end: _End, frame: bytes) -> None:
        if frame[:1] == bytes((BATCH_TYPE,)) and frame[SCOPE] != CONTROL_SCOPE:
            rule = self._rule(end, decode_batch(frame), end.views)
            if rule:
                self.violate("I20", end.device.name, f"sends {rule}")
        elif frame[:1] == bytes((ANSWER_TYPE,)):
            self._answers(end, frame)

    def _stores(self, end: _End, batch: Batch) -> None:
        """Batches are stored in the order in which they came. The others were passed over; one of
        these may have come again since, word for word.
        """
        rule = ""
        while end.came:
            frame, views = end.came.popleft()
            if frame[SCOPE] != batch.scope or batch.runs[-1].signature not in frame:
                continue
            rule = "" if batch.scope == CONTROL_SCOPE else self._rule(end, batch, views)
            if not rule:
                return
        if rule:
            self.violate("I20", end.device.name, f"takes {rule}")

    def _rule(self, end: _End, batch: Batch, views: Iterable[_View]) -> str:
        """What of a batch may not go between the two, and why; empty if all may."""
        scope = end.engine.ledger.scope(batch.scope)
        if scope is None:
            return ""  # It will be refused, as no grant names it.
        for author in dict.fromkeys(run.author for run in batch.runs):
            rules = [self._forbids(end, scope, author, view) for view in views]
            if all(rules):
                level = PRIVACY_NAMES[scope.privacy]
                what = f"{level} entries of {self._name(author)} in {scope.database}"
                return f"{what} ({self._name(end.peer)} at the other end) in spite of {rules[-1]}"
        return ""

    def _forbids(self, end: _End, scope: Scope, author: bytes, view: _View) -> str:
        tag = end.engine.mesh.database_tag(scope.database)
        ours = side(
            view.registry, end.engine.keys.sig_pk, scope.database, asks=scope.database in view.ask
        )
        theirs = side(view.registry, end.peer, scope.database, asks=tag in view.they_ask)
        rule = forbidden(scope.privacy, author, ours, theirs)
        if not rule and 0 < scope.bucket < dict(view.floors).get(tag, 0):
            return "mode window"
        return rule

    def _name(self, id: bytes) -> str:
        return next((name for name, known in self.run.ids.items() if known == id), "somebody")

    # Answers -----------------------------------------------------------------------------------

    def _heard(self, end: _End, frame: bytes) -> None:
        question = decode(frame)
        if isinstance(question, Question):
            end.questions[question.number] = question

    def _answers(self, end: _End, frame: bytes) -> None:
        """Neither what the answer says of itself nor what can be read in it is forbidden."""
        answer = decode(frame)
        if not isinstance(answer, Answer) or answer.said is not Said.HERE:
            return
        question = end.questions.get(answer.number)
        tags = {end.engine.mesh.database_tag(n): n for n in end.engine.ledger.databases()}
        database = None if question is None else tags.get(question.database)
        if question is None or database is None:
            self.violate("I22", end.device.name, "answers what nobody asked")
            return
        told = {(answer.privacy, answer.author)}
        record = (database, question.collection, question.id)
        for write in self.run.witness.by_record.get(record, ()):
            if write.repeats or write.device not in self.run.ids:
                continue
            if _is_told(write, answer.value):
                told.add((PRIVACY_NAMES.index(write.privacy), self.run.ids[write.device]))
        for privacy, author in sorted(told):
            rules = [
                forbidden_asked(
                    privacy,
                    author,
                    side(view.registry, end.engine.keys.sig_pk, database, asks=True),
                    side(view.registry, end.peer, database, asks=True),
                )
                for view in end.views
            ]
            if all(rules):
                what = f"tells {self._name(end.peer)} what {self._name(author)} wrote in {database}"
                self.violate("I22", end.device.name, f"{what} in spite of {rules[-1]}")

    # At rest -----------------------------------------------------------------------------------

    async def at_rest(self) -> None:
        for device in self.sound():
            self._asks_nothing(device)
            for peer in self.sound():
                if device.engine.keys.sig_pk != peer.engine.keys.sig_pk:
                    self._has_what_may_come(device, peer)

    def _asks_nothing(self, device: SimDevice) -> None:
        demands = device.engine.demands
        if demands.asked or demands._open or demands._answering:
            self.violate("I22", device.name, "at rest, it still asks or answers")
        for link in device.engine.switchboard.links.values():
            if link.asks:
                told = f"at rest, {self._name(link.device)} is taken to ask for a database"
                self.violate("I22", device.name, told)

    def _has_what_may_come(self, device: SimDevice, peer: SimDevice) -> None:
        """Every log that a linked peer holds, if both may have it."""
        engine, id = device.engine, peer.engine.keys.sig_pk
        if not are_together(device, peer) or not engine.switchboard.links_to(id):
            return
        registry, us = engine.mesh.registry, engine.keys.sig_pk
        floors: dict[bytes, int] = {}
        for tag, bucket in (*floors_towards(device, peer), *floors_towards(peer, device)):
            floors[tag] = max(bucket, floors.get(tag, 0))
        for log in peer.engine.ledger.logs():
            scope = log.scope
            if scope.tag == CONTROL_SCOPE or not scope.privacy or not log.head_seq:
                continue
            ends = side(registry, id, scope.database), side(registry, us, scope.database)
            floor = floors.get(engine.mesh.database_tag(scope.database), 0)
            if forbidden(scope.privacy, log.author, *ends) or 0 < scope.bucket < floor:
                continue
            held = engine.ledger.log(scope.tag, log.instance)
            if held is None or (held.head_seq, held.head_id) != (log.head_seq, log.head_id):
                what = f"{PRIVACY_NAMES[scope.privacy]} entries in {scope.database}"
                told = f"has other {what} by {self._name(log.author)} than {peer.name}, linked"
                self.violate("I21", device.name, told)


def _is_told(write: Write, value: bytes) -> bool:
    return any(text.encode() in value for text in write.fields.values())
