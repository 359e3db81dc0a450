"""I13: whatever a crash leaves is a store that opens, is whole, and can go on."""

from typing import ClassVar

from ...storage.errors import StoreDamagedError, StoreFullError
from ..sim_device import SimDevice
from .checker import Checker


class StoreChecker(Checker):
    """Asks SQLite itself after each start, and writes to each device at the end."""

    claims: ClassVar[dict[str, str]] = {
        "I13": "after a crash at any point the store opens, passes its check, and takes writes",
    }

    def at_start(self, device: SimDevice) -> None:
        if device.starts < 2 or device.name in self.run.spoiled:
            return
        problems = device.store.look(lambda conn: conn.execute("PRAGMA integrity_check").fetchall())
        if problems != [("ok",)]:
            self.violate("I13", device.name, f"the store is not whole: {problems[:3]}")

    async def at_rest(self) -> None:
        for name, device in self.run.devices.items():
            if not device.is_up and name not in self.run.spoiled:
                why = type(device.failure).__name__ if device.failure else "no reason told"
                self.violate("I13", name, f"does not come up again: {why}")
        for device in self.sound():
            try:
                facts = device.node.database("memory").collection("aftermath")
                await facts.put({"n": device.starts}, device.name, privacy="device")
            except (StoreDamagedError, StoreFullError) as error:
                self.violate("I13", device.name, f"takes no write: {type(error).__name__}")
