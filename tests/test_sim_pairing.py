"""Pairing in the simulator: new devices join through the production code, whatever goes wrong."""

from dataclasses import replace
from typing import Any

import pytest

from covey.crypto.secret import Secret
from covey.node.pairing import PairingWindow
from covey.simulations.checkers.pairing import PairingChecker
from covey.simulations.outcome import Outcome
from covey.simulations.pairings import THEFTS, WHOLE, Attempt
from covey.simulations.plan import Plan, Step
from covey.simulations.planning import plan_of
from covey.simulations.run import Run
from covey.simulations.runner import run_plan
from covey.simulations.scenarios import SCENARIOS
from covey.simulations.world import World

QUIET = plan_of(SCENARIOS["two-devices"], 1, operations=0, hours=0.02)
PAIR = {"device": "laptop", "newcomers": ["tablet"], "level": "full", "thinks_ms": 200}
COME = Step(1_000, "newcomer", {"device": "tablet", "kind": "tablet"})
PUT = {
    **{"device": "tablet", "database": "memory", "collection": "facts", "id": "private-1"},
    **{"privacy": "private", "fields": {"text": "canary"}},
}


def ran(*steps: Step, law: str = "instant") -> Outcome:
    """A run of two devices to which others come; nothing may be violated."""
    outcome = run_plan(replace(QUIET, law=law, steps=(COME, *steps)))
    assert [str(violation) for violation in outcome.violations] == []
    return outcome


def told(outcome: Outcome, device: str) -> list[str]:
    """What the person at a device was told, and when the world was mended."""
    kinds = ("pairing", "refused", "mended")
    return [
        event.detail or event.kind
        for event in outcome.timeline
        if event.kind in kinds and event.device in (device, "")
    ]


def test_a_new_device_joins_with_the_code_that_the_admin_was_shown() -> None:
    """The run ends only when it holds what all hold."""
    outcome = ran(Step(2_000, "put", PUT), Step(5_000, "pair", PAIR))

    assert told(outcome, "laptop") == ["code", "confirm", "enrolled", "mended"]
    assert told(outcome, "tablet") == ["searching", "confirm", "joined", "synced", "mended"]
    assert outcome.acknowledged == 1


def test_a_wrong_code_lets_nobody_in_and_does_not_stand_in_the_way() -> None:
    """Whoever mistyped it gets another one."""
    outcome = ran(Step(5_000, "pair", {**PAIR, "wrong": True}))
    at_laptop = told(outcome, "laptop")

    assert at_laptop[: at_laptop.index("mended")] == ["code", "failed wrong-code"]
    assert "joined" in told(outcome, "tablet")


def test_a_code_that_two_people_type_lets_one_in() -> None:
    """The other one is told to wait for a code of its own."""
    phone = Step(1_000, "newcomer", {"device": "phone-2", "kind": "phone"})
    outcome = ran(phone, Step(5_000, "pair", {**PAIR, "newcomers": ["tablet", "phone-2"]}))
    second = told(outcome, "phone-2")

    assert "joined" in told(outcome, "tablet")
    assert second[: second.index("mended")] == ["searching", "PairingRefusedError"]


@pytest.mark.parametrize("law", ["instant", "lan"])
def test_a_new_device_joins_with_the_picture(law: str) -> None:
    """No code is typed, and no address."""
    outcome = ran(Step(5_000, "pair", {**PAIR, "picture": WHOLE}), law=law)

    assert told(outcome, "laptop") == ["code", "confirm", "enrolled", "mended"]
    assert told(outcome, "tablet") == ["searching", "confirm", "joined", "synced", "mended"]


@pytest.mark.parametrize("picture", THEFTS)
def test_a_picture_that_was_seen_in_part_or_used_lets_nobody_in(picture: str) -> None:
    """It also spoils nothing: the window goes on waiting for who may."""
    phone = Step(1_000, "newcomer", {"device": "phone-2", "kind": "phone"})
    theft = {**PAIR, "newcomers": ["phone-2"], "picture": picture, "window_ms": 9_000}
    outcome = ran(
        phone, Step(5_000, "pair", {**PAIR, "picture": WHOLE}), Step(20_000, "pair", theft)
    )
    at_laptop, at_phone = told(outcome, "laptop"), told(outcome, "phone-2")

    assert at_laptop[3 : at_laptop.index("mended")] == ["code", "failed expired"]
    assert at_phone[: at_phone.index("mended")] == ["searching", "PairingRefusedError"]


@pytest.mark.parametrize("who", ["laptop", "tablet"])
def test_a_person_who_says_no_or_gives_up_is_heard(who: str) -> None:
    """Nobody is admitted against the will of either."""
    for change in ({"declines": who}, {"gives_up": who, "gives_up_ms": 450}):
        outcome = ran(Step(5_000, "pair", {**PAIR, **change}))
        at_laptop = told(outcome, "laptop")

        assert "enrolled" not in at_laptop[: at_laptop.index("mended")]


