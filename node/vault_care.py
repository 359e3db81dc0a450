"""Vault care: adding, replacing and removing ways to unlock a home.

The home must be nobody else's meanwhile: `vault_of` holds its lock. Every change is made in whole
headers that are written and read back. A new way is proved to open before an old one is removed,
so a crash leaves a home with one way too many, never with none.

Nobody can take back a copy of the vault file that was made before: what opened it then opens that
copy for ever, because the key that all ways lead to stays the same.

Slots are numbered from 1, as people see them. Argon2id runs here and takes a second.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .. import CoveyError
from ..crypto.secret import Secret
from ..crypto.vault import (
    COST_DEFAULT,
    SLOTS_MAX,
    Argon2Cost,
    LockKey,
    PaperLock,
    PassphraseKey,
    SlotKind,
    add_slot,
    open_slot,
    remove_slot,
    slots,
    vault_id,
)
from ..storage.home import Home
from ..storage.vault_file import read_vault, write_vault
from .unlock import PaperWords, Passphrase, Unlock, make_vault_unlock, to_vault_unlock

Draw = Callable[[int], bytes]

KIND_WORDS = {
    SlotKind.PASSPHRASE: "passphrase",
    SlotKind.KEY_FILE: "key-file",
    SlotKind.KEYRING: "keyring",
    SlotKind.RECOVERY: "paper-key",
}


class SlotChoiceError(CoveyError):
    """There is no such slot, or it is not clear which one is meant. Nothing was changed."""

    exit_code = 1


class SameWayError(CoveyError):
    """This key opens the home already. Nothing was changed."""

    exit_code = 1


def slot_rows(path: Path) -> list[dict[str, Any]]:
    """The slots of a home's vault, as its file tells them to anyone who can read it.

    Raises: NotInitialisedError, VaultFileDamagedError and others of `read_vault`.
    """
    return _rows(read_vault(Home(path).vault).header)


class HomeVault:
    """The vault of a locked home. Everything but `kinds` and `rows` needs `open` before."""

    def __init__(self, home: Home, header: bytes, draw: Draw, cost: Argon2Cost) -> None:
        self._home = home
        self._header = header
        self._draw = draw
        self._cost = cost
        self._key: Secret | None = None
        self.opened_by = 0
        """The slot that `open` opened, 0 before."""

    @property
    def kinds(self) -> tuple[SlotKind, ...]:
        return tuple(slot.kind for slot in slots(self._header))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One a slot: `{"slot", "kind", "passes", "memory_mib"}`, the last two for passphrases."""
        return _rows(self._header)

    def open(self, unlock: Unlock) -> None:
        """Raises: what `to_vault_unlock` and `open_vault` raise."""
        key = to_vault_unlock(unlock, vault_id(self._header))
        index, self._key = open_slot(self._header, key)
        self.opened_by = index + 1

    def add(self, new: Unlock) -> int:
        """Make one more way to unlock the home. The number of its slot.

        Raises: SameWayError, SlotLimitError, UnlockError, StorageError.
        """
        if not isinstance(new, PaperWords):
            # Fetched or made before anything depends on it.
            return self._add(make_vault_unlock(new, vault_id(self._header), self._draw))
        return self.add_paper(new.keys.seal_pk)

    def add_paper(self, seal_pk: bytes) -> int:
        """Let the paper key with this sealing key open the home. Its words are not needed."""
        for number, slot in enumerate(slots(self._header), start=1):
            if slot.is_for_paper(seal_pk):
                raise SameWayError(f"this paper key opens the home already: slot {number}")
        return self._add(PaperLock(seal_pk))

    def paper_slots(self, seal_pk: bytes) -> tuple[int, ...]:
        """The slots that the paper key with this sealing key opens, descending."""
        found = enumerate(slots(self._header), start=1)
        return tuple(number for number, slot in found if slot.is_for_paper(seal_pk))[::-1]

    def remove(self, number: int) -> None:
        """Take a way away. Raises: SlotChoiceError, SlotLimitError for the last, StorageError."""
        self._check(number)
        self._write(remove_slot(self._header, self._secret, number - 1))

    def replace_passphrase(self, new: Passphrase, number: int | None = None) -> int:
        """Put a new passphrase in place of an old one. The number of its slot.

        Without a number the one that opened the vault, or the only one there is, is replaced.

        Raises: SlotChoiceError, SlotLimitError, StorageError.
        """
        old = self._passphrase_slot(number)
        self.add(new)
        self.remove(old)
        return len(self.kinds)

    @property
    def _secret(self) -> Secret:
        assert self._key is not None, "the vault was not opened"
        return self._key

    def _add(self, key: LockKey) -> int:
        if not isinstance(key, PassphraseKey | PaperLock):
            self._refuse_the_same(key)
        self._write(add_slot(self._header, self._secret, key, self._draw, self._cost))
        number = len(self.kinds)
        if not isinstance(key, PaperLock):
            # Proved on what is on the disk now, by the way a person will take.
            alone = read_vault(self._home.vault).header
            assert open_slot(alone, key)[1] == self._secret
        return number

    def _refuse_the_same(self, key: Any) -> None:
        try:
            index, _ = open_slot(self._header, key)
        except CoveyError:
            return
        raise SameWayError(f"this key opens the home already: slot {index + 1}")

    def _passphrase_slot(self, number: int | None) -> int:
        found = [n for n, kind in enumerate(self.kinds, 1) if kind is SlotKind.PASSPHRASE]
        if number is not None:
            self._check(number)
            if number not in found:
                raise SlotChoiceError(f"slot {number} holds no passphrase: `covey vault list`")
            return number
        if self.opened_by in found:
            return self.opened_by
        if not found:
            raise SlotChoiceError("the home has no passphrase: `covey vault add` makes one")
        if len(found) > 1:
            numbers = ", ".join(map(str, found))
            raise SlotChoiceError(f"there are several passphrases: say which by --slot ({numbers})")
        return found[0]

    def _check(self, number: int) -> None:
        if not 1 <= number <= len(self.kinds):
            raise SlotChoiceError(
                f"there is no slot {number}: `covey vault list` shows 1 to {len(self.kinds)}"
            )

    def _write(self, header: bytes) -> None:
        write_vault(self._home.vault, header)
        self._header = header


