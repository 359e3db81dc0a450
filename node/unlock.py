"""Unlock: the ways into a home, as an application or the command line names them.

`Passphrase`, `KeyFile`, `Keyring` and `PaperWords` say which way; `to_vault_unlock` fetches the key
of an existing vault, `make_vault_unlock` makes one for a new slot, and `check_way` finds out before
whether that can be. What is done with it is in crypto/vault.py.

A key file is 32 random bytes that nobody else may read. On the disk of the home it does not
protect against a thief of that disk. Of the keyrings only those are used that the operating system
keeps encrypted: everything else that the `keyring` package offers is refused, since some of it
writes plain text. Any process of the same user can read a keyring.

This module touches files, descriptors, the keyring and the process itself: it is an adapter.
Python cannot wipe a secret from memory; `harden_process` keeps others from reading that memory.
"""

import os
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any, assert_never

from .. import CoveyError
from ..crypto.recovery import TYPED_CHARACTERS_MAX, RecoveryKeys
from ..crypto.secret import Secret
from ..crypto.vault import (
    KEY_BYTES,
    PASSPHRASE_BYTES_MAX,
    VAULT_ID_BYTES,
    FileKey,
    KeyringKey,
    LockKey,
    PaperKey,
    PaperLock,
    PassphraseKey,
    SlotKind,
    UnlockKey,
    slots,
    vault_id,
)
from ..storage.home import Home
from ..storage.vault_file import read_vault
from .paper_shares import read_paper

KEYRING_SERVICE = "covey"
OTHER_WAYS = "unlock with --passphrase-fd N or --key-file PATH instead"

_KEYRING_BACKENDS = frozenset(
    {
        ("keyring.backends.SecretService", "Keyring"),
        ("keyring.backends.kwallet", "DBusKeyring"),
        ("keyring.backends.kwallet", "DBusKeyringKWallet4"),
        ("keyring.backends.macOS", "Keyring"),
        ("keyring.backends.Windows", "WinVaultKeyring"),
    }
)
_CHAINER = ("keyring.backends.chainer", "ChainerBackend")
_NO_BACKEND = ("keyring.backends.fail", "Keyring")
_REASONS = {
    "InitError": "it is locked or was never set up; unlock it and try again",
    "KeyringLocked": "it is locked; unlock it and try again",
}
"""What errors of the `keyring` package mean to a person, by their class. Others go by its name."""

_PR_SET_DUMPABLE = 4  # linux/prctl.h

Draw = Callable[[int], bytes]


class UnlockError(CoveyError):
    """The base: no key could be fetched, so nothing was opened."""

    exit_code = 5


class PassphraseInputError(UnlockError):
    """No usable passphrase was given: empty, too long, not text, or an unreadable descriptor."""

    exit_code = 2


class KeyFileError(UnlockError):
    """The key file is absent, not a key file, or open to others. It was not used."""


class KeyringRefusedError(UnlockError):
    """There is no keyring that keeps a key safe, or it is locked. Another way must be taken."""


class KeyringEntryError(UnlockError):
    """The keyring works, but does not hold the key of this vault: another user or machine?"""


@dataclass(frozen=True, slots=True, eq=False)
class Passphrase:
    """A passphrase, 1 to 1,024 bytes of UTF-8, taken as it is.

    Raises: PassphraseInputError when made of anything else.
    """

    text: str = field(repr=False)

    def __post_init__(self) -> None:
        try:
            size = len(self.text.encode())
        except UnicodeEncodeError:
            raise PassphraseInputError("the passphrase is no valid text: type it again") from None
        if not size:
            raise PassphraseInputError("the passphrase is empty: give at least one character")
        if size > PASSPHRASE_BYTES_MAX:
            raise PassphraseInputError(
                f"the passphrase has {size} bytes, {PASSPHRASE_BYTES_MAX} are allowed"
            )


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A file with 32 random bytes, readable by its owner alone."""

    path: str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Keyring:
    """A key that the operating system's keyring keeps for this vault."""


@dataclass(frozen=True, slots=True, eq=False)
class PaperWords:
    """The words of the paper key as they were typed, or two of its shares one after the other.

    Raises: WordsError when made of anything else; SharesMissingError.
    """

    text: InitVar[str]
    keys: RecoveryKeys = field(init=False)

    def __post_init__(self, text: str) -> None:
        object.__setattr__(self, "keys", RecoveryKeys.from_seed(read_paper(text)))


Unlock = Passphrase | KeyFile | Keyring | PaperWords


