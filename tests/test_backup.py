"""Backups: whole or refused. One flipped bit anywhere, and nothing is restored."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import covey
from covey import CoveyError
from covey.crypto import backup as frame
from covey.crypto import vault
from covey.crypto.backup import BackupHead, decode_head, encode_head
from covey.crypto.errors import FormatError
from covey.crypto.recovery import RecoveryKeys, words_of
from covey.crypto.secret import Secret
from covey.crypto.vault import COST_FLOOR, FileKey, WrongKeyError
from covey.node import backup as node_backup
from covey.node.backup import BackupPlaceError, FolderTakenError, restore_home
from covey.node.main import create_home, open_engine
from covey.node.unlock import KeyFile, PaperWords, Passphrase, Unlock
from covey.node.vault_care import vault_of
from covey.storage import backup_file, meta_rows
from covey.storage.backup_file import (
    BackupBusyError,
    BackupDamagedError,
    BackupExistsError,
    BackupMissingError,
    NoSuchFolderError,
    read_backup,
)
from covey.storage.errors import (
    DiskFailedError,
    HomeBusyError,
    HomeExistsError,
    StoreDamagedError,
    StoreFullError,
)
from covey.storage.home import Home
from covey.storage.store_copy import check_store
from covey.storage.vault_file import read_vault

PASSPHRASE = Passphrase("correct horse")
SEED = Secret(b"s" * 32)
WORDS = PaperWords(" ".join(words_of(SEED)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "place"
    made.mkdir()
    return made


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home, the key file that opens it, and its backup: made once for all tests.

    A passphrase and the paper key open the home as well. It holds one record.
    """
    folder = tmp_path_factory.mktemp("original")

    async def write() -> None:
        await create_home(folder / "home", "laptop", "laptop", KeyFile(folder / "key"))
        with vault_of(folder / "home", os.urandom, cost=COST_FLOOR) as care:
            care.open(KeyFile(folder / "key"))
            care.add(PASSPHRASE)
            care.add_paper(RecoveryKeys.from_seed(SEED).seal_pk)
        async with covey.open(folder / "home", unlock=KeyFile(folder / "key")) as node:
            await node.database("memory").collection("facts").put({"text": "likes tea"}, id="tea")
        await make(folder / "home", KeyFile(folder / "key"), folder / "covey.backup")

    asyncio.run(write())
    return folder


