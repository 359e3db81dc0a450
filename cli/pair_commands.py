"""Pairing at the command line: `pair` shows a code and admits one device, `join` types it.

A person on each side sees who the other is and says yes (docs/protocol.md, section 6); `--yes` says
it for a script. The code is good for one guess and five minutes, so it may stand in an argument;
no other secret may. The text of the picture beside the code is one: whoever reads it may join, so
it is pasted at a prompt that does not show it, or comes through a pipe or a descriptor.
"""

import sys
from collections.abc import Generator
from contextlib import closing, suppress
from typing import Any

import click
from click.shell_completion import CompletionItem

from .. import CoveyError
from .client import NodeCalls
from .errors import DeclinedError, NobodyThereError, NodeError
from .options import (
    LEVELS,
    Settings,
    days_option,
    json_option,
    open_node,
    pass_settings,
    person_present,
    timeout_option,
)
from .output import emit, note, on_terminal, progress, say, visible

CODE_WORDS = 3
_NOBODY_REASONS = frozenset({"expired", "interrupted"})
"""Reasons of a failure after which the same may be tried again; the others are a no."""

Events = Generator[dict[str, Any], None, None]


@click.command()
@click.option("--yes", is_flag=True, help="Admit whoever types the code, unasked.")
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    default="full",
    show_default=True,
    help="How far the new device is trusted.",
)
@days_option
@timeout_option(300)
@json_option
@pass_settings
def pair(settings: Settings, yes: bool, level: str, days: int | None, timeout_s: float) -> None:
    """Show a code and admit the one device that types it."""
    _require_person(yes)
    params = {"level": level, "days": days, "timeout_s": timeout_s, "ask": not yes}
    enrolled = False
    with (
        open_node(settings, online=True) as node,
        closing(node.stream("pair", params)) as events,
    ):
        for event in events:
            match event["event"]:
                case "code":
                    _show_code(settings, event)
                case "confirm" if not yes:
                    _answer(node, "pair_answer", _agrees(_admit_question(event["device"])))
                case "requested":
                    note(
                        f"an admin has to approve {visible(event['device']['id'])}: this device is"
                        " none, and waits a little"
                    )
                case "enrolled":
                    enrolled = True
                    _show_enrolled(settings, event)
                    # The stream goes on while the new device fetches: to leave would cut it off.
                case "failed" if not enrolled:
                    raise _failure(event)
    if not enrolled:
        raise NobodyThereError("the pairing window closed and nobody was admitted")


@click.command()
@click.argument(
    "words",
    metavar="[CODE | -]",
    nargs=-1,
    shell_complete=lambda _context, _argument, typed: complete_code(typed),
)
@click.option("--qr-fd", type=int, metavar="N", help="Read the picture's text from descriptor N.")
@click.option("--yes", is_flag=True, help="Join whatever mesh shows the code, unasked.")
@click.option("--address", metavar="HOST:PORT", help="Where the other device is, if known.")
@click.option("--tag", metavar="T", help="Which device, if several show a code.")
@timeout_option(60)
@json_option
@pass_settings
def join(
    settings: Settings,
    words: tuple[str, ...],
    qr_fd: int | None,
    yes: bool,
    address: str | None,
    tag: str | None,
    timeout_s: float,
) -> None:
    """Join the mesh of the device that shows CODE. Then fetch what is shared with this one.

    With - the code, or the text of the picture beside it, is asked for or read from standard input.
    """
    code = typed_code(words, qr_fd)
    _require_person(yes)
    params = {
        "code": code,
        "address": address,
        "tag": tag,
        "timeout_s": timeout_s,
        "ask": not yes,
    }
    joined = False
    with (
        open_node(settings, online=True) as node,
        closing(node.stream("join", params)) as events,
    ):
        for event in events:
            match event["event"]:
                case "searching":
                    note("looking for the device that shows this code …")
                case "confirm" if not yes:
                    _answer(node, "join_answer", _agrees(join_question(event)))
                case "joined":
                    joined = True
                    _show_joined(settings, event)
                    _follow_first_sync(events)
                case "failed":
                    raise _failure(event)
    if not joined:
        raise NobodyThereError("no device that shows this code was found; give its --address")


def complete_code(typed: str) -> list[CompletionItem]:
    """What the shell offers for a code of which `typed` is there: its next whole word."""
    from ..crypto.words import complete_word

    done, _, begun = typed.lower().rpartition("-")
    if done.count("-") >= CODE_WORDS - 1:
        return []
    start = f"{done}-" if done else ""
    return [CompletionItem(f"{start}{word}") for word in complete_word(begun)]


def typed_code(words: tuple[str, ...], qr_fd: int | None) -> str:
    """The code or the picture's text, checked here so that no guess is spent on a slip.

    Raises FormatError, click.UsageError.
    """
    from ..crypto.words import normalise_code
    from ..node.ticket import is_ticket, read_ticket

    if any(is_ticket(word) for word in words):
        raise click.UsageError(
            "the text of the picture is a secret, and others can read arguments: run"
            " `covey join -` and paste it there; show a new one with `covey pair`"
        )
    if words in ((), ("-",)):
        text = _read_line(qr_fd, prompt=bool(words))
    elif qr_fd is not None:
        raise click.UsageError("give CODE or --qr-fd, not both")
    else:
        text = " ".join(words)
    return read_ticket(text).text() if is_ticket(text) else normalise_code(text)


