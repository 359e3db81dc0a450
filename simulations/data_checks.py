"""Data checks: whether what a plan asks of the data layer, and declares there, can be done at all.

What a node refuses by itself, such as a test that there is not, is left to the node.
"""

from collections.abc import Callable
from typing import Any

from .data_questions import ASKED
from .data_shapes import DIMENSION, VERSIONS, VIEWS

DECLARED = (*("index", "no-index", "link", "no-link", "vectors", "no-vectors", "ages", "no-ages"),)


def is_question(value: Any, _: frozenset[str]) -> bool:
    return _has(value, "ask", ASKED, _QUESTIONS)


def is_declaration(value: Any, _: frozenset[str]) -> bool:
    return _has(value, "what", DECLARED, _DECLARATIONS) and _is_text(value.get("collection"))


def is_version(value: Any, _: frozenset[str]) -> bool:
    """Of the schema of a simulation."""
    return type(value) is int and 1 <= value <= VERSIONS


def are_values(value: Any, _: frozenset[str]) -> bool:
    """Fields of a record, in the JSON form of values. A time is a number of milliseconds."""
    return isinstance(value, dict) and type(value.get("until", 0)) is int


def _has(value: Any, kind: str, kinds: tuple[str, ...], needs: dict[str, dict[str, Any]]) -> bool:
    if not isinstance(value, dict) or value.get(kind) not in kinds:
        return False
    return all(key in value and test(value[key]) for key, test in needs[value[kind]].items())


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_number(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_known(value: Any) -> bool:
    return type(value) is bool


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _or_none(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or test(value)


def _is_vector(value: Any) -> bool:
    numbers = isinstance(value, list) and all(type(one) in (int, float) for one in value)
    return numbers and len(value) == DIMENSION and any(value)


_QUESTIONS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "find": {"collection": _is_text, "where": _is_table, "page": _is_count},
    "words": {"text": _is_text},
    "view": {
        "collection": _is_text,
        "name": lambda value: value in VIEWS,
        "version": lambda value: value in (1, 2),
    },
    "walk": {"collection": _is_text, "id": _is_text, "depth": _is_number, "back": _is_known},
    "near": {
        "collection": _is_text,
        "vector": _is_vector,
        "version": _is_text,
        "k": _is_count,
        "where": _is_table,
    },
}
_DECLARATIONS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "index": {"fields": _are_texts},
    "no-index": {"fields": _are_texts},
    "link": {"field": _is_text, "to": _is_text},
    "no-link": {"field": _is_text},
    "vectors": {"version": _is_text},
    "no-vectors": {"version": _is_text},
    "ages": {
        "expires": _or_none(_is_text),
        "keep": _or_none(_is_number),
        "warm": _is_number,
        "cold": _is_number,
    },
    "no-ages": {},
}
