"""Dialing: whom to call, where and when. Decides only; the engine dials and reports back.

A *candidate* is an address and what is known about who lives there. `due` names the attempts to
start now: for each device we want, nearest source first, one more every 150 ms while the earlier
ones are still trying, and at once after one has failed. An address that failed waits 1 s, twice
as long each time, 5 minutes at most, with jitter, so that a mesh that wakes up together does not
knock together. A sighting, a new network or a person who asks for a sync ends the waiting, but
nothing gets an address dialled more than 4 times a minute: sightings are anybody's claims.

A sighting does not say which member it is. Such an address is tried for one wanted device after
the other, those last seen on that host first, until one answers; `Failure.OTHER_DEVICE` moves on
at once.

When `succeeded` returns, the attempts it names are over: cancel them, and close a channel that
opened late *before* sending on it, so that the other side never sees two (`surplus` decides about
two that were dialled from both sides). All times are monotonic milliseconds and arguments.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from itertools import islice
from operator import itemgetter

from .ports import Address

CANDIDATES_MAX = 64
CANDIDATES_PER_DEVICE_MAX = 8
"""A phone has another address every day: each that it ever had would be dialled every few minutes
for as long as it is away."""
ATTEMPT_MS = 3_000
STAGGER_MS = 150
BACKOFF_MS_MIN = 1_000
BACKOFF_MS_MAX = 300_000
ATTEMPTS_PER_MINUTE = 4
MINUTE_MS = 60_000
STALE_MS = 3_600_000
"""A sighting is repeated every 15 minutes; after four that did not come the address is dropped."""
IN_FLIGHT_MAX = 16
IN_FLIGHT_PER_DEVICE_MAX = 4
RATES_MAX = 4 * CANDIDATES_MAX


class Source(IntEnum):
    """Where an address comes from, in the order of trying."""

    DISCOVERED = 0
    TYPED = 1
    ACCEPTED = 2
    REMEMBERED = 3


class Failure(Enum):
    """How an attempt ended without a channel."""

    UNREACHABLE = "unreachable"
    OTHER_DEVICE = "other_device"
    """Something answered but not as this device: it closed in silence or failed the handshake."""
    REFUSED = "refused"
    """The device itself said no, for a reason that will not go away soon."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Dial `address` now, give up after `timeout_ms`, and expect `device` there."""

    number: int
    device: bytes
    address: Address
    timeout_ms: int = ATTEMPT_MS


@dataclass(slots=True, eq=False)
class _Candidate:
    address: Address
    source: Source
    device: bytes | None
    order: int
    seen_ms: int
    instance: str | None = None
    failures: int = 0
    not_before_ms: int = 0
    attempt: Attempt | None = None
    not_these: dict[bytes, int] = field(default_factory=dict)
    """Devices that did not answer to their name here, and until when that is believed."""

    def hurry(self, now_ms: int) -> None:
        self.failures = 0
        self.not_before_ms = min(self.not_before_ms, now_ms)


@dataclass(slots=True)
class _Prospects:
    """Which candidates may be whom. In a mesh of many nearly all pairs are in `anyone`, once."""

    anyone: list[_Candidate]
    """Nobody knows who lives there, and it is as likely one wanted device as another."""
    one: dict[bytes, list[_Candidate]]
    """The addresses of a device, and those that are tried for it before others."""


