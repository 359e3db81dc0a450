"""Turns: local writes together, received batches alone, nobody forgotten, nothing leaked."""

import asyncio
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from covey.node.turns import Turns

from .fake_clock import settle


class Hall:
    """Who is inside now, and the order in which they came in."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.inside: set[str] = set()
        self.entered: list[str] = []
        self.leave: dict[str, asyncio.Event] = {}

    def visit(self, name: str, *, alone: bool) -> "asyncio.Task[None]":
        self.leave[name] = asyncio.Event()
        return asyncio.ensure_future(self._visit(name, alone))

    async def _visit(self, name: str, alone: bool) -> None:
        async with self.turns.alone() if alone else self.turns.shared():
            self.inside.add(name)
            self.entered.append(name)
            try:
                await self.leave[name].wait()
            finally:
                self.inside.discard(name)


async def test_shared_turns_are_taken_together() -> None:
    """Writes that arrive together must share one commit, so they must prepare together."""
    hall = Hall()
    hall.visit("a", alone=False)
    hall.visit("b", alone=False)

    await settle()
    assert hall.inside == {"a", "b"}


async def test_alone_waits_for_all_and_keeps_all_out() -> None:
    """A batch that computes on a state which a writer is about to replace loses that write."""
    hall = Hall()
    hall.visit("write", alone=False)
    await settle()
    hall.visit("batch", alone=True)
    await settle()
    assert hall.inside == {"write"}

    hall.leave["write"].set()
    hall.visit("later write", alone=False)
    hall.visit("later batch", alone=True)
    await settle()
    assert hall.inside == {"batch"}


async def test_who_waits_longest_goes_first() -> None:
    """A stream of writes must not starve a sync, nor a sync a person's write."""
    hall = Hall()
    for name, alone in (("w1", False), ("b1", True), ("w2", False), ("w3", False), ("b2", True)):
        hall.visit(name, alone=alone)
        await settle()
    for name in ("w1", "b1", "w2", "w3", "b2"):
        hall.leave[name].set()
        await settle()

    assert hall.entered == ["w1", "b1", "w2", "w3", "b2"]


async def test_a_cancelled_waiter_holds_up_nobody_behind_it() -> None:
    """A batch whose link closed must not keep writes waiting for a writer that may take long."""
    hall = Hall()
    hall.visit("write", alone=False)
    await settle()
    batch = hall.visit("batch", alone=True)
    hall.visit("second write", alone=False)
    await settle()

    batch.cancel()
    await settle()
    assert hall.inside == {"write", "second write"}


async def test_a_turn_given_in_the_moment_of_cancellation_is_given_back() -> None:
    """One leaked turn and the node never writes again."""
    hall = Hall()
    first = hall.visit("first", alone=True)
    await settle()
    second = hall.visit("second", alone=True)
    hall.visit("third", alone=True)
    await settle()
    hall.leave["first"].set()
    while not first.done():
        await asyncio.sleep(0)
        second.cancel()

    await settle()
    assert hall.inside == {"third"}


async def test_an_error_inside_gives_the_turn_back() -> None:
    """A full disk in one write must not stop all later ones."""
    turns = Turns()
    for enter in (turns.shared, turns.alone, turns.shared):
        with suppress(ValueError):
            async with enter():
                raise ValueError

    async with turns.alone():
        pass


STEPS = st.lists(
    st.tuples(st.sampled_from(("share", "alone", "leave", "cancel", "run")), st.integers(0, 7)),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_any_schedule_keeps_the_rule_and_ends_with_everybody_served(
    steps: list[tuple[str, int]],
) -> None:
    """Cancellation can come at any moment; no order of events may break the exclusion or hang."""

    async def run() -> None:
        hall = Hall()
        tasks: list[asyncio.Task[None]] = []
        kinds: dict[str, bool] = {}

        def check() -> None:
            loners = [name for name in hall.inside if kinds[name]]
            assert not loners or len(hall.inside) == 1

        for act, which in steps:
            if act in ("share", "alone"):
                name = f"{len(tasks)}"
                kinds[name] = act == "alone"
                tasks.append(hall.visit(name, alone=kinds[name]))
            elif act == "run":
                for _ in range(which):
                    await asyncio.sleep(0)
                    check()
            elif tasks and act == "leave":
                hall.leave[f"{which % len(tasks)}"].set()
            elif tasks:
                tasks[which % len(tasks)].cancel()
            check()
        for event in hall.leave.values():
            event.set()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        async with asyncio.timeout(10), hall.turns.alone():
            assert not hall.inside

    asyncio.run(run())