@contextmanager
def vault_of(path: Path, draw: Draw, *, cost: Argon2Cost = COST_DEFAULT) -> Iterator[HomeVault]:
    """The vault of a home, which belongs to nobody else while the block runs.

    Raises: NotInitialisedError, HomeBusyError, VaultFileDamagedError and others of `read_vault`.
    """
    home = Home(path)
    read_vault(home.vault)  # Before the lock, which would leave a file where no home is.
    with home.lock():
        yield HomeVault(home, read_vault(home.vault).header, draw, cost)


def has_other_paper_slots(header: bytes, current: Collection[bytes]) -> bool:
    """Whether a paper key opens this vault that is none of these (sealing keys)."""
    return any(
        slot.kind is SlotKind.RECOVERY and not any(map(slot.is_for_paper, current))
        for slot in slots(header)
    )


def follow_paper_keys(
    home: Home,
    header: bytes,
    vault_key: Secret,
    current: Sequence[bytes],
    former: Collection[bytes],
    draw: Draw,
) -> bool:
    """Let the paper keys of the mesh open this home, and those that were replaced no more.

    `current` and `former` are sealing keys. For a home that is open, so `vault_key` is at hand; the
    words are not needed. Whether the vault was changed. Raises: StorageError; then it was not.
    """
    made = header
    for seal_pk in current:
        if not any(slot.is_for_paper(seal_pk) for slot in slots(made)):
            if len(slots(made)) >= SLOTS_MAX:
                return False
            made = add_slot(made, vault_key, PaperLock(seal_pk), draw)
    for seal_pk in former if current else ():
        for index in reversed(range(len(slots(made)))):
            if slots(made)[index].is_for_paper(seal_pk):
                made = remove_slot(made, vault_key, index)
    if made != header:
        write_vault(home.vault, made)
    return made != header


def _rows(header: bytes) -> list[dict[str, Any]]:
    return [
        {
            "slot": number,
            "kind": KIND_WORDS[slot.kind],
            "passes": slot.cost.passes if slot.cost else None,
            "memory_mib": slot.cost.memory_mib if slot.cost else None,
        }
        for number, slot in enumerate(slots(header), start=1)
    ]
