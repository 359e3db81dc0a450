"""Options that many commands share, and the node that a command talks to.

`Settings` holds what stands before the command; `--json` may stand after any command and ends up
there too. `open_node` gives the running node of the home if there is one and otherwise opens the
home in this process, which asks for its key.

Contract: docs/cli.md, "Global options". Imports nothing slow: every command passes through here.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .client import NodeCalls, connect

if TYPE_CHECKING:
    from ..node.ports import Address

LEVELS = ("full", "limited", "guest")
DEVICE_TYPES = ("laptop", "phone", "tablet", "desktop", "server")
PRIVACY_LEVELS = ("device", "private", "family", "public")

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class Settings:
    """What a command is run with. `home` is an absolute path; the rest is as it was given."""

    home: str = ""
    key_file: str | None = None
    passphrase_fd: int | None = None
    words_fd: int | None = None
    recovery: bool = False
    verbose: bool = False
    json: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    """How a node that is to run meets the network."""

    listen: "Address | None"
    mdns: bool
    peers: "tuple[Address, ...]"
    capture: Path | None


pass_settings = click.make_pass_decorator(Settings)


def default_home() -> str:
    """The home of this user's device where none is named."""
    # Imported late: most scripts name the home and need not pay for it.
    from platformdirs import user_data_dir

    return user_data_dir("covey", appauthor=False)


def json_option(command: F) -> F:
    """Adds `--json`, whose value goes to the settings and not to the command."""
    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_remember_json,
        help="Answer with JSON on standard output.",
    )(command)


def limit_option(command: F) -> F:
    return click.option(
        "--limit",
        type=click.IntRange(1, 10_000),
        default=100,
        show_default=True,
        metavar="N",
        help="At most so many.",
    )(command)


def timeout_option(
    default_s: float, *, may_be_zero: bool = False, help: str = "Seconds to wait."
) -> Callable[[F], F]:
    return click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(0, min_open=not may_be_zero),
        default=default_s,
        show_default=True,
        metavar="S",
        help=help,
    )


def record_arguments(command: F) -> F:
    """Adds DB COLLECTION ID: which record."""
    for name, shown in (("record_id", "ID"), ("collection", None), ("database", "DB")):
        command = click.argument(name, metavar=shown)(command)
    return command


def days_option(command: F) -> F:
    return click.option(
        "--days", type=click.IntRange(1, 3650), metavar="N", help="Remove it after so many days."
    )(command)


@contextmanager
def open_node(settings: Settings, *, online: bool = False) -> Iterator[NodeCalls]:
    """The node of the home while the block runs: the running one, or one in this process.

    `online` lets a node in this process reach and be reached by other devices.
    """
    node: NodeCalls | None = connect(settings.home)
    if node is None:
        from pathlib import Path

        from .local import LocalNode
        from .unlocking import unlock_existing

        node = LocalNode(Path(settings.home), unlock_existing(settings), online=online)
    try:
        yield node
    finally:
        node.close()


def person_present() -> bool:
    """Can somebody be asked? Both what they type and what they see must be a terminal."""
    return sys.stdin.isatty() and (sys.stdout.isatty() or sys.stderr.isatty())


def absolute_home(context: click.Context, _: click.Parameter, home: str | None) -> str:
    """The callback of `--home`: made absolute once, because it names sockets and stores."""
    if context.resilient_parsing:
        return ""
    return os.path.abspath(home or default_home())


def _remember_json(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        context.ensure_object(Settings).json = True
