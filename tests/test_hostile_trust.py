"""Members who decide what is not theirs to decide, and members who were removed.

That records stay what they were is claimed of every misbehaviour in test_hostile_library.py; here
it is claimed of the membership: who belongs, as what, and what of removed devices counts.
"""

from pathlib import Path

import pytest

from covey.node.ingest_rows import SHELVED
from covey.node.ports import ConnectionLostError
from covey.simulations.hostile.attacker import RECORD_PREFIX
from covey.simulations.hostile.misbehaviour import Misbehaviour
from covey.simulations.hostile.misbehaviours_removed import LATE_ENTRIES, REMOVED
from covey.simulations.hostile.misbehaviours_trust import TRUST
from covey.simulations.hostile.registry import MISBEHAVIOURS
from covey.storage import log_rows
from covey.sync.messages import Reason
from covey.sync.registry import Registry
from covey.sync.session_limits import REQUESTS_PER_DEVICE_MAX

from .hostile_world import World, unharmed, world
from .loopback import enroll, in_sync, until
from .rogue import Forger, Rogue, new_keys
from .test_hostile_library import HurriedClock, commit

ACCOMPLICE, PUPPET = "accomplice", "puppet"
ENTRIES_OR_KEYS_ONLY = (
    *("entries-of-who-has-left", "entries-beyond-the-cut", "entries-after-its-removal"),
    *("keys-of-the-removed", "back-dated-grant-to-the-removed", "other-key-of-that-name"),
)
"""Misbehaviours that decide nothing: of grants, none is ever void."""


def decided(registry: Registry) -> tuple[object, ...]:
    """What people decided, but for the accomplice, which may leave, and puppets that are none."""
    devices = {
        id: device
        for id, device in registry.devices.items()
        if device.name != ACCOMPLICE and (device.active or device.name != PUPPET)
    }
    cuts = {id: dict(cut) for id, cut in registry.cuts.items() if cut}
    return devices, cuts, registry.recovery


@pytest.mark.parametrize(
    "misbehaviour", (*TRUST.misbehaviours, *REMOVED.misbehaviours), ids=lambda m: m.name
)
async def test_a_member_decides_nothing_about_others(
    tmp_path: Path, misbehaviour: Misbehaviour
) -> None:
    """Equal records would not show that somebody made itself an admin, and waits."""
    clock = HurriedClock()
    level, has_removed = misbehaviour.stands_as, misbehaviour in REMOVED.misbehaviours
    async with world(tmp_path, level=level, clock=clock, has_removed=has_removed) as there:
        engines = [there.victim.engine, there.honest.engine]
        before = decided(engines[0].mesh.registry)
        held = len(engines[0].mesh.registry.ignored)

        await commit(there, misbehaviour, clock)
        await until(lambda: len({e.ledger.holdings.control_digest() for e in engines}) == 1)

        for engine in engines:
            registry = engine.mesh.registry
            assert decided(registry) == before
            assert len(registry.requests) <= REQUESTS_PER_DEVICE_MAX
            assert (
                len(registry.ignored) > held
                or "request" in misbehaviour.name
                or misbehaviour.name in ENTRIES_OR_KEYS_ONLY
            )


@pytest.mark.parametrize("name", ["entries-beyond-the-cut", "cut-that-the-removed-stretches"])
async def test_what_a_removed_device_writes_later_is_kept_and_counts_for_nothing(
    tmp_path: Path, name: str
) -> None:
    """Whatever date it bears, and however the device stretches what its removal had seen."""
    clock = HurriedClock()
    async with world(tmp_path, clock=clock, has_removed=True) as there:
        await commit(there, MISBEHAVIOURS[name], clock)
        await in_sync(there.victim, there.honest)

        for device in (there.victim, there.honest):
            late = [id for *_, id in await device.records() if id.startswith(RECORD_PREFIX)]
            shelf = device.engine.directory.shelf_rows()
            assert late == []
            assert [row["entries"] for row in shelf] == [LATE_ENTRIES]


class Backdater(Forger):
    """A removed member that writes as it did when it still belonged."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._heads, self._key = super().heads(), super().scope_key()

    def heads(self) -> tuple[bytes, ...]:
        return self._heads

    def scope_key(self) -> bytes:
        return self._key


async def removed_mallory(there: World) -> tuple[Backdater, Rogue]:
    """Mallory is removed; an accomplice, who still belongs, has a session with the victim."""
    accomplice = new_keys()
    await enroll(there.victim, accomplice, ACCOMPLICE)
    forger = Backdater.of_data(there.victim, there.mallory)
    await there.victim.engine.trust.revoke(there.mallory.sig_pk)
    rogue = await Rogue.connect(there.victim, accomplice)
    await rogue.greet()
    return forger, rogue


async def test_old_heads_and_an_accomplice_bring_a_removed_member_no_further_than_the_shelf(
    tmp_path: Path,
) -> None:
    """It has its old keys and knows old heads, so nobody can tell when it wrote."""
    async with world(tmp_path) as there, unharmed(there):
        forger, rogue = await removed_mallory(there)
        forger.record("late", {"x": 1})
        forger.record("second", {"text": "changed by who was removed"})
        await rogue.send(forger.frame())
        ack = await rogue.answer()

        assert ack is not None
        rows = await there.victim.engine.database.read(
            lambda conn: log_rows.entries_in_state(conn, SHELVED, 0)
        )
        assert [row.seq for row in rows] == [1, 2]
        await rogue.leave()


async def test_heads_that_tell_of_its_removal_are_refused_of_a_removed_member(
    tmp_path: Path,
) -> None:
    """Whoever had heard of it had nothing to say any more."""
    async with world(tmp_path) as there, unharmed(there):
        forger, rogue = await removed_mallory(there)
        forger.record("late", {"x": 1}, heads=there.victim.engine.mesh.registry.heads)
        await rogue.send(forger.frame())

        assert await there.ended(rogue, Reason.BATCH_REFUSED)


async def test_a_removed_member_is_not_let_in(tmp_path: Path) -> None:
    """Its keys are as good as ever, and nobody wants to hear them."""
    async with world(tmp_path) as there, unharmed(there):
        _, rogue = await removed_mallory(there)
        await rogue.leave()

        with pytest.raises(ConnectionLostError):
            await there.enter()
