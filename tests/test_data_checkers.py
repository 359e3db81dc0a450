"""The checkers of the data layer: each tells when its claim is broken, and none of them otherwise.

As in test_checkers.py, a small plan runs on the real node, and at one moment something is broken in
a store, in memory or in what was noted.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from covey.node.data import lifecycle
from covey.simulations.checkers.data_model import mistake_in, passes
from covey.simulations.data_log import Content, Held, LinkField, Migrating, held
from covey.simulations.data_shapes import DIMENSION, FIELD, MODEL, PAGES, migrated
from covey.simulations.doings import DOINGS
from covey.simulations.plan import Plan, Step
from covey.simulations.run import Run
from covey.simulations.runner import run_plan
from covey.simulations.witness import CANARY
from covey.simulations.world import Violation
from covey.storage.link_text import link_to
from covey.sync.values import Vector, to_json

from .simulated import LAPTOP, PHONE
from .test_checkers import DATA_CHECKERS, change_store, device_of, told

Breakage = Callable[[Run], object]

BREAK_MS = 9_000
END_MS = 11_000
NEAR = [1.0, 0.0, 0.0, 0.5]


def step(at_ms: int, do: str, **args: Any) -> Step:
    return Step(at_ms, do, {"device": "laptop", "database": "memory", **args})


def fact(at_ms: int, number: int, **extra: Any) -> Step:
    place = {"collection": "facts", "privacy": "private", "id": f"private-{number}"}
    vector = {f"{MODEL}@1": to_json(Vector([1.0, float(number), 0.0, 0.0]))}
    more = {"n": number, "topic": "tea", FIELD: vector, "about": "private-1", **extra}
    fields = {"text": f"{CANARY} fact {number}"}
    return step(at_ms, "put-data", **place, fields=fields, extra=more)


def declare(what: str, collection: str = "facts", **said: Any) -> Step:
    return step(1_000, "declare", declares={"what": what, "collection": collection, **said})


def ask(ask: str, **said: Any) -> Step:
    return step(8_000, "question", question={"ask": ask, "collection": "facts", **said})


ALL = {"where": {"n": {">=": 0}}, "order": "n", "page": 2}
PLAN = Plan(
    "by hand",
    seed=1,
    cast=(LAPTOP, PHONE),
    law="lan",
    places=("home", "home"),
    faults=(),
    steps=(
        declare("index", fields=["n"]),
        declare("link", field="about", to="facts"),
        declare("vectors", version="1"),
        declare("ages", expires=None, keep=None, warm=0, cold=0),
        declare("ages", "fading", expires="until", keep=None, warm=0, cold=0),
        step(1_500, "install-schema", version=1),
        fact(2_000, 1),
        fact(2_000, 2, to=link_to("facts", "private-1")),
        fact(2_500, 3),
        fact(2_900, 3, n=4),
        step(2_500, "write-page", id="laptop-1", text=f"{CANARY} page", extra={"n": 1}),
        step(2_500, "set-fields", collection="fading", id="f", extra={"until": 600_000}),
        step(2_500, "set-fields", collection="letters", id="l", extra={"who": "ann"}),
        step(6_000, "enter", collection="diary", id="laptop-1", text=f"{CANARY} then"),
        step(7_000, "remember", collection="diary", id="laptop-1"),
        step(7_500, "enter", collection="diary", id="laptop-1", text=f"{CANARY} now"),
        step(7_500, "sweep"),
        ask("find", **ALL),
        ask("words", text="tea"),
        ask("view", name="by-kind", version=1),
        ask("walk", id="private-1", depth=2, back=True),
        ask("near", vector=NEAR, version="1", k=2, where={}),
    ),
    end_ms=END_MS,
)


def violations_of(
    monkeypatch: pytest.MonkeyPatch, breakage: Breakage, *more: Step
) -> list[Violation]:
    """What is told of the plan, with something broken at `BREAK_MS`."""
    monkeypatch.setitem(DOINGS, "break", lambda run, args: breakage(run))
    steps = (*PLAN.steps, Step(BREAK_MS, "break", {}), *more)
    return run_plan(replace(PLAN, steps=steps)).violations


def test_nothing_is_told_where_nothing_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """And everything was looked at: a checker that saw nothing has nothing to tell either."""
    seen: list[Run] = []

    assert violations_of(monkeypatch, seen.append) == []

    data = seen[0].data
    assert {one.question["ask"] for one in data.asked} == {"find", "words", "view", "walk", "near"}
    assert all(one.answer for one in data.asked if one.device == "laptop")
    assert len(data.swept) == len(data.memories) == 1
    assert data.questions and data.entries


# Breakages -------------------------------------------------------------------------------------


def break_rows(*statements: str) -> Breakage:
    return lambda run: change_store(run, "laptop", *statements)


def pack_another_document(run: Run) -> None:
    """The document that was packed comes back with a byte less."""
    change_store(run, "laptop", "UPDATE record_packs SET plain_bytes = plain_bytes - 1")


def remember_something_else(run: Run) -> None:
    run.data.memories = [replace(one, value={"text": "else"}) for one in run.data.memories]


def lose_a_page(run: Run) -> None:
    lost = "UPDATE records SET value = '{\"n\":1}' WHERE id = 'laptop-1' AND coll_no IN"
    of = f"(SELECT coll_no FROM collections WHERE name = '{PAGES}')"
    change_store(run, "laptop", f"{lost} {of}")


def die_in_a_migration(run: Run) -> None:
    """Of two pages one was renamed by us, and one was left as it was."""
    laptop = device_of(run, "laptop")
    rows = held(laptop, "memory", PAGES)
    new = rows[0]._replace(value='{"title":"x"}', seq=0)
    statement = 'UPDATE records SET value = \'{"name":"x"}\' WHERE record_no = ?'
    change_store(run, "laptop", statement, parameters=(new.record_no,))
    run.data.migrating["laptop"] = Migrating("memory", laptop.process, 2, (new, *rows[1:]))
    laptop.crash()
    run.world.loop.call_later(0.1, laptop.begin)


def forget_an_erasure(run: Run) -> None:
    """What was erased is still there, and nobody has changed it."""
    letters = held(device_of(run, "laptop"), "memory", "letters")
    (swept,) = run.data.swept
    run.data.swept.append(replace(swept, before=letters, after=letters, who="ann", count=1))


BREAKAGES: dict[str, tuple[str, str, Breakage]] = {
    "an index lost its rows": ("I25", "less [('private-1'", break_rows("DELETE FROM index_1")),
    "a view lost its rows": ("I26", "view in memory", break_rows("DELETE FROM view_rows")),
    "a replay gives another view": (
        *("I26", "a replay of the view by-kind of memory gives another one"),
        break_rows("UPDATE view_rows SET value = '1'"),
    ),
    "words are lost": ("I27", "words in memory", break_rows("DELETE FROM text_pending")),
    "the way back is lost": ("I28", "walk in memory", break_rows("DELETE FROM record_links")),
    "vectors are lost": ("I29", "0 records, 2 are there", break_rows("DELETE FROM vectors")),
    "a document is another": ("I30", "since it was packed", pack_another_document),
    "a page is lost": ("I31", "laptop-1 lost what was written", lose_a_page),
    "a migration is half done": ("I31", "to version 2 is done in part", die_in_a_migration),
    "the past is another": ("I32", "laptop saw something else then", remember_something_else),
    "an erasure left something": ("I33", "letters/l is still there", forget_an_erasure),
}
"""What is broken: the claim that tells of it, in which words; and how."""
TWO_PAGES = step(2_600, "write-page", id="laptop-2", text=f"{CANARY} two", extra={"n": 2})


@pytest.mark.parametrize("what", BREAKAGES)
def test_what_is_broken_is_told(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checker that misses what it is there for is worse than none: people rely on it."""
    claim, part, breakage = BREAKAGES[what]

    violations = violations_of(monkeypatch, breakage, TWO_PAGES)

    assert told(violations, claim, "laptop", part), [str(v) for v in violations]


