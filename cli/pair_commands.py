"""Pairing at the command line: `pair` shows a code and admits one device, `join` types it.

A person on each side sees who the other is and says yes (docs/protocol.md, section 6); `--yes` says
it for a script. The code is good for one guess and five minutes, so it may stand in an argument;
no other secret may. The QR code is a picture of the command to type on the other device.
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
@timeout_option(300)
@json_option
@pass_settings
def pair(settings: Settings, yes: bool, level: str, timeout_s: float) -> None:
    """Show a code and admit the one device that types it."""
    _require_person(yes)
    params = {"level": level, "timeout_s": timeout_s, "ask": not yes}
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
    metavar="CODE",
    nargs=-1,
    required=True,
    shell_complete=lambda _context, _argument, typed: complete_code(typed),
)
@click.option("--yes", is_flag=True, help="Join whatever mesh shows the code, unasked.")
@click.option("--address", metavar="HOST:PORT", help="Where the other device is, if known.")
@click.option("--tag", metavar="T", help="Which device, if several show a code.")
@timeout_option(60)
@json_option
@pass_settings
def join(
    settings: Settings,
    words: tuple[str, ...],
    yes: bool,
    address: str | None,
    tag: str | None,
    timeout_s: float,
) -> None:
    """Join the mesh of the device that shows CODE. Then fetch what is shared with this one."""
    _require_person(yes)
    params = {
        "code": read_code(words),
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
                    _answer(node, "join_answer", _agrees(_join_question(event)))
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


def read_code(words: tuple[str, ...]) -> str:
    """The typed code in its one normal form. Raises FormatError before a guess is spent."""
    from ..crypto.words import normalise_code

    return normalise_code(" ".join(words))


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
    return (
        f'Admit "{visible(device["name"])}" ({visible(device["type"])}, '
        f"id {visible(device['id'])}) with {visible(device['level'])} access?"
    )


def _join_question(event: dict[str, Any]) -> str:
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
    if on_terminal():
        _draw(command + at)
    say(f"On the new device, within {int(event['expires_in'])} seconds, type\n\n    {command}\n")
    if at:
        say(f"or, if it does not find this one by itself,\n\n    {command}{at}\n")
    if event.get("tag"):
        say(f"Should several devices show a code: this one has the tag {visible(event['tag'])}.")


def _draw(text: str) -> None:
    from qrcode import QRCode
    from qrcode.constants import ERROR_CORRECT_L

    picture = QRCode(error_correction=ERROR_CORRECT_L, border=2)
    picture.add_data(text)
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
        emit({"mesh": event["mesh"], "enrolled_by": event["enrolled_by"]})
        sys.stdout.flush()
        return
    other = event["enrolled_by"]
    say(f'joined the mesh of "{visible(other["name"])}" ({visible(other["short_id"])})')


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
