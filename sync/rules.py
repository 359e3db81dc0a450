"""Rules: what counts where several writes of one field did not know of one another.

A rule gets the candidates in one order, the same on every device, and gives one value, or says
that it does not fit them. Then, as for `manual` and for every name that this version does not
know, the field waits for a person, and what was written last is shown meanwhile. A rule depends
on its candidates alone: no clock, no chance, no device of its own.

Numbers are added with `math.fsum`, so that a mean does not depend on the order of its parts.

Spec: docs/protocol.md, section 13. Values are plain (values.py).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from math import fsum, isfinite
from typing import Any, NamedTuple

from .limits import INTEGER_MAX
from .values import Text, same

LAST_WRITER_WINS = "last-writer-wins"
MANUAL = "manual"
RULES_VERSION = 1
"""Raised when a rule of a known name decides otherwise than before: stores judge anew by it."""
TIME_FIELDS = ("time", "at", "created_at", "timestamp", "date")
"""Where a message says when it was: the first of these that all messages have."""


class Candidate(NamedTuple):
    """One of several writes of a field. Candidates sort by time, then device, then id."""

    hlc: int
    device: bytes
    op: tuple[int, bytes]
    value: Any


class Outcome(NamedTuple):
    """What a rule made of a contest."""

    value: Any
    is_open: bool = False
    """Whether a person has to decide; `value` is shown until then."""
    is_known: bool = True
    """Whether this version has a rule of that name, or it is `manual`."""
    reembed: bool = False
    """Whether vectors of different content met, so that an embedding has to be made anew."""


class DoesNotFitError(Exception):
    """The candidates are not of the kind that the rule is for."""


Rule = Callable[[Sequence[Candidate], bytes], Any]
"""Candidates in order, and the device on which the record was born, to a plain value.

