"""Misbehaviours of a member with whole logs: gaps, forks, replays, and entries that must wait.

What is verified and signed is stored and passed on whatever it says, so that all devices hold the
same; a fork raises an alarm; what rests on something that nobody has waits for ever, everywhere.
Spec: docs/protocol.md, sections 2 and 7.
"""

from ...crypto.entry import key_id
from ...sync.change import PUT, Operations
from ...sync.changeset import RecordChange
from ...sync.column_writing import encode_tail
from ...sync.crdt import create, edit
from ...sync.messages import Batch, VectorMessage, Want, encode, encode_batch
from .attacker import Attacker
from .forger import Forger
from .misbehaviour import Subject

LOGS = Subject()

_REPLAYS = 20
_STAKED = 3
"""Entries of somebody else's that are put into a log of ours."""


def _record(attacker: Attacker, forger: Forger, word: str, **wrong: object) -> None:
    forger.record(attacker.record_id(word), {"by": word}, **wrong)


# Chains -------------------------------------------------------------------------------------------


@LOGS.act("full")
async def gap(attacker: Attacker) -> None:
    """Sends the second entry of a log, announces both, and never gives the first."""
    forger = attacker.log()
    _record(attacker, forger, "gap")
    _record(attacker, forger, "gap")
    async with attacker.session() as rogue:
        await rogue.send(forger.frame(forger.entries[1]))
        await rogue.answer()
        await rogue.say(VectorMessage(forger.scope, (forger.row(),)))
        await rogue.hear_kind(Want)
        await rogue.leave()


@LOGS.act("full")
async def wrong_prev(attacker: Attacker) -> None:
    """Continues its log with an entry that follows another one than the last."""
    forger = attacker.log()
    _record(attacker, forger, "prev")
    _record(attacker, forger, "prev", prev=attacker.rubbish(32))
    await attacker.deliver(*(forger.frame(entry) for entry in forger.entries))


@LOGS.act("full")
async def entry_from_nowhere(attacker: Attacker) -> None:
    """Begins a log near the last number that there can be."""
    forger = attacker.log()
    _record(attacker, forger, "nowhere", seq=2**62, prev=attacker.rubbish(32))
    await attacker.deliver(forger.frame())


@LOGS.act("full")
async def log_in_reverse(attacker: Attacker) -> None:
    """Sends a log entry by entry, the last one first, and then what is missing again."""
    forger = attacker.log()
    for _ in range(4):
        _record(attacker, forger, "reverse")
    backwards = [forger.frame(entry) for entry in reversed(forger.entries)]
    await attacker.deliver(*backwards, forger.frame())


@LOGS.act("full")
async def overlapping_runs(attacker: Attacker) -> None:
    """Sends the same entries again and again in runs that overlap, in one batch as well."""
    forger = attacker.log()
    for _ in range(4):
        _record(attacker, forger, "overlap")
    one, two, three, four = forger.entries
    await attacker.deliver(
        forger.frame(one, two),
        forger.frame(one, two, three),
        encode_batch(forger.scope, [forger.run(two, three), forger.run(three, four)]),
    )


# Forks --------------------------------------------------------------------------------------------


@LOGS.act("full")
async def fork_of_its_own_log(attacker: Attacker) -> None:
    """Signs two entries for one place of its log."""
    forger = attacker.log()
    _record(attacker, forger, "fork")
    twin = attacker.log(forger.instance)
    _record(attacker, twin, "fork")
    await attacker.deliver(forger.frame(), twin.frame())


@LOGS.act("full")
async def fork_in_the_middle(attacker: Attacker) -> None:
    """Signs a second entry for a place in the middle of its log, and a longer branch from there."""
    forger = attacker.log()
    for _ in range(3):
        _record(attacker, forger, "branch")
    twin = attacker.log(forger.instance)
    twin.entries.append(forger.entries[0])
    for _ in range(3):
        _record(attacker, twin, "branch")
    await attacker.deliver(forger.frame(), twin.frame(*twin.entries[1:2]), twin.frame())


@LOGS.act("full")
async def fork_of_the_membership_log(attacker: Attacker) -> None:
    """Signs two different operations for one place of its membership log."""
    forger = attacker.control_log()
    twin = attacker.control_log()
    twin.instance = forger.instance
    for log, name in ((forger, "one"), (twin, "other")):
        log.operation("rename", {"device": attacker.keys.sig_pk, "name": name})
    await attacker.deliver(forger.frame(), twin.frame())


# Replays ------------------------------------------------------------------------------------------


@LOGS.act("full")
async def replay_of_its_own_batch(attacker: Attacker) -> None:
    """Sends one batch again and again."""
    forger = attacker.log()
    _record(attacker, forger, "replay")
    await attacker.deliver(*(forger.frame() for _ in range(_REPLAYS)))


@LOGS.act("full")
async def replay_of_old_batches(attacker: Attacker) -> None:
    """Sends the victim again what it has just got from it, others' entries among it."""
    batch = await _taken(attacker)
    await attacker.deliver(*(encode(batch) for _ in range(4)))


@LOGS.act("full")
async def transplanted_ciphertexts(attacker: Attacker) -> None:
    """Moves what others wrote into a log of its own, and signs it."""
    batch = await _taken(attacker)
    forger = attacker.log()
    segment = batch.runs[0].segments[0]
    for salt, ct in segment.entries[:_STAKED]:
        forger.transplanted(salt, ct, segment.key_id)
    await attacker.deliver(forger.frame())


