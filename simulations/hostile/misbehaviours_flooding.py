"""Misbehaviours by quantity: more of everything than a node can have wanted, and all of it allowed.

A flood may cost the victim work in proportion to what it costs the sender, and memory up to a
constant. None of these sends more than about three megabytes.
Spec: docs/protocol.md, sections 5 and 7; docs/threat-model.md, "Limits".
"""

from contextlib import AsyncExitStack, suppress
from itertools import islice

from ...node.ports import ConnectionLostError, UnreachableError
from ...sync.messages import Batch, Digests, Have, Root, VectorMessage, Want
from ...sync.session_limits import (
    CREDIT_BYTES_MAX,
    IGNORED_MAX,
    SEQ_MAX,
    VECTOR_ROWS_MAX,
    WANT_ROWS_MAX,
)
from .attacker import Attacker
from .misbehaviour import Subject
from .stranger import HELLO

FLOODING = Subject()

_ID = b"i" * 32
_CONNECTIONS = 8
_STORM = 10
_LARGE_BYTES = 700_000

# Connections --------------------------------------------------------------------------------------


@FLOODING.act("full")
async def many_sessions_at_once(attacker: Attacker) -> None:
    """Opens eight sessions at once, each as if it came from another store."""
    async with AsyncExitStack() as opened:
        for _ in range(_CONNECTIONS):
            state = {"instance": attacker.rubbish(16)}
            await opened.enter_async_context(attacker.session(device_state=state))
        await attacker.clock.sleep_ms(500)


@FLOODING.act("full")
async def one_store_in_many_sessions(attacker: Attacker) -> None:
    """Opens six sessions at once that all claim to be the same store."""
    state = {"instance": attacker.rubbish(16)}
    async with AsyncExitStack() as opened:
        for _ in range(6):
            await opened.enter_async_context(attacker.session(device_state=state))
        await attacker.clock.sleep_ms(500)


@FLOODING.act("stranger")
async def half_open_crowd(attacker: Attacker) -> None:
    """Opens six connections, says hello on each, and leaves them so for a while."""
    async with AsyncExitStack() as opened:
        for _ in range(6):
            # Some are turned away at the door, which is one of the answers.
            with suppress(ConnectionLostError, UnreachableError):
                stranger = await opened.enter_async_context(attacker.knock())
                await stranger.send(HELLO)
        await attacker.clock.sleep_ms(1_000)


@FLOODING.act("stranger")
async def connection_storm(attacker: Attacker) -> None:
    """Connects and hangs up ten times in a row."""
    for _ in range(_STORM):
        with suppress(ConnectionLostError, UnreachableError):
            async with attacker.knock() as stranger:
                await stranger.send(HELLO)


@FLOODING.act("full")
async def session_storm(attacker: Attacker) -> None:
    """Opens a session and drops it without a word, eight times in a row."""
    for _ in range(_CONNECTIONS):
        async with attacker.session():
            pass


# Claims -------------------------------------------------------------------------------------------


@FLOODING.act("full")
async def vector_of_made_up_logs(attacker: Attacker) -> None:
    """Claims to hold as many logs without end as a vector can name, twice."""
    rows = sorted((attacker.rubbish(16), _ID, SEQ_MAX, _ID) for _ in range(VECTOR_ROWS_MAX))
    vector = VectorMessage(attacker.scope().tag, tuple(rows))
    async with attacker.session() as rogue:
        await rogue.say(vector, vector)
        await rogue.hear_kind(Want)
        await rogue.leave()


@FLOODING.act("full")
async def have_flood(attacker: Attacker) -> None:
    """Announces three hundred logs that there are not, one after the other."""
    scope = attacker.scope().tag
    async with attacker.session() as rogue:
        haves = (Have(scope, attacker.rubbish(16), _ID, 1, _ID) for _ in range(300))
        await rogue.flood(*haves)
        await rogue.leave()


@FLOODING.act("full")
async def root_flood(attacker: Attacker) -> None:
    """Tells a thousand root digests that never match."""
    async with attacker.session() as rogue:
        control = attacker.heads()[0]
        await rogue.flood(*(Root(control, attacker.rubbish(32)) for _ in range(1_000)))
        await rogue.leave()


@FLOODING.act("full")
async def digests_that_never_match(attacker: Attacker) -> None:
    """Compares digests four hundred times, and never holds what it says."""
    async with attacker.session() as rogue:
        control = attacker.heads()[0]
        for number in range(400):
            row = (number.to_bytes(16, "big"), _ID)
            await rogue.flood(Root(control, attacker.rubbish(32)), Digests(0, b"", (row,)))
        await rogue.leave()


