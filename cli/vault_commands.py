"""Vault: `covey vault` lists, adds, replaces and removes the ways to unlock the home.

The home is unlocked as for any command, by the options before it; the new secret has options of
its own, so that the two cannot be mistaken for each other. No node may run meanwhile.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .errors import DeclinedError
from .options import Settings, json_option, pass_settings, person_present
from .output import emit, note, say, table, visible

if TYPE_CHECKING:
    from ..node.vault_care import HomeVault

NEW_WAYS = "--new-key-file PATH, --new-passphrase-fd N, or --new-keyring"
OLD_COPIES = (
    "Whoever kept an old copy of vault.covey, also in a backup, can still open that copy, and with"
    " it the data, in the old way."
)

F = TypeVar("F", bound=Callable[..., Any])


def new_way_options(command: F) -> F:
    """Adds the options that name a new way to unlock a home."""
    for option in (
        click.option("--new-keyring", is_flag=True, help="Keep a key in the system's keyring."),
        click.option(
            "--new-key-file", metavar="PATH", help="Keep a key in this file; made if absent."
        ),
        click.option(
            "--new-passphrase-fd", type=int, metavar="N", help="Read a new passphrase from here."
        ),
    ):
        command = option(command)
    return command


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def vault(context: click.Context) -> None:
    """Show and change the ways to unlock this home. Without a subcommand: list."""
    if context.invoked_subcommand is None:
        context.invoke(list_slots)


@vault.command("list")
@json_option
@pass_settings
def list_slots(settings: Settings) -> None:
    """List the slots of the vault; each is one way to unlock the home. Needs no key."""
    from ..node.vault_care import slot_rows

    _show(settings, {"slots": slot_rows(Path(settings.home))})


@vault.command("add")
@new_way_options
@click.option(
    "--paper-key", is_flag=True, help="Let the paper key unlock it; its words are asked for."
)
@click.option(
    "--words-fd", type=int, metavar="N", help="With --paper-key: read the words from descriptor N."
)
@json_option
@pass_settings
def add_slot(
    settings: Settings,
    new_passphrase_fd: int | None,
    new_key_file: str | None,
    new_keyring: bool,
    paper_key: bool,
    words_fd: int | None,
) -> None:
    """Add one more way to unlock the home; the others stay.

    Without an option a new passphrase is asked for, twice.
    """
    from .unlocking import new_way, words_as_told

    others = new_keyring or new_key_file is not None or new_passphrase_fd is not None
    if (paper_key and others) or (words_fd is not None and not paper_key):
        raise click.UsageError(f"one new way, please: {NEW_WAYS}, or --paper-key [--words-fd N]")
    with _opened(settings) as care:
        if paper_key:
            number = care.add(words_as_told(words_fd))
        else:
            number = care.add(new_way(new_key_file, new_passphrase_fd, new_keyring, NEW_WAYS))
        _show(settings, {"added": number, "slots": care.rows})


@vault.command("remove")
@click.argument("slot", type=int, metavar="SLOT")
@click.option("--yes", is_flag=True, help="Also if it is the one you unlock with just now.")
@json_option
@pass_settings
def remove_slot(settings: Settings, slot: int, yes: bool) -> None:
    """Remove one way to unlock the home, by its number in the list. The last one stays.

    A key file is not deleted, nor is the key in the keyring.
    """
    with _opened(settings) as care:
        question = _doubt(care, slot)
        if question is not None and not yes:
            _require_yes(question)
        care.remove(slot)
        note(OLD_COPIES)
        _show(settings, {"removed": slot, "slots": care.rows})


@vault.command("passphrase")
@click.option("--new-passphrase-fd", type=int, metavar="N", help="Read the new one from here.")
@click.option(
    "--slot", type=int, metavar="SLOT", help="Which one to replace, if there are several."
)
@json_option
@pass_settings
def change_passphrase(settings: Settings, new_passphrase_fd: int | None, slot: int | None) -> None:
    """Put a new passphrase in the place of the old one.

    The new one is proved to open the home before the old one is removed.
    """
    from .unlocking import new_passphrase

    with _opened(settings) as care:
        number = care.replace_passphrase(new_passphrase(new_passphrase_fd), slot)
        note(OLD_COPIES)
        _show(settings, {"replaced_by": number, "slots": care.rows})


@vault.command("recover")
@new_way_options
@json_option
@pass_settings
def recover(
    settings: Settings,
    new_passphrase_fd: int | None,
    new_key_file: str | None,
    new_keyring: bool,
) -> None:
    """Open the home with the paper key, and give it a new way to unlock it.

    For a home whose passphrase is forgotten, or whose key file is gone. The words are asked for, or
    read with `covey --words-fd N vault recover`. Ways that were lost stay until they are removed.
    """
    from .unlocking import ask_words, new_way, unlock_as_told

    with _locked(settings) as care:
        given = unlock_as_told(settings)
        care.open(ask_words() if given is None else given)
        number = care.add(new_way(new_key_file, new_passphrase_fd, new_keyring, NEW_WAYS))
        note("`covey vault remove SLOT` removes what was lost.")
        _show(settings, {"added": number, "slots": care.rows})


@contextmanager
def _locked(settings: Settings) -> "Iterator[HomeVault]":
    from ..node.system_entropy import SystemEntropy
    from ..node.vault_care import vault_of

    with vault_of(Path(settings.home), SystemEntropy().draw) as care:
        yield care


@contextmanager
def _opened(settings: Settings) -> "Iterator[HomeVault]":
    """The vault, locked and opened in the usual way. A busy home is told before a key is asked."""
    from .unlocking import unlock_existing

    with _locked(settings) as care:
        care.open(unlock_existing(settings))
        yield care


def _doubt(care: "HomeVault", slot: int) -> str | None:
    """What a person should be asked before this slot is removed, if anything."""
    if slot == care.opened_by:
        return f"Slot {slot} is the one you unlocked the home with. Remove it?"
    left = {row["kind"] for row in care.rows if row["slot"] != slot}
    if left == {"paper-key"}:
        return "Only the paper key will open the home then. Remove it?"
    return None


def _require_yes(question: str) -> None:
    if not person_present():
        raise click.UsageError(f"{question} Somebody has to agree: run it in a terminal, or --yes")
    if not click.confirm(question, default=False, err=True):
        raise DeclinedError("nothing was removed")


def _show(settings: Settings, answer: dict[str, Any]) -> None:
    if settings.json:
        emit(answer)
        return
    rows = [(row["slot"], row["kind"], _cost(row)) for row in answer["slots"]]
    table(("slot", "opened by", "guessing costs"), rows)
    for what in ("added", "replaced_by"):
        if what in answer:
            say(f"slot {visible(answer[what])} is new")


def _cost(row: dict[str, Any]) -> str:
    if row["passes"] is None:
        return ""
    return f"Argon2id, {row['passes']} passes, {row['memory_mib']} MiB"
