"""Ports: everything the engine asks of the world, as five small interfaces.

The engine (`engine.py` and what it calls) reads no clock, draws no randomness, opens no socket
and no file by itself: it is handed a `Clock`, an `Entropy`, a `Transport`, a `Discovery` and a
store (`covey.storage.store`). `main.py` binds them to the system; a simulation binds
them to virtual ones. The shared suites in `tests/contracts/` hold for every implementation.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from .. import CoveyError

Cancel = Callable[[], None]
"""Takes back what was to happen; harmless when it has happened or was taken back before."""


class Clock(Protocol):
    """Time. Monotonic milliseconds never jump; wall milliseconds count from 1970 and may."""

    def monotonic_ms(self) -> int: ...

    def wall_ms(self) -> int: ...

    async def sleep_ms(self, duration_ms: int) -> None: ...

    def call_after_ms(self, duration_ms: int, act: Callable[[], None]) -> Cancel:
        """Call `act` from the event loop after at least that long, unless cancelled before.

        What `act` raises goes to the loop's exception handler. Cheaper than a task that sleeps.
        """


class Entropy(Protocol):
    """Randomness: `draw(n)` gives n bytes fit for keys, `uniform()` a float in [0, 1)."""

    def draw(self, size: int) -> bytes: ...

    def uniform(self) -> float: ...


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where a node may be reached: an IPv4 or IPv6 literal or a typed host name, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ConnectionLostError(CoveyError):
    """The other side closed, the link broke, or a message broke the transport's own rules.

    `code` is the WebSocket close code when there was one (docs/protocol.md, section 5).
    """

    exit_code = 4

    def __init__(self, why: str, code: int | None = None) -> None:
        super().__init__(why)
        self.code = code


class UnreachableError(CoveyError):
    """Nobody answered at an address. Nothing was sent; trying again later may succeed."""

    exit_code = 4


class PortInUseError(CoveyError):
    """The listening address is taken or not ours to bind. The cure is another port."""

    exit_code = 4


class Connection(Protocol):
    """One link that carries whole binary messages of at most 65,535 bytes, in order, or breaks."""

    @property
    def remote(self) -> Address: ...

    async def send(self, message: bytes) -> None:
        """Queue one message; wait while the link's buffer is full. Raises ConnectionLostError."""

    async def receive(self) -> bytes:
        """The next message. Raises ConnectionLostError when there will be none."""

    async def close(self, code: int = 1000) -> None:
        """Close with a WebSocket code. Never raises; closing twice is harmless."""


Accept = Callable[[Connection], Awaitable[None]]


class Listener(Protocol):
    """A bound address. `port` is the real one where 0 was asked for."""

    @property
    def port(self) -> int: ...

    async def close(self) -> None:
        """Stop accepting and close what was accepted."""


class Transport(Protocol):
    """Makes and accepts connections."""

    async def listen(self, host: str, port: int, accept: Accept) -> Listener:
        """Bind, and run `accept` once for each connection. Raises PortInUseError."""

    async def dial(self, address: Address, timeout_ms: int) -> Connection:
        """Connect. Raises UnreachableError."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A hint from the network: someone announces a service. Unauthenticated; no name, no trust."""

    instance: str
    """The random instance label; the same for one run of one node."""
    addresses: tuple[Address, ...]
    properties: tuple[tuple[str, str], ...]
    """TXT pairs, printable ASCII, at most 8 of at most 64 bytes each."""


SERVICE_MEMBER = "_covey._tcp.local."
SERVICE_PAIRING = "_covey-pair._tcp.local."


class Announcement(Protocol):
    """A service of ours that is visible until closed."""

    async def update(self, properties: dict[str, str]) -> None: ...

    async def close(self) -> None: ...


class Browsing(Protocol):
    async def close(self) -> None: ...


class Discovery(Protocol):
    """Finds and is found on the local network, on every usable interface."""

    def hosts(self) -> tuple[str, ...]:
        """Our addresses on those interfaces, as others reach them; loopback is none."""

    async def refresh(self) -> None:
        """The network is another one: use its interfaces, and ask again who is there."""

    async def announce(
        self, service: str, instance: str, port: int, properties: dict[str, str]
    ) -> Announcement: ...

    async def browse(self, service: str, seen: Callable[[Sighting], None]) -> Browsing:
        """Call `seen` for each new or changed sighting, on the event loop, until closed."""

    async def close(self) -> None: ...
