"""Schedule: what of the policies matters to a session from hour to hour.

The engine works it out of policies and surroundings and hands it to each session; the session
knows neither. Databases are named by their tags, 16 bytes. Spec: docs/protocol.md, section 7,
"Held databases" and "Priorities".
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from .policy import PRIORITIES

RANKS = {name: rank for rank, name in enumerate(PRIORITIES)}
"""0 is the most urgent."""
RANK_DEFAULT = RANKS["medium"]
RANK_CONTROL = -1
"""The membership log goes before all data, because data may be waiting for it."""

_NONE: Mapping[bytes, int] = MappingProxyType({})


class Schedule(NamedTuple):
    """What goes now on one session, in which order, and in which portions."""

    held: frozenset[bytes] = frozenset()
    """Databases that wait on this device: nothing of them is wanted, sent or announced."""
    ranks: Mapping[bytes, int] = _NONE
    """How urgently this device wants a database; absent: RANK_DEFAULT."""
    their_ranks: Mapping[bytes, int] = _NONE
    """How urgently the peer wants it."""
    batch_bytes: Mapping[bytes, int] = _NONE
    """Batches of these databases are no larger, because they are sent slowly."""


OPEN = Schedule()
"""Nothing is held, and everything is as urgent as everything else."""
