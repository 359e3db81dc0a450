"""Data model: the answers to questions by walking through all records, in plain Python.

Written from docs/data alone and without the node's indexes, feeds or SQL, so that a mistake in
those is not made twice. Texts are compared by code point; a number is a number however it is
written; values of different kinds are never equal and none is before or after another.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ...sync.values import Vector, from_json
from ..data_log import Content, Held, Question, of_collection
from ..data_shapes import DIMENSION, FIELD, MODEL, VIEWS

_WORD = re.compile(r"[^\W_]+")
_LINK = "covey:"
ROUNDING = 1e-5
Target = tuple[str, str, str]


def mistake_in(database: str, question: Question, content: Content, answer: Any) -> str:
    """What is wrong with an answer, in words without contents; empty if it is right."""
    match question["ask"]:
        case "find":
            return _unlike(_found(question, content), answer)
        case "words":
            return _unlike(_with_words(question, content), answer)
        case "view":
            return _other_rows(question, content, answer)
        case "walk":
            return _unlike(_walked(database, question, content), answer)
        case _:
            return _other_than_nearest(question, content, answer)


def _unlike(expected: list[Any], answer: list[Any]) -> str:
    if expected == answer:
        return ""
    more = [one for one in answer if one not in expected]
    less = [one for one in expected if one not in answer]
    return f"more {more[:3]}, less {less[:3]}" if more or less else "in another order, or twice"


# Conditions and orders -------------------------------------------------------------------------


def _found(question: Question, content: Content) -> list[Any]:
    rows = []
    for row in of_collection(content.records, question["collection"]):
        value = json.loads(row.value)
        if passes(value, question["where"]) and _has_words(value, question.get("text")):
            rows.append((row, value))
    order = question.get("order")
    if question.get("text") is not None and not order:
        rows.sort(key=lambda one: -one[0].record_no)
    else:
        rows.sort(key=lambda one: (one[0].id, one[0].privacy))
        for field in reversed([order] if isinstance(order, str) else order or []):
            down, name = field.startswith("-"), field.removeprefix("-")
            rows.sort(key=lambda one, n=name: _rank(one[1].get(n)), reverse=down)  # type: ignore[misc]
    return [(row.id, row.privacy, row.bucket) for row, _ in rows]


def _rank(value: Any) -> tuple[int, Any]:
    """Missing and null, then numbers (with false and true among them), then texts and lists."""
    match value:
        case None:
            return 0, -math.inf
        case int() | float():
            return 0, value
        case str():
            return 1, value
    return 1, json.dumps(value, separators=(",", ":"))


def passes(record: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Whether a record in JSON form passes every condition."""
    for field, asked in where.items():
        tests = asked if isinstance(asked, dict) else {"=": asked}
        if not all(_passes(record, field, test, wanted) for test, wanted in tests.items()):
            return False
    return True


def _passes(record: Mapping[str, Any], field: str, test: str, wanted: Any) -> bool:  # noqa: C901
    value = record.get(field)
    match test:
        case "=":
            return field in record and _equal(value, wanted)
        case "!=":
            return not (field in record and _equal(value, wanted))
        case "in":
            return field in record and any(_equal(value, one) for one in wanted)
        case "exists":
            return (field in record) is bool(wanted)
        case "has":
            return isinstance(value, list) and any(_equal(one, wanted) for one in value)
        case "prefix":
            return isinstance(value, str) and value.startswith(wanted)
    if _kind(value) != _kind(wanted) or _kind(value) not in ("number", "text"):
        return False
    match test:
        case "<":
            return bool(value < wanted)
        case "<=":
            return bool(value <= wanted)
        case ">":
            return bool(value > wanted)
    return bool(value >= wanted)


def _equal(one: Any, other: Any) -> bool:
    return _kind(one) == _kind(other) and bool(one == other)


