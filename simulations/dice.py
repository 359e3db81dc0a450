"""Dice: randomness keyed by event, so that taking one event away does not change all others.

A generator that everybody draws from gives each of them another number as soon as one draws less.
Here each draw names what it is for, such as ("latency", "laptop", "phone", 17), and the number
depends on the seed and that name alone. So a plan can be shrunk: what is left runs as before.
"""

from hashlib import blake2b
from random import Random


class Dice:
    """Numbers from a seed and a name. Names are made of texts and whole numbers."""

    __slots__ = ("_salt",)

    def __init__(self, seed: int | str) -> None:
        self._salt = blake2b(str(seed).encode(), digest_size=16).digest()

    def bits(self, *name: str | int) -> int:
        """64 random bits."""
        return self.bits_of("/".join(map(str, name)))

    def bits_of(self, label: str) -> int:
        """As `bits`, of a name that was put together already: its parts with a "/" between."""
        digest = blake2b(label.encode(), key=self._salt, digest_size=8).digest()
        return int.from_bytes(digest, "big")

    def fraction(self, *name: str | int) -> float:
        """A float in [0, 1)."""
        return (self.bits_of("/".join(map(str, name))) >> 11) / (1 << 53)

    def fraction_of(self, label: str) -> float:
        """As `fraction`, see `bits_of`."""
        return (self.bits_of(label) >> 11) / (1 << 53)

    def below(self, bound: int, *name: str | int) -> int:
        """A whole number from 0 up to `bound`, without it."""
        return self.bits(*name) % bound

    def stream(self, *name: str | int) -> Random:
        """A generator of its own, for whoever needs many numbers for one purpose."""
        return Random(self.bits(*name))
