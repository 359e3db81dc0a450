"""Simulated network: places with machines in them, and what goes wrong between these.

A machine is at one place at a time (a home, an office, or nowhere) and has one address there.
Machines at one place reach each other; those at different places do not, except that a place may
be `joined` to others, as by a tunnel. What carries messages between two machines follows the law
of the slower place (`LAWS`). On top of that come faults: two machines that are cut off from each
other, in one direction or both; machines that read slowly; messages that a broken middlebox
changes, drops, doubles or swaps (`sim_connection.py` carries them out).

The transport is TCP as programs see it: what is lost on the way comes later, and what is cut off
for longer than the keep-alive (`DEAD_MS`) breaks the connection at both ends, each in its own time.

Everything random is drawn by name (`dice.py`). Runs on any event loop; only delays are its own.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from ..node.ports import Accept, Address
from .dice import Dice
from .virtual_loop import Process

DEAD_MS = 30_000
"""The WebSocket pings after 20 s of silence and gives up 10 s later (docs/protocol.md, 5)."""
EPHEMERAL_PORT_MIN = 40_000
RETRANSMIT_MS = 200


@dataclass(frozen=True, slots=True)
class Law:
    """How a network carries messages. `loss` is the share of messages that come late for it."""

    name: str
    base_ms: float
    jitter_ms: float
    loss: float
    bytes_per_ms: int

    def slower(self, other: "Law") -> "Law":
        return max(self, other, key=lambda law: (law.base_ms, law.jitter_ms))


LAWS = {
    law.name: law
    for law in (
        Law("instant", 0, 0, 0, 1_000_000),
        Law("lan", 0.3, 0.4, 0, 50_000),
        Law("wifi", 2, 12, 0.01, 5_000),
        Law("flaky-wifi", 6, 120, 0.12, 600),
        Law("mobile", 45, 60, 0.03, 400),
        Law("satellite", 300, 80, 0.02, 250),
    )
}


class Tampering(Enum):
    """What a broken middlebox, or somebody in between, does to one message."""

    FLIP = "flip"
    DROP = "drop"
    DOUBLE = "double"
    SWAP = "swap"
    CUT = "cut"


@dataclass(eq=False)
class Machine:
    """One machine's network card. `process` is what runs there now."""

    name: str
    place: str | None
    host: str
    process: Process | None = None
    reads_bytes_per_ms: int | None = None
    """A slow reader takes no more than this."""
    mdns: bool = True

    def __post_init__(self) -> None:
        self.listeners: dict[int, Accept] = {}
        self.next_port = EPHEMERAL_PORT_MIN


Watch = Callable[[str, str, bytes], None]
"""Told of each message as it leaves: sender, receiver, bytes."""


