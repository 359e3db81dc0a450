"""Errors at the command line: every way a command can end becomes one line and one exit code.

`guard` runs a command and returns its exit code; it is the only place that prints an error. A
`CoveyError` brings its own sentence and code; a failing system call tells its file and reason;
anything else is a defect and shows no more than `covey.node.faults` allows. A trace comes only with
`--verbose`, and without the texts of the exceptions in it, which may hold what the user stored.

Exit codes: docs/cli.md, "Exit codes".
"""

import errno
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from .. import CoveyError
from .output import visible

USAGE, INTERRUPTED, PIPE_CLOSED = 2, 130, 141
STORE_FULL_OR_DAMAGED = 6
_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS})
_GLOBAL_OPTIONS = frozenset(
    {"--home", "--key-file", "--passphrase-fd", "--words-fd", "--recovery", "--verbose"}
)


class NodeError(CoveyError):
    """A node said no, or cannot be talked to. The text and `exit_code` are the node's own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class NotSoError(CoveyError):
    """What was asked for is not so: there is no such record, the line of a file is not JSON."""

    exit_code = 1


class LogChangedError(CoveyError):
    """The audit log is not what was written. Nothing else of the store is known to be damaged."""

    exit_code = STORE_FULL_OR_DAMAGED

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"{problem}. From there on it proves nothing; if it was not you, somebody else can"
            " unlock this device: remove it from the mesh"
        )


class DeclinedError(CoveyError):
    """A person or the other device said no. Nobody was admitted."""

    exit_code = 3


class NobodyThereError(CoveyError):
    """No other device could be reached. Trying again later may succeed."""

    exit_code = 4


class ReaderGoneError(Exception):
    """Whoever read our output has gone. Not an OSError: click would end with 1 for that."""


def guard(action: Callable[[], Any], is_verbose: Callable[[], bool]) -> int:
    """Run `action`, print what went wrong, and return the exit code.

    `action` may return an exit code itself (click does, for `Context.exit`).
    """
    try:
        code = action()
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except (ReaderGoneError, BrokenPipeError):
        # The reader (`head`, say) has gone. What Python flushes at its end must go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return PIPE_CLOSED
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except click.ClickException as error:
        _tell(_usage_line(error))
        return USAGE
    except Exception as error:
        message, code = _line_and_code(error)
        _tell(message)
        if is_verbose():
            _trace(error)
        return code


def _line_and_code(error: Exception) -> tuple[str, int]:
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if isinstance(error.filename, str) else ""
        code = STORE_FULL_OR_DAMAGED if error.errno in _DISK_ERRORS else 1
        return f"{where}{error.strerror}", code
    from ..node.faults import describe

    fault = describe(error)
    return fault.message, fault.exit_code


def _usage_line(error: click.ClickException) -> str:
    line = " ".join(error.format_message().split())
    if isinstance(error, click.NoSuchOption) and error.option_name in _GLOBAL_OPTIONS:
        return f"{error.option_name} stands before the command: covey {error.option_name} … COMMAND"
    context = getattr(error, "ctx", None)
    return line if context is None else f"{line} Try '{context.command_path} --help'."


def _tell(line: str) -> None:
    click.echo(f"covey: {visible(line)}", err=True)


def _trace(error: Exception) -> None:
    import traceback

    cause: BaseException | None = error
    while cause is not None:
        click.echo(f"{type(cause).__name__}, raised here:", err=True)
        click.echo("".join(traceback.format_tb(cause.__traceback__)), err=True, nl=False)
        cause = cause.__cause__ or cause.__context__
