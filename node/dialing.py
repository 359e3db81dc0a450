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

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, IntEnum

from .ports import Address

CANDIDATES_MAX = 64
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

    def may_be(self, device: bytes) -> bool:
        return self.device is None or self.device == device

    def hurry(self, now_ms: int) -> None:
        self.failures = 0
        self.not_before_ms = min(self.not_before_ms, now_ms)


class DialBook:
    """Addresses, wishes and attempts of one node. `uniform` gives floats in [0, 1) for jitter."""

    def __init__(self, uniform: Callable[[], float]) -> None:
        self._uniform = uniform
        self._candidates: dict[tuple[bytes | None, Address], _Candidate] = {}
        self._wanted: dict[bytes, int] = {}  # device -> no attempt before this moment
        self._recent: dict[Address, deque[int]] = {}
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
        attempts = []
        for device, start_ms in self._wanted.items():
            if start_ms > now_ms or self._is_full(device):
                continue
            ready = [c for c in self._open_to(device) if self._ready_ms(c, device) <= now_ms]
            if ready:
                attempts.append(self._start(min(ready, key=_preference), device, now_ms))
        return attempts

    def next_due_ms(self, now_ms: int) -> int | None:
        """When `due` has something if nothing happens before; None if never. At least `now_ms`."""
        moments = [
            max(start_ms, self._ready_ms(candidate, device), now_ms)
            for device, start_ms in self._wanted.items()
            if not self._is_full(device)
            for candidate in self._open_to(device)
        ]
        return min(moments, default=None)

    def succeeded(self, attempt: Attempt, now_ms: int) -> list[Attempt]:
        """A channel to the device is open. Returns the attempts to cancel; they are over."""
        candidate = self._flying(attempt)
        if candidate is not None:
            candidate.attempt = None
            candidate.hurry(now_ms)
            self._attribute(candidate, attempt.device)
        return self.unwant(attempt.device)

    def failed(self, attempt: Attempt, now_ms: int, failure: Failure) -> None:
        """There is no channel. The next candidate for the device is due at once."""
        candidate = self._flying(attempt)
        if candidate is None:
            return
        candidate.attempt = None
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

    def _open_to(self, device: bytes) -> Iterator[_Candidate]:
        """The candidates that may be this device and whose address is not being dialled."""
        busy = {c.address for c in self._candidates.values() if c.attempt is not None}
        for candidate in self._candidates.values():
            if candidate.address in busy or not candidate.may_be(device):
                continue
            if candidate.device is None and self._is_rather_another(candidate, device):
                continue
            yield candidate

    def _is_rather_another(self, candidate: _Candidate, device: bytes) -> bool:
        """Whether this very address is a linked device's, or the host another wanted one's."""
        there: set[bytes] = set()
        for each in self._candidates.values():
            if each.device is None or each.address.host != candidate.address.host:
                continue
            if each.address == candidate.address and each.device not in self._wanted:
                return True
            there.add(each.device)
        return device not in there and any(
            other in self._wanted and other not in candidate.not_these for other in there
        )

    def _start(self, candidate: _Candidate, device: bytes, now_ms: int) -> Attempt:
        self._count += 1
        attempt = Attempt(self._count, device, candidate.address)
        candidate.attempt = attempt
        self._wanted[device] = now_ms + STAGGER_MS
        times = self._recent.pop(candidate.address, None) or deque(maxlen=ATTEMPTS_PER_MINUTE)
        times.append(now_ms)
        if len(self._recent) >= RATES_MAX:
            del self._recent[next(iter(self._recent))]
        self._recent[candidate.address] = times
        return attempt

    def _ready_ms(self, candidate: _Candidate, device: bytes) -> int:
        """When the candidate may be dialled: its waiting is over and its rate allows it."""
        ready_ms = max(candidate.not_before_ms, candidate.not_these.get(device, 0))
        times = self._recent.get(candidate.address)
        if times is None or len(times) < ATTEMPTS_PER_MINUTE:
            return ready_ms
        return max(ready_ms, times[0] + MINUTE_MS)

    def _is_full(self, device: bytes) -> bool:
        flying = [c.attempt for c in self._candidates.values() if c.attempt is not None]
        ours = sum(attempt.device == device for attempt in flying)
        return len(flying) >= IN_FLIGHT_MAX or ours >= IN_FLIGHT_PER_DEVICE_MAX

    def _flying(self, attempt: Attempt) -> _Candidate | None:
        for candidate in self._candidates.values():
            if candidate.attempt == attempt:
                return candidate
        return None

    def _call_off(self, device: bytes) -> list[Attempt]:
        cancelled = []
        for candidate in self._candidates.values():
            attempt = candidate.attempt
            if attempt is not None and attempt.device == device:
                cancelled.append(attempt)
                candidate.attempt = None
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
            if not self._make_room(source):
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
