"""Backup and restore: a home as one encrypted file, and a home from one.

`covey backup` works through the running node or opens the home itself; `covey restore` makes a new
home and never touches one that is there.
"""

import os
from pathlib import Path
from typing import Any

import click

from .options import Settings, json_option, open_node, pass_settings
from .output import emit, note, say, visible


@click.command()
@click.argument("file", metavar="FILE")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@json_option
@pass_settings
def backup(settings: Settings, file: str, force: bool) -> None:
    """Write an encrypted backup of this home to FILE, and verify it.

    It is unlocked as the home is now: a passphrase that is changed later still opens it. A running
    node goes on meanwhile. Blobs are not in it: they come back from the other devices.
    """
    with open_node(settings) as node:
        answer = node.call("backup", {"file": os.path.abspath(file), "force": force})
    if settings.json:
        emit(answer)
    else:
        say(f"{visible(answer['file'])}: {answer['bytes']} bytes, verified")
        if answer.get("blobs_only_here"):
            note(
                f"{answer['blobs_only_here']} blobs are on this device alone, and not in the"
                " backup: `covey blob ls` shows them"
            )


@click.command()
@click.argument("file", metavar="FILE")
@click.option(
    "--home",
    "place",
    metavar="DIR",
    help="Restore to this folder, which must be empty or not there; else where --home says.",
)
@click.option(
    "--words-fd",
    type=int,
    metavar="N",
    help="Unlock with the words of the paper key read from descriptor N.",
)
@click.option("--recovery", is_flag=True, help="Unlock with the paper key, typed on a terminal.")
@json_option
@pass_settings
def restore(
    settings: Settings, file: str, place: str | None, words_fd: int | None, recovery: bool
) -> None:
    """Make a home from a backup. A home that is there is never touched.

    It is unlocked as the home was when the backup was made. What is restored may run beside the
    original: it gets what it lacks from the other devices, and nothing is lost.
    """
    from ..node.backup import restore_home
    from .unlocking import unlock_backup

    if place is not None:
        settings.home = os.path.abspath(place)
    source = Path(os.path.abspath(file))
    answer = restore_home(
        source,
        Path(settings.home),
        lambda header: unlock_backup(settings, source, header, words_fd, recovery),
    )
    if settings.json:
        emit(answer)
        return
    _show(answer)
    if words_fd is not None or recovery or settings.words_fd is not None or settings.recovery:
        note("`covey vault recover` gives it a new passphrase, if the old ways are lost.")


def _show(answer: dict[str, Any]) -> None:
    device = answer["device"]["short_id"]
    say(f"{visible(answer['home'])}: device {visible(device)} as of {visible(answer['made_at'])}")