Raises DoesNotFitError."""


def settle(
    rule: str,
    candidates: Iterable[Candidate],
    origin: bytes,
    own_rules: Mapping[str, Rule] | None = None,
) -> Outcome:
    """What the rule of this name makes of candidates, of which there are two or more."""
    ordered = sorted(candidates, key=lambda one: one[:3])
    last = ordered[-1].value
    found = RULES.get(rule) or (own_rules or {}).get(rule)
    if found is None:
        return Outcome(last, is_open=True, is_known=rule == MANUAL)
    try:
        value = found(ordered, origin)
    except DoesNotFitError:
        return Outcome(last, is_open=True)
    return Outcome(value, reembed=rule == "vector" and _differ(ordered))


def _last(candidates: Sequence[Candidate], _: bytes) -> Any:
    return candidates[-1].value


def _origin(candidates: Sequence[Candidate], origin: bytes) -> Any:
    own = [one.value for one in candidates if one.device == origin]
    return own[-1] if own else candidates[-1].value


def _union(candidates: Sequence[Candidate], _: bytes) -> list[Any]:
    value: list[Any] = []
    for one in candidates:
        if type(one.value) is not list:
            raise DoesNotFitError
        value += [item for item in one.value if not any(same(item, known) for known in value)]
    return value


def _chronological(candidates: Sequence[Candidate], origin: bytes) -> list[Any]:
    messages = _union(candidates, origin)
    for name in TIME_FIELDS:
        times = [item.get(name) if type(item) is dict else None for item in messages]
        kinds = {type(time) for time in times}
        if len(kinds) == 1 and kinds <= {int, float, str, datetime}:
            order = sorted(range(len(messages)), key=lambda i: times[i])  # type: ignore[arg-type,return-value]
            return [messages[i] for i in order]
    return messages


def _extreme(choose: Callable[..., Any]) -> Rule:
    def rule(candidates: Sequence[Candidate], _: bytes) -> Any:
        values = [one.value for one in candidates]
        kinds = {int if type(value) is float else type(value) for value in values}
        if len(kinds) != 1 or not kinds <= {int, str, datetime}:
            raise DoesNotFitError
        return choose(values)

    return rule


def _sum(candidates: Sequence[Candidate], _: bytes) -> int | float:
    return _number(fsum, [_as_number(one.value) for one in candidates])


def _weighted(candidates: Sequence[Candidate], _: bytes) -> Any:
    """Numbers, or maps with a `value` and a `weight`; all of one kind."""
    parts = [_part(one.value, "weight") for one in candidates]
    mean = _mean(parts)
    if type(candidates[0].value) is not dict:
        return mean
    return {"value": mean, "weight": _number(fsum, [weight for _, weight in parts])}


def _blend(candidates: Sequence[Candidate], _: bytes) -> dict[str, Any]:
    """Maps with a `value` and a `confidence`. Numbers are blended by it; of words the one with
    the most confidence in sum counts."""
    if any(type(one.value) is not dict for one in candidates):
        raise DoesNotFitError
    values = [one.value.get("value") for one in candidates]
    if all(type(value) is str for value in values):
        sums: dict[str, float] = {}
        for one in candidates:
            word = one.value["value"]
            sums[word] = sums.get(word, 0.0) + _weight(one.value.get("confidence"))
        word = max(sorted(sums), key=lambda each: sums[each])
        total = fsum(sums.values())
        return {"value": word, "confidence": sums[word] / total if total else 0.0}
    parts = [_part(one.value, "confidence") for one in candidates]
    squares = fsum(weight * weight for _, weight in parts)
    total = fsum(weight for _, weight in parts)
    return {"value": _mean(parts), "confidence": squares / total if total else 0.0}


def _text(candidates: Sequence[Candidate], _: bytes) -> Any:
    """Every line of every text, once, in the order of the writes."""
    kinds = {type(one.value) for one in candidates}
    if kinds not in ({str}, {Text}):
        raise DoesNotFitError
    texts = [one.value.content if type(one.value) is Text else one.value for one in candidates]
    lines: dict[str, None] = {}
    for text in texts:
        lines.update(dict.fromkeys(text.split("\n")))
    merged = "\n".join(lines)
    return Text(merged) if kinds == {Text} else merged


RULES: Mapping[str, Rule] = {
    LAST_WRITER_WINS: _last,
    "chronological": _chronological,
    "weighted-average": _weighted,
    "confidence-blend": _blend,
    "union": _union,
    "max": _extreme(max),
    "min": _extreme(min),
    "sum": _sum,
    "text": _text,
    "origin-wins": _origin,
    "vector": _last,
}
RULE_NAMES = (*RULES, MANUAL)
EDIT_WINS, DELETE_WINS = "edit-wins", "delete-wins"
DELETION_RULES = (EDIT_WINS, DELETE_WINS, MANUAL)
"""For records that one device deleted and another edited."""


def _differ(candidates: Sequence[Candidate]) -> bool:
    return not all(same(one.value, candidates[0].value) for one in candidates)


def _as_number(value: Any) -> int | float:
    if type(value) is not int and type(value) is not float:
        raise DoesNotFitError
    return value


def _weight(value: Any) -> float:
    number = _as_number(value)
    if number < 0:
        raise DoesNotFitError
    return number


def _part(value: Any, weight: str) -> tuple[int | float, int | float]:
    if type(value) is dict:
        return _as_number(value.get("value")), _weight(value.get(weight))
    if weight == "weight":
        return _as_number(value), 1
    raise DoesNotFitError


def _mean(parts: Sequence[tuple[int | float, int | float]]) -> int | float:
    try:
        total = fsum(weight for _, weight in parts)
        mean = fsum(value * weight for value, weight in parts) / total
    except (ZeroDivisionError, OverflowError):
        raise DoesNotFitError from None
    if not isfinite(mean):
        raise DoesNotFitError
    return mean


def _number(add: Callable[[Iterable[Any]], float], numbers: Sequence[int | float]) -> int | float:
    """A sum of the kind of its parts. Whole numbers are added exactly."""
    if all(type(number) is int for number in numbers):
        whole = sum(numbers)
        if not -INTEGER_MAX <= whole <= INTEGER_MAX:
            raise DoesNotFitError
        return whole
    try:
        total = add(numbers)
    except OverflowError:
        raise DoesNotFitError from None
    if not isfinite(total):
        raise DoesNotFitError
    return total