class SimNetwork:
    """All machines of a world and what lies between them."""

    def __init__(self, dice: Dice, law: str = "lan") -> None:
        self.dice = dice
        self.machines: dict[str, Machine] = {}
        self._laws: dict[str, Law] = {}
        self._law = LAWS[law]
        self._cut: dict[tuple[str, str], None] = {}
        self._joined: dict[frozenset[str], None] = {}
        self._hosts = 0
        self.pipes: dict[int, Pipe] = {}
        """Every open direction of every connection, by number."""
        self._dials: dict[tuple[str, str], int] = {}
        self._connections = 0
        self.watch: Watch = lambda *_: None
        self.tampered: dict[tuple[str, str], list[Tampering]] = {}
        """What happens to the next messages between two machines."""
        self._meddled: dict[frozenset[str], None] = {}

    # Machines ----------------------------------------------------------------------------------

    def add(self, name: str, place: str | None = "home") -> Machine:
        machine = self.machines[name] = Machine(name, place, self._fresh_host())
        return machine

    def _fresh_host(self) -> str:
        self._hosts += 1
        return f"10.{self._hosts >> 16}.{self._hosts >> 8 & 255}.{self._hosts & 255}"

    def move(self, name: str, place: str | None) -> None:
        """To another place, or out of reach; a new address either way."""
        machine = self.machines[name]
        machine.place, machine.host = place, self._fresh_host()
        self._look_again()

    def machine_at(self, host: str) -> Machine | None:
        return next((m for m in self.machines.values() if m.host == host), None)

    # What lies between them --------------------------------------------------------------------

    def set_law(self, place: str | None, law: str) -> None:
        """For one place, or with None for all that have none of their own."""
        if place is None:
            self._law = LAWS[law]
        else:
            self._laws[place] = LAWS[law]

    def law(self, one: Machine, other: Machine) -> Law:
        law = self._law
        if self._laws:
            here = self._laws.get(one.place or "", law)
            law = here.slower(self._laws.get(other.place or "", law))
        slow = other.reads_bytes_per_ms
        return law if slow is None else replace(law, bytes_per_ms=min(law.bytes_per_ms, slow))

    def join(self, one: str, other: str) -> None:
        """Two places reach each other from now on."""
        self._joined[frozenset((one, other))] = None
        self._look_again()

    def part(self, one: str, other: str) -> None:
        """They do not any more."""
        self._joined.pop(frozenset((one, other)), None)
        self._look_again()

    def cut(self, source: str, target: str) -> None:
        """Nothing goes from one machine to the other."""
        self._cut[source, target] = None
        self._look_again()

    def mend(self, source: str | None = None, target: str | None = None) -> None:
        """Undo one cut, or all."""
        if source is None or target is None:
            self._cut.clear()
        else:
            self._cut.pop((source, target), None)
        self._look_again()

    def goes(self, source: Machine, target: Machine) -> bool:
        """Whether messages get through in this direction now."""
        if source.place is None or target.place is None:
            return False
        near = source.place == target.place
        if not near and frozenset((source.place, target.place)) not in self._joined:
            return False
        return (source.name, target.name) not in self._cut

    def _look_again(self) -> None:
        for pipe in list(self.pipes.values()):
            pipe.look()

    # Connections -------------------------------------------------------------------------------

    def count_dial(self, source: str, target: str) -> int:
        """How often one machine has dialled the other, this time included."""
        count = self._dials[source, target] = self._dials.get((source, target), 0) + 1
        return count

    def fresh_number(self) -> int:
        """A number for a connection that is made."""
        self._connections += 1
        return self._connections

    def drop_process(self, name: str, *, silently: bool) -> None:
        """A process is gone, or has not answered for too long: its connections end.

        `silently`: its machine is gone too, so the others find out by their keep-alive.
        """
        for pipe in list(self.pipes.values()):
            if pipe.source.name == name:
                if silently:
                    pipe.vanish()
                else:
                    pipe.reset()

    def tamper(self, source: str, target: str, how: Tampering) -> None:
        """Do this to the next message from one machine to another."""
        self.tampered.setdefault((source, target), []).append(how)
        self._meddled[frozenset((source, target))] = None

    def end_tampering(self) -> None:
        """Whoever was in between is gone, and so are the connections that went through it.

        A message that was swallowed would else be missed only at the next one.
        """
        self.tampered.clear()
        for pair in self._meddled:
            self.break_links(*sorted(pair))
        self._meddled.clear()

    def meddled_pipes(self) -> "list[Pipe]":
        """The open pipes between machines of which somebody in between has changed something."""
        pairs = self._meddled
        return [
            pipe
            for pipe in (self.pipes.values() if pairs else ())
            if frozenset((pipe.source.name, pipe.target.name)) in pairs
        ]

    def break_links(self, one: str, other: str, *, half: bool = False) -> int:
        """Reset every connection between two machines, in mid-frame; how many there were.

        `half`: only the first machine is told; the other finds out by its keep-alive.
        """
        broken: dict[int, Pipe] = {}
        for number, pipe in self.pipes.items():
            if {pipe.source.name, pipe.target.name} != {one, other}:
                continue
            if pipe.source.name == one or number // 2 not in broken:
                broken[number // 2] = pipe
        for pipe in broken.values():
            if not half:
                pipe.reset()
            elif pipe.source.name == one:
                pipe.vanish()
        return len(broken)

    def latency_ms(self, source: Machine, target: Machine, *name: str | int) -> float:
        """How long a message takes, by the law between two machines."""
        law = self.law(source, target)
        return self.lateness_ms(law, "/".join(map(str, (source.name, target.name, *name))))

    def lateness_ms(self, law: Law, event: str) -> float:
        """How long the message with this name takes by a law."""
        late_ms = law.base_ms
        if law.jitter_ms:
            late_ms += law.jitter_ms * self.dice.fraction_of(f"jitter/{event}") ** 3
        attempt = 0
        while (
            law.loss and attempt < 8 and self.dice.fraction_of(f"loss/{event}/{attempt}") < law.loss
        ):
            late_ms += RETRANSMIT_MS << attempt
            attempt += 1
        return late_ms


class Pipe:
    """One direction of a connection, as the network sees it. `sim_connection` implements it."""

    source: Machine
    target: Machine
    wrong_taken: int = 0
    """How many messages the target took from the first on that was not what should have come."""

    def look(self) -> None:
        """What lies between the two may have changed."""
        raise NotImplementedError

    def reset(self) -> None:
        """The source is gone, and knows. The target is told as soon as a message could come."""
        raise NotImplementedError

    def vanish(self) -> None:
        """The source is gone, and knows. The target is not told, and finds out."""
        raise NotImplementedError


def now_ms() -> float:
    """The loop's milliseconds."""
    return asyncio.get_running_loop().time() * 1000


def address_of(machine: Machine, port: int) -> Address:
    return Address(machine.host, port)
