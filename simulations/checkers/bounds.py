"""I11: nothing that a peer can fill holds more than its limit; the high-water marks."""

from typing import ClassVar

from ...node.applying import WAITING_ENTRIES_MAX
from ...node.dialing import BACKOFF_MS_MAX
from ...node.links import OUTGOING_BYTES_MAX
from ...node.shelf import RECORDS_KEPT_MAX
from ...node.switchboard import LINKS_PER_DEVICE_MAX
from ...sync.session_limits import CREDIT_BYTES, FRAME_BYTES_MAX, IGNORED_MAX, VECTOR_ROWS_MAX
from ...sync.session_phases import Phase
from ..run import Run
from ..sim_device import SimDevice
from .checker import Checker

TASKS_MAX = 64
"""Of a device without peers: what it always does, and three for each dial under way."""
TASKS_PER_LINK_MAX = 24
TASKS_PER_PEER_MAX = 6
"""For handshakes that others begin. A peer dials one address once at a time, which takes three
tasks here (accepting, answering, the time limit), and when it gives up and dials again, those of
the dial before may not have heard of it."""


class BoundsChecker(Checker):
    """Looks at the queues of every running device."""

    claims: ClassVar[dict[str, str]] = {
        "I11": "queues, credit, waits, links and tasks stay within their limits",
    }

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._count = 0

    def at_message(self, source: str, target: str, message: bytes) -> None:
        self._count += 1
        if self._count % 16 == 0:
            device = self.run.device(source)
            if device is not None:
                self._look(device)

    def at_tick(self) -> None:
        for device in self.run.world.running():
            self._look(device)

    def _look(self, device: SimDevice) -> None:
        engine, process = device.engine, device.process
        assert process is not None
        links = list(engine.switchboard.links.values())
        members = len(engine.mesh.registry.devices)
        tasks = TASKS_MAX + TASKS_PER_LINK_MAX * len(links) + TASKS_PER_PEER_MAX * (members - 1)
        self._bound(device, "tasks", len(process), tasks)
        self._bound(device, "links", len(links), (LINKS_PER_DEVICE_MAX + 1) * members)
        self._bound(device, "waiting entries", engine.ingest.held_back(), WAITING_ENTRIES_MAX)
        self._bound(device, "records in memory", len(engine.shelf._records), RECORDS_KEPT_MAX * 2)
        until_ms = now_ms = engine.clock.monotonic_ms()
        candidates = engine.reach._book._candidates.values()
        for place in candidates:
            until_ms = max(place.not_before_ms, *place.not_these.values(), until_ms)
        if candidates:
            wait_ms = until_ms - now_ms
            self._bound(device, "ms until an address is tried", wait_ms, BACKOFF_MS_MAX)
        for link in links:
            queued = OUTGOING_BYTES_MAX + FRAME_BYTES_MAX
            self._bound(device, "bytes to send", link.outgoing_bytes, queued)
            to_store = sum(asked.frame_bytes for asked in link._batches._queue)  # type: ignore[attr-defined]
            self._bound(device, "bytes to store", to_store, CREDIT_BYTES)
            self._bound(device, "tasks of a link", len(link._tasks), TASKS_PER_LINK_MAX)
            # The message that goes beyond the limit still counts in full; it ends the session.
            if link.state.phase is not Phase.CLOSED:
                self._bound(device, "ignored", link.state.ignored, IGNORED_MAX)
            rows = max(map(len, link.state.knowledge.theirs.values()), default=0)
            self._bound(device, "rows of a vector", rows, VECTOR_ROWS_MAX)

    def _bound(self, device: SimDevice, what: str, value: int, limit: int) -> None:
        marks = self.run.high_water.setdefault(device.name, {})
        if value > marks.get(what, -1):
            marks[what] = value
        if value > limit:
            self.violate("I11", device.name, f"{what}: {value}, allowed {limit}")
