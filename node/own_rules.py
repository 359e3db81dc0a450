"""Own rules: functions by which an application decides conflicts, looked at before they count.

A rule that depended on the order of its candidates, on a clock or on chance would give every device
another value. So it is tried on samples, several times and in several orders.
"""

import itertools
from collections.abc import MutableMapping, Sequence
from typing import Any

from .. import CoveyError
from ..sync.errors import BadValueError
from ..sync.rules import RULE_NAMES, Candidate, DoesNotFitError, Rule
from ..sync.session_limits import SETTING_BYTES_MAX
from ..sync.values import same, to_plain

_SAMPLES: Sequence[tuple[Any, ...]] = (
    (1, 2),
    (3, 1.5, -2),
    ("one", "two"),
    (True, None),
    (["a"], ["b", "a"]),
    ({"value": 1, "weight": 2}, {"value": 2, "weight": 1}),
)


class RuleRefusedError(CoveyError):
    """A rule of an application does not keep to what every rule must. It was not taken."""

    exit_code = 2


def register(rules: MutableMapping[str, Rule], name: str, rule: Rule) -> None:
    """Take a rule, or another function for one that was taken. Raises RuleRefusedError."""
    if name in RULE_NAMES or not 1 <= len(name.encode()) <= SETTING_BYTES_MAX:
        raise RuleRefusedError(f"{name:.40}: not a name for a rule of your own; choose another")
    for values in _SAMPLES:
        candidates = [
            Candidate(at, bytes([at]) * 32, (at, bytes(16)), value)
            for at, value in enumerate(values)
        ]
        first = _outcome(name, rule, candidates)
        for order in itertools.permutations(candidates):
            if not same(first, _outcome(name, rule, order)):
                raise RuleRefusedError(
                    f"{name}: gave two values for the same candidates; it must depend on nothing"
                    " else, and not on their order but by their times"
                )
    rules[name] = rule


def _outcome(name: str, rule: Rule, candidates: Sequence[Candidate]) -> Any:
    try:
        value = rule(tuple(candidates), bytes(32))
        return to_plain({"value": value})["value"]
    except DoesNotFitError:
        return None
    except BadValueError as error:
        raise RuleRefusedError(f"{name}: gave what a record cannot hold: {error}") from None
    except Exception as error:
        raise RuleRefusedError(
            f"{name}: failed with {type(error).__name__}; raise DoesNotFitError for what the rule"
            " is not for"
        ) from error
