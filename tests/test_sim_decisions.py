"""Decisions on conflicts in the simulator: what people decide counts everywhere, and is judged."""

from typing import Any

import pytest

from covey.node import inbox
from covey.node.inbox import Inbox
from covey.simulations import runner
from covey.simulations.checkers import CHECKERS, Checker
from covey.simulations.checkers.convergence import records
from covey.simulations.outcome import Outcome
from covey.simulations.plan import Plan, Step
from covey.simulations.runner import run_plan
from covey.simulations.templates import Part
from covey.simulations.witness import CANARY

NAMES = ("laptop", "phone", "tablet")
PLACE = {"database": "memory", "collection": "facts", "privacy": "private", "id": "private-1"}
DECIDED = f"{CANARY} decided"
CANDIDATES = (f"{CANARY} laptop 6000", f"{CANARY} phone 6000")

shown: dict[str, Any] = {}
"""Device -> the mood at rest, or None if the record is not there."""
disputes: dict[str, list[int]] = {}
"""Device -> the states of all conflicts at rest."""


class Looker(Checker):
    """Writes down what each device shows in the end."""

    async def at_rest(self) -> None:
        for device in self.sound():
            found = await records(device)
            value = found.get(("memory", "facts", "private-1", 1, 0))
            shown[device.name] = None if value is None else value[1].get("mood")
            disputes[device.name] = sorted(v[1][0] for k, v in found.items() if len(k) > 5)


@pytest.fixture(autouse=True)
def looking(monkeypatch: pytest.MonkeyPatch) -> None:
    shown.clear()
    disputes.clear()
    monkeypatch.setattr(runner, "CHECKERS", (*CHECKERS, Looker))


def put(at_ms: int, name: str) -> Step:
    fields = {"mood": f"{CANARY} {name} {at_ms}"}
    return Step(at_ms, "put", {"device": name, **PLACE, "fields": fields})


def decide(at_ms: int, do: str, name: str, **how: Any) -> Step:
    return Step(at_ms, do, {"device": name, "database": "memory", "pick": 0, **how})


def run(*steps: Step) -> Outcome:
    """A run in which laptop and phone have written one field apart."""
    cast = tuple(Part(name, name, "full") for name in NAMES)
    apart = (
        put(1_000, "laptop"),
        Step(5_000, "split", {"group": ["laptop"]}),
        put(6_000, "laptop"),
        put(6_000, "phone"),
        Step(8_000, "mend-all", {}),
    )
    plan = Plan("test", 1, cast, "lan", ("home",) * 3, (), (*apart, *steps), 60_000)
    return run_plan(plan)


def everywhere() -> Any:
    """What all devices show, if they show the same."""
    assert shown.keys() == {*NAMES} and len({*shown.values()}) == 1
    return shown["laptop"]


@pytest.mark.parametrize("at", [0, 1])
def test_the_candidate_that_somebody_takes_counts_on_every_device(at: int) -> None:
    """And nobody takes it for a write that came back from the dead."""
    outcome = run(decide(30_000, "resolve", "tablet", take=at))

    assert outcome.violations == []
    taken = everywhere()
    assert taken in CANDIDATES
    assert list(disputes.values()) == [[2]] * 3
    shown.clear()
    assert run(decide(30_000, "resolve", "tablet", take=1 - at)).violations == []
    assert everywhere() != taken


def test_another_value_counts_and_can_be_taken_back() -> None:
    """What counted before is there again, though somebody had surely replaced it."""
    assert run(decide(30_000, "resolve", "phone", value=DECIDED)).violations == []
    assert everywhere() == DECIDED

    shown.clear()
    resolved = decide(30_000, "resolve", "phone", value=DECIDED)
    assert run(resolved, decide(40_000, "undo", "laptop")).violations == []
    assert everywhere() in CANDIDATES


def test_two_decisions_at_once_are_in_dispute_again() -> None:
    """Neither saw the other, so neither may be lost."""
    one, other = f"{DECIDED} one", f"{DECIDED} other"
    outcome = run(
        decide(30_000, "resolve", "laptop", value=one),
        decide(30_000, "resolve", "phone", value=other),
    )

    assert outcome.violations == []
    assert everywhere() in (one, other)
    assert list(disputes.values()) == [[1, 2]] * 3


def test_a_decision_where_nothing_is_in_dispute_is_none() -> None:
    """Plans are cut down, and what is left must still run."""
    cast = (Part("laptop", "laptop", "full"),)
    steps = (decide(100, "resolve", "laptop", take=0), decide(200, "undo", "laptop"))

    assert run_plan(Plan("test", 1, cast, "lan", ("home",), (), steps, 5_000)).violations == []


def test_a_decision_that_is_told_and_not_written_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim about lost writes holds for decisions as well."""

    async def forget(*_: Any) -> None:
        pass

    monkeypatch.setattr(Inbox, "_decide", forget)
    outcome = run(decide(30_000, "resolve", "phone", value=DECIDED))

    assert "I3" in {violation.claim for violation in outcome.violations}


def test_another_value_than_was_decided_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that takes the wrong candidate would do what nobody wanted."""
    monkeypatch.setattr(
        inbox, "_choice_of", lambda _: lambda conflict: conflict.candidates[0].value
    )
    outcome = run(decide(30_000, "resolve", "phone", value=DECIDED))

    assert "I3" in {violation.claim for violation in outcome.violations}
