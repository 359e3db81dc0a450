"""Simulated entropy: the Entropy port from a seed. Never for real keys."""

from random import Random

from .dice import Dice


class SimEntropy:
    """Implements `covey.node.ports.Entropy`: one stream for each start of one device."""

    def __init__(self, dice: Dice, device: str, start: int) -> None:
        self._random: Random = dice.stream("entropy", device, start)

    def draw(self, size: int) -> bytes:
        return self._random.randbytes(size)

    def uniform(self) -> float:
        return self._random.random()
