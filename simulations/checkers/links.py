"""I19: links serve what they are there for, and not only in the end.

Whatever goes wrong with a link, a new one makes up for it, and a run that is mended makes new
links. So what a link fails to do is looked for while it should be done.
"""

from typing import ClassVar

from ...node.links import Link
from ...sync.messages import Reason
from ...sync.session_phases import Phase
from ...sync.vectors import CONTROL_SCOPE
from ..run import Run
from ..sim_device import SimDevice
from ..sim_network import Pipe
from .checker import Checker

WRONG_TAKEN_MAX = 2
"""A hello that was changed is found out by the next message, which is bound to it."""
UNASKED_MS_MAX = 400
"""So long an entry may be missing of which nobody is asked. Wishes follow news at once."""

Lack = tuple[bytes, bytes, bytes, int]
"""A link by its key, scope and instance of a log, and the entry that is missing of it."""


class LinkChecker(Checker):
    """Looks at the links of each device, and at what its connections bring."""

    claims: ClassVar[dict[str, str]] = {
        "I19": "what is missing is asked for; of two links one stays; a changed message ends one",
    }

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._open: dict[tuple[str, int], dict[bytes, Link]] = {}
        """By device and start: its links, as they were seen last."""
        self._beside: dict[Link, list[Link]] = {}
        """The links to the same store that were open together with one."""
        self._lacks: dict[str, dict[Lack, int]] = {}
        """By device: what it lacks without asking anybody, and since when."""
        self._told: dict[Pipe, None] = {}

    def at_message(self, source: str, target: str, message: bytes) -> None:
        for name in (source, target):
            device = self.run.device(name)
            if device is not None:
                self._compare(device)
        for pipe in self.run.world.network.meddled_pipes():
            if pipe.wrong_taken > WRONG_TAKEN_MAX and pipe not in self._told:
                self._told[pipe] = None
                told = f"goes on to read what {pipe.source.name} says, though it was changed"
                self.violate("I19", pipe.target.name, told)

    # Two links to one store --------------------------------------------------------------------

    def _compare(self, device: SimDevice) -> None:
        links = device.engine.switchboard.links
        known = self._open.setdefault((device.name, device.starts), {})
        if links.keys() == known.keys():
            return
        gone = [link for key, link in known.items() if key not in links]
        opened = [link for key, link in links.items() if key not in known]
        for link in opened:
            self._beside[link] = []
        for link in opened:
            for other in links.values():
                if other.device == link.device and other is not link:
                    self._beside[link].append(other)
                    if other not in opened:
                        self._beside[other].append(link)
        self._open[device.name, device.starts] = dict(links)
        for link in gone:
            self._judge_end(device, link)

    def _judge_end(self, device: SimDevice, link: Link) -> None:
        """A link that had to make room for another one has left that one."""
        beside = [each for each in self._beside.pop(link) if _are_of_one_store(link, each)]
        if link.closed_for is not Reason.REPLACED or not beside or not self._is_ours(link.device):
            return
        left = device.engine.switchboard.links_to(link.device)
        if any(each.closed_for is None for each in left):
            return
        if all(each.closed_for is Reason.REPLACED for each in beside):
            self.violate("I19", device.name, "of two links to one store both were closed")

    def _is_ours(self, id: bytes) -> bool:
        return any(device.engine.keys.sig_pk == id for device in self.run.world.running())

    # What nobody is asked for ------------------------------------------------------------------

    def at_tick(self) -> None:
        now_ms = self.run.world.now_ms
        for device in self.run.world.running():
            assert device.process is not None
            before = self._lacks.pop(device.name, {})
            if device.process.frozen or device.engine.switchboard.is_off:
                continue
            lacks = {lack: before.get(lack, now_ms) for lack in _unasked(device)}
            self._lacks[device.name] = lacks
            for (_, _, _, seq), since_ms in lacks.items():
                if now_ms - since_ms > UNASKED_MS_MAX:
                    told = f"asks nobody for entry {seq} of a log that a device it is linked to has"
                    self.violate("I19", device.name, told)


def _are_of_one_store(one: Link, other: Link) -> bool:
    names = ("instance", "run")
    return all(one.remote_state.get(name) == other.remote_state.get(name) for name in names)


def _unasked(device: SimDevice) -> list[Lack]:
    """The next entries of logs that a peer is known to have, and that are wanted from nobody."""
    board = device.engine.switchboard
    lacks = []
    for link in board.links.values():
        state = link.state
        if link.closed_for is not None or state.phase not in (Phase.COMPARING, Phase.STREAMING):
            continue
        if state.receiving.stalled or state.receiving.storing or board.plan.in_flight(link.key):
            continue  # Whatever comes of that is followed by the next wish.
        for scope in sorted(state.knowledge.wanting):
            if not board.holdings.is_shared(scope, state.sharing) and scope != CONTROL_SCOPE:
                continue
            held = state.timing.schedule.held | state.timing.theirs
            if board.holdings.database(scope) in held:
                continue  # It waits, and whoever waits asks nobody.
            ours = board.holdings.heads(scope, state.sharing)
            for instance, head in sorted(state.knowledge.theirs.get(scope, {}).items()):
                last = ours[instance].seq if instance in ours else 0
                if head.seq <= last or (scope, instance) in state.knowledge.unfit:
                    continue
                if not board.plan.covers(scope, instance, last + 1):
                    lacks.append((link.key, scope, instance, last + 1))
    return lacks
