"""Admission: how many strangers may knock at once, and how often.

Whoever connects holds a ticket, *half-open* until someone above has proved who it is and calls
`admit`, and gone after `leave`. `arrive` refuses more than a fixed number of half-open tickets in
all and per source, more than a number of connections in all, and more arrivals per second than
the handshake arithmetic is worth. So a flood costs memory and processor time up to a constant, and
connections that are already proved are never pushed out by it.

A source is an IPv4 address or an IPv6 /64, since one household or one attacker owns a whole /64.
No I/O and no clock: `now_ms` is monotonic and an argument.

Source of the numbers: docs/protocol.md, section 5, "Timeouts and sizes before authentication".
"""

import ipaddress
from dataclasses import dataclass
from enum import Enum

SOURCES_MAX = 1024
"""Sources whose arrival rate is remembered; the one longest unseen is forgotten first."""
_IPV6_SOURCE_BITS = 64


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    half_open_max: int = 32
    half_open_per_source_max: int = 4
    connections_max: int = 128
    arrivals_per_second_max: int = 100
    arrivals_per_source_per_second_max: int = 20


class Turned(Enum):
    """Why someone was turned away at the door. The value is the counter's last part."""

    HALF_OPEN = "half_open"
    HALF_OPEN_SOURCE = "half_open_source"
    CONNECTIONS = "connections"
    RATE = "rate"
    RATE_SOURCE = "rate_source"


@dataclass(slots=True, eq=False)
class Ticket:
    """One connection's place. Only `Admission` changes it."""

    source: str
    half_open: bool = True
    gone: bool = False


class _Bucket:
    """A token bucket that starts full with one second's worth."""

    __slots__ = ("at_ms", "per_second", "tokens")

    def __init__(self, per_second: int, now_ms: int) -> None:
        self.per_second = per_second
        self.tokens = float(per_second)
        self.at_ms = now_ms

    def refill(self, now_ms: int) -> bool:
        """Bring the bucket up to date and say whether it holds a token."""
        gained = (now_ms - self.at_ms) * self.per_second / 1000
        self.tokens = min(float(self.per_second), self.tokens + gained)
        self.at_ms = now_ms
        return self.tokens >= 1


class Admission:
    """The door of one listener."""

    def __init__(self, limits: AdmissionLimits | None = None) -> None:
        self._limits = limits or AdmissionLimits()
        self._half_open: dict[str, int] = {}
        self._half_open_total = 0
        self._connections = 0
        self._everyone: _Bucket | None = None
        self._sources: dict[str, _Bucket] = {}

    @property
    def half_open(self) -> int:
        return self._half_open_total

    @property
    def connections(self) -> int:
        return self._connections

    def arrive(self, host: str, now_ms: int) -> Ticket | Turned:
        """Give a ticket to whoever comes from the IP literal `host`, or say why not.

        Someone turned away by a number has still used up a turn of its rate, so that knocking on
        a full house is not free.
        """
        limits = self._limits
        source = source_of(host)
        if turned := self._too_fast(source, now_ms):
            return turned
        if self._connections >= limits.connections_max:
            return Turned.CONNECTIONS
        if self._half_open_total >= limits.half_open_max:
            return Turned.HALF_OPEN
        if self._half_open.get(source, 0) >= limits.half_open_per_source_max:
            return Turned.HALF_OPEN_SOURCE
        self._half_open[source] = self._half_open.get(source, 0) + 1
        self._half_open_total += 1
        self._connections += 1
        return Ticket(source)

    def admit(self, ticket: Ticket) -> None:
        """The holder has proved who it is: it no longer counts as half-open. Twice is harmless."""
        if ticket.half_open and not ticket.gone:
            ticket.half_open = False
            self._free_half_open(ticket.source)

    def leave(self, ticket: Ticket) -> None:
        """The connection is gone. Twice is harmless."""
        if ticket.gone:
            return
        ticket.gone = True
        self._connections -= 1
        if ticket.half_open:
            self._free_half_open(ticket.source)

    def _free_half_open(self, source: str) -> None:
        self._half_open_total -= 1
        left = self._half_open[source] - 1
        if left:
            self._half_open[source] = left
        else:
            del self._half_open[source]

    def _too_fast(self, source: str, now_ms: int) -> Turned | None:
        """Take one turn from both rates, or from neither."""
        limits = self._limits
        if self._everyone is None:
            self._everyone = _Bucket(limits.arrivals_per_second_max, now_ms)
        # Taken out and put back in, so that the dictionary is in order of last arrival.
        bucket = self._sources.pop(source, None)
        if bucket is None:
            if len(self._sources) >= SOURCES_MAX:
                del self._sources[next(iter(self._sources))]
            bucket = _Bucket(limits.arrivals_per_source_per_second_max, now_ms)
        self._sources[source] = bucket
        if not bucket.refill(now_ms):
            return Turned.RATE_SOURCE
        if not self._everyone.refill(now_ms):
            return Turned.RATE
        bucket.tokens -= 1
        self._everyone.tokens -= 1
        return None


def source_of(host: str) -> str:
    """Return what limits are counted by: the IPv4 address, or the /64 of an IPv6 address."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), _IPV6_SOURCE_BITS), strict=False))
    return str(address)
