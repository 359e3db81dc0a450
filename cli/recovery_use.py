"""`covey recovery use`: the day for which the paper key was written down.

The words never go to a running node: the home is opened here (`paper_words.py`).
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import DEVICE_TYPES, Settings, json_option, pass_settings, person_present
from .output import emit, note, say, visible
from .paper_words import (
    add_slot,
    check_new_paper,
    new_paper,
    new_paper_option,
    on_engine,
    read_words,
    words_option,
)

if TYPE_CHECKING:
    from ..crypto.recovery import RecoveryKeys
    from ..node.engine import Engine
    from ..node.recovering import Recovering
    from ..node.unlock import PaperWords

SEARCH_MS = 60_000
SYNC_MS = 30_000
"""How long the mesh is told what the paper key decided; `covey up` tells whoever is left."""


@dataclass(frozen=True, slots=True, repr=False)
class _Joining:
    """A member that shows a code."""

    code: str
    address: str | None
    yes: bool


@click.command()
@click.option("--backup", "file", metavar="FILE", help="A backup of any device of the mesh.")
@click.option("--code", metavar="CODE", help="Join the member that shows CODE; - reads it.")
@click.option("--address", metavar="HOST:PORT", help="With --code: where that member is.")
@click.option("--yes", is_flag=True, help="With --code: join whatever mesh shows it, unasked.")
@click.option("--name", metavar="N", help="With --backup: the new device's name.")
@click.option("--type", "kind", type=click.Choice(DEVICE_TYPES), default="laptop")
@click.option("--remove", "lost", multiple=True, metavar="D", help="Remove this lost device.")
@click.option("--keep-paper-key", is_flag=True, help="Go on with the words that are used.")
@click.option("--new-key-file", metavar="PATH", help="Keep the new home's key in this file.")
@click.option("--new-passphrase-fd", type=int, metavar="N", help="Read its passphrase from here.")
@click.option("--new-keyring", is_flag=True, help="Keep its key in the system's keyring.")
@words_option
@new_paper_option
@json_option
@pass_settings
def use(
    settings: Settings,
    file: str | None,
    code: str | None,
    address: str | None,
    yes: bool,
    name: str | None,
    kind: str,
    lost: tuple[str, ...],
    keep_paper_key: bool,
    new_key_file: str | None,
    new_passphrase_fd: int | None,
    new_keyring: bool,
    paper_fd: int | None,
    new_paper_fd: int | None,
) -> None:
    """The worst day: bring everything back with the words, and remove the lost devices.

    With --backup a new device is made at `--home`, which must not exist yet. With --code the device
    of this home, a new one, joins any member that shows a code (`covey pair` there). With neither,
    the device of this home, which is a member still, becomes an admin and can admit others. All
    keys are changed, and the words that were used are replaced by new ones unless --keep-paper-key
    is given.
    """
    _check_use(
        {"--backup": file, "--code": code},
        {
            "--backup": {
                "--name": name,
                "--new-key-file": new_key_file,
                "--new-passphrase-fd": new_passphrase_fd,
                "--new-keyring": new_keyring or None,
            },
            "--code": {"--address": address, "--yes": yes or None},
        },
    )
    joining = None if code is None else _joining(code, address, yes, paper_fd)
    if not keep_paper_key:
        check_new_paper(settings, new_paper_fd)
    words = read_words(paper_fd)
    fresh = None if keep_paper_key else partial(new_paper, new_paper_fd)
    if file is None:
        answer = _use_here(settings, words, lost, fresh, joining)
    else:
        way = (new_key_file, new_passphrase_fd, new_keyring)
        answer = _use_backup(settings, file, words, (str(name), kind), way, lost, fresh)
    answer["paper_key"] = "kept" if keep_paper_key else "replaced"
    if settings.json:
        emit(answer)
    else:
        _say_used(answer, lost, is_new=file is not None)


def _check_use(ways: dict[str, str | None], belong: dict[str, dict[str, object]]) -> None:
    """An option that would do nothing is a misunderstanding, and this is no day for one."""
    given = [way for way, value in ways.items() if value is not None]
    if len(given) > 1:
        raise click.UsageError("give --backup or --code, not both")
    for way, options in belong.items():
        for option, value in options.items():
            if value is not None and way not in given:
                raise click.UsageError(f"{option} goes with {way}")
    if "--backup" in given and belong["--backup"]["--name"] is None:
        raise click.UsageError("--backup makes a new device: give it a --name")


def _joining(code: str, address: str | None, yes: bool, paper_fd: int | None) -> _Joining:
    """Whom to join. The code is read before the words: both may come from standard input."""
    from .pair_commands import typed_code

    if code == "-" and paper_fd == 0:
        raise click.UsageError("the code and the words cannot both be read from standard input")
    if not yes and not person_present():
        raise click.UsageError("somebody has to agree: run it in a terminal, or give --yes")
    return _Joining(typed_code(tuple(code.split()), None), address, yes)


async def _join(
    engine: "Engine", paper: "RecoveryKeys", joining: _Joining, lost: tuple[str, ...]
) -> None:
    """Become an admin of the mesh of the member that shows the code, by the paper key's word."""
    from ..node.paper_joining import PaperJoiner
    from .pair_commands import join_question

    registry = engine.mesh.registry
    if len(registry.active()) > 1 and any(r.sig_pk == paper.sig_pk for r in registry.recovery):
        # The first try was cut after the other device had admitted us.
        return note("this device has joined already: what is left to do is done now")

    question = ""

    async def ask() -> bool:
        # In a thread: the other device is still to be answered while the person thinks.
        return await asyncio.to_thread(click.confirm, question, default=False, err=True)

    joiner = PaperJoiner(
        engine,
        paper,
        joining.code,
        joining.address,
        None,
        SEARCH_MS,
        None if joining.yes else ask,
        lost,
    )
    async for event in joiner.run():
        if event["event"] == "searching":
            note("looking for the device that shows this code …")
        elif event["event"] == "confirm":
            question = join_question(event)


