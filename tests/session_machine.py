"""One session alone, with its holdings, for tests that tell it what to hear.

A `Machine` writes no frame by itself and keeps no rule of the other side: the test is the peer.
"""

from covey.sync.batch import Run, Segment, encode_batch
from covey.sync.fetch import FetchPlan
from covey.sync.messages import (
    Goodbye,
    Greeting,
    Message,
    Reason,
    decode,
    encode,
)
from covey.sync.session import SessionState, step
from covey.sync.session_events import (
    Close,
    Effect,
    Event,
    FrameReceived,
    HeadsAdvanced,
    Opened,
    SendFrame,
)
from covey.sync.session_limits import CREDIT_BYTES
from covey.sync.session_state import Receiving
from covey.sync.sharing import Sharing
from covey.sync.vectors import Holdings

PEER, AUTHOR = b"p" * 32, b"a" * 32
DATABASE, SCOPE, PUBLIC_SCOPE, SECRET = b"D" * 16, b"s" * 16, b"u" * 16, b"x" * 16
LOGS = (b"i" * 16, b"j" * 16)
ALL = Sharing(frozenset({1, 2, 3}))


def id_of(seq: int) -> bytes:
    return seq.to_bytes(32, "big")


def run_of(log: bytes, first: int, last: int, size: int = 300) -> Run:
    prev_id = id_of(first - 1) if first > 1 else bytes(32)
    entries = [(b"saltsalt", bytes(size))] * (last - first + 1)
    return Run(AUTHOR, log, first, prev_id, (Segment(1, b"k" * 32, (), entries),), b"s" * 64)


class Machine:
    """One session, and what it did last."""

    def __init__(self, sharing: Sharing = ALL, credit: int = CREDIT_BYTES) -> None:
        self.ours = Holdings()
        self.ours.add_scope(SCOPE, DATABASE, 1)
        self.ours.add_scope(PUBLIC_SCOPE, DATABASE, 3)
        self.ours.add_scope(SECRET, DATABASE, 0)
        self.plan = FetchPlan()
        self.state = SessionState(receiving=Receiving(credit=credit))
        self.sharing = sharing
        self.now_ms = 0

    def hold(self, scope: bytes, log: bytes, seq: int) -> None:
        self.ours.set_head(scope, log, AUTHOR, seq, id_of(seq))

    def happen(self, event: Event) -> list[Effect]:
        self.now_ms += 1
        self.state, effects = step(self.state, event, self.ours, self.plan, self.now_ms)
        return list(effects)

    def hear(self, message: Message) -> list[Effect]:
        return self.happen(FrameReceived(encode(message)))

    def open(self) -> Greeting:
        effects = self.happen(Opened(PEER, self.sharing, {}, ("topics",)))
        assert isinstance(effects[0], SendFrame)
        greeting = decode(effects[0].frame)
        assert isinstance(greeting, Greeting)
        return greeting

    def meet(self, credit: int = CREDIT_BYTES, root: bytes | None = None) -> list[Effect]:
        """Open, and hear a greeting from a peer that is in sync but, if told, for the root."""
        mine = self.open()
        return self.hear(Greeting(1, (), {}, credit, mine.control, root or mine.root))

    def grow(self, scope: bytes, log: bytes, seq: int, size: int = 300) -> list[Effect]:
        """Commit one entry."""
        self.hold(scope, log, seq)
        frame = encode_batch(scope, (run_of(log, seq, seq, size),))
        return self.happen(HeadsAdvanced(scope, log, AUTHOR, seq, id_of(seq), seq - 1, frame))


def said(effects: list[Effect]) -> list[Message]:
    return [decode(effect.frame) for effect in effects if isinstance(effect, SendFrame)]


def end(effects: list[Effect]) -> Reason | None:
    """Why the session ended; a farewell says the same, and nothing follows."""
    closes = [effect for effect in effects if isinstance(effect, Close)]
    if not closes:
        return None
    assert effects[-1] is closes[0] and len(closes) == 1
    for message in said(effects):
        if isinstance(message, Goodbye):
            assert message.reason is closes[0].reason
    return closes[0].reason