def test_every_claim_about_data_is_broken_by_a_test_of_this_file() -> None:
    """A claim that no test breaks may be one that cannot be told."""
    claimed = {name for checker in DATA_CHECKERS for name in checker.claims}

    assert claimed == {claim for claim, *_ in BREAKAGES.values()}


def test_what_expires_before_its_time_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it comes back: a mistake here costs people what they wanted to keep."""
    monkeypatch.setattr(lifecycle, "due_ms", lambda *_: 1)

    violations = violations_of(monkeypatch, lambda run: None)

    assert told(violations, "I33", "laptop", "fading/f expired, and had time")


def test_a_packed_document_that_cannot_be_read_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst that can be: the record takes no more writes."""
    breakage = break_rows("UPDATE record_packs SET body = x'ff'")

    violations = violations_of(monkeypatch, breakage)

    assert told(violations, "I30", "laptop", "a packed document cannot be read")


# The model -------------------------------------------------------------------------------------


def record(number: int, id: str, **value: Any) -> Held:
    return Held(number, "facts", id, 1, 0, json.dumps(value), 0, 1, number)


CONTENT = Content(
    (
        record(1, "a", n=1, topic="tea", to=link_to("facts", "b"), embedding={"x": 1}),
        record(2, "b", n="1", topic="rain", about="a"),
        record(3, "c", n=None, topic="Tea time", about=["a", "gone"]),
        record(4, "d", n=2.5),
    ),
    (LinkField("memory", "facts", "about", "memory", "facts"),),
    (),
)
RIGHT: list[tuple[dict[str, Any], Any]] = [
    ({"ask": "find", "where": {"n": 1}, "order": None}, ["a"]),
    ({"ask": "find", "where": {"n": {"!=": 1}}, "order": "-n"}, ["b", "d", "c"]),
    ({"ask": "find", "where": {}, "order": ["n"]}, ["c", "a", "d", "b"]),
    ({"ask": "find", "where": {}, "order": None, "text": "tea"}, ["c", "a"]),
    ({"ask": "find", "where": {"n": {"exists": True}, "topic": {"prefix": "T"}}}, ["c"]),
]
WALKS = [
    ({"id": "a", "depth": 1, "back": True}, ["a0", "b1", "c1"]),
    ({"id": "a", "depth": 5, "back": True}, ["a0", "b1", "c1"]),
    ({"id": "c", "depth": 2, "back": False}, ["c0", "a1", "gone1", "b2"]),
]