async def _taken(attacker: Attacker) -> Batch:
    """Entries that the victim holds, as it sends them."""
    instance, head = attacker.random.choice(attacker.held())
    scope = attacker.scope().tag
    async with attacker.session() as rogue:
        await rogue.say(Want(scope, ((instance, 1, head.seq),)))
        while True:
            batch: Batch = await rogue.hear_kind(Batch)
            if batch.scope == scope:
                await rogue.leave()
                return batch


# Keys ---------------------------------------------------------------------------------------------


@LOGS.act("full", leaves_waiting=True)
async def entry_under_an_unknown_key(attacker: Attacker) -> None:
    """Seals an entry under a key that nobody else has, and a good one behind it."""
    forger = attacker.log()
    _record(attacker, forger, "secret", key=attacker.entropy.draw(32))
    _record(attacker, forger, "secret")
    await attacker.deliver(forger.frame())


@LOGS.act("full")
async def key_id_of_another_key(attacker: Attacker) -> None:
    """Seals under a key of its own and names the one that all have."""
    forger = attacker.log()
    named = key_id(forger.scope_key())
    _record(attacker, forger, "key", key=attacker.entropy.draw(32), named=named)
    await attacker.deliver(forger.frame())


@LOGS.act("full")
async def rubbish_for_a_ciphertext(attacker: Attacker) -> None:
    """Signs random bytes as if they were sealed under the key that all have."""
    forger = attacker.log()
    named = key_id(forger.scope_key())
    forger.transplanted(attacker.rubbish(8), attacker.rubbish(272), named)
    await attacker.deliver(forger.frame())


@LOGS.act("full")
async def one_nonce_for_all(attacker: Attacker) -> None:
    """Uses one salt for every entry."""
    forger = attacker.log()
    for _ in range(4):
        _record(attacker, forger, "nonce", salt=bytes(8))
    await attacker.deliver(forger.frame())


# What rests on something else ---------------------------------------------------------------------


def _change(forger: Forger, id: str, *, deps: tuple[bytes, ...] = ()) -> RecordChange:
    rows = Operations([None], ["x"], [False], [PUT], [1], [()])
    return forger.change(id, encode_tail(rows, forger.instance, deps=deps, seq=1, start_op=1))


@LOGS.act("full", leaves_waiting=True)
async def change_that_rests_on_nothing(attacker: Attacker) -> None:
    """Writes changes that follow a change that nobody has."""
    forger, rests_on = attacker.log(), (attacker.rubbish(32),)
    forger.changes([_change(forger, attacker.record_id("orphan"), deps=rests_on)])
    forger.changes([_change(forger, attacker.record_id("first"), deps=rests_on)])
    await attacker.deliver(forger.frame())


@LOGS.act("full", leaves_waiting=True)
async def past_that_nobody_has(attacker: Attacker) -> None:
    """Writes thirty changes that claim to have seen entries of logs that there are not."""
    forger = attacker.log()
    tail = create(forger.instance, {"x": 1}, entry_seq=1).tail
    for number in range(30):
        past = ((attacker.rubbish(16), 7),)
        forger.changes([forger.change(attacker.record_id(f"waits-{number}"), tail, past)])
    await attacker.deliver(forger.frame())


@LOGS.act("full", leaves_waiting=True)
async def past_in_its_own_future(attacker: Attacker) -> None:
    """Writes a change that rests on a later entry of the same log, which rests on it."""
    forger = attacker.log()
    tail = create(forger.instance, {"x": 1}, entry_seq=1).tail
    for past in (((forger.instance, 2),), ((forger.instance, 1),)):
        forger.changes([forger.change(attacker.record_id("circle"), tail, past)])
    await attacker.deliver(forger.frame())


@LOGS.act("full", leaves_waiting=True)
async def understated_past(attacker: Attacker) -> None:
    """Edits a record it has seen and claims to have seen nothing; the edit comes first."""
    first, second = attacker.log(), attacker.log()
    id = attacker.record_id("understated")
    made = create(first.instance, {"x": 1}, entry_seq=1)
    first.changes([first.change(id, made.tail)])
    edited = edit(made.state, second.instance, {"y": 2}, entry_seq=1, replace=False)
    assert edited is not None, "a new field is a change"
    second.changes([second.change(id, edited.tail, (), edited.fields)])
    await attacker.deliver(second.frame(), first.frame())


def _overtakes(attacker: Attacker, awaited: Forger) -> Forger:
    """A log that writes a record twice. Only its first entry says that it waits for the other."""
    liar = attacker.log()
    id = attacker.record_id("overtaken")
    _record(attacker, awaited, "awaited")
    for value, past in (({"x": 1}, ((awaited.instance, 1),)), ({"x": 2}, ())):
        tail = create(liar.instance, value, entry_seq=1).tail
        liar.changes([liar.change(id, tail, past)])
    return liar


@LOGS.act("full", leaves_waiting=True)
async def overtaking_entry(attacker: Attacker) -> None:
    """Writes a record twice in one log so that the second entry could overtake the first."""
    awaited = attacker.log()
    liar = _overtakes(attacker, awaited)
    await attacker.deliver(liar.frame(), awaited.frame())


@LOGS.act("full", leaves_waiting=True)
async def overtaking_in_a_batch(attacker: Attacker) -> None:
    """The same, and what the first entry waits for never comes."""
    await attacker.deliver(_overtakes(attacker, attacker.log()).frame())


@LOGS.act("full", leaves_waiting=True)
async def overtaking_in_the_next_batch(attacker: Attacker) -> None:
    """The same, and the second entry comes in a batch of its own."""
    liar = _overtakes(attacker, attacker.log())
    await attacker.deliver(*(liar.frame(entry) for entry in liar.entries))
