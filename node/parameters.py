"""Parameters: what a caller of the service sent, checked before it is used.

The local API passes on what it was sent, so nothing about a parameter is known.
"""

from typing import Any

from .. import CoveyError

Json = dict[str, Any]


class UsageError(CoveyError):
    """A parameter is missing, of the wrong type, or out of range. Nothing was done."""

    exit_code = 2


DAY_MS = 86_400_000
DAYS_MAX = 3650
LIMIT_DEFAULT = 100
LIMIT_MAX = 10_000
ROWS_DEFAULT = 10_000
"""Of an answer of SQL."""


def days(params: Json) -> int | None:
    """For how many days a device is trusted, if not for good. Raises UsageError."""
    value = params.get("days")
    if value is not None and (type(value) is not int or not 0 < value <= DAYS_MAX):
        raise UsageError(f"days: a number from 1 to {DAYS_MAX} was expected")
    return value


def text(params: Json, name: str) -> str:
    """A parameter that must be a text. Raises UsageError."""
    value = params.get(name)
    if not isinstance(value, str):
        raise UsageError(f"{name}: a text was expected")
    return value


def limit(params: Json) -> int:
    """How many rows an answer may have. Raises UsageError."""
    value = params.get("limit")
    value = LIMIT_DEFAULT if value is None else value
    if type(value) is not int or not 0 < value <= LIMIT_MAX:
        raise UsageError(f"limit: a number from 1 to {LIMIT_MAX} was expected")
    return value