def _read_line(fd: int | None, *, prompt: bool) -> str:
    """One line from a descriptor, from a person who is not shown it, or from standard input."""
    from ..node.ticket import CHARACTERS_MAX

    if fd is not None:
        try:
            with open(fd, encoding="utf-8", closefd=False) as source:
                return source.readline(CHARACTERS_MAX)
        except (OSError, ValueError):
            raise click.UsageError(f"--qr-fd {fd}: cannot be read") from None
    if sys.stdin.isatty():
        asked: str = click.prompt("Code, or text of the picture", hide_input=True, err=True)
        return asked
    if not prompt:
        raise click.UsageError("give the CODE, or - to read it from standard input")
    try:
        return sys.stdin.readline(CHARACTERS_MAX)
    except ValueError:
        raise click.UsageError("standard input is no text") from None


def _require_person(yes: bool) -> None:
    if not yes and not person_present():
        raise click.UsageError("somebody has to agree: run it in a terminal, or give --yes")


def _answer(node: NodeCalls, method: str, accept: bool) -> None:
    """Pass on what the person said. Too late is told by the stream, which has ended the wait."""
    with suppress(CoveyError):
        node.call(method, {"accept": accept})


def _agrees(question: str) -> bool:
    """Ask on standard error. No answer is no."""
    try:
        return click.confirm(question, default=False, err=True)
    except click.Abort as abort:
        if isinstance(abort.__cause__ or abort.__context__, KeyboardInterrupt):
            raise
        return False


def _admit_question(device: dict[str, Any]) -> str:
    if device.get("paper_key"):
        return (
            f'Let the paper key make "{visible(device["name"])}" ({visible(device["type"])}, '
            f"id {visible(device['id'])}) an admin of this mesh?"
        )
    days = f" for {visible(device['days'])} days" if device.get("days") else ""
    return (
        f'Admit "{visible(device["name"])}" ({visible(device["type"])}, '
        f"id {visible(device['id'])}) with {visible(device['level'])} access{days}?"
    )


def join_question(event: dict[str, Any]) -> str:
    other = event["enrolled_by"]
    return (
        f'Join the mesh "{visible(event["mesh_name"])}" of "{visible(other["name"])}" '
        f"(id {visible(other['id'])}) with {visible(event['level'])} access?"
    )


def _show_code(settings: Settings, event: dict[str, Any]) -> None:
    if settings.json:
        emit(event)
        sys.stdout.flush()
        return
    addresses = [visible(address) for address in event.get("addresses") or ()]
    at = f" --address {addresses[0]}" if addresses else ""
    command = f"covey join {visible(event['code'])}"
    say(f"On the new device, within {int(event['expires_in'])} seconds, type\n\n    {command}\n")
    if at:
        say(f"or, if it does not find this one by itself,\n\n    {command}{at}\n")
    if event.get("qr"):
        if on_terminal():
            _draw(event["qr"])
        say(f"or `covey join -`, and paste there\n\n    {visible(event['qr'])}\n")
    if event.get("tag"):
        say(f"Should several devices show a code: this one has the tag {visible(event['tag'])}.")


def _draw(text: str) -> None:
    from qrcode import QRCode
    from qrcode.constants import ERROR_CORRECT_L

    picture = QRCode(error_correction=ERROR_CORRECT_L, border=2)
    picture.add_data(text.upper())  # Capitals and digits make a smaller picture.
    picture.print_ascii(out=sys.stdout, invert=True)


def _show_enrolled(settings: Settings, event: dict[str, Any]) -> None:
    if settings.json:
        emit({"event": "enrolled", "device": event["device"]})
        return
    device = event["device"]
    name, short_id = visible(device["name"]), visible(device["short_id"])
    say(f'admitted "{name}" ({short_id}); `covey up` keeps the two in sync')
    sys.stdout.flush()


def _show_joined(settings: Settings, event: dict[str, Any]) -> None:
    if settings.json:
        emit({name: event.get(name) for name in ("mesh", "enrolled_by", "expires_at")})
        sys.stdout.flush()
        return
    other = event["enrolled_by"]
    say(f'joined the mesh of "{visible(other["name"])}" ({visible(other["short_id"])})')
    if event.get("expires_at"):
        note(f"this device is a member until {visible(event['expires_at'])}")


def _follow_first_sync(events: Events) -> None:
    """Show the first sync up to its proof, or to where the node leaves it for later.

    Raises NodeError if it is cut.
    """
    total = 0
    with progress("fetching", in_bytes=True) as bar:
        for event in events:
            match event["event"]:
                case "progress":
                    total = max(total, event["bytes_left"])
                    bar.at(total - event["bytes_left"], total)
                case "synced":
                    note("in sync; `covey up` keeps it so")
                    return
                case "later":
                    note(visible(event["message"]))
                    return
    raise NodeError("joined, but the first sync did not end; `covey sync --wait` goes on", 1)


def _failure(event: dict[str, Any]) -> NodeError | DeclinedError:
    message = event.get("message") or event["reason"]
    if event["reason"] in _NOBODY_REASONS:
        return NodeError(message, NobodyThereError.exit_code)
    return DeclinedError(message)
