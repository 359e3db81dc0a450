"""Surroundings from the system: the battery from psutil, the network from NetworkManager.

Both packages are optional (`covey[desktop]`), imported when a reading is wanted, and both may find
nothing: no battery, no D-Bus, no NetworkManager. Whatever is missing or fails is *unknown*, and
never an error: the node runs without it, and settings of the device can say it instead.

NetworkManager's property `Metered` is of the connection that has the default route, and is a
guess where nobody told it: https://networkmanager.dev/docs/api/latest/nm-dbus-types.html#NMMetered
"""

import asyncio
import time
from typing import Any

from .surroundings import Surroundings

BUS_TIMEOUT_S = 2.0
"""A system bus answers in milliseconds; one that hangs must not keep a node waiting."""

NAME = "org.freedesktop.NetworkManager"
PATH = "/org/freedesktop/NetworkManager"
_METERED = {1: True, 2: False, 3: True, 4: False}
"""NMMetered: yes, no, guessed yes, guessed no. 0 is unknown."""


class SystemSurroundings:
    """Implements `covey.node.surroundings.Source`."""

    varies = True

    async def read(self) -> Surroundings:
        """The surroundings now, as far as the system says."""
        mains, battery = await asyncio.to_thread(_power)
        offset_s = time.localtime().tm_gmtoff
        return Surroundings(await _metered(), mains, battery, offset_s)


def _power() -> tuple[bool | None, int | None]:
    """Whether we are on mains, and the percent of charge. No battery that shows: unknown."""
    try:
        import psutil

        battery: Any = psutil.sensors_battery()
    except Exception:  # Missing, not for this system, or a driver that answers nonsense.
        return None, None
    if battery is None:
        return None, None
    percent = min(max(int(battery.percent), 0), 100)
    plugged = battery.power_plugged
    return (None if plugged is None else bool(plugged)), percent


async def _metered() -> bool | None:
    try:
        from dbus_fast import BusType, Message
        from dbus_fast.aio import MessageBus
    except ImportError:
        return None
    question = Message(
        destination=NAME,
        path=PATH,
        interface="org.freedesktop.DBus.Properties",
        member="Get",
        signature="ss",
        body=[NAME, "Metered"],
    )
    bus = None
    try:
        async with asyncio.timeout(BUS_TIMEOUT_S):
            bus = await MessageBus(bus_type=BusType.SYSTEM).connect()
            answer = await bus.call(question)
        # An error is an answer as well; its body is a text.
        value = getattr(answer.body[0], "value", None) if answer and answer.body else None
    except Exception:  # No bus, no right to ask, no answer in time: unknown.
        return None
    finally:
        if bus is not None:
            bus.disconnect()
    return _METERED.get(value) if type(value) is int else None
