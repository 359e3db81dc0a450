"""Every store says of what kind it is; one that would write plaintext keeps the node from starting.

A side store that nobody thought of (an index, an analysis, a cache) is where plaintext leaks.
"""

from pathlib import Path

import pytest

import covey
from covey.node import main
from covey.node.main import create_home
from covey.storage.home import Home
from covey.storage.stores import RegisteredStore, StoreKind, StoreKindError, Stores

HOME = Path("/home/of/a/device")


@pytest.mark.parametrize("kind", ["plaintext", "sqlite", "", "SQLCIPHER", "memory "])
def test_a_store_of_another_kind_is_refused(kind: str) -> None:
    """What is not known to encrypt is taken to write plaintext."""
    stores = Stores(HOME)

    with pytest.raises(StoreKindError, match=r"the store 'index' is of the kind .* only sqlcipher"):
        stores.register("index", kind, HOME / "index")
    assert stores.all() == ()


@pytest.mark.parametrize(
    ("kind", "path"),
    [("memory", HOME / "index"), ("sqlcipher", None), ("ciphertext-file", None)],
)
def test_a_kind_that_contradicts_the_path_is_refused(kind: str, path: Path | None) -> None:
    """A store in memory with a file is none, and a file that is not named is not looked at."""
    with pytest.raises(StoreKindError):
        Stores(HOME).register("index", kind, path)


def test_a_name_stands_for_one_store() -> None:
    """Registered anew under a kind that is allowed, a store could change what it is."""
    stores = Stores(HOME)
    stores.register("index", "memory")
    stores.register("index", "memory")

    with pytest.raises(StoreKindError, match="another one"):
        stores.register("index", "sqlcipher", HOME / "index.db")
    assert stores.all() == (RegisteredStore("index", StoreKind.MEMORY, None),)


def test_files_beside_a_store_and_in_its_folder_are_its_own() -> None:
    """SQLite writes a log beside its file, a vault has a copy, a folder holds many files."""
    stores = Stores(HOME)
    stores.register("records", "sqlcipher", HOME / "store.db")
    stores.register("blobs", "ciphertext-file", HOME / "blobs")
    stores.register("index", "memory")

    for name in ("store.db", "store.db-wal", "store.db.bak.new", "blobs", "blobs/ab/cd"):
        assert stores.owner(HOME / name) is not None, name
    for name in ("store.dbx", "other.db", "blobs2/ab", "x/store.db-wal"):
        assert stores.owner(HOME / name) is None, name


async def test_every_file_of_a_home_belongs_to_a_registered_store(tmp_path: Path) -> None:
    """What nobody registered, nobody has said to be encrypted; the search for canaries walks it."""
    pytest.importorskip("rocksdict")
    home, key = tmp_path / "home", covey.KeyFile(tmp_path / "key")
    await create_home(home, "laptop", "laptop", key)
    async with covey.open(home, unlock=key, online=True, mdns=False) as node:
        facts = node.database("memory").collection("facts")
        vectors = {"embedding": covey.embedding("mini", "1", [1.0, 0.0])}
        await facts.put({"kind": "a", **vectors}, id="r")
        await facts.index("kind")
        await facts.vectors("embedding", model="mini", version="1", dimension=2)
        assert [near.id for near in await facts.nearest([1.0, 0.0], k=1)] == ["r"]
        (tmp_path / "note.txt").write_text("tea")
        await facts.put_blob("r", "file", tmp_path / "note.txt")
        await node.cache("answers").put("k", "for a while")
        stores = node.engine.stores
        open_files = {path for path in home.rglob("*") if path.is_file()}
    closed = {path for path in home.rglob("*") if path.is_file()}
    strays = {path.name for path in open_files | closed if stores.owner(path) is None}

    # They hold a process number, and nothing.
    assert strays <= {"node.lock", "node.sock"}
    assert len(open_files) > 5 and any(path.parent.name == "cache" for path in open_files)
    assert {store.kind.value for store in stores.all()} == {
        "sqlcipher",
        "ciphertext-file",
        "memory",
    }


async def test_the_node_does_not_start_with_a_store_that_would_write_plaintext(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Better no node than one that leaks; and the home is free again for one that does not."""
    home, key = tmp_path / "home", covey.KeyFile(tmp_path / "key")
    await create_home(home, "laptop", "laptop", key)

    class LeakyHome(Home):
        def register_stores(self, stores: Stores) -> None:
            super().register_stores(stores)
            stores.register("index", "plaintext", self.path / "index")

    monkeypatch.setattr(main, "Home", LeakyHome)
    with pytest.raises(StoreKindError, match="turn that store off"):
        await covey.open(home, unlock=key)
    monkeypatch.undo()

    async with covey.open(home, unlock=key) as node:
        kinds = {store.name: store.kind.value for store in node.engine.stores.all()}
    assert kinds.items() >= {
        ("blobs", "ciphertext-file"),
        ("cache", "ciphertext-file"),
        ("records", "sqlcipher"),
        ("vault", "ciphertext-file"),
        ("instance token", "ciphertext-file"),
        ("reserve", "ciphertext-file"),
    }
