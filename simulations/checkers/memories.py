"""I32: a record as it was is what its device answered then.

Claimed of records to which one device alone writes, by its own clock, where no clock was set and it
has the instance that it had then. So no other write can count at that time, and nothing of its log
was taken out.
"""

from typing import ClassVar

from ... import CoveyError
from ..data_log import Memory
from ..doings.data_doings import as_of
from ..sim_device import SimDevice
from .belonging import circle_of
from .checker import Checker
from .convergence import may_read
from .migrations import EXCUSED

DIARY = "diary"
MEMORIES_MAX = 12
"""So many are asked again on each device: each makes a record anew from its changes."""
NEAR_MS = 2.0
"""A write that is nearer than this to a look may be on either side of it, by the clock."""


class MemoryChecker(Checker):
    """Asks every device for the past of what was seen."""

    claims: ClassVar[dict[str, str]] = {
        "I32": "a record as it was at a time is what its only writer answered then",
    }

    async def at_rest(self) -> None:
        if self.run.done["set-wall"] or any(self.run.done[do] for do in EXCUSED):
            return
        sound = list(self.sound())
        for memory in self.run.data.memories[-MEMORIES_MAX:]:
            writer = next((device for device in sound if device.name == memory.device), None)
            if writer is None or writer.engine.instance != memory.instance:
                continue
            if not self._is_plain(memory):
                continue
            for device in circle_of(writer, sound):
                if may_read(device, 1) and self._is_whole(device):
                    await self._ask(device, memory)

    def _is_plain(self, memory: Memory) -> bool:
        """Whether every write to the record was acknowledged, and none at that very moment."""
        for entry in self.run.data.entries:
            names = entry.device, entry.database, entry.collection, entry.id
            if names != (memory.device, memory.database, DIARY, memory.id):
                continue
            if entry.begun_ms > memory.at_ms + NEAR_MS:
                continue
            if entry.done_ms is None or entry.done_ms > memory.at_ms - NEAR_MS:
                return False
            if entry.instance != memory.instance:
                return False
        return True

    def _is_whole(self, device: SimDevice) -> bool:
        """Whether it holds what its peers hold: what waits may be what is asked for."""
        return not device.engine.ingest.waiting()

    async def _ask(self, device: SimDevice, memory: Memory) -> None:
        names = memory.database, DIARY, memory.id
        try:
            value, *among = await as_of(device.node, *names, memory.wall_ms)
        except CoveyError as error:
            told = f"the past of {memory.id} is not told: {type(error).__name__}"
            self.violate("I32", device.name, told)
            return
        found = None if not among else among[0] if len(among) == 1 else among
        for answer, what in ((value, "as of"), (found, "found at")):
            if answer != memory.value:
                then = "nothing" if memory.value is None else "something else"
                when = f"{memory.id} {what} {int(memory.at_ms)} ms"
                self.violate("I32", device.name, f"{when}: {memory.device} saw {then} then")
