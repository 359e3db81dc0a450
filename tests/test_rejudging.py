"""Rejudging at start: what is in dispute was judged by the rules that count, or is judged anew."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from covey.node import rejudging
from covey.node.rejudging import Rejudging
from covey.storage.errors import StoreFullError
from covey.sync import rules
from covey.sync.rules import DoesNotFitError

from .conflict_world import R, apart, inbox, rule, settle, two
from .fake_clock import settle as turns
from .memory_world import Device, World, meet


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Which databases are judged anew, each time."""
    told: list[list[str]] = []
    judge_again = Rejudging._judge_again

    async def tell(self: Rejudging, databases: Any, rule: str | None = None) -> None:
        told.append(sorted(databases))
        await judge_again(self, databases, rule)

    monkeypatch.setattr(Rejudging, "_judge_again", tell)
    return told


async def rest(device: Device) -> None:
    """Let the device do what it does in the background, and keep what it noted."""
    await settle(device)
    await device.engine.notes.flush()


def bring(monkeypatch: pytest.MonkeyPatch, version: int, **other: Any) -> None:
    """An update of the program: other rules of these names."""
    monkeypatch.setattr(rejudging, "RULES_VERSION", version)
    monkeypatch.setattr(rules, "RULES", {**rules.RULES, **other})


async def test_an_update_that_decides_otherwise_judges_anew_at_the_next_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a device with the new program shows another value than one that joins after it."""
    async with World() as world:
        laptop, phone = await two(world)
        await rule(laptop, "rule.facts.n", "max")
        await meet(laptop, phone)
        await apart(laptop, phone, n=(2, 1))
        await rest(laptop)
        before = (await laptop.values())[R]["n"]
        bring(monkeypatch, 2, max=rules.RULES["min"])
        laptop = await world.restart(laptop)
        await rest(laptop)

        assert (before, (await laptop.values())[R]["n"]) == (2, 1)
        assert [row["value"] for row in await inbox(laptop)] == [1]


async def test_a_rule_that_the_old_program_did_not_know_decides_after_the_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """People on other devices use it already; here it was left to a person until now."""
    async with World() as world:
        laptop, phone = await two(world)
        await rule(laptop, "rule.facts.n", "least")
        await meet(laptop, phone)
        await apart(laptop, phone, n=(1, 2))
        await rest(laptop)
        before = [(row["state"], row["value"]) for row in await inbox(laptop)]
        monkeypatch.setattr(rules, "RULES", {**rules.RULES, "least": rules.RULES["min"]})
        monkeypatch.setattr(rejudging, "RULE_NAMES", (*rules.RULE_NAMES, "least"))
        laptop = await world.restart(laptop)
        await rest(laptop)

        assert before == [("open", 2)]
        assert [(row["state"], row["value"]) for row in await inbox(laptop)] == [("settled", 1)]


async def test_a_start_without_an_update_judges_nothing(judged: list[list[str]]) -> None:
    """A large store with many conflicts must open as fast as any other."""
    async with World() as world:
        laptop, phone = await two(world)
        await rule(laptop, "rule.facts.n", "max")
        await meet(laptop, phone)
        await apart(laptop, phone, n=(2, 1))
        await rest(laptop)
        judged.clear()
        laptop = await world.restart(laptop)
        await rest(laptop)

        assert judged == []


async def refuse(*_: Any) -> None:
    raise StoreFullError(Path("memory"))


async def hang(*_: Any) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("fate", [refuse, hang])
async def test_what_was_cut_short_is_done_at_the_next_start(
    fate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between another rule and its judgement must not leave the old value for good."""
    async with World() as world:
        laptop, phone = await two(world)
        await apart(laptop, phone, n=(2, 1))
        await rest(laptop)
        with monkeypatch.context() as patch:
            patch.setattr(Rejudging, "_write_rows", fate)
            await rule(laptop, "rule.facts.n", "max")
            await turns()
            await laptop.engine.notes.flush()
            before = (await laptop.values())[R]["n"]
        laptop = await world.restart(laptop, crash=True)
        await rest(laptop)

        assert (before, (await laptop.values())[R]["n"]) == (1, 2)
        assert [row["value"] for row in await inbox(laptop)] == [2]


async def test_what_failed_is_judged_together_with_what_comes_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A digest that was written over a gap would hide it from every later start."""
    async with World() as world:
        laptop, phone = await two(world)
        await apart(laptop, phone, n=(2, 1))
        await rest(laptop)
        with monkeypatch.context() as patch:
            patch.setattr(Rejudging, "_write_rows", refuse)
            await rule(laptop, "rule.facts.n", "max")
            await turns()
        await laptop.engine.trust.set_policy(b"", "elsewhere", {"rule": "min"})
        await rest(laptop)

        assert (await laptop.values())[R]["n"] == 2


async def test_an_own_rule_that_is_not_registered_any_more_leaves_it_to_a_person_after_an_update(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What an application decided stands while nothing is judged, and is shown as open after."""

    def longest(candidates: Any, _: bytes) -> Any:
        if not all(isinstance(one.value, str) for one in candidates):
            raise DoesNotFitError
        return max((one.value for one in candidates), key=lambda text: (len(text), text))

    async with World() as world:
        laptop, phone = await two(world)
        await rule(laptop, "rule.facts.mood", "longest")
        laptop.node.register_rule("longest", longest)
        await meet(laptop, phone)
        await apart(laptop, phone, mood=("very glad", "sad"))
        await rest(laptop)
        decided = (await laptop.values())[R]["mood"]
        bring(monkeypatch, 2)
        laptop = await world.restart(laptop)
        await rest(laptop)
        undecided = (await laptop.values())[R]["mood"]
        laptop.node.register_rule("longest", longest)
        await rest(laptop)

        assert (decided, undecided) == ("very glad", "sad")
        assert (await laptop.values())[R]["mood"] == "very glad"
