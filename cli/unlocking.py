"""Unlocking: where the key to a home comes from when a command opens the home itself.

A key file, a passphrase on a file descriptor, the system's keyring, or a passphrase typed on a
terminal. Never an argument, never the environment: other processes can read both. Before a secret
is in memory the process forbids core dumps and debuggers.

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
    unlock.harden_process()
    given = _given(settings.key_file, settings.passphrase_fd)
    if given is not None:
        return given
    home = Path(settings.home)
    if unlock.has_keyring_slot(home):
        return unlock.Keyring()
    if not unlock.has_passphrase_slot(home):
        raise NodeError(f"{home}: locked; give --key-file PATH before the command", LOCKED)
    if not person_present():
        raise NodeError(
            f"{home}: locked; give --passphrase-fd N before the command, or run it in a terminal",
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
    ways = (key_file is not None) + (passphrase_fd is not None) + keyring
    if ways > 1:
        raise click.UsageError(f"one way to unlock the home, please: {THREE_WAYS}")
    if keyring:
        return unlock.Keyring()
    given = _given(key_file, passphrase_fd)
    if given is not None:
        if key_file is not None:
            note("a key file beside the home protects a stolen backup, not a stolen disk")
        return given
    if not person_present():
        raise click.UsageError(f"how shall the home be unlocked? Give {THREE_WAYS}")
    note("A passphrase protects this device's home. Nobody can recover it for you.")
    return unlock.Passphrase(
        click.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True)
    )


def _given(key_file: str | None, passphrase_fd: int | None) -> unlock.Unlock | None:
    if key_file is not None:
        return unlock.KeyFile(Path(key_file))
    if passphrase_fd is not None:
        return unlock.read_passphrase_fd(passphrase_fd)
    return None