def to_vault_unlock(unlock: Unlock, vault_id: bytes) -> UnlockKey:
    """Fetch the key for a vault that exists. Changes nothing.

    Raises: KeyFileError, KeyringRefusedError, KeyringEntryError.
    """
    match unlock:
        case Passphrase(text):
            return PassphraseKey(Secret(text.encode()))
        case KeyFile(path):
            return FileKey(_read_key_file(Path(path)))
        case Keyring():
            found = _keyring_get(_keyring_backend(), vault_id)
            if found is None:
                raise KeyringEntryError(f"the keyring holds no key for this vault: {OTHER_WAYS}")
            return KeyringKey(found)
        case PaperWords():
            return PaperKey(unlock.keys)
        case _:
            assert_never(unlock)


def check_way(unlock: Unlock, home: Path) -> None:
    """Find out whether a new slot of the vault of `home` can be made, before anything is.

    Changes nothing. A keyring that is locked may ask the person before it to unlock it.

    Raises: KeyFileError, KeyringRefusedError, KeyringEntryError.
    """
    match unlock:
        case KeyFile(path):
            file = Path(path).absolute()
            if os.path.lexists(file):
                _read_key_file(file)
            elif file.parent != home and not file.parent.is_dir():
                raise KeyFileError(f"{file}: there is no folder {file.parent}; make it first")
            elif file.parent != home and not os.access(file.parent, os.W_OK | os.X_OK):
                raise KeyFileError(f"{file}: the folder {file.parent} takes no file of yours")
        case Keyring():
            # No vault has this id. To say so, a keyring must be there, and unlocked.
            _keyring_get(_keyring_backend(), bytes(VAULT_ID_BYTES))
        case Passphrase() | PaperWords():
            pass
        case _:
            assert_never(unlock)


def make_vault_unlock(unlock: Unlock, vault_id: bytes, draw: Draw) -> LockKey:
    """Fetch or make the key for a new slot of a vault; an existing key file is used as it is.

    A new key is safely stored when this returns, before any vault depends on it.

    Raises: KeyFileError, KeyringRefusedError, KeyringEntryError.
    """
    match unlock:
        case Passphrase():
            return to_vault_unlock(unlock, vault_id)
        case KeyFile(path):
            return FileKey(_make_key_file(Path(path), draw))
        case Keyring():
            return KeyringKey(_keyring_make(_keyring_backend(), vault_id, draw))
        case PaperWords():
            return PaperLock(unlock.keys.seal_pk)
        case _:
            assert_never(unlock)


def has_keyring_slot(home: Path) -> bool:
    """Whether the vault of `home` can be unlocked by the keyring.

    Raises: NotInitialisedError, VaultFileDamagedError and others of `read_vault`.
    """
    return _has_slot(home, SlotKind.KEYRING)


def has_passphrase_slot(home: Path) -> bool:
    """Whether the vault of `home` can be unlocked by a passphrase. Raises as above."""
    return _has_slot(home, SlotKind.PASSPHRASE)


def keyring_opens(header: bytes) -> bool:
    """Whether a vault has a slot for the keyring, and the keyring here holds its key."""
    if not any(slot.kind is SlotKind.KEYRING for slot in slots(header)):
        return False
    try:
        to_vault_unlock(Keyring(), vault_id(header))
    except UnlockError:
        return False
    return True


def holds_passphrase(header: bytes) -> bool:
    """Whether a vault has a slot for a passphrase."""
    return any(slot.kind is SlotKind.PASSPHRASE for slot in slots(header))


def read_passphrase_fd(fd: int) -> Passphrase:
    """Read a passphrase from a descriptor up to its end, less one newline. Leaves it open.

    Raises: PassphraseInputError.
    """
    data = _read_fd(fd, PASSPHRASE_BYTES_MAX + len(b"\r\n"), "--passphrase-fd")
    data = data.removesuffix(b"\n").removesuffix(b"\r") if data.endswith(b"\n") else data
    return Passphrase(_as_text(data, fd))


def read_words_fd(fd: int) -> PaperWords:
    """Read the words of a paper key, or shares of it, from a descriptor up to its end.

    Raises: PassphraseInputError, WordsError, SharesMissingError.
    """
    return PaperWords(read_words_text(fd))


def read_words_text(fd: int) -> str:
    """As `read_words_fd`, the text as it stands. Raises: PassphraseInputError."""
    return _as_text(_read_fd(fd, TYPED_CHARACTERS_MAX, "--words-fd"), fd)


