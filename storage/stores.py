"""Stores: what keeps content of this home, by kind. Whoever keeps content says so here first.

A store is of one of three kinds: `sqlcipher`, whose pages are encrypted; `ciphertext-file`, whose
files hold nothing that can be read without a key; `memory`, which is gone with the process. There
is no kind for plaintext, so a node with a store that would write it does not start.

Registering opens nothing: each store proves by itself that it encrypts (`connector.py` refuses a
plain SQLite file). A test walks the home, and fails for every path that no store has registered.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from .errors import StorageError


class StoreKind(StrEnum):
    SQLCIPHER = "sqlcipher"
    CIPHERTEXT_FILE = "ciphertext-file"
    MEMORY = "memory"


class StoreKindError(StorageError):
    """A store was to be used that may write plaintext. Nothing of it was opened; do not use it."""

    def __init__(self, path: Path, name: str, found: str) -> None:
        kinds = ", ".join(StoreKind)
        super().__init__(
            path, f"the store {name!r} {found}: only {kinds} are allowed, turn that store off"
        )


@dataclass(frozen=True, slots=True)
class RegisteredStore:
    """One store. `path` is its file or its folder, with everything in it; None in memory."""

    name: str
    kind: StoreKind
    path: Path | None


class Stores:
    """The stores of one home."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._stores: dict[str, RegisteredStore] = {}

    def register(self, name: str, kind: str, path: Path | None = None) -> None:
        """Say what a store is, before it is opened. Saying the same again changes nothing.

        Raises: StoreKindError for another kind, for a kind that contradicts the path, and for a
        name that is another store's.
        """
        if kind not in tuple(StoreKind):
            raise StoreKindError(path or self._home, name, f"is of the kind {kind!r}")
        store = RegisteredStore(name, StoreKind(kind), path)
        if (store.kind is StoreKind.MEMORY) != (path is None):
            what = "names no file" if path is None else "names a file"
            raise StoreKindError(path or self._home, name, f"of the kind {kind!r} {what}")
        if self._stores.setdefault(name, store) != store:
            raise StoreKindError(path or self._home, name, "is registered as another one")

    def all(self) -> tuple[RegisteredStore, ...]:
        """In the order in which they were registered."""
        return tuple(self._stores.values())

    def owner(self, path: Path) -> RegisteredStore | None:
        """The store that a file belongs to. One that is beside a store's file, under its name and
        `-` or `.` and more (a write-ahead log, a copy, a half-written successor), is that store's.
        """
        for store in self._stores.values():
            if store.path is None:
                continue
            beside = path.parent == store.path.parent and path.name.startswith(
                (f"{store.path.name}-", f"{store.path.name}.")
            )
            if beside or path == store.path or store.path in path.parents:
                return store
        return None