def _use_backup(
    settings: Settings,
    file: str,
    words: "PaperWords",
    device: tuple[str, str],
    way: tuple[str | None, int | None, bool],
    lost: tuple[str, ...],
    make_fresh: "Callable[[], RecoveryKeys] | None",
) -> dict[str, Any]:
    """Make a new device, of this name and kind, that opens its home in this way."""
    from ..node.recovering_home import NewDevice, recover_home
    from .unlocking import new_way

    options = "--new-key-file PATH, --new-passphrase-fd N, or --new-keyring"
    new = NewDevice(*device, new_way(*way, options), lost, make_fresh)
    place = Path(settings.home)
    return asyncio.run(recover_home(Path(os.path.abspath(file)), place, words, new))


def _say_used(answer: dict[str, Any], lost: tuple[str, ...], *, is_new: bool) -> None:
    shown = visible(answer["device"]["name"])
    if is_new:
        say(f'"{shown}" is a device of the mesh now; `covey up` brings what came later')
    else:
        say(f'"{shown}" is an admin of the mesh now: `covey pair` admits other devices')
    for device in lost:
        say(f'"{visible(device)}" is removed for good')
        note("if what it wrote last is yours, `covey devices adopt` it after a sync")


def _use_here(
    settings: Settings,
    words: "PaperWords",
    lost: tuple[str, ...],
    make_fresh: "Callable[[], RecoveryKeys] | None",
    joining: _Joining | None,
) -> dict[str, Any]:
    from .unlocking import unlock_existing

    unlock = unlock_existing(settings)

    async def act(engine: "Engine", recovering: "Recovering") -> Any:
        if joining is not None:
            await _join(engine, words.keys, joining, lost)
        recovering.require_right_to_promote(words.keys)
        gone = recovering.others(lost)
        fresh = None if make_fresh is None else make_fresh()
        await recovering.promote(words.keys, gone, fresh)
        if joining is not None:
            await engine.patience.sync(None, SYNC_MS)
        us = engine.our_device()
        device = {"id": engine.shown_id(us.sig_pk), "name": us.name, "role": us.role}
        return fresh, {"device": device, "mesh": engine.mesh.id.hex(), "removed": list(lost)}

    fresh, answer = on_engine(settings, act, unlock, online=joining is not None)
    if fresh is not None:
        add_slot(settings, unlock, fresh, words.keys)
    found: dict[str, Any] = answer
    return found
