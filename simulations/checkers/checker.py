"""What a checker is."""

from collections.abc import Iterator
from typing import ClassVar

from ...node.engine import Engine
from ..run import Run
from ..sim_device import SimDevice


class Checker:
    """One claim about a run, or a few that need the same look. Override what is needed."""

    claims: ClassVar[dict[str, str]] = {}
    """Claim -> what it says, for reports and docs/simulation.md."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def at_wired(self, device: SimDevice, engine: Engine) -> None:
        """An engine was made for a device, and does nothing yet."""

    def at_start(self, device: SimDevice) -> None:
        """A device has come up."""

    def at_message(self, source: str, target: str, message: bytes) -> None:
        """A message leaves a machine."""

    def at_tick(self) -> None:
        """Some time has passed. Nothing runs meanwhile."""

    async def at_rest(self) -> None:
        """The world is mended, everybody is up, and nothing is under way any more."""

    def sound(self) -> Iterator[SimDevice]:
        """The devices that run and from which everything may be expected."""
        for device in self.run.world.running():
            if device.name not in self.run.spoiled:
                yield device

    def violate(self, claim: str, device: str, message: str) -> None:
        assert claim in self.claims, claim
        self.run.world.violate(claim, device, message)
