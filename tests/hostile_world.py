"""A victim, an honest device that is linked to it, and the keys of a member who keeps no rule.

`world` makes the three. `unharmed` is the claim of every test about hostile peers: whatever is done
in its block, the victim's records are what they were, it still syncs with the honest device both
ways, both end with equal digests, and nothing has piled up.
"""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covey.crypto.identity import DeviceKeys
from covey.node.links import OUTGOING_BYTES_MAX
from covey.sync.messages import Reason
from covey.sync.session_limits import CREDIT_BYTES, FRAME_BYTES_MAX, IGNORED_MAX, VECTOR_ROWS_MAX

from .loopback import Device, Nodes, admit, arrives, enroll, in_sync, meet, nodes, until
from .rogue import Rogue, new_keys

TASKS_MAX = 48
"""Of one engine at rest with one or two links; a hostile peer must not be able to add to them."""
_names = itertools.count()


@dataclass
class World:
    nodes: Nodes
    victim: Device
    honest: Device
    mallory: DeviceKeys
    removed: DeviceKeys
    """Of a device that was an admin for a while."""

    async def enter(self, **greeting: Any) -> Rogue:
        """A session as Mallory, past the greetings, with digests equal to the victim's."""
        rogue = await Rogue.connect(self.victim, self.mallory)
        await rogue.greet(**greeting)
        return rogue

    async def ended(self, rogue: Rogue, reason: Reason) -> str:
        """The victim has ended this session for this reason, said so, and counted it."""
        counter = f"link.ended.{reason.name.lower()}"
        goodbye = await rogue.goodbye()
        assert goodbye is not None and goodbye.reason is reason, goodbye
        await until(lambda: self.victim.counters[counter] == 1)
        await rogue.close()
        return goodbye.text


@asynccontextmanager
async def world(
    folder: Path, *, level: str = "full", clock: Any = None, has_removed: bool = False
) -> AsyncIterator[World]:
    """Three members of one mesh; two of them are linked, the third has keys only.

    `has_removed`: a fourth has been an admin and was removed.
    """
    async with nodes(folder) as made:
        victim = await (await made.make("victim", clock=clock)).online()
        honest = await (await made.make("honest", clock=clock)).online()
        await admit(victim, honest)
        await victim.facts.put({"text": "a first fact"}, id="first")
        mallory = new_keys()
        await enroll(victim, mallory, "mallory", level)
        removed = new_keys()
        if has_removed:
            await enroll(victim, removed, "removed")
            await victim.engine.trust.set_role(removed.sig_pk, "admin")
            await victim.engine.trust.revoke(removed.sig_pk)
        await meet(honest, victim)
        await victim.facts.put({"text": "a second fact"}, id="second")
        await arrives(honest, "second", {"text": "a second fact"})
        yield World(made, victim, honest, mallory, removed)


@asynccontextmanager
async def alone(folder: Path, clock: Any) -> AsyncIterator[Device]:
    """A victim without any other device, on a clock that the test moves."""
    async with nodes(folder) as made:
        yield await (await made.make("victim", clock=clock)).online()


@asynccontextmanager
async def unharmed(
    there: World, *, more: dict[str, dict[str, Any]] | None = None
) -> AsyncIterator[None]:
    """The claim. `more`: records of memory/facts that may have come into being in the block."""
    before = await there.victim.records()
    yield
    expected = {**before, **{("memory", "facts", id): v for id, v in (more or {}).items()}}
    await until(lambda: len(there.victim.engine.switchboard.links) == 1)
    assert await there.victim.records() == expected
    await _still_syncs(there)
    assert_bounded(there.victim)


async def _still_syncs(there: World) -> None:
    """Both ways, and to equal digests."""
    number = next(_names)
    await there.honest.facts.put({"n": number}, id=f"honest-{number}")
    await arrives(there.victim, f"honest-{number}", {"n": number})
    await there.victim.facts.put({"n": number}, id=f"victim-{number}")
    await arrives(there.honest, f"victim-{number}", {"n": number})
    await in_sync(there.victim, there.honest)


def assert_bounded(device: Device) -> None:
    """Nothing that a peer can fill holds more than its limit."""
    engine = device.engine
    assert len(engine._tasks) <= TASKS_MAX
    for link in engine.switchboard.links.values():
        state = link.state
        assert link.outgoing_bytes <= OUTGOING_BYTES_MAX + FRAME_BYTES_MAX
        assert sum(request.frame_bytes for request in link._batches._queue) <= CREDIT_BYTES  # type: ignore[attr-defined]
        assert all(len(heads) <= VECTOR_ROWS_MAX for heads in state.knowledge.theirs.values())
        assert state.ignored <= IGNORED_MAX
        assert len(link._tasks) <= TASKS_MAX
