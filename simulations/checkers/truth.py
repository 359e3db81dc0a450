"""I15: a device says that it is in sync with another only if both really held the same."""

from typing import ClassVar

from ...sync.sharing import NOTHING, Sharing
from ..run import Run
from ..sim_device import SimDevice
from .belonging import shared_between
from .checker import Checker
from .travel import is_plain

TURNS = 3
"""One for the queue of commits, one for whoever wrote, and one to spare."""
_ALL = Sharing.of((1, 2, 3))
_SHARINGS = (_ALL, Sharing.of((2, 3)), Sharing.of((3,)), NOTHING)
"""What two devices may share by the lower of their levels, where nobody set a policy. Other
sharings are those of links, as they were seen."""


class TruthChecker(Checker):
    """Compares every proof with what the other device was seen to hold."""

    claims: ClassVar[dict[str, str]] = {
        "I15": "what is called in sync was the same on both sides; at rest everybody says so",
    }

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._held: dict[bytes, dict[tuple[bytes, bytes], None]] = {}
        self._last: dict[str, tuple[object, ...]] = {}
        """By device: what it held when it was looked at last, and under how many sharings."""
        self._sharings: dict[str, dict[Sharing, None]] = {}
        """By device: every sharing that a link of it ever had, or would have had."""

    def at_start(self, device: SimDevice) -> None:
        loop, starts = self.run.world.loop, device.starts

        def look(turns: int) -> None:
            if device.is_up and device.starts == starts:
                self._look(device)
                if turns:
                    loop.call_soon(look, turns - 1)

        # Whoever is told of a commit publishes new heads within a few turns of the loop.
        device.store.committed = lambda: look(TURNS)
        self._look(device)

    def at_message(self, source: str, target: str, message: bytes) -> None:
        """Before anybody proves anything under other terms, he says something under them."""
        device = self.run.device(source)
        if device is None:
            return
        known = self._sharings.setdefault(source, dict.fromkeys(_SHARINGS))
        links = device.engine.switchboard.links.values()
        if any(link.state.sharing not in known for link in links):
            self._look(device)

    def at_tick(self) -> None:
        for device in self.run.world.running():
            self._look(device)
        for device in self.run.world.running():
            self._judge(device)

    async def at_rest(self) -> None:
        self.at_tick()
        for device in self.sound():
            for peer in self.sound():
                id = peer.engine.keys.sig_pk
                if not device.engine.switchboard.links_to(id) or peer is device:
                    continue
                if not device.engine.standing_with(id).proved:
                    told = f"holds the same as {peer.name}, is linked to it, and does not say so"
                    self.violate("I15", device.name, told)

    def _look(self, device: SimDevice) -> None:
        engine = device.engine
        holdings = engine.ledger.holdings
        control, root = holdings.control_digest(), holdings.root(_ALL)
        known = self._sharings_of(device)
        now = (control, root, len(known))
        if self._last.get(device.name) == now:
            return  # What is shared with fewer is a part of it, and has not changed either.
        self._last[device.name] = now
        held = self._held.setdefault(engine.keys.sig_pk, {})
        for sharing in known:
            held[control, holdings.root(sharing)] = None

    def _sharings_of(self, device: SimDevice) -> dict[Sharing, None]:
        """What it shares or has shared with anybody, or would share now, where policies count."""
        engine = device.engine
        known = self._sharings.setdefault(device.name, dict.fromkeys(_SHARINGS))
        for link in engine.switchboard.links.values():
            known[link.state.sharing] = None
        if is_plain(engine):
            return known
        us, devices = engine.keys.sig_pk, engine.mesh.registry.devices
        for other in self.run.world.running():
            id = other.engine.keys.sig_pk
            if id != us and id in devices:
                known[shared_between(device, other)] = None
        return known

    def _judge(self, device: SimDevice) -> None:
        for link in device.engine.switchboard.links.values():
            proved = link.state.knowledge.proved
            if proved is None or device.name in self.run.spoiled:
                continue
            theirs = self._held.get(link.device)
            if theirs is None:
                continue  # No device of ours: a hostile peer may claim what it likes.
            # The sharing may be another one by now, and the proof be of what was shared before.
            if proved not in theirs:
                self.violate("I15", device.name, "a proof of what the other never held")
