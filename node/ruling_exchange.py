"""Ruling exchange: what is told of forked logs on one link, and when.

Rulings travel in frames of their own, beside the session, where both hellos name the feature, once
the control digests have matched. What is told is for `rulings.py` to say.

Spec: docs/protocol.md, section 7, "Rulings".
"""

from typing import TYPE_CHECKING

from ..sync.errors import DecodeError
from ..sync.messages import Reason
from ..sync.rulings import FEATURE, RULING_TYPE, Name, Ruling, decode_ruling, encode_ruling
from ..sync.session_events import CloseRequested, Event, SharedScopesChanged
from ..sync.session_limits import RULINGS_PER_LINK_MAX

if TYPE_CHECKING:
    from .links import Link


class RulingExchange:
    """Of one link."""

    def __init__(self, link: "Link") -> None:
        self._link = link
        self._is_known = FEATURE in link.channel.features
        self.is_open = False
        """Both sides know of rulings, and data may flow."""
        self._told: dict[Name, Ruling] = {}
        """What was told last of a log, by either side."""
        self._heard = 0

    def look(self, event: Event) -> None:
        """Something happened in the session: it may be open now, or other logs be shared."""
        link = self._link
        if self.is_open:
            if isinstance(event, SharedScopesChanged):
                link.office.rulings.tell(link)
        elif self._is_known and link.state.telling.met and link.closed_for is None:
            self.is_open = True
            link.office.rulings.met(link)

    def takes(self, frame: bytes) -> bool:
        """Whether a frame that came is about rulings. The gate for what a peer says of them."""
        if not self._is_known or frame[:1] != RULING_TYPE:
            return False
        self._heard += 1
        try:
            if not self.is_open:
                self._end(Reason.MEMBERSHIP_FIRST, "rulings come after membership")
            elif self._heard > RULINGS_PER_LINK_MAX:
                self._end(Reason.TOO_MUCH, "too many rulings on one link")
            else:
                ruling = decode_ruling(frame[1:])
                self._told[ruling.name] = ruling
                self._link.office.rulings.heard(self._link, ruling)
        except DecodeError as error:
            self._end(Reason.MALFORMED, str(error))
        return True

    def tell(self, ruling: Ruling, *, again: bool = False) -> None:
        """Tell a ruling on a log that is shared; one that was told only if `again`."""
        link, name = self._link, ruling.name
        if not self.is_open or link.closed_for is not None:
            return
        if again or self._told.get(name) != ruling:
            self._told[name] = ruling
            link.send(RULING_TYPE + encode_ruling(ruling))

    def _end(self, reason: Reason, text: str) -> None:
        self._link.deliver(CloseRequested(reason, text))
