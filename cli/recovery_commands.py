"""Recovery: the paper key of a mesh, its rehearsal, and the day it is needed.

The words are typed on a terminal or come through a descriptor; they are never part of a command or
an answer, and never go to a running node: these commands open the home themselves.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .errors import DeclinedError
from .options import DEVICE_TYPES, Settings, json_option, pass_settings, person_present
from .output import emit, note, say, visible

if TYPE_CHECKING:
    from ..crypto.recovery import RecoveryKeys
    from ..node.engine import Engine
    from ..node.recovering import Recovering
    from ..node.unlock import PaperWords, Unlock

T = TypeVar("T")
SEARCH_MS = 60_000
SYNC_MS = 30_000
"""How long the mesh is told what the paper key decided; `covey up` tells whoever is left."""


@dataclass(frozen=True, slots=True, repr=False)
class _Joining:
    """A member that shows a code."""

    code: str
    address: str | None
    yes: bool


words_option = click.option(
    "--words-fd",
    "paper_fd",
    type=int,
    metavar="N",
    help="Read the words, or two shares of them, from descriptor N.",
)
new_paper_option = click.option(
    "--paper-key-fd",
    "new_paper_fd",
    type=int,
    metavar="N",
    help="Write the new words to descriptor N instead of showing them.",
)


@click.group()
def recovery() -> None:
    """The paper key: make it, rehearse it, use it."""


@recovery.command("create")
@click.option("--replace", is_flag=True, help="Put another one in the place of the one there is.")
@words_option
@new_paper_option
@json_option
@pass_settings
def create(
    settings: Settings, replace: bool, paper_fd: int | None, new_paper_fd: int | None
) -> None:
    """Give the mesh a paper key. The first one is made on the oldest admin.

    Where there is one, only its own words replace it (--replace); from then on the old words open
    nothing that is written.
    """
    from .unlocking import unlock_existing

    _check_new_paper(settings, new_paper_fd)
    old = _words(paper_fd).keys if replace else None

    async def act(engine: "Engine", recovering: "Recovering") -> Any:
        recovering.require_right_to_create(old)
        fresh = _new_paper(new_paper_fd)
        await recovering.create(fresh, old)
        return fresh

    unlock = unlock_existing(settings)
    fresh = _on_engine(settings, act, unlock)
    _add_slot(settings, unlock, fresh, old)
    if settings.json:
        emit({"paper_key": True, "replaced": replace})
    else:
        say("the mesh has a paper key; `covey recovery drill` rehearses it")


@recovery.command("drill")
@words_option
@json_option
@pass_settings
def drill(settings: Settings, paper_fd: int | None) -> None:
    """Prove that the words would bring everything back, without changing anything."""
    paper = _words(paper_fd)

    async def act(_: "Engine", recovering: "Recovering") -> Any:
        return await recovering.drill(paper.keys)

    found = _on_engine(settings, act)
    opens = _opens_vault(settings, paper)
    if settings.json:
        emit(
            {
                "keys": found.keys,
                "entries": found.entries,
                "databases": list(found.databases),
                "opens_this_home": opens,
            }
        )
        return
    say(
        f"the words open {found.keys} keys: {found.entries} entries of"
        f" {', '.join(map(visible, found.databases)) or 'no database yet'}"
    )
    if not opens:
        note("they do not unlock this home yet: `covey vault add --paper-key` lets them")


@recovery.command("revoke")
@click.argument("devices", metavar="D", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Remove them unasked.")
@words_option
@json_option
@pass_settings
def revoke(settings: Settings, devices: tuple[str, ...], yes: bool, paper_fd: int | None) -> None:
    """Remove devices by the word of the paper key: none of them can contest it."""
    paper = _words(paper_fd)
    if not yes:
        if not person_present():
            raise click.UsageError("somebody has to agree: run it in a terminal, or give --yes")
        if not click.confirm(f"Remove {', '.join(map(visible, devices))} for good?", err=True):
            raise DeclinedError("nothing was changed")

    async def act(_: "Engine", recovering: "Recovering") -> Any:
        await recovering.revoke(paper.keys, recovering.others(devices))

    _on_engine(settings, act)
    if settings.json:
        emit({"removed": list(devices)})
    else:
        say(f"removed for good: {', '.join(map(visible, devices))}")


@recovery.command("shares")
@words_option
@new_paper_option
@json_option
@pass_settings
def shares(settings: Settings, paper_fd: int | None, new_paper_fd: int | None) -> None:
    """Split the words into three shares, of which any two are as good as the words.

    One share alone tells nothing. Needs the extra `covey[shares]`.
    """
    from ..node.paper_shares import read_paper, split_seed
    from .paper_key import check_words_fd, show_words, write_words_fd

    if new_paper_fd is not None:
        check_words_fd(new_paper_fd, answer_on_stdout=settings.json)
    made = split_seed(read_paper(_text(paper_fd)))
    if new_paper_fd is None:
        if not person_present():
            raise click.UsageError("shares are shown on a terminal, or give --paper-key-fd N")
        for number, share in enumerate(made, start=1):
            note(f"Share {number} of {len(made)}:")
            show_words(share.split())
    else:
        for share in made:
            write_words_fd(new_paper_fd, share.split())
    if settings.json:
        emit({"shares": len(made), "needed": 2})


@recovery.command("use")
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
    from .unlocking import new_way, unlock_existing

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
        _check_new_paper(settings, new_paper_fd)
    words = _words(paper_fd)
    if file is None:
        answer = _use_here(
            settings, words, lost, keep_paper_key, new_paper_fd, unlock_existing, joining
        )
    else:
        from ..node.recovering_home import NewDevice, recover_home

        options = "--new-key-file PATH, --new-passphrase-fd N, or --new-keyring"
        unlock = new_way(new_key_file, new_passphrase_fd, new_keyring, options)
        fresh = None if keep_paper_key else partial(_new_paper, new_paper_fd)
        new = NewDevice(str(name), kind, unlock, lost, fresh)
        place = Path(settings.home)
        answer = asyncio.run(recover_home(Path(os.path.abspath(file)), place, words, new))
    answer["paper_key"] = "kept" if keep_paper_key else "replaced"
    if settings.json:
        emit(answer)
        return
    shown = visible(answer["device"]["name"])
    if file is None:
        say(f'"{shown}" is an admin of the mesh now: `covey pair` admits other devices')
    else:
        say(f'"{shown}" is a device of the mesh now; `covey up` brings what came later')
    for device in lost:
        say(f'"{visible(device)}" is removed for good')
        note("if what it wrote last is yours, `covey devices adopt` it after a sync")


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


def _use_here(
    settings: Settings,
    words: "PaperWords",
    lost: tuple[str, ...],
    keep_paper_key: bool,
    new_paper_fd: int | None,
    unlock_existing: "Callable[[Settings], Unlock]",
    joining: _Joining | None,
) -> dict[str, Any]:
    unlock = unlock_existing(settings)

    async def act(engine: "Engine", recovering: "Recovering") -> Any:
        if joining is not None:
            await _join(engine, words.keys, joining, lost)
        recovering.require_right_to_promote(words.keys)
        gone = recovering.others(lost)
        fresh = None if keep_paper_key else _new_paper(new_paper_fd)
        await recovering.promote(words.keys, gone, fresh)
        if joining is not None:
            await engine.patience.sync(None, SYNC_MS)
        us = engine.our_device()
        device = {"id": engine.shown_id(us.sig_pk), "name": us.name, "role": us.role}
        return fresh, {"device": device, "mesh": engine.mesh.id.hex(), "removed": list(lost)}

    fresh, answer = _on_engine(settings, act, unlock, online=joining is not None)
    if fresh is not None:
        _add_slot(settings, unlock, fresh, words.keys)
    found: dict[str, Any] = answer
    return found


def _on_engine(
    settings: Settings,
    act: "Callable[[Engine, Recovering], Awaitable[T]]",
    unlock: "Unlock | None" = None,
    *,
    online: bool = False,
) -> T:
    """Open the home here, and nowhere else, for one act."""
    from ..node.main import open_engine
    from ..node.recovering import Recovering
    from .unlocking import unlock_existing

    way = unlock or unlock_existing(settings)

    async def run() -> T:
        async with open_engine(Path(settings.home), way, online=online) as engine:
            return await act(engine, Recovering(engine))

    return asyncio.run(run())


def _text(fd: int | None) -> str:
    from ..node.unlock import read_words_text
    from .paper_key import ask_paper_words

    if fd is not None:
        return read_words_text(fd)
    if not person_present():
        raise click.UsageError("the words are typed on a terminal; in a script give --words-fd N")
    typed: str = ask_paper_words()
    return typed


def _words(fd: int | None) -> "PaperWords":
    from ..node.unlock import PaperWords

    return PaperWords(_text(fd))


def _check_new_paper(settings: Settings, fd: int | None) -> None:
    """Before anything is made: somebody must be there to get the new words."""
    from .paper_key import check_words_fd

    if fd is not None:
        check_words_fd(fd, answer_on_stdout=settings.json)
    elif not person_present():
        raise click.UsageError("a paper key is shown on a terminal, or give --paper-key-fd N")


def _new_paper(fd: int | None) -> "RecoveryKeys":
    """Make a paper key, and have it written down."""
    from ..crypto.recovery import RecoveryKeys, words_of
    from ..crypto.secret import Secret
    from ..node.system_entropy import SystemEntropy
    from .paper_key import show_and_confirm, write_words_fd

    draw = SystemEntropy().draw
    seed = Secret(draw(32))
    if fd is None:
        show_and_confirm(words_of(seed), draw)
    else:
        write_words_fd(fd, words_of(seed))
    return RecoveryKeys.from_seed(seed)


def _add_slot(
    settings: Settings,
    unlock: "Unlock",
    paper: "RecoveryKeys",
    old: "RecoveryKeys | None",
) -> None:
    """Let the new words unlock this home, and the old ones no more."""
    from ..node.system_entropy import SystemEntropy
    from ..node.vault_care import vault_of

    with vault_of(Path(settings.home), SystemEntropy().draw) as care:
        care.open(unlock)
        care.add_paper(paper.seal_pk)
        if old is not None:
            for number in care.paper_slots(old.seal_pk):
                care.remove(number)


def _opens_vault(settings: Settings, paper: "PaperWords") -> bool:
    from ..node.system_entropy import SystemEntropy
    from ..node.vault_care import vault_of

    with vault_of(Path(settings.home), SystemEntropy().draw) as care:
        return bool(care.paper_slots(paper.keys.seal_pk))
