"""Misbehaviour: one thing that a peer should not do, with a name and with what is claimed of it.

The claim is the same for all: the victim's records are what they were, but for those whose ids
start with `attacker.RECORD_PREFIX`; honest devices still come to equal digests and equal records;
memory stays bounded; no exception is raised that nobody declared. Who runs an act checks it.

A `Subject` collects the misbehaviours of one file in the order in which they stand there.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .attacker import Attacker

Act = Callable[[Attacker], Awaitable[None]]

STANDINGS = ("stranger", "guest", "limited", "full")
"""As whom a misbehaviour is committed: no member at all, or a member of this level."""


@dataclass(frozen=True, slots=True)
class Misbehaviour:
    """What `act` does, and as whom. An act may be cut off at any moment, and ends by itself."""

    name: str
    stands_as: str
    act: Act
    about: str
    """One sentence."""
    leaves_waiting: bool = False
    """Honest devices may rightly keep entries of it waiting for ever, if only after a cut."""

    def __post_init__(self) -> None:
        assert self.stands_as in STANDINGS, self.stands_as


class Subject:
    """The misbehaviours about one subject."""

    def __init__(self) -> None:
        self.misbehaviours: list[Misbehaviour] = []

    def act(self, stands_as: str, *, leaves_waiting: bool = False) -> Callable[[Act], Act]:
        """A function is a misbehaviour: its name is the name, its docstring says what it does."""

        def enter(act: Act) -> Act:
            name = getattr(act, "__name__", "").replace("_", "-")
            about = " ".join((act.__doc__ or "").split())
            self.add(name, stands_as, act, about, leaves_waiting=leaves_waiting)
            return act

        return enter

    def add(
        self, name: str, stands_as: str, act: Act, about: str, *, leaves_waiting: bool = False
    ) -> None:
        """A misbehaviour that is one row of a table."""
        self.misbehaviours.append(Misbehaviour(name, stands_as, act, about, leaves_waiting))
