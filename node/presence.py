"""Presence: how members recognise one another's announcements, and nobody else can.

An announcement carries a hint made from fresh random bytes and a key that every member derives from
the newest control key. A member sees that *some* member is there; whoever lacks the key sees random
digits that change every 15 minutes and cannot tell that two of them come from one device. A device
that was removed cannot recognise hints once the key has changed.

A hint proves nothing, since anybody can repeat one: it only says that an address is worth
dialling. No I/O and no clock: `now_ms` is monotonic. Spec: docs/protocol.md, section 10.
"""

import re
from collections.abc import Callable, Sequence

from ..crypto.grants import discovery_hint, matches_hint
from .ports import Sighting

HINT_LIFE_MS = 15 * 60 * 1000
KEYS_MAX = 4
_NONCE_BYTES = 8
_HINT = re.compile(r"[0-9a-f]{32}")


class Presence:
    """Our hint and the recognition of others. `disc_keys`: newest first, at least one.

    We announce under the newest key only; the older ones are for members that have not heard of
    it yet. Whoever hands them in decides how long that is.
    """

    def __init__(self, disc_keys: Sequence[bytes]) -> None:
        self._keys: tuple[bytes, ...] = ()
        self._hint = ""
        self._until_ms = 0
        self.use_keys(disc_keys)

    def __repr__(self) -> str:
        return f"<Presence with {len(self._keys)} keys>"

    def use_keys(self, disc_keys: Sequence[bytes]) -> None:
        """The control key has changed: from now on announce under the first of these."""
        keys = tuple(disc_keys[:KEYS_MAX])
        assert keys, "a member has a control key"
        if keys[:1] != self._keys[:1]:
            self._hint = ""
        self._keys = keys

    def properties(self, now_ms: int, draw: Callable[[int], bytes]) -> dict[str, str]:
        """Return what to announce now: the same until 15 minutes are over or the key changes."""
        if not self._hint or now_ms >= self._until_ms:
            self._hint = discovery_hint(self._keys[0], draw(_NONCE_BYTES)).hex()
            self._until_ms = now_ms + HINT_LIFE_MS
        return {"v": "1", "h": self._hint}

    def changes_at_ms(self) -> int:
        """When `properties` will next be different, unless the key changes before."""
        return self._until_ms

    def recognise(self, sighting: Sighting) -> bool:
        """Whether a member of this mesh made the hint. Never raises."""
        properties = dict(sighting.properties)
        hint = properties.get("h", "")
        if properties.get("v") != "1" or not _HINT.fullmatch(hint):
            return False
        data = bytes.fromhex(hint)
        return any(matches_hint(key, data) for key in self._keys)
