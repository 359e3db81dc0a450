"""Sightings: what announcements from the network are let in, and which of them are news.

Anybody on the network can announce anything, as much as they like. An announcement is kept only if
its label is one a node of ours would draw, its text is short and printable and its port is one;
at most 64 are kept at a time, the one unchanged for longest making room. What comes out is a
`Sighting`: still only a hint, unauthenticated, with addresses to try.

No I/O; the adapter (`mdns.py`) reads the network. Spec: docs/protocol.md, section 10.
"""

import re
from collections.abc import Iterable, Mapping

from .ports import Address, Sighting

SIGHTINGS_MAX = 64
ADDRESSES_MAX = 8
PROPERTIES_MAX = 8
PROPERTY_BYTES_MAX = 64
INSTANCE = re.compile(r"[0-9a-f]{8}")
"""Instance labels are 8 random hex digits a start."""
_PRINTABLE = re.compile(rb"[\x20-\x7e]*")


def read_properties(
    properties: Mapping[bytes, bytes | None],
) -> tuple[tuple[str, str], ...] | None:
    """Return the TXT pairs in order of key, or None if they break a rule."""
    if len(properties) > PROPERTIES_MAX:
        return None
    pairs = []
    for key, value in properties.items():
        value = value or b""
        for part in (key, value):
            if len(part) > PROPERTY_BYTES_MAX or not _PRINTABLE.fullmatch(part):
                return None
        pairs.append((key.decode("ascii"), value.decode("ascii")))
    return tuple(sorted(pairs))


def read_sighting(
    instance: str,
    hosts: Iterable[str],
    port: int | None,
    properties: Mapping[bytes, bytes | None],
) -> Sighting | None:
    """Return what an announcement says, or None if it breaks a rule. `hosts`: nearest first."""
    pairs = read_properties(properties)
    if pairs is None or port is None or not 1 <= port <= 65_535:
        return None
    if not INSTANCE.fullmatch(instance):
        return None
    addresses = tuple(Address(host, port) for host in hosts)[:ADDRESSES_MAX]
    return Sighting(instance, addresses, pairs) if addresses else None


class SightingBook:
    """What was seen last of each instance, so that only news is passed on."""

    def __init__(self) -> None:
        self._held: dict[str, Sighting] = {}

    def __len__(self) -> int:
        return len(self._held)

    def is_news(self, sighting: Sighting) -> bool:
        """Keep the sighting and say whether it is new or differs from the last of its instance."""
        if self._held.get(sighting.instance) == sighting:
            return False
        self._held.pop(sighting.instance, None)
        if len(self._held) >= SIGHTINGS_MAX:
            del self._held[next(iter(self._held))]
        self._held[sighting.instance] = sighting
        return True

    def forget(self, instance: str) -> None:
        """The instance said goodbye: should it come back, that is news."""
        self._held.pop(instance, None)
