"""I6: a device holds no key and no record beyond its level, and `device` never leaves.

A device that was limited keeps what it had until then. That it cannot read what came later is for
removals.py to see.
"""

from typing import ClassVar

from ...crypto.entry import CONTROL_SCOPE
from ...storage import membership_rows
from ...sync.operations import SET_LEVEL
from ..doings.process_doings import CLONE
from ..sim_device import SimDevice
from .checker import Checker
from .convergence import records
from .operations import operations_of
from .travel import may_read_of


class LevelChecker(Checker):
    """Looks into every store for what must not be there."""

    claims: ClassVar[dict[str, str]] = {
        "I6": "no device holds a key or a record beyond its level, or another's of level device",
    }

    async def at_rest(self) -> None:
        for device in self.sound():
            self._keys(device)
            await self._records(device)

    def _levels(self, device: SimDevice) -> list[str]:
        """Every level that the device was ever said to have, and the one that it has, last."""
        us = device.engine.our_device()
        said = [part.level for part in self.run.plan.cast if part.name == device.name]
        for _, operation in operations_of(device).values() if self.run.done["set-level"] else ():
            if operation.kind == SET_LEVEL and operation.details.get("device") == us.sig_pk:
                said.append(operation.details["level"])
        return [*said, us.level]

    def _keys(self, device: SimDevice) -> None:
        engine = device.engine
        levels = self._levels(device)
        for held in device.store.look(membership_rows.scope_keys):
            scope = engine.ledger.scope(held.scope_tag)
            if scope is None or scope.tag == CONTROL_SCOPE or scope.privacy == 0:
                continue
            if not any(scope.privacy in may_read_of(level) for level in levels):
                told = f"a device of level {levels[-1]} has a key of privacy {scope.privacy}"
                self.violate("I6", device.name, told)

    async def _records(self, device: SimDevice) -> None:
        levels = self._levels(device)
        written = {w.record for w in self.run.witness.writes if w.device == device.name}
        for name, (privacy, _) in (await records(device)).items():
            if privacy and not any(privacy in may_read_of(level) for level in levels):
                told = f"a record of privacy {privacy} at level {levels[-1]}"
                self.violate("I6", device.name, told)
            if not privacy and name[:3] not in written and not _is_copy(device):
                self.violate("I6", device.name, "a record of level device of another device")


def _is_copy(device: SimDevice) -> bool:
    return device.name.endswith(CLONE)
