"""Parameters: what a caller of the service sent, checked before it is used.

The local API passes on what it was sent, so nothing about a parameter is known.
"""

from typing import Any

from .. import CoveyError

Json = dict[str, Any]


class UsageError(CoveyError):
    """A parameter is missing, of the wrong type, or out of range. Nothing was done."""

    exit_code = 2


def text(params: Json, name: str) -> str:
    """A parameter that must be a text. Raises UsageError."""
    value = params.get(name)
    if not isinstance(value, str):
        raise UsageError(f"{name}: a text was expected")
    return value
