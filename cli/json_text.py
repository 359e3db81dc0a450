"""JSON text: values that people type or pipe in, with what is wrong in words.

Python reads more than JSON says (NaN), and numbers that it then cannot write (1e999).
"""

import json
import math
from typing import Any


def read_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError that tells the place and not the content."""
    try:
        return json.loads(text, parse_constant=_refused, parse_float=_float, parse_int=_int)
    except json.JSONDecodeError as error:
        where = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise ValueError(where) from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _refused(name: str) -> None:
    raise ValueError(f"{name} is not in JSON")


def _float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number in it is too large")
    return number


def _int(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # Of Python, whose limit is thousands of digits.
        raise ValueError("a number in it is too large") from None