@FLOODING.act("full")
async def membership_that_never_matches(attacker: Attacker) -> None:
    """Tells a thousand control digests, each another one."""
    async with attacker.session(control=attacker.rubbish(32)) as rogue:
        await rogue.flood(*(Root(attacker.rubbish(32), _ID) for _ in range(1_000)))
        await rogue.say(VectorMessage(bytes(16), ()))
        await rogue.leave()


# Wants --------------------------------------------------------------------------------------------


@FLOODING.act("full")
async def wanting_the_unknown(attacker: Attacker) -> None:
    """Wants ten thousand logs that there are not."""
    scope = attacker.scope().tag
    rows = sorted((attacker.rubbish(16), 1, SEQ_MAX) for _ in range(WANT_ROWS_MAX))
    async with attacker.session() as rogue:
        await rogue.flood(
            *(Want(scope, tuple(rows)) for _ in range(IGNORED_MAX // WANT_ROWS_MAX + 1))
        )
        await rogue.hear_all()


def _everything(attacker: Attacker) -> Want:
    """A want of every entry that the victim holds of our scope, each as a range of its own."""
    ranges = (
        (instance, seq, seq)
        for instance, head in attacker.held()
        for seq in range(1, min(head.seq, WANT_ROWS_MAX) + 1)
    )
    return Want(attacker.scope().tag, tuple(islice(ranges, WANT_ROWS_MAX)))


@FLOODING.act("full")
async def wanting_without_credit(attacker: Attacker) -> None:
    """Wants everything two hundred times over, and lets nothing be sent."""
    want = _everything(attacker)
    async with attacker.session(credit=0) as rogue:
        await rogue.flood(*(want for _ in range(200)))
        await rogue.leave()


@FLOODING.act("full")
async def wanting_everything_again(attacker: Attacker) -> None:
    """Wants everything forty times over, and reads what comes."""
    want = _everything(attacker)
    async with attacker.session(credit=CREDIT_BYTES_MAX) as rogue:
        for _ in range(40):
            await rogue.say(want)
        await rogue.hear_kind(Batch)
        await rogue.leave()


@FLOODING.act("full")
async def wanting_and_not_reading(attacker: Attacker) -> None:
    """Wants everything many times over, reads nothing for a while, and is gone."""
    want = _everything(attacker)
    async with attacker.session(credit=CREDIT_BYTES_MAX) as rogue:
        await rogue.flood(*(want for _ in range(100)))
        await attacker.clock.sleep_ms(2_000)


# Entries ------------------------------------------------------------------------------------------


@FLOODING.act("full")
async def credit_overflow(attacker: Attacker) -> None:
    """Sends three batches at once that are together twice what it was allowed to send."""
    forger = attacker.log()
    for _ in range(4):
        forger.record(attacker.record_id("overflow"), {"text": "x" * _LARGE_BYTES})
    # None of them begins where the log begins, so nothing of them can be stored.
    frames = [forger.frame(entry) for entry in forger.entries[1:]]
    async with attacker.session() as rogue:
        with suppress(ConnectionLostError):
            await rogue.send(*frames)
        await attacker.clock.sleep_ms(200)
        await rogue.leave()


@FLOODING.act("full")
async def many_logs(attacker: Attacker) -> None:
    """Opens sixty-four logs of one record each, in one batch after the other."""
    frames = []
    for number in range(64):
        forger = attacker.log()
        forger.record(attacker.record_id(f"log-{number % 8}"), {"n": number})
        frames.append(forger.frame())
    await attacker.deliver(*frames)


@FLOODING.act("full")
async def many_changes_of_one_record(attacker: Attacker) -> None:
    """Begins one record in twenty logs, so that all of them conflict."""
    id = attacker.record_id("crowded")
    frames = []
    for number in range(20):
        forger = attacker.log()
        forger.record(id, {"n": number, "text": "x" * number})
        frames.append(forger.frame())
    await attacker.deliver(*frames)


@FLOODING.act("full")
async def a_thousand_entries_of_nothing(attacker: Attacker) -> None:
    """Seals and signs a thousand entries without a body, in one batch."""
    forger = attacker.log()
    for _ in range(1_000):
        forger.entry(b"")
    await attacker.deliver(forger.frame())


@FLOODING.act("full")
async def several_batches_at_once(attacker: Attacker) -> None:
    """Sends five batches of one log without waiting for an answer, and hangs up any time."""
    forger = attacker.log()
    for number in range(50):
        forger.record(attacker.record_id(f"several-{number % 5}"), {"n": number})
    parts = [forger.entries[at : at + 10] for at in range(0, 50, 10)]
    async with attacker.session() as rogue:
        await rogue.send(*(forger.frame(*part) for part in parts))
        await attacker.clock.sleep_ms(attacker.random.randrange(50))