@pytest.mark.parametrize(("asked", "ids"), RIGHT)
def test_the_model_finds_what_the_guide_says(asked: dict[str, Any], ids: list[str]) -> None:
    """A model with a mistake of its own would cry wolf, or worse, agree with ours."""
    question = {**asked, "collection": "facts"}
    rows = [(id, 1, 0) for id in ids]

    assert mistake_in("memory", question, CONTENT, rows) == ""
    assert mistake_in("memory", question, CONTENT, rows[1:]).startswith("more [], less [(")
    assert mistake_in("memory", question, CONTENT, [*rows, ("e", 1, 0)]).startswith("more [('e'")
    if len(rows) > 1:
        assert "another order" in mistake_in("memory", question, CONTENT, rows[::-1])


@pytest.mark.parametrize(("asked", "reached"), WALKS)
def test_the_model_walks_there_and_back(asked: dict[str, Any], reached: list[str]) -> None:
    """By links in maps, by declared fields, and to records that are not here."""
    question = {"ask": "walk", "collection": "facts", **asked}
    there = {row.id for row in CONTENT.records}
    rows = sorted(("memory", "facts", one[:-1], int(one[-1]), one[:-1] in there) for one in reached)

    assert mistake_in("memory", question, CONTENT, rows) == ""
    assert mistake_in("memory", question, CONTENT, rows[1:])


@pytest.mark.parametrize(
    ("where", "passing"),
    [
        ({"n": True}, False),
        ({"n": {"in": [True, 1.0]}}, True),
        ({"n": {">": "0"}}, False),
        ({"n": {">": 0, "<": 2}}, True),
        ({"gone": {"exists": False}}, True),
        ({"gone": {"!=": 3}}, True),
        ({"gone": None}, False),
        ({"marks": {"has": 1}}, True),
        ({"marks": {"has": True}}, False),
    ],
)
def test_the_model_keeps_kinds_of_values_apart(where: dict[str, Any], passing: bool) -> None:
    """In Python True is 1, and in Covey it is not."""
    assert passes({"n": 1, "marks": [1, "a"]}, where) is passing


def test_the_model_compares_vectors_by_their_score() -> None:
    """Of two that are as near, either may come; one that is further may not."""
    embedded = [
        record(n, id, embedding={f"{MODEL}@1": to_json(Vector(numbers))})
        for n, (id, numbers) in enumerate(
            {"a": [1, 0, 0, 0], "b": [2, 0, 0, 0], "c": [0, 1, 0, 0], "d": [0] * DIMENSION}.items()
        )
    ]
    content = Content(tuple(embedded), (), ())
    question: dict[str, Any] = {"ask": "near", "collection": "facts", "vector": [*NEAR[:3], 0.0]}
    question |= {"version": "1", "k": 1, "where": {}}

    assert mistake_in("memory", question, content, [("a", 1.0)]) == ""
    assert mistake_in("memory", question, content, [("b", 1.0)]) == ""
    assert mistake_in("memory", question, content, [("c", 0.0)]) == "c is not the next nearest"
    assert mistake_in("memory", question, content, [("c", 1.0)]) == "c has another score"
    assert mistake_in("memory", question, content, []) == "0 records, 1 are there"


def test_migrating_in_the_model_leaves_alone_what_is_new() -> None:
    """Records of several versions are compared by how many steps may lead there."""
    assert migrated({"title": "x"}, 2) == {"name": "x", "stage": 1}
    assert migrated({"name": "x", "stage": 3}, 2) == {"name": "x", "stage": 3}
    assert migrated({"title": "new", "name": "old"}, 1) == {"name": "new"}
