"""A member who writes every change that the gate might let in, and many that it must not."""

from random import Random

from covey.simulations.hostile.wild_changes import WildChanges
from covey.sync.change import Change

from .record_worlds import ACTORS


class Hostile(WildChanges):
    """Changes to one record that passed the gate. Everything comes from the seed."""

    def __init__(self, random: Random) -> None:
        super().__init__(random, ACTORS[:3])

    @property
    def changes(self) -> dict[bytes, Change]:
        return {found: written.change for found, written in self.by_hash.items()}

    def shuffled(self) -> list[Change]:
        """The changes in a random order in which each follows what it rests on."""
        left = list(self.by_hash)
        self.random.shuffle(left)
        done: set[bytes] = set()
        order = []
        while left:
            # The very first must be one without a past: a record begins with it.
            found = next(k for k in left if done.issuperset(self.by_hash[k].known))
            left.remove(found)
            done.add(found)
            order.append(self.by_hash[found].change)
        return order
