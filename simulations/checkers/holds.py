"""I24: what a device holds does not travel."""

from collections.abc import Callable
from typing import ClassVar

from ...node.links import Link
from ..run import Run
from .checker import Checker

GRACE_MS = 60_000
"""By the device's own clock: what was on its way when the wait began may still arrive, on a slow
network and after much else."""

Place = tuple[str, int, bytes, bytes]
"""A device, its start, a link, and a database by its tag."""


class HoldChecker(Checker):
    """Counts the entries of held databases that go over each link."""

    claims: ClassVar[dict[str, str]] = {
        "I24": "while a device holds a database nothing of it is sent or stored there",
    }

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._since: dict[Place, tuple[int, int]] = {}
        """Since when a database was held at every look, and the entries counted at the last."""

    def at_message(self, source: str, target: str, message: bytes) -> None:
        # A wait may end and begin again between two looks; its end is said to the peer.
        device = self.run.device(source)
        if device is None or not self._since:
            return
        links = device.engine.switchboard.links
        for place in [place for place in self._since if place[0] == source]:
            link = links.get(place[2])
            if link is None or place[3] not in link.state.timing.schedule.held:
                del self._since[place]

    def at_tick(self) -> None:
        found: dict[Place, tuple[int, int]] = {}
        for device in self.run.world.running():
            board, now_ms = device.engine.switchboard, device.engine.clock.monotonic_ms()
            for link in board.links.values():
                for database in sorted(link.state.timing.schedule.held):
                    place = (device.name, device.starts, link.key, database)
                    moved = _moved(link, database, board.holdings.database)
                    since_ms, before = self._since.get(place, (now_ms, moved))
                    if moved != before and now_ms - since_ms > GRACE_MS:
                        self.violate("I24", device.name, "entries of a held database travelled")
                    found[place] = (since_ms, moved)
        # Whoever was not held at this look begins anew.
        self._since = found


def _moved(link: Link, database: bytes, database_of: Callable[[bytes], bytes]) -> int:
    scopes = link.traffic.entries_by_scope
    return sum(count for scope, count in scopes.items() if database_of(scope) == database)
