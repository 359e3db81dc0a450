"""Reference: docs/cli.md, written from the commands themselves.

    python -m covey.cli.reference > docs/cli.md

A test compares the file with what this gives, so the page cannot fall behind the program. The
page says the same for every user: defaults that depend on the machine are left out.
"""

import sys

import click

from .main import covey

_HEAD = """\
# The command line

<!-- Written by `python -m covey.cli.reference > docs/cli.md`; edit the commands, not this file. -->

`covey [GLOBAL OPTIONS] COMMAND [OPTIONS] [ARGUMENTS]`

## A running node

`covey up` runs the node of a home. While it runs, every command for that home talks to it over the
Unix socket `node.sock` in the home, which serves the user who runs the node and nobody else.
While none runs, a command opens the home itself, for as long as it takes. One process at a time
owns a home: a second one ends with exit code 7.

The socket speaks HTTP: `POST /v1/call/METHOD` with a JSON object gives `{"result": …}` or
`{"error": {"message", "exit_code"}}`; `POST /v1/stream/METHOD` gives JSON lines, of which the last
is `{"end": true}` or `{"error": …}`.

`covey COMMAND --help` tells what stands here.

## JSON

`--json` may stand after any command. Standard output then holds exactly one JSON document, or for
`up`, `pair`, `watch`, `log` and `export` one a line; messages for people go to standard error.
Without it, control and invisible characters in names and records are shown as escapes.

## Unlocking

A home is unlocked by a key file (`--key-file`), a passphrase on a file descriptor
(`--passphrase-fd`), the system's keyring, a passphrase typed on a terminal, or the 24 words of the
paper key (`--words-fd`, or `--recovery` to type them; two of its shares, one after the other, do as
well). A secret is never an argument nor in the environment, where other processes can read it.

    covey --passphrase-fd 3 get memory facts tea 3< passphrase.txt

## Shell completion

    covey completion bash > ~/.local/share/bash-completion/completions/covey
    covey completion zsh > ~/.zfunc/_covey
    covey completion fish > ~/.config/fish/completions/covey.fish

Commands, options and the words of a pairing code then complete by Tab.

## Exit codes

| code | means |
|---|---|
| 0 | done |
| 1 | the thing asked for is not so: not found, not in sync, a faulty file |
| 2 | wrong usage |
| 3 | refused, by policy, by trust or by a person |
| 4 | no other device can be reached |
| 5 | locked, or the wrong key |
| 6 | the store is damaged or full |
| 7 | busy: another process owns the home |
| 70 | a defect in covey; `--verbose` shows where |
| 130 | ended by Ctrl-C |
| 141 | whoever read the output has gone |
"""


def reference() -> str:
    """The whole page."""
    root = click.Context(covey, info_name="covey", resilient_parsing=True)
    parts = [_HEAD, "## Global options\n", _options(covey, root), "## Commands\n"]
    for name in covey.list_commands(root):
        parts += _command(covey.get_command(root, name), root, name)
    return "\n".join(parts).rstrip() + "\n"


def _command(command: click.Command | None, parent: click.Context, name: str) -> list[str]:
    assert command is not None
    context = click.Context(command, parent=parent, info_name=name, resilient_parsing=True)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [f"### {context.command_path}\n", f"    {usage}\n", _prose(command)]
    options = _options(command, context)
    parts += [options] if options else []
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            parts += _command(command.get_command(context, child), context, child)
    return parts


def _prose(command: click.Command) -> str:
    paragraphs = (command.help or "").strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs) + "\n"


def _options(command: click.Command, context: click.Context) -> str:
    rows = []
    for parameter in command.params:
        record = parameter.get_help_record(context) if _is_own(parameter) else None
        if record is not None:
            names, says = (cell.replace("|", "\\|") for cell in record)
            rows.append(f"| `{names}` | {' '.join(says.split())} |")
    head = ["| option | means |", "|---|---|"]
    return "\n".join([*head, *rows]) + "\n" if rows else ""


def _is_own(parameter: click.Parameter) -> bool:
    """An option that not every command has: --json and --help are told of once."""
    return isinstance(parameter, click.Option) and "--json" not in parameter.opts


if __name__ == "__main__":
    sys.stdout.write(reference())
