"""Misbehaviours of a member in a session: the wrong order of things, and lies about what is held.

What comes too early ends the session. A lie may cost the victim a few frames; it must not make it
wait for ever, believe in a fork that nobody proves, or give away what is not shared.
Spec: docs/protocol.md, section 7.
"""

from collections.abc import Callable
from dataclasses import replace

from ...sync.messages import (
    Ack,
    Batch,
    Digests,
    Goodbye,
    Greeting,
    Have,
    Message,
    Reason,
    Root,
    VectorMessage,
    Want,
)
from ...sync.session_limits import CONTROL_SCOPE, CREDIT_BYTES_MAX, SEQ_MAX
from .attacker import DEVICE, Attacker
from .forger import Forger
from .misbehaviour import Act, Subject

SESSION = Subject()

_TAG, _ID = b"t" * 16, b"i" * 32
_ACK_CREDIT_MAX = 2**32 - 1
_LOGS_MAX = 16
"""Logs of the victim that one act asks for, or lies about."""
CLOSE_CODES = (1001, 1008, 1011, 3000, 4000, 4001, 4999)

# The wrong order ----------------------------------------------------------------------------------


def _about_data(attacker: Attacker) -> tuple[Message, ...]:
    scope = attacker.scope().tag
    return (
        Digests(0, b"", ()),
        VectorMessage(scope, ()),
        Want(scope, ((_TAG, 1, 1),)),
        Ack(scope, (), 0),
        Have(scope, _TAG, _ID, 1, _ID),
    )


def _record(attacker: Attacker, word: str) -> Forger:
    forger = attacker.log()
    forger.record(attacker.record_id(word), {"x": 1})
    return forger


@SESSION.act("full")
async def words_before_the_greeting(attacker: Attacker) -> None:
    """Talks about data, digests or the membership before it has greeted."""
    membership = (Root(_ID, _ID), VectorMessage(CONTROL_SCOPE, ()))
    async with attacker.channel() as rogue:
        await rogue.say(attacker.random.choice((*_about_data(attacker), *membership)))
        await rogue.hear_all()


@SESSION.act("full")
async def batch_before_the_greeting(attacker: Attacker) -> None:
    """Sends entries before it has greeted."""
    async with attacker.channel() as rogue:
        await rogue.send(_record(attacker, "early").frame())
        await rogue.hear_all()


@SESSION.act("full")
async def data_before_the_membership(attacker: Attacker) -> None:
    """Talks about data while the membership logs are not the same."""
    async with attacker.session(control=attacker.rubbish(32)) as rogue:
        await rogue.say(attacker.random.choice(_about_data(attacker)))
        await rogue.hear_all()


@SESSION.act("full")
async def batch_before_the_membership(attacker: Attacker) -> None:
    """Sends entries while the membership logs are not the same."""
    async with attacker.session(control=attacker.rubbish(32)) as rogue:
        await rogue.send(_record(attacker, "early").frame())
        await rogue.hear_all()


@SESSION.act("full")
async def two_greetings(attacker: Attacker) -> None:
    """Greets twice, which would set credit and digests anew in the middle of things."""
    async with attacker.session() as rogue:
        await rogue.say(Greeting(1, (), {}, 0, _ID, _ID))
        await rogue.hear_all()


@SESSION.act("full")
async def greeting_of_another_version(attacker: Attacker) -> None:
    """Greets in another version than the hellos agreed on."""
    async with attacker.channel() as rogue:
        await rogue.say(Greeting(2, (), {}, 0, _ID, _ID))
        await rogue.hear_all()


@SESSION.act("full")
async def strange_device_state(attacker: Attacker) -> None:
    """Tells things about itself that are of no type or value that one expects."""
    states = (
        {"instance": attacker.rubbish(16), "port": -1},
        {"instance": attacker.victim.instance, "port": 2**40},
        {"instance": attacker.rubbish(16), "port": True},
        {"instance": "no bytes", "port": "no number"},
        {"instance": None, "port": None, "surprise": {"a": [1, 2, 3]}},
    )
    for state in states:
        async with attacker.session(device_state=state) as rogue:
            await rogue.leave()


@SESSION.act("full")
async def words_after_the_goodbye(attacker: Attacker) -> None:
    """Says goodbye and goes on talking."""
    async with attacker.session() as rogue:
        await rogue.say(Goodbye(Reason.DONE, ""))
        await rogue.flood(*_about_data(attacker))
        await rogue.hear_all()


@SESSION.act("full")
async def odd_goodbyes(attacker: Attacker) -> None:
    """Says goodbye for every reason that there is, in place of the victim as well."""
    for reason in (Reason.REMOVED, Reason.REPLACED, Reason.STORE_FULL, Reason.OTHER):
        async with attacker.session() as rogue:
            await rogue.say(Goodbye(reason, "\x1b[2J\u202e"))
            await rogue.hear_all()


@SESSION.act("full")
async def odd_close_codes(attacker: Attacker) -> None:
    """Closes the connection with codes that mean something else, or nothing."""
    for code in CLOSE_CODES:
        async with attacker.session() as rogue:
            await rogue.close(code)


# Acknowledgements ---------------------------------------------------------------------------------


@SESSION.act("full")
async def ack_of_more_than_was_sent(attacker: Attacker) -> None:
    """Acknowledges what was never sent, with credit that nobody could use up."""
    scope, instance = attacker.scope().tag, attacker.victim.instance
    async with attacker.session() as rogue:
        for _ in range(20):
            await rogue.say(
                Ack(scope, ((instance, SEQ_MAX),), _ACK_CREDIT_MAX),
                Ack(b"?" * 16, ((_TAG, SEQ_MAX),), _ACK_CREDIT_MAX),
            )
        await rogue.leave()


