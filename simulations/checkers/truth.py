"""I15: a device says that it is in sync with another only if both really held the same."""

from typing import ClassVar

from ...node.engine import Engine
from ...sync.registry import Registry
from ...sync.sharing import NOTHING, Sharing
from ..run import Run
from ..sim_device import SimDevice
from .belonging import floors_towards
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
        self._last: dict[str, tuple[Engine, bytes, bytes]] = {}
        """By device: what it held when it was looked at last."""
        self._sharings: dict[str, dict[Sharing, None]] = {}
        """By device: every sharing that a link of it ever had, or would have had."""
        self._agreed: dict[tuple[str, str], tuple[Engine, Registry, int, Sharing]] = {}
        """By two devices: what they share but for time buckets, and what that follows from."""

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
            self._last.pop(source, None)
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
        now = (engine, control, root)
        if self._last.get(device.name) == now:
            # What is shared with fewer is a part of it, and has not changed either; nor has what
            # anybody said, which `control` covers. Of a new link the first message tells.
            return
        self._last[device.name] = now
        held = self._held.setdefault(engine.keys.sig_pk, {})
        for sharing in self._sharings_of(device):
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
                floors = (*floors_towards(device, other), *floors_towards(other, device))
                known[self._agreed_with(device, other).with_floors(floors)] = None
        return known

    def _agreed_with(self, device: SimDevice, other: SimDevice) -> Sharing:
        """As the mesh of the device says, which is asked again only where it may say otherwise:
        this is looked at after each commit.
        """
        engine = device.engine
        registry, databases = engine.mesh.registry, len(engine.ledger.databases())
        pair = (device.name, other.name)
        kept = self._agreed.get(pair)
        if kept is not None and kept[0] is engine and kept[1] is registry and kept[2] == databases:
            return kept[3]
        sharing = engine.mesh.sharing_with(other.engine.keys.sig_pk)
        self._agreed[pair] = (engine, registry, databases, sharing)
        return sharing

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
