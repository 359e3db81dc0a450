"""Mutant: one planted bug, as data.

A text stands for a place in a module only while it occurs there exactly once. A change of
production code that ends that makes the mutant stale, which tests/test_mutants.py notices.
"""

from dataclasses import dataclass


class StaleMutantError(Exception):
    """The text that a mutant replaces is not in its module, or not once. Write the mutant anew."""

    def __init__(self, name: str, module: str, count: int) -> None:
        super().__init__(f"mutant {name}: its text is {count} times in {module}, must be once")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake that somebody might make.

    Text `old` in the source of `module` (such as "covey.node.links") becomes `new`.
    """

    name: str
    module: str
    old: str
    new: str
    about: str
    """What the mistake is, in one sentence."""
    scenario: str = "mixed"
    """The scenario whose seeds are to find it."""
    plan: str = ""
    """A file under `plans/` that is run with every seed, where no scenario leads there."""

    def planted_in(self, source: str) -> str:
        """The source of its module with the bug in it. Raises StaleMutantError."""
        count = source.count(self.old)
        if count != 1:
            raise StaleMutantError(self.name, self.module, count)
        return source.replace(self.old, self.new)