@SESSION.act("full")
async def lying_ack(attacker: Attacker) -> None:
    """Says that it holds for good what it was just sent, and has thrown it away."""
    async with attacker.session(root=attacker.rubbish(32)) as rogue:
        scope, ranges = attacker.scope().tag, _everything(attacker)
        await rogue.say(Want(scope, ranges))
        batch: Batch = await rogue.hear_kind(Batch)
        heads = tuple((instance, last) for instance, _, last in ranges)
        await rogue.say(Ack(batch.scope, heads, _ACK_CREDIT_MAX))
        await rogue.leave()


@SESSION.act("full")
async def no_ack_at_all(attacker: Attacker) -> None:
    """Takes all there is and never says that it has arrived."""
    async with attacker.session(credit=CREDIT_BYTES_MAX) as rogue:
        await rogue.say(Want(attacker.scope().tag, _everything(attacker)))
        await rogue.hear_kind(Batch)
        await rogue.leave()


def _everything(attacker: Attacker) -> tuple[tuple[bytes, int, int], ...]:
    """The ranges of what the victim holds, of so many logs as one act takes an interest in."""
    return tuple((instance, 1, head.seq) for instance, head in attacker.held()[:_LOGS_MAX])


# Lies about logs ----------------------------------------------------------------------------------


def _lie(make: Callable[[Attacker], tuple[Message, ...]]) -> Act:
    """Say these in a session, and leave after the victim has had time to act on them."""

    async def act(attacker: Attacker) -> None:
        messages = make(attacker)
        async with attacker.session() as rogue:
            await rogue.flood(*messages)
            await attacker.clock.sleep_ms(200)
            await rogue.leave()

    return act


def _more_than_there_is(attacker: Attacker) -> tuple[Message, ...]:
    rows = tuple(
        (instance, head.author, head.seq + 1_000, attacker.rubbish(32))
        for instance, head in attacker.held()[:_LOGS_MAX]
    )
    return (VectorMessage(attacker.scope().tag, rows),)


def _other_ids(attacker: Attacker) -> tuple[Message, ...]:
    rows = tuple(
        (instance, head.author, head.seq, attacker.rubbish(32))
        for instance, head in attacker.held()[:_LOGS_MAX]
    )
    return (VectorMessage(attacker.scope().tag, rows),)


def _other_ids_before(attacker: Attacker) -> tuple[Message, ...]:
    rows = tuple(
        (instance, head.author, 1, attacker.rubbish(32))
        for instance, head in attacker.held()[:_LOGS_MAX]
    )
    return (VectorMessage(attacker.scope().tag, rows),)


def _fork_of_the_victim(attacker: Attacker) -> tuple[Message, ...]:
    scope = attacker.scope().tag
    forks = (
        Have(scope, instance, head.author, head.seq, attacker.rubbish(32))
        for instance, head in attacker.held()
    )
    return tuple(forks)[:_LOGS_MAX]


def _have_of_the_unknown(attacker: Attacker) -> tuple[Message, ...]:
    have = Have(attacker.scope().tag, attacker.rubbish(16), _ID, SEQ_MAX, _ID)
    elsewhere = replace(have, scope=attacker.rubbish(16))
    control = replace(have, scope=CONTROL_SCOPE, instance=attacker.rubbish(16))
    return (have, elsewhere, control)


def _nothing_at_all(attacker: Attacker) -> tuple[Message, ...]:
    return (VectorMessage(attacker.scope().tag, ()), VectorMessage(CONTROL_SCOPE, ()))


def _other_authors(attacker: Attacker) -> tuple[Message, ...]:
    rows = tuple(
        (instance, attacker.keys.sig_pk, head.seq + 1, _ID)
        for instance, head in attacker.held()[:_LOGS_MAX]
    )
    return (VectorMessage(attacker.scope().tag, rows),)


_LIES: tuple[tuple[str, str, Callable[[Attacker], tuple[Message, ...]]], ...] = (
    (
        "vector-beyond-the-end",
        "Claims a thousand entries more of every log than there are.",
        _more_than_there_is,
    ),
    (
        "vector-of-other-ids",
        "Claims that every log ends in another entry than it does.",
        _other_ids,
    ),
    (
        "vector-of-other-beginnings",
        "Claims to hold the first entry of every log, and calls it something else.",
        _other_ids_before,
    ),
    ("vector-of-other-authors", "Claims to be the author of every log.", _other_authors),
    ("vector-of-nothing", "Claims to hold nothing, not even the membership.", _nothing_at_all),
    (
        "fork-that-nobody-proves",
        "Announces entries that would prove a fork of every log, and has none.",
        _fork_of_the_victim,
    ),
    (
        "have-of-the-unknown",
        "Announces logs and scopes that nobody has heard of.",
        _have_of_the_unknown,
    ),
)
for _name, _about, _make in _LIES:
    SESSION.add(_name, "full", _lie(_make), _about)


@SESSION.act("full")
async def wanting_what_is_for_one_device(attacker: Attacker) -> None:
    """Asks for what the victim keeps to itself, by the tag that every member can compute."""
    scope = attacker.tag(attacker.database, DEVICE)
    me = attacker.victim
    async with attacker.session() as rogue:
        await rogue.say(
            Want(scope, ((me.instance, 1, 1),)),
            VectorMessage(scope, ((me.instance, me.keys.sig_pk, 9, _ID),)),
            Digests(1, scope, ()),
        )
        await rogue.leave()


@SESSION.act("guest")
async def wanting_more_than_its_level(attacker: Attacker) -> None:
    """Asks, as a guest, for what is private."""
    async with attacker.session() as rogue:
        await rogue.say(Want(attacker.scope().tag, _everything(attacker)))
        await rogue.leave()
