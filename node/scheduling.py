"""Scheduling: what of the data goes now, in which order and how fast; kept up to date.

Reads the surroundings, asks `holding.py` which databases wait, and tells each link what it needs
of it as a `Schedule`. Looks again when the clock says so, when the policies or the network change,
and every minute while readings can change by themselves. A periodic database is open from the
moment it is due until it was exchanged: proved with everybody who is linked and does not hold it,
or for five minutes with somebody there. Who holds it for an interval of its own, has something else
than we and would not get all of it from those who are there is waited for, as long as that interval
is. So two devices with intervals of their own always meet, whoever else is there.

Caps (`bandwidth`) are buckets: one for each database on all links together, by this device's own
policy; one for each database and peer, by the peer's; one for everything, by the setting.
"""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..storage.meta_rows import get_meta, set_meta
from ..sync.limits import CONTROL_BYTES_MAX, CONTROL_TOKENS_MAX
from ..sync.packing import pack, unpack
from ..sync.policy import Policy
from ..sync.schedule import RANKS, Schedule
from ..sync.session_events import ScheduleChanged
from ..sync.session_standing import Condition, scope_standing
from .bucket import Bucket, batch_bytes
from .deadline import set_or_passed
from .device_settings import (
    DEVICE_SETTINGS,
    DeviceSettings,
    SettingError,
    changed,
    decode_settings,
    encode_settings,
    word,
)
from .holding import MINUTE_MS, Hold, Moment, holds, next_look_ms
from .outbox import MAIN
from .surroundings import Source, Surroundings, Unknown, overruled

if TYPE_CHECKING:
    from .engine import Engine
    from .links import Link

EXCHANGED = "periodic_exchanges"
"""The meta row with the wall time of the last exchange of each periodic database."""
LOOK_MS = 60_000
LOOK_OPEN_MS = 5_000
"""While a periodic database is open to somebody, its end is looked for so often."""
WINDOW_MS = 300_000
"""A periodic exchange that never comes to a proof, because somebody always writes, ends then."""
WITHOUT_BATTERY = ("desktop", "server")


