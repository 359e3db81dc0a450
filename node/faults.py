"""Faults: what may be said of an exception to a person, in a log, or over the local socket.

A `CoveyError` was worded for a person and is passed on as it is. Anything else is a defect of
ours, and its own text may hold what the user stored (`KeyError: 'diagnosis'`), so only its type
and the place where it was raised are told. Exit codes: docs/cli.md, "Exit codes".
"""

from dataclasses import dataclass
from pathlib import PurePath
from traceback import extract_tb

from .. import CoveyError

DEFECT_EXIT_CODE = 70
"""EX_SOFTWARE of BSD's sysexits.h: apart from 1, so that a crash never reads as "not found"."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One line for a person, and what the command line ends with."""

    message: str
    exit_code: int


def describe(error: BaseException) -> Fault:
    """The line and exit code for `error`. The line holds no record content and no secret."""
    if isinstance(error, CoveyError):
        return Fault(" ".join(str(error).split()), error.exit_code)
    return Fault(
        f"a defect in covey: {type(error).__name__} at {_place(error)}; please report it",
        DEFECT_EXIT_CODE,
    )


def _place(error: BaseException) -> str:
    frames = extract_tb(error.__traceback__)
    if not frames:
        return "an unknown place"
    return f"{PurePath(frames[-1].filename).name}:{frames[-1].lineno}"