def _read_fd(fd: int, limit: int, option: str) -> bytes:
    """What a descriptor holds, or one byte more than `limit`."""
    data = b""
    try:
        while len(data) <= limit and (more := os.read(fd, limit + 1 - len(data))):
            data += more
    except (OSError, OverflowError):
        raise PassphraseInputError(
            f"descriptor {fd} cannot be read: give an open one, such as {option} 0"
        ) from None
    return data


def _as_text(data: bytes, fd: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise PassphraseInputError(
            f"descriptor {fd} does not hold UTF-8 text: check what is piped in"
        ) from None


def harden_process() -> None:
    """Forbid core dumps and, on Linux, debuggers of the same user. Never fails.

    Where the system refuses, the process goes on as it was: this narrows, it does not promise.
    """
    with suppress(Exception):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with suppress(Exception):
            import ctypes

            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _has_slot(home: Path, kind: SlotKind) -> bool:
    header = read_vault(Home(home).vault).header
    return any(slot.kind is kind for slot in slots(header))


def _read_key_file(path: Path) -> Secret:
    try:
        # Not blocking, because a pipe in this place would wait for ever to be opened.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise KeyFileError(f"{path}: no such key file; give the path of the right one") from None
    except OSError as error:
        raise _key_file_error(path, error) from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise KeyFileError(f"{path}: not a regular file, so not a key file")
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise KeyFileError(f"{path}: others may read this key file; run chmod 600 on it first")
        if found.st_uid not in (os.geteuid(), 0):
            raise KeyFileError(
                f"{path}: this key file belongs to another user; use one of your own"
            )
        data = os.read(descriptor, KEY_BYTES + 1)
    except OSError as error:
        raise _key_file_error(path, error) from error
    finally:
        os.close(descriptor)
    if len(data) != KEY_BYTES:
        raise KeyFileError(f"{path}: a key file has {KEY_BYTES} bytes, this one {found.st_size}")
    return Secret(data)


def _make_key_file(path: Path, draw: Draw) -> Secret:
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        return _read_key_file(path)
    except OSError as error:
        raise _key_file_error(path, error) from error
    try:
        try:
            written = os.write(descriptor, draw(KEY_BYTES))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        # Half a key file would be taken for a damaged one at the next try.
        path.unlink(missing_ok=True)
        raise _key_file_error(path, error) from error
    if written != KEY_BYTES:
        path.unlink(missing_ok=True)
        raise KeyFileError(f"{path}: the disk took {written} of {KEY_BYTES} bytes; free some space")
    return _read_key_file(path)


def _key_file_error(path: Path, error: OSError) -> KeyFileError:
    return KeyFileError(f"{path}: cannot use this key file: {error.strerror or 'unknown error'}")


def _keyring_backend() -> Any:
    """The one backend that may be asked, never a dispatcher that could ask another."""
    try:
        import keyring

        backend: Any = keyring.get_keyring()
        if _class_of(backend) == _CHAINER:
            backend = next(iter(backend.backends), None)
    except Exception as error:
        raise _refused(_reason(error)) from None
    kind = _class_of(backend)
    if backend is None or kind == _NO_BACKEND:
        raise _refused("there is none")
    if kind not in _KEYRING_BACKENDS:
        raise _refused(f"{'.'.join(kind)} is not safe")
    return backend


def _class_of(backend: object) -> tuple[str, str]:
    return type(backend).__module__, type(backend).__qualname__


def _keyring_get(backend: Any, vault_id: bytes) -> Secret | None:
    # Backends fail with errors of D-Bus and of the system, so every kind is caught.
    try:
        text = backend.get_password(KEYRING_SERVICE, vault_id.hex())
    except Exception as error:
        raise _refused(_reason(error)) from None
    if text is None:
        return None
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyringEntryError(f"the keyring holds something else for this vault: {OTHER_WAYS}")
    return Secret(key)


def _keyring_make(backend: Any, vault_id: bytes, draw: Draw) -> Secret:
    # Replacing a key that is there would lock out the slot that it opens.
    found = _keyring_get(backend, vault_id)
    if found is not None:
        return found
    key = Secret(draw(KEY_BYTES))
    try:
        backend.set_password(KEYRING_SERVICE, vault_id.hex(), key.reveal().hex())
    except Exception as error:
        raise _refused(_reason(error)) from None
    if _keyring_get(backend, vault_id) != key:
        raise _refused("it did not keep what it was given")
    return key


def _reason(error: Exception) -> str:
    # Never its text, which may quote what was passed.
    name = type(error).__name__
    return _REASONS.get(name, name)


def _refused(why: str) -> KeyringRefusedError:
    return KeyringRefusedError(f"the system's keyring cannot be used ({why}): {OTHER_WAYS}")
