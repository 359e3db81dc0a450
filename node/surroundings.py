"""Surroundings: what a device is on just now, as far as anybody can say: power, network, time zone.

A port (`Source`), what it gives (`Surroundings`), and what the person says instead (`Said`, a
setting of this device). What nobody knows is None. What follows from it is decided in
`holding.py`. Adapters: `system_surroundings.py`; simulations script theirs.
"""

from dataclasses import dataclass, replace
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Surroundings:
    """One reading. None: not known."""

    metered: bool | None = None
    """Whether the network that leads out costs by volume."""
    mains: bool | None = None
    """Whether the device runs on mains; a device without a battery does."""
    battery: int | None = None
    """Percent of charge left; None also for a device without a battery."""
    utc_offset_s: int = 0
    """What local time is ahead of UTC, in seconds. Changes with the season and on a journey."""


class Source(Protocol):
    """Where readings come from."""

    varies: bool
    """Whether readings may change without anybody saying so."""

    async def read(self) -> Surroundings:
        """The surroundings now. Never raises: what cannot be had is None."""


class Unknown:
    """The source where there is none: nothing is known, and the time zone is UTC."""

    varies = False

    async def read(self) -> Surroundings:
        return Surroundings()


def overruled(reading: Surroundings, metered: bool | None, mains: bool | None) -> Surroundings:
    """The reading, but for what a person says; None leaves it to the reading."""
    if metered is not None:
        reading = replace(reading, metered=metered)
    if mains is not None:
        reading = replace(reading, mains=mains)
    return reading
