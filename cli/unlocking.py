"""Unlocking: where the key to a home comes from when a command opens the home itself.

A key file, a passphrase on a file descriptor, the system's keyring, a passphrase typed on a
terminal, or the words of the paper key in either way. Never an argument, never the environment:
other processes can read both. Before a secret is in memory the process forbids core dumps and
debuggers.

The ways themselves are in `covey.node.unlock`.
"""

from pathlib import Path

import click

from ..node import unlock
from .errors import NodeError
from .options import Settings, person_present
from .output import note

LOCKED = 5
THREE_WAYS = "--key-file PATH, --passphrase-fd N, or --keyring"


def unlock_existing(settings: Settings) -> unlock.Unlock:
    """The way into the home that exists, as the options say, else as the home itself says.

    Raises NodeError if the home is locked and nobody is there to open it.
    """
    given = unlock_as_told(settings)
    if given is not None:
        return given
    home = Path(settings.home)
    if unlock.has_keyring_slot(home):
        return unlock.Keyring()
    return ask_passphrase(home, unlock.has_passphrase_slot(home))


def unlock_as_told(settings: Settings) -> unlock.Unlock | None:
    """The way that the global options name, if they do. The process is closed to others first.

    Raises: UsageError if words are to be typed and nobody is there; what the ways raise.
    """
    unlock.harden_process()
    if settings.words_fd is not None:
        return unlock.read_words_fd(settings.words_fd)
    if settings.recovery:
        return ask_words()
    return _given(settings.key_file, settings.passphrase_fd)


def unlock_backup(
    settings: Settings, file: Path, header: bytes, words_fd: int | None, recovery: bool
) -> unlock.Unlock:
    """The way into the vault of a backup, as the options say, else as the vault itself says.

    Raises: as `unlock_existing`; UsageError if the options name two ways.
    """
    if words_fd is not None or recovery:
        if (words_fd is not None and recovery) or _names_a_way(settings):
            raise click.UsageError("one way to unlock the backup, please")
        settings = Settings(settings.home, words_fd=words_fd, recovery=recovery)
    given = unlock_as_told(settings)
    if given is not None:
        return given
    if unlock.keyring_opens(header):
        return unlock.Keyring()
    return ask_passphrase(file, unlock.holds_passphrase(header))


def _names_a_way(settings: Settings) -> bool:
    numbers = (settings.key_file, settings.passphrase_fd, settings.words_fd)
    return settings.recovery or any(value is not None for value in numbers)


def words_as_told(fd: int | None) -> unlock.PaperWords:
    """The paper key, from a descriptor if there is one, else typed. Raises as `ask_words`."""
    return ask_words() if fd is None else unlock.read_words_fd(fd)


def ask_words() -> unlock.PaperWords:
    """The paper key, typed by a person. Raises UsageError if there is none."""
    from .paper_key import ask_paper_words

    if not person_present():
        raise click.UsageError("the words are typed on a terminal; in a script give --words-fd N")
    return unlock.PaperWords(ask_paper_words())


def ask_passphrase(place: Path, has_passphrase: bool) -> unlock.Unlock:
    """The passphrase of what is at `place`, typed by a person. Raises NodeError if it cannot be."""
    if not has_passphrase:
        raise NodeError(f"{place}: locked; give --key-file PATH before the command", LOCKED)
    if not person_present():
        raise NodeError(
            f"{place}: locked; give --passphrase-fd N before the command, or run it in a terminal",
            LOCKED,
        )
    return unlock.Passphrase(click.prompt("Passphrase", hide_input=True, err=True))


def unlock_new(
    settings: Settings, key_file: str | None, passphrase_fd: int | None, keyring: bool
) -> unlock.Unlock:
    """The one way that was chosen for a new home; on a terminal a passphrase is asked for.

    Raises UsageError if none or several were chosen.
    """
    unlock.harden_process()
    key_file = key_file if key_file is not None else settings.key_file
    passphrase_fd = passphrase_fd if passphrase_fd is not None else settings.passphrase_fd
    return new_way(key_file, passphrase_fd, keyring, THREE_WAYS)


def new_way(
    key_file: str | None, passphrase_fd: int | None, keyring: bool, options: str
) -> unlock.Unlock:
    """The one way that was chosen for a new slot; on a terminal a passphrase is asked for twice.

    `options` names the three options. Raises UsageError if none or several were chosen.
    """
    ways = (key_file is not None) + (passphrase_fd is not None) + keyring
    if ways > 1:
        raise click.UsageError(f"one way to unlock the home, please: {options}")
    if keyring:
        return unlock.Keyring()
    given = _given(key_file, passphrase_fd)
    if given is not None:
        if key_file is not None:
            note("a key file beside the home protects a stolen backup, not a stolen disk")
        return given
    if not person_present():
        raise click.UsageError(f"how shall the home be unlocked? Give {options}")
    return new_passphrase(None)


def new_passphrase(fd: int | None) -> unlock.Passphrase:
    """A new passphrase, from a descriptor or typed twice. Raises UsageError if nobody can type."""
    if fd is not None:
        return unlock.read_passphrase_fd(fd)
    if not person_present():
        raise click.UsageError("a passphrase is typed on a terminal, or give --new-passphrase-fd N")
    note("A passphrase protects this device's home. Keep it: only a paper key can take its place.")
    typed = click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)
    return unlock.Passphrase(typed)


def _given(key_file: str | None, passphrase_fd: int | None) -> unlock.Unlock | None:
    if key_file is not None:
        return unlock.KeyFile(Path(key_file))
    if passphrase_fd is not None:
        return unlock.read_passphrase_fd(passphrase_fd)
    return None
