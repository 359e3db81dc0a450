"""The paper key in a terminal: shown once, confirmed from the paper, typed again on the worst day.

The words are shown and typed on a screen of their own, which the terminal forgets when it is left;
where standard error is no terminal they are plain lines. In scripts they go through a file
descriptor that the script has opened, never through the answer of a command. No function here keeps
the words or puts them into an error.
"""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

from ..crypto.recovery import (
    PREFIX_LETTERS,
    SEED_BYTES,
    RecoveryKeys,
    WordsError,
    read_words,
    words_of,
)
from ..crypto.secret import Secret
from ..node.system_entropy import SystemEntropy
from ..storage.home import Home
from .options import Settings, person_present
from .output import note

CONFIRMED_WORDS = 3
COLUMNS = 4
_OWN_SCREEN, _BACK = "\x1b[?1049h\x1b[2J\x1b[H", "\x1b[?1049l"

Draw = Callable[[int], bytes]

WHAT_IT_IS = (
    "A paper key is 24 words on paper. They open this home when nothing else does, and are a key",
    "to everything in the mesh: whoever reads them can do the same. Without one, who loses all",
    "devices, or every way to unlock the last, loses the data.",
)


def new_paper_key(
    settings: Settings, fd: int | None, shares: bool = False
) -> tuple[bytes, bytes] | None:
    """Make a paper key for a home that is about to be made: its public half, None if there is none.

    A person or a script has the words, or the three shares, when this returns.

    Raises OSError if `fd` took them not; SharesMissingError.
    """
    draw = SystemEntropy().draw
    if Home(settings.home).vault.exists():
        return None  # Refused in a moment: nobody should write words down for nothing.
    if fd is None:
        offered = not settings.json and person_present()
        keys = offer_paper_key(draw, shares) if offered else None
        return None if keys is None else keys.public
    seed = Secret(draw(SEED_BYTES))
    for sheet in sheets_of(seed, shares):
        write_words_fd(fd, sheet)
    return RecoveryKeys.from_seed(seed).public


def sheets_of(seed: Secret, shares: bool) -> list[tuple[str, ...]]:
    """What is written on paper for a seed: one sheet of 24 words, or three shares of 33.

    Raises: SharesMissingError.
    """
    if not shares:
        return [words_of(seed)]
    from ..node.paper_shares import split_seed

    return [tuple(share.split()) for share in split_seed(seed)]


def offer_paper_key(draw: Draw, shares: bool = False) -> RecoveryKeys | None:
    """Offer a person a paper key; show it and have it confirmed. None if it was declined."""
    for line in WHAT_IT_IS:
        note(line)
    if not click.confirm("Make a paper key now?", default=True, err=True):
        note("No paper key was made.")
        return None
    seed = Secret(draw(SEED_BYTES))
    sheets = sheets_of(seed, shares)
    for number, words in enumerate(sheets, start=1):
        if shares:
            note(f"Share {number} of {len(sheets)}; any two of them are enough. Keep them apart.")
        show_and_confirm(words, draw)
    return RecoveryKeys.from_seed(seed)


def show_and_confirm(words: Sequence[str], draw: Draw) -> None:
    """Show words until some of them, asked for at places drawn at random, come back right."""
    while True:
        show_words(words)
        if confirm_words(words, draw):
            note("The paper key is confirmed. Keep it away from this device.")
            return
        note("That is not what was shown: look at it once more.")


def show_words(words: Sequence[str]) -> None:
    """Show numbered words until Enter is pressed."""
    with _own_screen():
        note("Write these words down, on paper, in this order. They are not shown again.\n")
        rows = -(-len(words) // COLUMNS)
        width = max(map(len, words)) + 6
        for row in range(rows):
            cells = (f"{at + 1:>2} {words[at]}" for at in range(row, len(words), rows))
            note("  " + "".join(cell.ljust(width) for cell in cells).rstrip())
        _ask("\nPress Enter when they are written")


def confirm_words(words: Sequence[str], draw: Draw) -> bool:
    """Ask for three of the words. Whether all were right."""
    for place in confirmed_places(len(words), draw):
        typed = _ask(f"Word {place + 1}").strip().lower()
        # Of either list of words, four letters are enough to know one.
        if typed != words[place][: max(len(typed), PREFIX_LETTERS)]:
            return False
    return True


def confirmed_places(count: int, draw: Draw) -> list[int]:
    """Three different places below `count`, ascending, drawn at random."""
    places = list(range(count))
    drawn = [
        places.pop(int.from_bytes(draw(8), "big") % len(places)) for _ in range(CONFIRMED_WORDS)
    ]
    return sorted(drawn)


def ask_paper_words() -> str:
    """Ask for the words of a paper key, or of two shares of it, in as many lines as one likes.

    It ends when a whole paper key was typed, or with an empty line.
    """
    with _own_screen():
        note("Type the words of the paper key, or of two of its shares one after the other.")
        note("Four letters of each are enough; an empty line ends it.")
        lines: list[str] = []
        while line := _ask("Words").strip():
            lines.append(line)
            if _is_complete("\n".join(lines)):
                break
        return "\n".join(lines)


def check_words_fd(fd: int, *, answer_on_stdout: bool) -> None:
    """Refuse a descriptor that words cannot be written to. Raises UsageError.

    Checked before anything is made: a paper key that nobody has must not be part of a mesh.
    """
    if answer_on_stdout and fd == 1:
        raise click.UsageError(
            "--paper-key-fd 1: standard output holds the JSON answer; use another descriptor"
        )
    try:
        os.write(fd, b"")
    except (OSError, OverflowError):
        raise click.UsageError(
            f"--paper-key-fd {fd}: not open for writing; open it, as in 3> FILE"
        ) from None


def write_words_fd(fd: int, words: Sequence[str]) -> None:
    """Write words in one line to a descriptor, and leave it open. Raises OSError."""
    rest = memoryview((" ".join(words) + "\n").encode())
    while rest:
        rest = rest[os.write(fd, rest) :]


def _ask(question: str) -> str:
    answer: str = click.prompt(question, default="", show_default=False, err=True)
    return answer


def _is_complete(text: str) -> bool:
    try:
        read_words(text)
    except WordsError:
        return False
    return True


@contextmanager
def _own_screen() -> Iterator[None]:
    if not sys.stderr.isatty():
        yield
        return
    click.echo(_OWN_SCREEN, err=True, nl=False)
    try:
        yield
    finally:
        click.echo(_BACK, err=True, nl=False)