def _kind(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    return "list" if isinstance(value, list) else "object"


# Words -----------------------------------------------------------------------------------------


def _with_words(question: Question, content: Content) -> list[Any]:
    wanted = question.get("collection")
    return sorted(
        (row.collection, row.id, row.privacy)
        for row in content.records
        if wanted in (None, row.collection) and _has_words(json.loads(row.value), question["text"])
    )


def _has_words(record: Any, text: str | None) -> bool:
    """All words of the text, the last of which may be a beginning."""
    if text is None:
        return True
    words = _words(text)
    if not words:
        return False
    there = {word for one in _texts(record) for word in _words(one)}
    *whole, last = words
    return all(word in there for word in whole) and any(word.startswith(last) for word in there)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _texts(value: Any) -> Iterable[str]:
    """The texts of a record: those of a vector are none."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict) and "$vector" not in value:
        for one in value.values():
            yield from _texts(one)


# Views -----------------------------------------------------------------------------------------


def _other_rows(question: Question, content: Content, answer: Any) -> str:
    function = VIEWS[question["name"]][question["version"] - 1]
    made: list[tuple[Any, ...]] = []
    skipped: list[tuple[Any, ...]] = []
    for row in of_collection(content.records, question["collection"]):
        try:
            rows = list(function(row.id, from_json(json.loads(row.value))))
        except Exception as error:
            skipped.append((row.id, type(error).__name__))
            continue
        made += [(key, value, row) for key, value in rows]
    made.sort(key=lambda one: ([*map(_place, one[0])], one[2].id, one[2].privacy))
    rows_differ = _unlike([(key, value, row.id) for key, value, row in made], answer["rows"])
    return rows_differ or _unlike(sorted(skipped), sorted(answer["skipped"]))


def _place(value: Any) -> tuple[int, Any]:
    """null < false < true < numbers < texts."""
    match value:
        case None:
            return 0, 0
        case bool():
            return 1 + value, 0
        case str():
            return 4, value
    return 3, value


# Links -----------------------------------------------------------------------------------------


def _walked(database: str, question: Question, content: Content) -> list[Any]:
    there = {(database, row.collection, row.id) for row in content.records}
    ways: dict[Target, set[Target]] = {}
    for row in content.records:
        source = (database, row.collection, row.id)
        for target in _links(database, row, content):
            one, other = (target, source) if question["back"] else (source, target)
            ways.setdefault(one, set()).add(other)
    start = (database, question["collection"], question["id"])
    reached, level = {start: 0}, [start]
    for depth in range(1, question["depth"] + 1):
        near = {target for source in level for target in ways.get(source, ())}
        level = sorted(near - reached.keys())
        reached.update(dict.fromkeys(level, depth))
    return sorted((*target, depth, target in there) for target, depth in reached.items())


def _links(database: str, row: Held, content: Content) -> list[Target]:
    value = json.loads(row.value)
    found: set[Target] = set()
    for one in value.values():
        if isinstance(one, dict) and list(one) == ["link"]:
            collection, id = one["link"].removeprefix(_LINK).split("/")
            found.add((database, collection, id))
    for field in content.links:
        if (field.database, field.collection) == (database, row.collection):
            said = value.get(field.field)
            ids = said if isinstance(said, list) else [said]
            texts = [one for one in ids if isinstance(one, str) and one]
            found |= {(field.to_database, field.to_collection, id) for id in texts}
    return sorted(found)


# Vectors ---------------------------------------------------------------------------------------


def _other_than_nearest(question: Question, content: Content, answer: Any) -> str:
    """By the score and not the record: of those that are as near any will do."""
    scores: dict[str, list[float]] = {}
    for row in of_collection(content.records, question["collection"]):
        value = json.loads(row.value)
        numbers = _numbers(value, question["version"])
        if numbers is not None and passes(value, question["where"]):
            scores.setdefault(row.id, []).append(_cosine(numbers, question["vector"]))
    best = sorted((score for each in scores.values() for score in each), reverse=True)
    best = best[: question["k"]]
    if len(answer) != len(best):
        return f"{len(answer)} records, {len(best)} are there"
    for (id, score), expected in zip(answer, best, strict=True):
        if all(abs(score - one) > ROUNDING for one in scores.get(id, ())):
            return f"{id} has another score"
        if abs(score - expected) > ROUNDING:
            return f"{id} is not the next nearest"
    return ""


def _numbers(record: Mapping[str, Any], version: str) -> list[float] | None:
    """The embedding of a version in a record, if it points anywhere."""
    embedding = record.get(FIELD)
    found = from_json(embedding.get(f"{MODEL}@{version}")) if isinstance(embedding, dict) else None
    if not isinstance(found, Vector):
        return None
    numbers = found.floats()
    return numbers if len(numbers) == DIMENSION and any(numbers) else None


def _cosine(one: list[float], other: list[float]) -> float:
    product = math.fsum(a * b for a, b in zip(one, other, strict=True))
    return product / math.hypot(*one) / math.hypot(*other)