@pytest.fixture
def home(original: Path, tmp_path: Path) -> Path:
    """A home to be used up."""
    shutil.copytree(original / "home", tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def key(original: Path) -> KeyFile:
    return KeyFile(original / "key")


@pytest.fixture
def file(original: Path) -> Path:
    return original / "covey.backup"


async def make(home: Path, unlock: Unlock, path: Path, *, force: bool = False) -> None:
    async with open_engine(home, unlock) as engine:
        assert engine.back_up is not None
        await engine.back_up(path, force)


async def tea(home: Path, unlock: Unlock) -> object:
    async with covey.open(home, unlock=unlock) as node:
        return await node.database("memory").collection("facts").get("tea")


def nothing_in(folder: Path) -> bool:
    return list(folder.iterdir()) == []


# Making


async def test_a_backup_is_one_private_file_and_leaves_nothing_beside_it(
    home: Path, key: KeyFile, folder: Path
) -> None:
    """It lies on a stick that goes from hand to hand."""
    before = os.umask(0)
    try:
        await make(home, key, folder / "b")
    finally:
        os.umask(before)

    assert [path.name for path in folder.iterdir()] == ["b"]
    assert stat.S_IMODE((folder / "b").stat().st_mode) == 0o600
    content = (folder / "b").read_bytes()
    assert b"likes tea" not in content and b"SQLite format" not in content


async def test_a_file_that_is_there_is_replaced_only_by_force(
    home: Path, key: KeyFile, folder: Path
) -> None:
    """Last year's backup may be the only one that is any good."""
    (folder / "b").write_text("precious")
    with pytest.raises(BackupExistsError):
        await make(home, key, folder / "b")
    assert (folder / "b").read_text() == "precious"

    await make(home, key, folder / "b", force=True)
    assert read_backup(folder / "b").head.made_ms > 0
    assert [path.name for path in folder.iterdir()] == ["b"]


async def test_a_backup_is_not_written_into_the_home(home: Path, key: KeyFile) -> None:
    """It would be lost with it; and `--force store.db` would be the end of the home."""
    for name in ("b", "store.db", "vault.covey"):
        with pytest.raises(BackupPlaceError):
            await make(home, key, home / name, force=True)

    assert await tea(home, key) == {"text": "likes tea"}


async def test_a_folder_that_is_not_there_is_named(home: Path, key: KeyFile, folder: Path) -> None:
    """The stick was not mounted."""
    with pytest.raises(NoSuchFolderError, match="nowhere"):
        await make(home, key, folder / "nowhere" / "b")


async def test_two_at_once_do_not_write_one_file(home: Path, key: KeyFile, folder: Path) -> None:
    """A timer and a person."""
    with backup_file.new_backup(folder / "b", False), pytest.raises(BackupBusyError) as refused:
        await make(home, key, folder / "b")

    assert refused.value.exit_code == 7
    assert nothing_in(folder)


async def test_what_a_crash_left_is_in_nobodys_way(home: Path, key: KeyFile, folder: Path) -> None:
    """The machine was switched off in the middle of the night's backup."""
    (folder / "b.partial").write_bytes(b"half" * 10_000_000)
    (folder / "b.partial-store").write_bytes(b"half" * 1000)
    await make(home, key, folder / "b")

    assert [path.name for path in folder.iterdir()] == ["b"]
    assert read_backup(folder / "b").head.file_bytes == (folder / "b").stat().st_size


async def test_a_damaged_store_is_not_backed_up(home: Path, key: KeyFile, folder: Path) -> None:
    """A backup that nobody can restore is found out today, not on the worst day."""
    async with open_engine(home, key) as engine:
        with open(home / "store.db", "r+b") as store:
            for page in range(4, (home / "store.db").stat().st_size // 4096):
                store.seek(page * 4096 + 2000)
                store.write(b"rot")
        assert engine.back_up is not None
        with pytest.raises(StoreDamagedError) as refused:
            await engine.back_up(folder / "b", False)

    assert refused.value.exit_code == 6
    assert nothing_in(folder)


async def test_what_cannot_be_read_back_is_no_backup(
    home: Path, key: KeyFile, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cheap sticks say that they have written."""

    def rot(file: object) -> None:
        with open(folder / "b.partial", "r+b") as again:
            again.seek(100_000)
            again.write(b"rot")

    monkeypatch.setattr(backup_file, "_forget_cached", rot)
    with pytest.raises(DiskFailedError, match="cannot be read back"):
        await make(home, key, folder / "b")
    assert nothing_in(folder)


async def test_writes_go_on_while_a_backup_is_made_and_it_shows_one_moment(
    home: Path, key: KeyFile, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node must not stop for it; nor may half of a change be in it."""
    begun, may_end = threading.Event(), threading.Event()

    def slow(path: Path, store_key: bytes) -> None:
        begun.set()
        assert may_end.wait(30)
        check_store(path, store_key)

    monkeypatch.setattr("covey.node.backup.check_store", slow)
    async with open_engine(home, key) as engine:
        from covey.node.api import Node

        assert engine.back_up is not None
        facts = Node(engine, engine.close).database("memory").collection("facts")
        making = engine.spawn(engine.back_up(folder / "b", False), "backup")
        while not begun.is_set():
            await facts.put({"text": "during"}, id="tea")
        await facts.put({"text": "after"}, id="tea")
        may_end.set()
        await making

    monkeypatch.undo()
    restore_home(folder / "b", folder / "back", lambda _: key)
    assert await tea(folder / "back", key) in ({"text": "during"}, {"text": "likes tea"})
    assert await tea(home, key) == {"text": "after"}


# Restoring


@pytest.mark.parametrize("way", ["key file", "passphrase", "words"])
async def test_a_home_comes_back_by_every_way_that_opened_the_original(
    home: Path, key: KeyFile, file: Path, folder: Path, way: str
) -> None:
    """Whichever of them is left on that day."""
    ways: dict[str, Unlock] = {"key file": key, "passphrase": PASSPHRASE, "words": WORDS}
    unlock = ways[way]
    restored = restore_home(file, folder / "home", lambda _: unlock)

    assert await tea(folder / "home", unlock) == {"text": "likes tea"}
    assert restored["home"] == str(folder / "home")
    assert [path.name for path in folder.iterdir()] == ["home"]
    assert stat.S_IMODE((folder / "home").stat().st_mode) == 0o700
    names = {path.name for path in (folder / "home").iterdir()} - {"instance.token", "node.lock"}
    assert names == {"store.db", "vault.covey", "vault.covey.bak", "reserve"}


async def test_a_restored_home_writes_under_another_instance(
    home: Path, key: KeyFile, folder: Path
) -> None:
    """Two stores that write under one instance fork it; both may go on."""
    await make(home, key, folder / "b")
    restore_home(folder / "b", folder / "home", lambda _: key)
    async with open_engine(home, key) as original, open_engine(folder / "home", key) as restored:
        assert original.instance != restored.instance
        assert original.keys.sig_pk == restored.keys.sig_pk
        former = await restored.database.read(lambda c: meta_rows.get_meta(c, "instance.former"))

    assert former is not None and former.endswith(original.instance)


@pytest.mark.parametrize("what", ["home", "half a home", "somebody's folder", "file"])
async def test_nothing_that_is_there_is_touched(
    home: Path, key: KeyFile, file: Path, folder: Path, what: str
) -> None:
    """Restoring over a home would lose what it has and the backup has not."""
    place, error = folder / "home", FolderTakenError
    match what:
        case "home":
            os.rename(home, place)
            error = HomeExistsError  # type: ignore[assignment]
        case "half a home":
            place.mkdir()
            (place / "store.db").write_bytes(b"")
            error = HomeExistsError  # type: ignore[assignment]
        case "somebody's folder":
            place.mkdir()
            (place / "thesis").write_text("precious")
        case _:
            place.write_text("precious")
    before = sorted(path.name for path in folder.rglob("*"))
    with pytest.raises(error) as refused:
        restore_home(file, place, lambda _: key)

    assert refused.value.exit_code == 1
    assert sorted(path.name for path in folder.rglob("*")) == before


@pytest.mark.parametrize("link", [False, True])
async def test_an_empty_folder_is_as_good_as_none(
    key: KeyFile, file: Path, folder: Path, link: bool
) -> None:
    """Somebody made it already, or mounted something there."""
    (folder / "real").mkdir()
    place = folder / "real"
    if link:
        place = folder / "link"
        place.symlink_to(folder / "real")
    restore_home(file, place, lambda _: key)

    assert await tea(place, key) == {"text": "likes tea"}


async def test_a_wrong_key_is_told_as_such_and_leaves_nothing(file: Path, folder: Path) -> None:
    """The file is whole; the person types again."""
    with pytest.raises(WrongKeyError) as refused:
        restore_home(file, folder / "home", lambda _: Passphrase("correct house"))

    assert refused.value.exit_code == 5
    assert nothing_in(folder)


async def test_what_a_crash_left_beside_is_thrown_away(
    key: KeyFile, file: Path, folder: Path
) -> None:
    """The machine was switched off while it restored."""
    left = folder / ".home.restoring"
    left.mkdir()
    for name in ("store.db", "store.db-wal", "vault.covey", "vault.covey.new", "instance.token"):
        (left / name).write_bytes(b"half")
    restore_home(file, folder / "home", lambda _: key)

    assert [path.name for path in folder.iterdir()] == ["home"]
    assert await tea(folder / "home", key) == {"text": "likes tea"}


async def test_two_restores_to_one_place_do_not_mix(key: KeyFile, file: Path, folder: Path) -> None:
    """Whoever came first goes on."""
    beside = Home(folder / ".home.restoring")
    beside.create()
    with beside.lock(), pytest.raises(HomeBusyError):
        restore_home(file, folder / "home", lambda _: key)

    assert [path.name for path in folder.iterdir()] == [".home.restoring"]


@pytest.mark.parametrize("step", ["extract_store", "write_vault", "check_store", "SYSTEM_FILES"])
async def test_a_restore_that_fails_at_any_step_leaves_nothing(
    key: KeyFile, file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Half a home would be taken for a home."""

    class Failing:
        def __call__(self, *_: object) -> None:
            raise StoreFullError(folder)

        def sync_folder(self, path: Path) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(node_backup, step, Failing())
    with pytest.raises(StoreFullError):
        restore_home(file, folder / "home", lambda _: key)
    assert nothing_in(folder)


DIES_BEFORE_THE_RENAME = """
import os, sys
from pathlib import Path
from covey.node import backup
from covey.node.unlock import KeyFile
backup.os.rename = lambda *_: os._exit(9)
backup.restore_home(Path(sys.argv[1]), Path(sys.argv[2]), lambda _: KeyFile(sys.argv[3]))
"""


async def test_a_restore_that_was_killed_leaves_no_home_and_can_be_done_again(
    key: KeyFile, file: Path, folder: Path
) -> None:
    """The power went at the last moment: all is written, and nothing has its name."""
    program = [sys.executable, "-c", DIES_BEFORE_THE_RENAME]
    died = subprocess.run([*program, file, folder / "home", key.path], check=False)

    assert died.returncode == 9
    assert [path.name for path in folder.iterdir()] == [".home.restoring"]
    restore_home(file, folder / "home", lambda _: key)
    assert [path.name for path in folder.iterdir()] == ["home"]
    assert await tea(folder / "home", key) == {"text": "likes tea"}


# Damage


def refused_at(content: bytes, folder: Path, unlock: Unlock) -> CoveyError:
    changed = folder.parent / "changed"
    changed.write_bytes(content)
    with pytest.raises(CoveyError) as refused:
        restore_home(changed, folder / "home", lambda _: unlock)
    assert nothing_in(folder)
    return refused.value


async def test_one_flipped_bit_anywhere_is_refused(
    file: Path, key: KeyFile, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A property: nothing is asked for, nothing is restored, and it is not called a wrong key."""
    content, folder = file.read_bytes(), tmp_path_factory.mktemp("flips") / "place"
    folder.mkdir()
    edges = st.sampled_from([0, 3, 4, 6, 14, 22, 23, 43, len(content) - 64, len(content) - 1])

    def unasked(_: bytes) -> Unlock:
        raise AssertionError("nobody is to be asked for a key")

    @settings(max_examples=150, deadline=None)
    @given(at=st.one_of(edges, st.integers(0, len(content) - 1)), bit=st.integers(0, 7))
    def flip(at: int, bit: int) -> None:
        changed = bytearray(content)
        changed[at] ^= 1 << bit
        path = folder.parent / "changed"
        path.write_bytes(changed)
        with pytest.raises(BackupDamagedError) as refused:
            restore_home(path, folder / "home", unasked)
        assert refused.value.exit_code == 6
        assert nothing_in(folder)

    flip()


def with_checksum(body: bytes) -> bytes:
    """What somebody who edits the file on purpose would write."""
    return body + blake2b(body, digest_size=32, person=b"cvy-backup-sum-1").digest()


async def test_a_change_on_purpose_is_refused_as_well(
    file: Path, key: KeyFile, folder: Path
) -> None:
    """Whoever edits the file also sets the checksum; every byte is under the key."""
    content = file.read_bytes()[:-32]
    vault_bytes = decode_head(content).vault_bytes
    # Not the vault header, which has a checksum of its own: of the times, store and tag.
    places = [14, 21, 22 + vault_bytes, 60_000, len(content) - 33, len(content) - 1]
    for at in places:
        changed = bytearray(content)
        changed[at] ^= 1
        found = refused_at(with_checksum(bytes(changed)), folder, key)
        assert found.exit_code == 6
        assert "by someone who has not its key" in str(found)


async def test_a_store_of_another_home_is_refused(
    file: Path, key: KeyFile, folder: Path, tmp_path: Path
) -> None:
    """Two backups put together: each half is genuine."""
    await create_home(tmp_path / "other", "phone", "phone", key)
    await make(tmp_path / "other", key, tmp_path / "other.backup")
    ours, theirs = file.read_bytes(), (tmp_path / "other.backup").read_bytes()
    our_head, their_head = decode_head(ours), decode_head(theirs)
    slots = ours[22 : 22 + our_head.vault_bytes]
    head = encode_head(BackupHead(len(slots), their_head.store_bytes, our_head.made_ms))
    mixed = head + slots + theirs[22 + their_head.vault_bytes : -32]

    assert refused_at(with_checksum(mixed), folder, key).exit_code == 6


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda content: content[:-1], "bytes, and should have"),
        (lambda content: content[: len(content) // 2], "bytes, and should have"),
        (lambda content: content[:20], "ends in its first line"),
        (lambda content: b"", "does not begin as a backup"),
        (lambda content: content + b"x", "bytes, and should have"),
        (lambda content: b"PK\3\4" + content[4:], "does not begin as a backup"),
        (lambda content: b"CVV1" + content[4:], "does not begin as a backup"),
        (lambda content: b"CVB2" + content[4:], "another version"),
        (lambda content: b"x" * 100, "does not begin as a backup"),
    ],
)
async def test_what_is_no_whole_backup_is_told_what_it_looks_like(
    file: Path, key: KeyFile, folder: Path, change: Callable[[bytes], bytes], told: str
) -> None:
    """A download that broke off, the wrong file, a newer program: each has another cure."""
    found = refused_at(change(file.read_bytes()), folder, key)

    assert found.exit_code == 6
    assert told in str(found) and "\n" not in str(found)


@pytest.mark.parametrize("vault_bytes", [0, 1530, 65535])
@pytest.mark.parametrize("store_bytes", [0, 4095, (1 << 42) + 4096, 2**64 - 1])
def test_sizes_out_of_bounds_are_refused_before_anything_is_read(
    vault_bytes: int, store_bytes: int
) -> None:
    """They come from a file that somebody else may have written."""
    head = b"CVB1" + vault_bytes.to_bytes(2, "big") + store_bytes.to_bytes(8, "big") + bytes(8)

    with pytest.raises(FormatError, match="impossible"):
        decode_head(head)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=40), real=st.booleans())
def test_any_beginning_gives_a_head_or_a_sentence(data: bytes, real: bool) -> None:
    """A foreign file must not end in a traceback."""
    try:
        head = decode_head(frame.MAGIC + data if real else data)
    except FormatError as refused:
        assert str(refused).isprintable()
    else:
        assert head.file_bytes < 1 << 43


@pytest.mark.parametrize("what", ["nothing", "folder", "pipe"])
def test_what_is_no_file_is_told(folder: Path, tmp_path: Path, key: KeyFile, what: str) -> None:
    """A pipe must not make us wait for ever."""
    path = tmp_path / "b"
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    with pytest.raises((BackupMissingError, BackupDamagedError)):
        restore_home(path, folder / "home", lambda _: key)
    assert nothing_in(folder)


def test_every_page_of_a_store_is_checked(home: Path, key: KeyFile) -> None:
    """A page that is never read in daily life may hold what is needed after a restore."""
    store = home / "store.db"
    held = FileKey(Secret(Path(key.path).read_bytes()))
    store_key = vault.store_key(vault.open_vault(read_vault(home / "vault.covey").header, held))
    pages = store.stat().st_size // 4096
    content = store.read_bytes()
    for page in range(pages):
        changed = bytearray(content)
        changed[page * 4096 + 2000] ^= 1
        store.write_bytes(changed)
        with pytest.raises(StoreDamagedError):
            check_store(store, store_key.reveal())
    store.write_bytes(content)
    check_store(store, store_key.reveal())


# A full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.getuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs the rights of root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize(
    ("command", "share"), [("backup", 0), ("backup", 0.5), ("backup", 1.5), ("restore", 0.5)]
)
async def test_a_full_disk_is_told_and_left_as_it_was(
    home: Path, key: KeyFile, file: Path, small_disk: Path, command: str, share: float
) -> None:
    """At the first byte, in the copy of the store, or when it is put into the backup."""
    left = int(file.stat().st_size * share)
    (small_disk / "ballast").write_bytes(bytes((1 << 20) - left // 4096 * 4096))
    with pytest.raises(StoreFullError) as refused:
        if command == "backup":
            await make(home, key, small_disk / "b")
        else:
            restore_home(file, small_disk / "home", lambda _: key)

    assert refused.value.exit_code == 6
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]
