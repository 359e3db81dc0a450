"""Introducing: how a device that the paper key made meets devices that have not heard of it.

Nobody answers a stranger, and a device that was made from a backup is one until its enrolment has
come to the others. It holds the keys of the device whose backup it was; with these it dials whoever
has not greeted it yet, every other time, and so brings the membership log. If that device was
removed in the same log, the link ends there, and the next one is under our own keys.

When everybody has greeted us the old keys are forgotten.
"""

from collections.abc import Collection

from ..crypto.identity import DeviceKeys
from ..storage import meta_rows
from ..storage.store import Conn

FORMER_KEYS = "former_device_keys"


class Introducing:
    """Under whose keys we dial. Owned by `Reach`."""

    def __init__(self, former: DeviceKeys | None) -> None:
        self._former = former
        self._greeted: set[bytes] = set()
        self._last: dict[bytes, DeviceKeys] = {}

    def keys(self, device: bytes, ours: DeviceKeys) -> DeviceKeys:
        """Whose keys to dial a device with, this time."""
        if self._former is None or device in self._greeted:
            return ours
        chosen = ours if self._last.get(device) is self._former else self._former
        self._last[device] = chosen
        return chosen

    def greeted(self, device: bytes, others: Collection[bytes]) -> bool:
        """A device has greeted us by our own name; whether all have, and the keys may go."""
        if self._former is None:
            return False
        self._greeted.add(device)
        if not set(others) <= self._greeted:
            return False
        self._former = None
        return True


def keep_former(conn: Conn, former: DeviceKeys) -> None:
    """Run as a write job, before the store gets other keys."""
    meta_rows.set_meta(conn, FORMER_KEYS, former.encode().reveal())


def former_keys(conn: Conn) -> DeviceKeys | None:
    """The keys of the device whose copy this store was, while they are needed."""
    stored = meta_rows.get_meta(conn, FORMER_KEYS)
    return None if stored is None else DeviceKeys.decode(stored)


def forget_former(conn: Conn) -> None:
    """Run as a write job, once they are not needed any more."""
    meta_rows.delete_meta(conn, FORMER_KEYS)
