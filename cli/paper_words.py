"""What the commands of the paper key share: the words, in and out, and a home opened for one act.

The words are typed on a terminal or come through a descriptor; they are never part of a command or
an answer, and never go to a running node: these commands open the home themselves.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from .options import Settings, person_present

if TYPE_CHECKING:
    from ..crypto.recovery import RecoveryKeys
    from ..node.engine import Engine
    from ..node.recovering import Recovering
    from ..node.unlock import PaperWords, Unlock

T = TypeVar("T")

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


def on_engine(
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


def words_text(fd: int | None) -> str:
    from ..node.unlock import read_words_text
    from .paper_key import ask_paper_words

    if fd is not None:
        return read_words_text(fd)
    if not person_present():
        raise click.UsageError("the words are typed on a terminal; in a script give --words-fd N")
    typed: str = ask_paper_words()
    return typed


def read_words(fd: int | None) -> "PaperWords":
    from ..node.unlock import PaperWords

    return PaperWords(words_text(fd))


def check_new_paper(settings: Settings, fd: int | None) -> None:
    """Before anything is made: somebody must be there to get the new words."""
    from .paper_key import check_words_fd

    if fd is not None:
        check_words_fd(fd, answer_on_stdout=settings.json)
    elif not person_present():
        raise click.UsageError("a paper key is shown on a terminal, or give --paper-key-fd N")


def new_paper(fd: int | None) -> "RecoveryKeys":
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


def add_slot(
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


def opens_vault(settings: Settings, paper: "PaperWords") -> bool:
    from ..node.system_entropy import SystemEntropy
    from ..node.vault_care import vault_of

    with vault_of(Path(settings.home), SystemEntropy().draw) as care:
        return bool(care.paper_slots(paper.keys.seal_pk))
