"""I15: a device says that it is in sync with another only if both really held the same."""

from typing import ClassVar

from ...sync.sharing import NOTHING, Sharing
from ..run import Run
from ..sim_device import SimDevice
from .belonging import shared_between
from .checker import Checker

TURNS = 3
"""One for the queue of commits, one for whoever wrote, and one to spare."""
_ALL = Sharing.of((1, 2, 3))
_SHARINGS = (_ALL, Sharing.of((2, 3)), Sharing.of((3,)), NOTHING)
"""What two devices may share by the lower of their levels, where nobody set a policy."""


class TruthChecker(Checker):
    """Compares every proof with what the other device was seen to hold."""

    claims: ClassVar[dict[str, str]] = {
        "I15": "what is called in sync was the same on both sides; at rest everybody says so",
    }

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._held: dict[bytes, dict[tuple[bytes, bytes], None]] = {}
        self._last: dict[str, tuple[object, ...]] = {}
        """By device: what it held when it was looked at last, and what it shared in months."""

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
        by_months = self._by_months(device)
        if self._last.get(device.name) == (control, root, *by_months):
            return  # What is shared with fewer is a part of it, and has not changed either.
        self._last[device.name] = (control, root, *by_months)
        held = self._held.setdefault(engine.keys.sig_pk, {})
        by_policy = [
            engine.mesh.sharing_with(peer.sig_pk) for peer in engine.mesh.registry.active()
        ]
        for sharing in dict.fromkeys((*_SHARINGS, *by_policy, *by_months)):
            held[control, holdings.root(sharing)] = None

    def _by_months(self, device: SimDevice) -> list[Sharing]:
        """What it shares, or would share now, where a policy leaves old months out."""
        engine = device.engine
        if not engine.mesh.registry.settings:
            return []
        known = engine.mesh.registry.devices
        others = [
            other
            for other in self.run.world.running()
            if other is not device and other.engine.keys.sig_pk in known
        ]
        linked = [link.state.sharing for link in engine.switchboard.links.values()]
        return [*linked, *(shared_between(device, other) for other in others)]

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