class Scheduling:
    """What one engine does when."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self.source: Source = Unknown()
        self.settings = DeviceSettings()
        self.around = Surroundings()
        self.held: dict[str, Hold] = {}
        self._exchanged: dict[str, int] = {}
        self._opened_ms: dict[str, int] = {}
        """Since when a periodic database is open to somebody, and nobody waited for. Monotonic."""
        self._waiting_ms: dict[str, int] = {}
        """Since when somebody is waited for who holds it, monotonic."""
        self._policies: dict[str, Policy] = {}
        self._caps: dict[tuple[bytes, str], Bucket] = {}
        """(peer, or b"" for our own cap; database, or "" for everything) to its bucket."""
        self._wake = asyncio.Event()
        self._is_running = False

    async def start(self) -> None:
        """Look for the first time, and go on looking. Harmless if it was done."""
        if self._is_running:
            return
        self._is_running = True
        await self.load()
        await self._look()
        self._engine.spawn(self._run(), "schedule")

    async def load(self) -> None:
        """Take up what the store keeps of it."""
        settings, exchanged = await self._engine.database.read(
            lambda conn: (get_meta(conn, DEVICE_SETTINGS), get_meta(conn, EXCHANGED))
        )
        self.settings = decode_settings(settings)
        if exchanged is not None:
            self._exchanged = unpack(
                exchanged, bytes_max=CONTROL_BYTES_MAX, tokens_max=CONTROL_TOKENS_MAX
            )

    async def change_settings(self, said: object) -> None:
        """Keep other settings, and follow them at once. Raises SettingError."""
        if not isinstance(said, dict):
            raise SettingError("set: an object of settings and their values was expected")
        await self.load()
        settings = changed(self.settings, said)
        kept = encode_settings(settings)
        await self._engine.database.write(lambda conn: set_meta(conn, DEVICE_SETTINGS, kept))
        self.settings = settings
        if self._is_running:
            await self._look()

    async def describe(self) -> dict[str, Any]:
        """The settings of this device, and what it takes its surroundings for."""
        await self.load()
        if not self._is_running:
            await self._read()
        around = self.around
        seen = {"metered": around.metered, "mains": around.mains, "battery": around.battery}
        return {"settings": self.settings._asdict(), "now": {**seen, "phone": self.is_phone()}}

    def is_phone(self) -> bool:
        """Whether few and short connections are wanted now."""
        said = word(self.settings.phone)
        if said is not None:
            return said
        us = self._engine.mesh.registry.devices.get(self._engine.keys.sig_pk)
        return us is not None and us.type == "phone" and self.around.mains is False

    def look_again(self) -> None:
        """Something changed that may end or begin a wait."""
        self._wake.set()

    def judge_again(self) -> None:
        """Policies may be others, there may be other databases, or somebody asks for one."""
        if self._is_running:
            self._judge()
            self.look_again()

    # For links ---------------------------------------------------------------------------------

    def schedule_with(self, device: bytes) -> Schedule:
        """What waits and what goes first on a link to a device."""
        mesh, ours = self._engine.mesh, self._engine.keys.sig_pk
        ranks, their_ranks, batches = {}, {}, {}
        held = set()
        for name, tag in self._tags().items():
            policy, theirs = mesh.policy(ours, name), mesh.policy(device, name)
            if name in self.held:
                held.add(tag)
            ranks[tag], their_ranks[tag] = RANKS[policy.priority], RANKS[theirs.priority]
            caps = (policy.bandwidth, theirs.bandwidth, self.settings.bandwidth)
            rate = min((cap for cap in caps if cap), default=0)
            if rate:
                batches[tag] = batch_bytes(rate)
        return Schedule(frozenset(held), ranks, their_ranks, batches)

    def caps(self, device: bytes, lane: bytes) -> Sequence[Bucket]:
        """The buckets that a frame to a device has to pay, by the lane that it is in."""
        rates = [(b"", "", self.settings.bandwidth)]
        if lane != MAIN:
            mesh, ours = self._engine.mesh, self._engine.keys.sig_pk
            for name in [name for name, tag in self._tags().items() if tag == lane]:
                rates.append((b"", name, mesh.policy(ours, name).bandwidth))
                rates.append((device, name, mesh.policy(device, name).bandwidth))
        return [self._bucket(peer, name, rate) for peer, name, rate in rates if rate]

    def _bucket(self, peer: bytes, name: str, rate: int) -> Bucket:
        bucket = self._caps.setdefault((peer, name), Bucket(rate))
        bucket.rate = rate
        return bucket

    def waiting_for(self, device: bytes, name: str) -> str | None:
        """What a database waits for with a device; None if it does not wait."""
        if name in self.held:
            return self.held[name].waiting_for
        tag, links = self._tags().get(name), self._engine.switchboard.links_to(device)
        if tag is not None and any(tag in link.state.timing.theirs for link in links):
            return "the other device, on which it waits now"
        return None

    def rows(self) -> list[dict[str, str]]:
        """The databases that wait on this device, for `status`."""
        return [
            {
                "database": name,
                "rule": hold.rule,
                "because": hold.because,
                "waiting_for": hold.waiting_for,
            }
            for name, hold in self.held.items()
        ]

    def _tags(self) -> dict[str, bytes]:
        """The tag of each database that has a scope."""
        ledger = self._engine.ledger
        databases = (scope for scope in ledger.scopes() if scope.database)
        return {s.database: ledger.holdings.database(s.tag) for s in databases}

    # Looking -----------------------------------------------------------------------------------

    async def _run(self) -> None:
        clock = self._engine.clock
        while not self._engine.closing:
            self._wake.clear()
            await set_or_passed(clock, self._wait_ms(), self._wake)
            self._wake.clear()
            await self._look()

    def _wait_ms(self) -> int:
        moment = self._moment()
        look_ms = next_look_ms(self._policies, moment)
        # Wall time may be set meanwhile, so no wait is longer than this if any is for a moment.
        waits = [LOOK_MS] if self.source.varies or look_ms is not None else [WINDOW_MS * 12]
        if look_ms is not None:
            waits.append(max(look_ms - moment.wall_ms, 1))
        for name in self._open_periodic():
            if name in self._waiting_ms:
                waits.append(LOOK_MS)
            elif self._open_links(name):
                waits.append(LOOK_OPEN_MS)
        return min(waits)

    async def _look(self) -> None:
        """Read the surroundings, and follow what is different."""
        await self._read()
        self._note_exchanges()
        self._judge()
        self._engine.patience.look_again()
        self._engine.phone.look_again()

    async def _read(self) -> None:
        settings, reading = self.settings, await self.source.read()
        mains = word(settings.mains)
        if mains is None and reading.mains is None and self._has_no_battery():
            mains = True
        self.around = overruled(reading, word(settings.metered), mains)

    def _judge(self) -> None:
        """What waits by the last reading; every link is told what is different on it."""
        mesh, ours = self._engine.mesh, self._engine.keys.sig_pk
        self._policies = {name: mesh.policy(ours, name) for name in self._tags()}
        # Whoever asks for a database now does not want to be told to wait.
        asked = self._engine.demands.asked
        waiting = {name: p for name, p in self._policies.items() if name not in asked}
        before, self.held = self.held, holds(waiting, self._moment())
        for link in list(self._engine.switchboard.links.values()):
            schedule = self.schedule_with(link.device)
            if schedule != link.state.timing.schedule:
                link.deliver(ScheduleChanged(schedule))
        if before.keys() != self.held.keys():
            self._engine.blobs.held_changed()

    def _has_no_battery(self) -> bool:
        us = self._engine.mesh.registry.devices.get(self._engine.keys.sig_pk)
        return us is not None and us.type in WITHOUT_BATTERY

    def _moment(self) -> Moment:
        return Moment(self.around, self._engine.clock.wall_ms(), self._exchanged)

    # Periodic exchanges ------------------------------------------------------------------------

    def _open_periodic(self) -> list[str]:
        policies = self._policies.items()
        return [n for n, policy in policies if policy.mode == "periodic" and n not in self.held]

    def _open_links(self, name: str) -> list["Link"]:
        """The links on which a database moves, as far as we know."""
        tag, engine = self._tags()[name], self._engine
        # Without an entry there was nothing to exchange, however equal both sides are.
        return [
            link
            for link in engine.switchboard.links.values()
            if tag not in link.state.timing.theirs
            and engine.ledger.holdings.database_digest(tag, link.state.sharing) is not None
        ]

    def _note_exchanges(self) -> None:
        """End the exchange of every periodic database that is proved, or open for long enough."""
        now_ms, before = self._engine.clock.monotonic_ms(), dict(self._exchanged)
        is_open = self._open_periodic()
        for since_ms in (self._opened_ms, self._waiting_ms):
            for name in [name for name in since_ms if name not in is_open]:
                del since_ms[name]
        for name in is_open:
            links = self._open_links(name)
            if not links:
                continue
            if self._is_somebody_missed(name, links, now_ms):
                self._opened_ms.pop(name, None)
                continue
            opened_ms = self._opened_ms.setdefault(name, now_ms)
            if now_ms - opened_ms >= WINDOW_MS or all(self._is_proved(x, name) for x in links):
                self._exchanged[name] = self._engine.clock.wall_ms()
                del self._opened_ms[name]
                self._waiting_ms.pop(name, None)
        if self._exchanged != before:
            kept = pack(dict(sorted(self._exchanged.items())))
            self._engine.note(lambda conn: set_meta(conn, EXCHANGED, kept), fact=EXCHANGED)

    def _is_somebody_missed(self, name: str, links: Sequence["Link"], now_ms: int) -> bool:
        """Whether to wait for somebody who holds this database until its own interval is over."""
        tag, mesh = self._tags()[name], self._engine.mesh
        since_ms = self._waiting_ms.get(name, now_ms)
        for link in self._engine.switchboard.links.values():
            theirs = mesh.policy(link.device, name)
            # What else it holds for may last for ever; then it is open when we are due again.
            if tag not in link.state.timing.theirs or theirs.mode != "periodic":
                continue
            longest_ms = theirs.interval_minutes * MINUTE_MS + WINDOW_MS
            covered = any(here.state.sharing.covers(link.state.sharing, tag) for here in links)
            if not covered and now_ms - since_ms < longest_ms and not self._is_proved(link, name):
                self._waiting_ms[name] = since_ms
                return True
        return False

    def _is_proved(self, link: "Link", name: str) -> bool:
        holdings = self._engine.ledger.holdings
        scopes = holdings.scopes_of(self._tags()[name], link.state.sharing)
        standings = [scope_standing(link.state, scope, holdings) for scope in scopes]
        return all(standing.condition is Condition.SYNCED for standing in standings)
