"""Phone mode: few and short connections, and bursts that catch up.

A device in phone mode keeps no link. It is *awake* at its start, every `phone_minutes`, some
seconds after a local write (so that several go together), when a person asks, and on another
network: then it dials everybody, syncs until nothing more will move, lingers for a moment in case
there is an answer, and hangs up. Whoever dials it meanwhile is served and hung up on likewise.

Its goodbye says that it rests, and its greeting how long. Peers leave it in peace: it comes by
itself. They try it again after twice its interval, or when a person asks.
What `scheduling` says decides whether the mode is on. Times are monotonic milliseconds.
"""

import asyncio
from typing import TYPE_CHECKING

from ..sync.messages import Reason
from ..sync.session_events import CloseRequested
from .deadline import set_or_passed
from .device_settings import MINUTES_MAX, DeviceSettings
from .status import peer_standing

if TYPE_CHECKING:
    from .engine import Engine
    from .links import Link

MINUTE_MS = 60_000
LINGER_MS = 5_000
"""A link on which nothing more will move is kept so long: people answer, and programs at once."""
WRITE_MS = 5_000
"""A local write waits so long for others to go with it."""
AWAKE_MS = 30_000
"""For so long others are looked for; who was found is synced with however long it takes."""
LINK_MS_MAX = 300_000
"""A link that never settles, because somebody always writes, ends then."""
MINUTES_DEFAULT = DeviceSettings().phone_minutes
LOOK_MS = 1_000
IDLE_MS = 3_600_000
TOLD = "phone"
"""The key in the greeting's device state: minutes between two bursts."""


class PhoneMode:
    """When one engine wants links at all, and which of its peers rest."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self.is_awake = True
        self._until_ms = 0
        self._next_ms = 0
        self._write_ms: int | None = None
        """When the writes that wait are to go."""
        self._met: set[bytes] = set()
        """Whom we synced with since we woke."""
        self._settled_ms: dict[bytes, int] = {}
        """Link to since when nothing more moves on it."""
        self._resting: dict[bytes, int] = {}
        """Peers in phone mode that hung up, and until when they are left in peace."""
        self._hung_up: dict[bytes, bool] = {}
        """Links that we end ourselves."""
        self._wake = asyncio.Event()

    @property
    def is_on(self) -> bool:
        return self._engine.scheduling.is_phone()

    def told(self) -> dict[str, int]:
        """What the greeting says of it."""
        return {TOLD: self._engine.scheduling.settings.phone_minutes} if self.is_on else {}

    def wants(self, device: bytes) -> bool:
        """Whether a link to a device that has none is wanted now."""
        if not self.is_awake:
            return False
        return self._resting.get(device, 0) <= self._engine.clock.monotonic_ms()

    def is_resting(self, device: bytes) -> bool:
        """Whether this peer hung up to save its battery, and will come by itself."""
        return self._resting.get(device, 0) > self._engine.clock.monotonic_ms()

    def look_again(self) -> None:
        """The mode may be another one, or a link came or went."""
        self._wake.set()

    def stir(self) -> None:
        """A person asks, or the network is another one: everybody is looked for now."""
        self._resting.clear()
        self._awaken()
        self._wake.set()

    def wrote(self) -> None:
        """Something was written here that others should have."""
        if not self.is_awake and self._write_ms is None and self.is_on:
            self._write_ms = self._engine.clock.monotonic_ms() + WRITE_MS
            self._wake.set()

    def link_ended(self, link: "Link") -> None:
        """Leave in peace whoever hung up in phone mode."""
        self._settled_ms.pop(link.key, None)
        if link.closed_for is Reason.RESTING and not self._hung_up.pop(link.key, False):
            minutes = link.remote_state.get(TOLD)
            if type(minutes) is not int or not 0 < minutes <= MINUTES_MAX:
                minutes = MINUTES_DEFAULT
            now_ms = self._engine.clock.monotonic_ms()
            self._resting[link.device] = now_ms + 2 * minutes * MINUTE_MS
        self._wake.set()

    async def run(self) -> None:
        """Wake, hang up and rest until the node closes."""
        clock = self._engine.clock
        self._awaken()
        while not self._engine.closing:
            self._wake.clear()
            now_ms = clock.monotonic_ms()
            wait_ms = self._turn(now_ms) if self.is_on else self._stay_awake()
            over = [until_ms for until_ms in self._resting.values() if until_ms > now_ms]
            if len(over) < len(self._resting):
                self._resting = {d: ms for d, ms in self._resting.items() if ms > now_ms}
                self._engine.reach.links_changed()
            wait_ms = min([wait_ms, *(until_ms - now_ms for until_ms in over)])
            await set_or_passed(clock, max(wait_ms, 1), self._wake)

    def _stay_awake(self) -> int:
        if not self.is_awake:
            self._awaken()
        return IDLE_MS

    def _turn(self, now_ms: int) -> int:
        """One look in phone mode; returns when to look again."""
        self._hang_up(now_ms)
        links = self._engine.switchboard.links
        if self.is_awake:
            missed = set(self._engine.reach.candidates()) - self._met
            if not links and (now_ms >= self._until_ms or not missed):
                self.is_awake = False
                minutes = self._engine.scheduling.settings.phone_minutes
                self._next_ms = now_ms + minutes * MINUTE_MS
                self._engine.reach.links_changed()
        elif now_ms >= min(self._next_ms, self._write_ms or self._next_ms):
            self._awaken()
        if links or self.is_awake:
            return LOOK_MS
        return min(self._next_ms, self._write_ms or self._next_ms) - now_ms

    def _awaken(self) -> None:
        self.is_awake, self._write_ms = True, None
        self._until_ms = self._engine.clock.monotonic_ms() + AWAKE_MS
        self._met.clear()
        self._engine.reach.links_changed()

    def _hang_up(self, now_ms: int) -> None:
        """End the links on which nothing has to move any more."""
        for link in list(self._engine.switchboard.links.values()):
            if peer_standing(self._engine, link.device).settled:
                since_ms = self._settled_ms.setdefault(link.key, now_ms)
                is_over = now_ms - since_ms >= LINGER_MS
            else:
                self._settled_ms.pop(link.key, None)
                is_over = now_ms - link.opened_ms >= LINK_MS_MAX
            if is_over:
                self._met.add(link.device)
                self._hung_up[link.key] = True
                link.deliver(CloseRequested(Reason.RESTING))
