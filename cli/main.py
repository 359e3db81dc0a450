"""The entry of the command line: the group `covey`, its global options, its list of commands.

A command's module is imported when the command is named, so that `covey get` pays for no other.
Errors and exit codes are in `errors.py`. `python -m covey.cli.reference` writes docs/cli.md
from the commands listed here.
"""

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click

from .errors import ReaderGoneError, guard
from .options import Settings, absolute_home

COMMANDS = {
    "init": "node_commands",
    "up": "node_commands",
    "down": "node_commands",
    "pair": "pair_commands",
    "join": "pair_commands",
    "recovery": "recovery_commands",
    "vault": "vault_commands",
    "backup": "backup_commands",
    "restore": "backup_commands",
    "devices": "device_commands",
    "db": "database_commands",
    "put": "data_commands",
    "get": "data_commands",
    "delete": "data_commands",
    "move": "data_commands",
    "ls": "data_commands",
    "find": "query_commands",
    "watch": "query_commands",
    "search": "query_commands",
    "history": "query_commands",
    "index": "query_commands",
    "similar": "vector_commands",
    "sql": "sql_commands",
    "links": "link_commands",
    "link": "link_commands",
    "views": "view_commands",
    "blob": "blob_commands",
    "import": "transfer_commands",
    "export": "transfer_commands",
    "erase": "erase_commands",
    "sync": "sync_commands",
    "fetch": "sync_commands",
    "status": "sync_commands",
    "conflicts": "conflict_commands",
    "policy": "policy_commands",
    "schema": "schema_commands",
    "settings": "settings_commands",
    "storage": "storage_commands",
    "cache": "cache_commands",
    "log": "log_commands",
    "simulate": "simulate_commands",
    "demo": "node_commands",
    "completion": "completion",
}
"""Command -> module that defines it, in the order of the help page."""

_ATTRIBUTES = {"import": "import_command"}
"""Where a command's name cannot be the name of a function."""


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for, and ends as docs/cli.md says."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        found = importlib.import_module(f".{module}", __package__)
        command = getattr(found, _ATTRIBUTES.get(cmd_name, cmd_name))
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise ReaderGoneError from error

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = "covey",
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        settings = extra.setdefault("obj", Settings())
        enter = super().main

        def action() -> Any:
            return enter(args, prog_name, complete_var, standalone_mode=False, **extra)

        sys.exit(guard(action, lambda: settings.verbose))


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from importlib.metadata import version

    click.echo(f"covey {version('covey')}")
    context.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=False,
    invoke_without_command=True,
)
@click.option(
    "--home",
    envvar="COVEY_HOME",
    metavar="DIR",
    callback=absolute_home,
    help="The device's home; several homes are several devices. Also COVEY_HOME.",
)
@click.option("--key-file", metavar="PATH", help="Unlock with this key file.")
@click.option(
    "--passphrase-fd",
    type=int,
    metavar="N",
    help="Unlock with the passphrase read from file descriptor N.",
)
@click.option(
    "--words-fd",
    type=int,
    metavar="N",
    help="Unlock with the words of the paper key, or two of its shares, read from descriptor N.",
)
@click.option("--recovery", is_flag=True, help="Unlock with the paper key, typed on a terminal.")
@click.option("--verbose", is_flag=True, help="With an error, show where it was raised.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Show the version and exit.",
)
@click.pass_context
def covey(
    context: click.Context,
    home: str,
    key_file: str | None,
    passphrase_fd: int | None,
    words_fd: int | None,
    recovery: bool,
    verbose: bool,
) -> None:
    """Your data on your devices, in sync, encrypted end to end, with no cloud.

    Begin with `covey init` on the first device. Then `covey pair` there, and `covey init` and
    `covey join CODE` on the next one.
    """
    settings = context.ensure_object(Settings)
    settings.home, settings.key_file = home, key_file
    settings.passphrase_fd, settings.verbose = passphrase_fd, verbose
    settings.words_fd, settings.recovery = words_fd, recovery
    ways = {"--key-file": key_file, "--passphrase-fd": passphrase_fd, "--words-fd": words_fd}
    given = [name for name, value in ways.items() if value is not None]
    given += ["--recovery"] * recovery
    if len(given) > 1:
        raise click.UsageError(f"{' and '.join(given)}: give one of them", context)
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> None:
    """Run the command line and end the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a letter is given its escape, not a crash.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    covey.main()


if __name__ == "__main__":
    main()
