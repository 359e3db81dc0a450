"""I17: an instance id stays with the file that it was made in, through whatever crash.

Devices heal nearly all that comes of a breach, in a dearer way: a fork costs a log to be written
anew, an instance more costs a row in every vector for ever. So a breach must be looked for where it
happens, which is a start.
"""

from typing import ClassVar

from ..run import Run
from ..sim_device import SimDevice
from ..sim_disk import SimDisk
from .checker import Checker


class InstanceChecker(Checker):
    """Compares the instance of each start with the file that it was found in."""

    claims: ClassVar[dict[str, str]] = {
        "I17": "a store keeps its instance through every crash, and no copy of it goes on under it",
    }

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._files: dict[bytes, int] = {}
        """By instance: the identity of the one file that may write under it."""
        self._before: dict[str, tuple[SimDisk, int, int]] = {}
        """By device: at its last start its disk, the identity of its file, and bits flipped."""

    def at_start(self, device: SimDevice) -> None:
        disk = device.disk
        file = self._files.setdefault(device.engine.instance, disk.identity)
        if file != disk.identity:
            self.violate("I17", device.name, "a copy of a store goes on under its instance")
        before, came_up = self._before.get(device.name), disk.came_up
        disk.came_up = True
        self._before[device.name] = disk, disk.identity, disk.flips
        if before is None or device.kept_instance or device.name in self.run.spoiled:
            return
        # An image may be of a copy that nobody had started yet, so that it is one once more.
        same_disk = disk is before[0] or (came_up and not disk.flips)
        if same_disk and (disk.identity, disk.flips) == before[1:]:
            self.violate("I17", device.name, "another instance, and nobody copied the store")