class DialBook:
    """Addresses, wishes and attempts of one node. `uniform` gives floats in [0, 1) for jitter."""

    def __init__(self, uniform: Callable[[], float]) -> None:
        self._uniform = uniform
        self._candidates: dict[tuple[bytes | None, Address], _Candidate] = {}
        self._wanted: dict[bytes, int] = {}  # device -> no attempt before this moment
        self._recent: dict[Address, deque[int]] = {}
        self._flying: dict[int, _Candidate] = {}  # number of the attempt -> where it goes
        self._count = 0

    def __len__(self) -> int:
        return len(self._candidates)

    # What we want.

    def want(self, device: bytes, now_ms: int) -> None:
        """A member that we are not connected to: dial it as soon as there is an address."""
        self._wanted.setdefault(device, now_ms)

    def unwant(self, device: bytes) -> list[Attempt]:
        """Connected, or gone from the mesh: no more attempts. Returns those to cancel."""
        self._wanted.pop(device, None)
        return self._call_off(device)

    def forget(self, device: bytes) -> list[Attempt]:
        """The device is no member any more: its addresses are nobody's. Returns what to cancel."""
        cancelled = self.unwant(device)
        for key in [key for key in self._candidates if key[0] == device]:
            del self._candidates[key]
        return cancelled

    # Where it may be.

    def sighted(
        self, instance: str, addresses: Iterable[Address], now_ms: int, device: bytes | None = None
    ) -> None:
        """A member announces itself, nearest address first. Ends the waiting for these addresses.

        The addresses that the same instance announced before and no longer does are dropped.
        """
        same = [c for c in self._candidates.values() if c.instance == instance]
        device = device or next((c.device for c in same if c.device is not None), None)
        addresses = tuple(addresses)
        for old in same:
            if old.address not in addresses and old.attempt is None:
                self._remove(old)
        for address in addresses:
            candidate = self._note(address, Source.DISCOVERED, device, now_ms)
            if candidate is not None:
                if candidate.instance != instance:
                    candidate.not_these.clear()
                candidate.instance = instance
                candidate.hurry(now_ms)

    def learned(self, source: Source, device: bytes | None, address: Address, now_ms: int) -> None:
        """An address that was typed, remembered, or told by a device that called us."""
        candidate = self._note(address, source, device, now_ms)
        if candidate is not None and source is Source.TYPED:
            candidate.hurry(now_ms)

    def hurry(self, now_ms: int) -> None:
        """A person wants a sync now: end all waiting."""
        for candidate in self._candidates.values():
            candidate.hurry(now_ms)
            candidate.not_these.clear()
        for device in self._wanted:
            self._wanted[device] = min(self._wanted[device], now_ms)

    def network_changed(self, now_ms: int) -> None:
        """Another network: what was discovered is gone until it is seen again; end all waiting."""
        for candidate in list(self._candidates.values()):
            if candidate.source is Source.DISCOVERED and candidate.attempt is None:
                self._remove(candidate)
        self.hurry(now_ms)

    # What to do, and what came of it.

    def due(self, now_ms: int) -> list[Attempt]:
        """Return the attempts to start now. Each must be reported as succeeded or failed."""
        for candidate in list(self._candidates.values()):
            if self._is_stale(candidate, now_ms):
                self._remove(candidate)
        attempts: list[Attempt] = []
        if self._nobody_is_due(now_ms):
            return attempts
        prospects, counts = self._prospects(), self._count_flying()
        anyone = [c for c in prospects.anyone if self._free_ms(c) <= now_ms]
        anyone.sort(key=_preference)
        for device, start_ms in self._wanted.items():
            if len(self._flying) >= IN_FLIGHT_MAX:
                break
            if start_ms > now_ms or counts[device] >= IN_FLIGHT_PER_DEVICE_MAX:
                continue
            ready = [
                c for c in prospects.one.get(device, ()) if self._ready_ms(c, device) <= now_ms
            ]
            ready += islice((c for c in anyone if c.not_these.get(device, 0) <= now_ms), 1)
            if not ready:
                continue
            best = min(ready, key=_preference)
            attempts.append(self._start(best, device, now_ms))
            counts[device] += 1
            # An address is dialled once at a time, whoever is expected there.
            anyone = [c for c in anyone if c.address != best.address]
            for each in prospects.one.values():
                each[:] = [c for c in each if c.address != best.address]
        return attempts

    def next_due_ms(self, now_ms: int) -> int | None:
        """When `due` has something if nothing happens before; None if never. At least `now_ms`."""
        if not self._wanted or len(self._flying) >= IN_FLIGHT_MAX:
            return None
        prospects, counts = self._prospects(), self._count_flying()
        anyone = sorted(((self._free_ms(c), c) for c in prospects.anyone), key=itemgetter(0))
        soonest: int | None = None
        for device, start_ms in self._wanted.items():
            if counts[device] >= IN_FLIGHT_PER_DEVICE_MAX:
                continue
            from_ms = max(start_ms, now_ms)
            own = (self._ready_ms(c, device) for c in prospects.one.get(device, ()))
            due_ms = min(own, default=None)
            for free_ms, candidate in anyone:
                if due_ms is not None and due_ms <= max(free_ms, from_ms):
                    break  # Nobody further on is free before.
                ready_ms = max(free_ms, candidate.not_these.get(device, 0))
                due_ms = ready_ms if due_ms is None else min(due_ms, ready_ms)
            if due_ms is not None:
                due_ms = max(due_ms, from_ms)
                soonest = due_ms if soonest is None else min(soonest, due_ms)
                if soonest <= now_ms:
                    break
        return soonest

    def succeeded(self, attempt: Attempt, now_ms: int) -> list[Attempt]:
        """A channel to the device is open. Returns the attempts to cancel; they are over."""
        candidate = self._land(attempt)
        if candidate is not None:
            candidate.hurry(now_ms)
            self._attribute(candidate, attempt.device)
        return self.unwant(attempt.device)

    def failed(self, attempt: Attempt, now_ms: int, failure: Failure) -> None:
        """There is no channel. The next candidate for the device is due at once."""
        candidate = self._land(attempt)
        if candidate is None:
            return
        if attempt.device in self._wanted:
            self._wanted[attempt.device] = now_ms
        if candidate.device not in (None, attempt.device):
            return  # meanwhile another device was found to live there
        match failure:
            case Failure.OTHER_DEVICE if candidate.device is None:
                # Not for ever: a link that broke in the handshake looks the same.
                candidate.not_these[attempt.device] = now_ms + BACKOFF_MS_MAX
            case Failure.REFUSED:
                candidate.not_before_ms = now_ms + self._jittered(BACKOFF_MS_MAX)
            case _:
                wait_ms = min(BACKOFF_MS_MIN << candidate.failures, BACKOFF_MS_MAX)
                candidate.failures = min(candidate.failures + 1, 16)
                candidate.not_before_ms = now_ms + self._jittered(wait_ms)

    # How.

    def _nobody_is_due(self, now_ms: int) -> bool:
        """Cheap to find out, and mostly so: something happens much more often than a dial."""
        if len(self._flying) >= IN_FLIGHT_MAX:
            return True
        return all(start_ms > now_ms for start_ms in self._wanted.values())

    def _prospects(self) -> _Prospects:
        """Sort the candidates whose address is not being dialled by who may be there.

        An address without a name is nobody's if it is known as a linked device's. If some wanted
        device was last seen on that host and may still be at this address, it is tried for those
        seen on the host only.
        """
        busy = {candidate.address for candidate in self._flying.values()}
        there: dict[str, dict[bytes, None]] = {}
        linked: set[Address] = set()
        unnamed: list[_Candidate] = []
        found = _Prospects([], {})
        for candidate in self._candidates.values():
            address, device = candidate.address, candidate.device
            if device is not None:
                there.setdefault(address.host, {})[device] = None
                if device not in self._wanted:
                    linked.add(address)
                elif address not in busy:
                    found.one.setdefault(device, []).append(candidate)
            elif address not in busy:
                unnamed.append(candidate)
        for candidate in unnamed:
            seen = there.get(candidate.address.host, {})
            if candidate.address in linked:
                continue
            if any(d in self._wanted and d not in candidate.not_these for d in seen):
                for device in seen:
                    found.one.setdefault(device, []).append(candidate)
            else:
                found.anyone.append(candidate)
        return found

    def _count_flying(self) -> Counter[bytes]:
        return Counter(c.attempt.device for c in self._flying.values() if c.attempt is not None)

    def _start(self, candidate: _Candidate, device: bytes, now_ms: int) -> Attempt:
        self._count += 1
        attempt = Attempt(self._count, device, candidate.address)
        candidate.attempt = attempt
        self._flying[attempt.number] = candidate
        self._wanted[device] = now_ms + STAGGER_MS
        times = self._recent.pop(candidate.address, None) or deque(maxlen=ATTEMPTS_PER_MINUTE)
        times.append(now_ms)
        if len(self._recent) >= RATES_MAX:
            del self._recent[next(iter(self._recent))]
        self._recent[candidate.address] = times
        return attempt

    def _free_ms(self, candidate: _Candidate) -> int:
        """When the candidate may be dialled: its waiting is over and its rate allows it."""
        times = self._recent.get(candidate.address)
        if times is None or len(times) < ATTEMPTS_PER_MINUTE:
            return candidate.not_before_ms
        return max(candidate.not_before_ms, times[0] + MINUTE_MS)

    def _ready_ms(self, candidate: _Candidate, device: bytes) -> int:
        """When the candidate may be dialled for this device."""
        return max(self._free_ms(candidate), candidate.not_these.get(device, 0))

    def _land(self, attempt: Attempt) -> _Candidate | None:
        """The attempt is over. Returns where it went, or None if it was called off before."""
        candidate = self._flying.pop(attempt.number, None)
        if candidate is not None:
            candidate.attempt = None
        return candidate

    def _call_off(self, device: bytes) -> list[Attempt]:
        attempts = [c.attempt for c in self._flying.values() if c.attempt is not None]
        cancelled = [attempt for attempt in attempts if attempt.device == device]
        for attempt in cancelled:
            self._land(attempt)
        return cancelled

    def _attribute(self, candidate: _Candidate, device: bytes) -> None:
        """Now it is known who lives at this address, and at the others of the same instance."""
        instance = candidate.instance
        for each in list(self._candidates.values()):
            same = each is candidate or (instance is not None and each.instance == instance)
            if same and each.device is None:
                self._remove(each)
                each.device = device
                self._candidates.setdefault((device, each.address), each)

    def _note(
        self, address: Address, source: Source, device: bytes | None, now_ms: int
    ) -> _Candidate | None:
        """Return the candidate, made if need be, or None if there is no room for it."""
        candidate = self._candidates.get((device, address))
        if candidate is None:
            if not self._make_room(source) or not self._make_room_for(device):
                return None
            self._count += 1
            candidate = _Candidate(address, source, device, self._count, now_ms)
            self._candidates[(device, address)] = candidate
        candidate.seen_ms = now_ms
        candidate.source = min(candidate.source, source)
        return candidate

    def _make_room(self, source: Source) -> bool:
        """Drop the discovered address seen longest ago, for a typed one also a remembered one."""
        if len(self._candidates) < CANDIDATES_MAX:
            return True
        droppable = [
            candidate
            for candidate in self._candidates.values()
            if candidate.attempt is None
            and (
                candidate.source is Source.DISCOVERED
                or (source is Source.TYPED and candidate.source is not Source.TYPED)
            )
        ]
        if not droppable:
            return False
        self._remove(min(droppable, key=lambda c: (c.source, c.seen_ms, c.order)))
        return True

    def _make_room_for(self, device: bytes | None) -> bool:
        """Drop the address of this device that failed most or was seen longest ago."""
        if device is None:
            return True
        ours = [candidate for candidate in self._candidates.values() if candidate.device == device]
        if len(ours) < CANDIDATES_PER_DEVICE_MAX:
            return True
        droppable = [c for c in ours if c.attempt is None and c.source is not Source.TYPED]
        if not droppable:
            return False
        self._remove(max(droppable, key=lambda c: (c.failures, -c.seen_ms, -c.order)))
        return True

    def _remove(self, candidate: _Candidate) -> None:
        self._candidates.pop((candidate.device, candidate.address), None)

    def _is_stale(self, candidate: _Candidate, now_ms: int) -> bool:
        return (
            candidate.source is Source.DISCOVERED
            and candidate.attempt is None
            and now_ms - candidate.seen_ms > STALE_MS
        )

    def _jittered(self, wait_ms: int) -> int:
        """Between half of it and all of it."""
        return wait_ms // 2 + int(self._uniform() * (wait_ms - wait_ms // 2))


def _preference(candidate: _Candidate) -> tuple[int, int, int]:
    return (candidate.source, candidate.failures, candidate.order)
