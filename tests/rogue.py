"""A peer that speaks real Noise and says whatever a test wants: a stranger, or a full member.

`Rogue` is one connection to a victim, `Forger` a log of somebody who writes by hand; both are those
of `simulations/hostile`, bound here to the devices, the sockets and the clock of the tests.
"""

import os
from dataclasses import dataclass
from typing import Any, Self

from covey.crypto.entry import CONTROL_SCOPE
from covey.crypto.identity import DeviceKeys
from covey.node.channel import ABORT
from covey.node.counters import Counters
from covey.node.ports import Address
from covey.node.system_clock import SystemClock
from covey.node.system_entropy import SystemEntropy
from covey.node.websocket import WebSocketTransport
from covey.simulations.hostile import forger, rogue
from covey.simulations.hostile.rogue import CREDIT

from .loopback import PATIENCE_S, Device

__all__ = ["CREDIT", "Forger", "Rogue", "new_keys"]


def new_keys() -> DeviceKeys:
    return DeviceKeys.generate(os.urandom)


@dataclass
class Rogue(rogue.Rogue):
    """One connection to a victim, made with somebody's keys, over sockets of its own."""

    transport: WebSocketTransport | None = None

    @classmethod
    async def connect(cls, victim: Device, keys: DeviceKeys) -> Self:  # type: ignore[override]  # a Device says all
        """Finish the handshake of a member. The victim acts on it after our first message."""
        clock = SystemClock()
        transport = WebSocketTransport(clock, Counters())
        made = await super().connect(
            transport,
            Address("127.0.0.1", victim.engine.port or 0),
            victim.keys.dh_pk,
            keys,
            clock=clock,
            entropy=SystemEntropy(),
            heads=victim.heads,
        )
        made.transport = transport
        made.patience_ms = round(PATIENCE_S * 1000)
        return made

    async def close(self, code: int = ABORT) -> None:
        await super().close(code)
        assert self.transport is not None, "connect makes it"
        await self.transport.close()


class Forger(forger.Forger):
    """A log that one member writes by hand. The mesh is whoever knows its keys."""

    @classmethod
    def of_data(cls, mesh: Device, keys: DeviceKeys, **other: Any) -> Self:
        """A log in the scope of memory/private, which the mesh must know."""
        scope = mesh.engine.ledger.scope_named("memory", 1)
        assert scope is not None
        return cls(mesh.engine, keys, scope.tag, os.urandom, **other)

    @classmethod
    def of_control(cls, mesh: Device, keys: DeviceKeys, **other: Any) -> Self:
        return cls(mesh.engine, keys, CONTROL_SCOPE, os.urandom, **other)