def test_a_device_that_dies_when_it_was_enrolled_joins_again_and_is_recognised() -> None:
    """It is a member that does not know it; no second enrolment is made of it."""
    crash = Step(5_000, "doom-commit", {"device": "tablet", "ahead": 1, "fate": "dies before"})
    outcome = ran(crash, Step(5_000, "pair", PAIR), Step(9_000, "start", {"device": "tablet"}))
    at_laptop = told(outcome, "laptop")

    assert at_laptop[: at_laptop.index("mended")] == ["code", "confirm", "enrolled"]
    assert at_laptop[at_laptop.index("mended") :] == ["mended", "code", "enrolled"]


def test_pairing_steps_for_devices_that_never_came_do_nothing() -> None:
    """Shrinking takes the step away that brings one."""
    plan = replace(QUIET, steps=(Step(5_000, "pair", {**PAIR, "window_ms": 2_000}),))

    assert run_plan(plan).violations == []


@pytest.mark.parametrize("first", [1, 6])
def test_nothing_is_violated_over_some_seeds(first: int) -> None:
    """A failure here is replayed with `covey simulate pairing --seed N`."""
    failed = {
        seed: str(outcome.violations[0])
        for seed in range(first, first + 5)
        if (outcome := run_plan(plan_of(SCENARIOS["pairing"], seed))).violations
    }

    assert failed == {}


# The checker -----------------------------------------------------------------------------------


def test_a_window_that_takes_any_code_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checker that never fails proves nothing."""

    async def run(self: PairingWindow) -> Any:
        self._code = "acorn-acorn-acorn"
        async for event in whole(self):
            yield {**event, "code": self._code} if event["event"] == "code" else event

    whole = PairingWindow.run
    monkeypatch.setattr(PairingWindow, "run", run)
    monkeypatch.setattr(Attempt, "_words", lambda _: "acorn-acorn-acorn")

    outcome = run_plan(replace(QUIET, steps=(COME, Step(5_000, "pair", {**PAIR, "wrong": True}))))

    assert {violation.claim for violation in outcome.violations} == {"I16"}
    assert "a wrong code let a device in" in [v.message for v in outcome.violations]


def test_a_picture_that_is_the_same_every_time_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that are not made anew let in whoever saw the last ones."""

    def made(self: PairingWindow, *arguments: Any) -> None:
        whole(self, *arguments)
        self._token, self.static = Secret(bytes(16)), Secret(b"s" * 32)

    whole = PairingWindow.__init__
    monkeypatch.setattr(PairingWindow, "__init__", made)
    phone = Step(1_000, "newcomer", {"device": "phone-2", "kind": "phone"})
    first = Step(5_000, "pair", {**PAIR, "picture": WHOLE})
    theft = Step(40_000, "pair", {**PAIR, "newcomers": ["phone-2"], "picture": "used"})

    outcome = run_plan(replace(QUIET, law="instant", steps=(COME, phone, first, theft)))

    assert "a wrong code let a device in" in [v.message for v in outcome.violations]


def test_a_wrong_picture_that_used_up_the_code_is_found() -> None:
    """Anybody could keep a person from pairing."""
    with World(1) as world:

        async def judged() -> None:
            run = Run(QUIET, world)
            attempt = Attempt(run, "laptop", ("tablet",), "full", picture="no-token")
            attempt.failures = ["wrong-code"]
            PairingChecker(run)._judge(attempt)

        world.run(judged())

        assert [v.message for v in world.violations] == ["a wrong picture used up the code"]


@pytest.mark.parametrize(
    ("enrolled", "joined", "declined", "found"),
    [
        (["a"], ["tablet"], [], []),
        (["a", "b"], ["tablet"], [], ["one code let two devices in"]),
        (["a"], ["tablet", "phone"], [], ["one code let two devices in"]),
        (["a"], [], ["laptop"], ["['laptop'] said no, and was not heard"]),
    ],
)
def test_what_was_told_in_one_attempt_is_judged(
    enrolled: list[str], joined: list[str], declined: list[str], found: list[str]
) -> None:
    """Each way in which a code can let in too many."""
    plan: Plan = QUIET
    with World(1) as world:

        async def judged() -> None:
            run = Run(plan, world)
            attempt = Attempt(run, "laptop", ("tablet",), "full")
            attempt.enrolled, attempt.joined, attempt.declined = enrolled, joined, declined
            PairingChecker(run)._judge(attempt)

        world.run(judged())

        assert [violation.message for violation in world.violations] == found
