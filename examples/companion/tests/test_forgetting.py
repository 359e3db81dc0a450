"""How memories fade and become one: numbers that follow from a rule, not from a feeling."""

import math
import random
from dataclasses import replace
from operator import mul

import pytest

import covey
from companion.domains import Memory
from companion.embedding import HashingEmbedding
from companion.forgetting import (
    ALIKE,
    DAY_MS,
    consolidate,
    groups,
    is_expired,
    memory_id,
    reinforced,
    strength,
    together,
)

NOW = 1_773_000_000_000


def memory(text="tea", *, age_days=0, importance=0.4, uses=0, expires_days=7, id=None):
    made = NOW - int(age_days * DAY_MS)
    (vector,) = HashingEmbedding().embed([text])
    return Memory(
        text,
        made,
        importance,
        uses=covey.Counter(uses),
        expires_ms=None if expires_days is None else made + int(expires_days * DAY_MS),
        embedding={HashingEmbedding.model: covey.Vector(vector)},
        id=id or f"{text}-{age_days}",
    )


def test_a_memory_is_half_as_strong_after_its_half_life():
    assert strength(memory(importance=0.8), NOW) == pytest.approx(0.8)
    assert strength(memory(importance=0.8, age_days=7), NOW) == pytest.approx(0.4)
    assert strength(memory(importance=0.8, age_days=14), NOW) == pytest.approx(0.2)


def test_use_makes_it_fresh_and_slower_to_fade():
    old = memory(age_days=7)
    used = reinforced(old, NOW)

    assert used.uses.total == 1 and used.used_ms == NOW
    assert strength(used, NOW) == pytest.approx(0.4)
    assert strength(used, NOW + 14 * DAY_MS) == pytest.approx(0.2)
    assert strength(old, NOW + 14 * DAY_MS) < 0.06


@pytest.mark.parametrize("seed", range(50))
def test_strength_is_between_0_and_importance_and_only_falls_with_time(seed):
    dice = random.Random(seed)
    one = memory(
        age_days=dice.uniform(-5, 500), importance=dice.uniform(-1, 3), uses=dice.randrange(-2, 50)
    )
    times = sorted(NOW + dice.randrange(-100, 1000) * DAY_MS for _ in range(10))
    strengths = [strength(one, at) for at in times]

    assert all(0 <= each <= 1 for each in strengths)
    assert strengths == sorted(strengths, reverse=True)
    assert strength(reinforced(one, NOW), NOW + DAY_MS) >= strength(one, NOW + DAY_MS)


def test_a_clock_that_is_behind_makes_nothing_stronger():
    assert strength(memory(), NOW - 100 * DAY_MS) == pytest.approx(0.4)
    assert reinforced(replace(memory(), used_ms=NOW), NOW - DAY_MS).used_ms == NOW


def test_working_memory_expires_at_its_moment():
    one = memory(expires_days=7)

    assert not is_expired(one, NOW + 7 * DAY_MS - 1)
    assert is_expired(one, NOW + 7 * DAY_MS)
    assert not is_expired(memory(expires_days=None), NOW * 2)


@pytest.mark.parametrize(
    ("importances", "whole"),
    [([], 0), ([0.5], 0.5), ([0.5, 0.5], 0.75), ([1.0, 0.2], 1), ([2, -1], 1)],
)
def test_what_is_said_again_is_more_important_and_never_above_1(importances, whole):
    assert together(importances) == pytest.approx(whole)


def test_what_says_the_same_is_one_group_and_models_are_not_mixed():
    same = [memory("I like tea"), memory("i like  TEA!", age_days=1)]
    other = memory("The car is red")
    (vector,) = memory("I like tea").embedding.values()
    foreign = replace(memory("I do like tea"), embedding={"other@1": vector}, id="foreign")

    found = groups([*same, other, foreign])

    assert sorted(len(group) for group in found) == [1, 1, 2]
    assert [one.id for one in max(found, key=len)] == ["i like  TEA!-1", "I like tea-0"]


def test_what_was_of_use_or_important_is_kept_and_the_rest_goes_when_it_expires():
    used = memory("the dentist is on Tuesday", uses=2, age_days=8)
    important = memory("the alarm code was changed", importance=0.9)
    fresh = memory("it rains", age_days=1)
    expired = memory("I had soup", age_days=8)

    done = consolidate([used, important, fresh, expired], NOW)

    assert {(one.kind, one.memory.text, one.made_of) for one in done.kept} == {
        ("episodic", used.text, (used.id,)),
        ("episodic", important.text, (important.id,)),
    }
    assert done.gone == [expired.id]
    assert all(one.memory.expires_ms is None for one in done.kept)


def test_what_is_said_three_times_is_so():
    said = [memory("Robin is vegetarian", age_days=days) for days in range(3)]

    done = consolidate(said, NOW)

    (kept,) = done.kept
    assert (kept.kind, kept.memory.id) == ("semantic", memory_id("robin is vegetarian"))
    assert kept.memory.importance == pytest.approx(1 - 0.6**3)
    assert set(kept.made_of) == {one.id for one in said} and done.gone == []


@pytest.mark.parametrize("seed", range(30))
def test_two_devices_that_consolidate_the_same_come_to_the_same(seed):
    dice = random.Random(seed)
    texts = ["tea", "I like tea", "the car is red", "rain"]
    working = [
        memory(dice.choice(texts), age_days=dice.randrange(12), uses=dice.randrange(3), id=str(n))
        for n in range(dice.randrange(12))
    ]
    shuffled = dice.sample(working, len(working))
    one, other = consolidate(working, NOW), consolidate(shuffled, NOW)

    assert {each.memory.id: each for each in one.kept} == {
        each.memory.id: each for each in other.kept
    }
    assert sorted(one.gone) == sorted(other.gone)
    ended = [*one.gone, *(id for each in one.kept for id in each.made_of)]
    assert len(ended) == len(set(ended))
    assert all(not is_expired(m, NOW) for m in working if m.id not in ended)


@pytest.mark.parametrize("seed", range(20))
def test_groups_are_those_of_comparing_each_with_all_older_ones(seed):
    dice = random.Random(seed)

    def direction(near=None):
        numbers = [dice.gauss(0, 1) for _ in range(48)]
        if near is not None:
            numbers = [a + dice.uniform(0, 0.08) * b for a, b in zip(near, numbers, strict=True)]
        length = math.hypot(*numbers)
        return [number / length for number in numbers]

    bases = [direction() for _ in range(3)]
    working = [
        replace(
            memory(dice.choice("abcdefghij"), age_days=dice.randrange(9)),
            embedding={"any@1": covey.Vector(direction(dice.choice(bases)))},
            id=str(n),
        )
        for n in range(20)
    ]

    simple = []
    for one in sorted(working, key=lambda each: (each.made_ms, each.id)):
        (vector,) = (its.floats() for its in one.embedding.values())
        for group in simple:
            (first,) = (its.floats() for its in group[0].embedding.values())
            if one.text == group[0].text or sum(map(mul, vector, first)) >= ALIKE:
                group.append(one)
                break
        else:
            simple.append([one])

    assert groups(working) == simple
