"""Recovery: the paper key of a mesh and its rehearsal. The day it is needed: `recovery_use.py`."""

from typing import TYPE_CHECKING, Any

import click

from .errors import DeclinedError
from .options import Settings, json_option, pass_settings, person_present
from .output import emit, note, say, visible
from .paper_words import (
    add_slot,
    check_new_paper,
    new_paper,
    new_paper_option,
    on_engine,
    opens_vault,
    read_words,
    words_option,
    words_text,
)
from .recovery_use import use

if TYPE_CHECKING:
    from ..node.engine import Engine
    from ..node.recovering import Recovering


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

    check_new_paper(settings, new_paper_fd)
    old = read_words(paper_fd).keys if replace else None

    async def act(engine: "Engine", recovering: "Recovering") -> Any:
        recovering.require_right_to_create(old)
        fresh = new_paper(new_paper_fd)
        await recovering.create(fresh, old)
        return fresh

    unlock = unlock_existing(settings)
    fresh = on_engine(settings, act, unlock)
    add_slot(settings, unlock, fresh, old)
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
    paper = read_words(paper_fd)

    async def act(_: "Engine", recovering: "Recovering") -> Any:
        return await recovering.drill(paper.keys)

    found = on_engine(settings, act)
    opens = opens_vault(settings, paper)
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
    paper = read_words(paper_fd)
    if not yes:
        if not person_present():
            raise click.UsageError("somebody has to agree: run it in a terminal, or give --yes")
        if not click.confirm(f"Remove {', '.join(map(visible, devices))} for good?", err=True):
            raise DeclinedError("nothing was changed")

    async def act(_: "Engine", recovering: "Recovering") -> Any:
        await recovering.revoke(paper.keys, recovering.others(devices))

    on_engine(settings, act)
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
    made = split_seed(read_paper(words_text(paper_fd)))
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


recovery.add_command(use)
