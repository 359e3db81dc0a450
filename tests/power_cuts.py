"""A checker that objects to power cuts, for tests that need something to be violated."""

from typing import ClassVar

from covey.simulations.checkers import Checker


class NoPowerCuts(Checker):
    """Objects once to each run in which the power was cut."""

    claims: ClassVar[dict[str, str]] = {"I99": "no power cuts"}

    async def at_rest(self) -> None:
        cuts = [event for event in self.run.world.trace.events if event.kind == "power cut"]
        if cuts:
            self.violate("I99", cuts[0].device, "the power was cut")
