"""RocksDB as a place of rows: private, whole after every end, and told apart when it fails."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from covey.crypto.secret import Secret
from covey.storage import rocks
from covey.storage.cache_store import CacheStore, open_cache
from covey.storage.errors import DiskFailedError, ReadOnlyHomeError, StorageError, StoreFullError
from covey.storage.key_values import RowsDamagedError
from covey.storage.rocks import CacheMissingError, RocksPlace

rocksdict = pytest.importorskip("rocksdict")

KEY = Secret(b"k" * 32)
NOW = 1_700_000_000_000
SOON = NOW + 60_000
MIB = 1 << 20
RNG = random.Random(7)


@pytest.fixture
def place(tmp_path: Path) -> RocksPlace:
    return RocksPlace(tmp_path / "cache")


def filled(place: RocksPlace, values: int = 50, size: int = 20_000) -> CacheStore:
    store = open_cache(place, KEY, RNG.randbytes, NOW)
    for number in range(values):
        store.put(b"answers", b"%d" % number, RNG.randbytes(size), SOON, NOW, 64 * MIB)
    return store


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_others_cannot_look_into_the_folder(place: RocksPlace) -> None:
    """RocksDB gives its files what the umask leaves, so the folder has to be closed."""
    place.path.mkdir(mode=0o755)
    filled(place, 1).close()

    assert place.path.stat().st_mode & 0o777 == 0o700


def test_nothing_in_its_files_tells_names_keys_or_values(place: RocksPlace) -> None:
    """Its log of what it does, its settings and its list of files included."""
    store = open_cache(place, KEY, RNG.randbytes, NOW)
    store.put(b"zimtschnecke", b"quokkakey", b"the axolotl sleeps" * 50_000, SOON, NOW, 64 * MIB)
    store.clear(b"wombat")
    store.put(b"okapi", b"pangolin", b"the narwhal", SOON, NOW, 64 * MIB)
    store.clear(b"okapi")
    store.close()
    words = (b"zimtschnecke", b"quokkakey", b"axolotl", b"okapi", b"pangolin", b"narwhal")
    contents = {path.name: path.read_bytes() for path in place.path.iterdir()}

    assert {"LOG", "CURRENT"} <= contents.keys() and len(contents) > 6
    assert [(n, word) for n, content in contents.items() for word in words if word in content] == []


def test_a_cache_that_was_cleared_is_in_no_file(place: RocksPlace) -> None:
    """Sealed as it is: whoever gets the key of the home later must not find it."""
    store = filled(place, 20)
    store.put(b"other", b"tea", b"green" * 10_000, SOON, NOW, 64 * MIB)
    rows = place_rows(store)
    sealed = [row for key, row in rows if key[:1] == b"v"]
    assert len(sealed) == 21 and all(found(place, piece) for piece in sealed)
    store.clear(b"answers")
    left = [piece for piece in sealed[:20] if found(place, piece)]

    assert left == []
    assert store.get(b"other", b"tea", NOW) == b"green" * 10_000
    store.close()


def place_rows(store: CacheStore) -> list[tuple[bytes, bytes]]:
    return store._rows.scan(b"", b"\xff", 10_000)


def found(place: RocksPlace, sealed: bytes) -> bool:
    """Whether a piece of it is in a file. Logs cut values in blocks of 32 KiB."""
    piece, is_found = sealed[100:200], False
    for path in place.path.iterdir():
        with suppress(FileNotFoundError):  # RocksDB removes files while one looks.
            is_found = is_found or piece in path.read_bytes()
    return is_found


def test_the_folder_does_not_grow_beyond_its_bound(
    place: RocksPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was evicted has to leave the files as well, or the bound is none."""
    monkeypatch.setattr(rocks, "WRITE_BUFFER_BYTES", MIB)
    store = open_cache(place, KEY, RNG.randbytes, NOW)
    bound, most = 8 * MIB, 0
    for number in range(400):
        store.put(b"answers", b"%d" % (number % 350), RNG.randbytes(100_000), SOON, NOW, bound)
        most = max(most, store.contents().whole.bytes)
    assert store.evicted > 200 and most <= bound
    store.close()

    assert folder_bytes(place.path) < bound + 5 * MIB


def test_a_second_one_in_the_same_folder_is_refused_and_the_first_goes_on(
    place: RocksPlace,
) -> None:
    """Two would write over each other. The lock of the home keeps other processes away before."""
    store = filled(place, 1)
    with pytest.raises(DiskFailedError, match="lock"):
        place.open()
    assert store.get(b"answers", b"0", NOW) is not None
    store.close()
    again = open_cache(place, KEY, RNG.randbytes, NOW)
    assert again.get(b"answers", b"0", NOW) is not None
    again.close()


def test_a_store_that_cannot_be_read_leaves_the_folder_free(place: RocksPlace) -> None:
    """Else nobody could throw it away and begin anew before the process ends."""
    filled(place, 1).close()
    for _ in range(2):
        with pytest.raises(RowsDamagedError):
            open_cache(place, Secret(b"l" * 32), RNG.randbytes, NOW)
    place.throw_away()
    open_cache(place, Secret(b"l" * 32), RNG.randbytes, NOW).close()


KILLED_WRITER = """
import os, signal, sys
from pathlib import Path
from covey.crypto.secret import Secret
from covey.storage.cache_store import open_cache
from covey.storage.rocks import RocksPlace
folder, (now, soon, last) = Path(sys.argv[1]), map(int, sys.argv[2:])
store = open_cache(RocksPlace(folder), Secret(b"k" * 32), os.urandom, now)
for number in range(last):
    if number == last // 2:  # Opening makes a table of what the log has.
        store.close()
        store = open_cache(RocksPlace(folder), Secret(b"k" * 32), os.urandom, now)
    value = b"%d " % number * 25_000
    store.put(b"answers", b"%d" % (number % 300), value, soon, now, 32 << 20)
    print(number, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a process leaves it that is killed: tables, and a log with what came after."""
    folder = tmp_path_factory.mktemp("killed") / "cache"
    writer = subprocess.run(
        [sys.executable, "-c", KILLED_WRITER, str(folder), str(NOW), str(SOON), "120"],
        stdout=subprocess.PIPE,
        check=False,
    )
    assert writer.returncode == -signal.SIGKILL and writer.stdout.split()[-1] == b"119"
    assert len(list(folder.glob("*.sst"))) > 0 and list(folder.glob("*.log"))
    return folder


@pytest.mark.parametrize("seed", range(24))
def test_whatever_happens_to_a_file_values_are_right_or_absent_or_it_is_damaged(
    place: RocksPlace, killed: Path, seed: int
) -> None:
    """Bits that flip, files cut short, files that are gone: never a wrong value, never a crash."""
    dice = random.Random(seed)
    shutil.copytree(killed, place.path)
    files = sorted(path for path in place.path.iterdir() if path.name != "LOG")
    victim = files[seed % len(files)]
    content = bytearray(victim.read_bytes())
    match dice.choice(["flip", "cut", "zeros", "gone"]):
        case "flip" if content:
            for _ in range(5):
                content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
            victim.write_bytes(content)
        case "cut":
            victim.write_bytes(content[: len(content) // 2])
        case "gone":
            victim.unlink()
        case _:
            victim.write_bytes(bytes(len(content)))
    whole = RocksPlace(killed.with_name(f"whole{seed}"))
    shutil.copytree(killed, whole.path)
    right = open_cache(whole, KEY, RNG.randbytes, NOW)
    try:
        store = open_cache(place, KEY, RNG.randbytes, NOW)
    except StorageError:
        store = None
    if store is not None:
        try:
            for number in range(120):
                key = b"%d" % number
                value = store.get(b"answers", key, NOW)
                assert value is None or value == right.get(b"answers", key, NOW)
        except StorageError:
            pass
        store.close()
    right.close()
    place.throw_away()

    fresh = filled(place, 1)
    assert fresh.contents().whole.values == 1
    fresh.close()


def test_a_process_that_is_killed_in_the_midst_of_puts_leaves_what_was_put(
    place: RocksPlace,
) -> None:
    """Rows of one put are there together or not at all, and the counts are those of the rows."""
    told = 0
    for turn in range(4):
        arguments = [str(place.path), str(NOW), str(SOON), "100000"]
        writer = subprocess.Popen(
            [sys.executable, "-c", KILLED_WRITER, *arguments], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        for _ in range(100 + 37 * turn):
            told = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.wait()
        told = int(rest[-1]) if rest and rest[-1] else told
        store = open_cache(place, KEY, RNG.randbytes, NOW)
        rows = place_rows(store)
        kinds = {kind: [key for key, _ in rows if key[:1] == kind] for kind in (b"k", b"a", b"v")}
        last = store.get(b"answers", b"%d" % (told % 300), NOW)
        contents = store.contents()
        store.close()

        assert len(kinds[b"k"]) == len(kinds[b"a"]) == len(kinds[b"v"]) == contents.whole.values
        assert {key[1:] for key in kinds[b"a"]} == {key[1:] for key in kinds[b"v"]}
        assert last is not None and set(last.split()) <= {b"%d" % told, b"%d" % (told + 300)}


def test_without_the_extra_it_says_what_to_install_and_is_thrown_away_all_the_same(
    place: RocksPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a person erases must go, whatever is installed today."""
    filled(place, 1).close()
    monkeypatch.setitem(sys.modules, "rocksdict", None)
    with pytest.raises(CacheMissingError, match=r"pip install 'covey\[cache\]'"):
        place.open()
    assert not place.is_empty()
    place.throw_away()
    assert place.is_empty()


def test_whatever_lies_in_the_place_of_the_folder_is_thrown_away(place: RocksPlace) -> None:
    """A file there would keep caches from being kept for ever; what a link leads to stays."""
    elsewhere = place.path.with_name("elsewhere")
    elsewhere.mkdir()
    (elsewhere / "kept").touch()
    place.path.write_bytes(b"a file")
    with pytest.raises(StorageError):
        place.open()
    place.throw_away()
    assert place.is_empty()
    place.path.symlink_to(elsewhere)
    place.throw_away()

    assert place.is_empty() and (elsewhere / "kept").exists()


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ("IO error: No space left on device: While appending to file: /x", StoreFullError),
        ("IO error: Disk quota exceeded: x", StoreFullError),
        ("IO error: While open a file for lock: /x/LOCK: Permission denied", ReadOnlyHomeError),
        ("IO error: mkdir: Read-only file system", ReadOnlyHomeError),
        ("IO error: No such file or directory: While opening /x/MANIFEST-5", RowsDamagedError),
        ("IO error: While fsync: Input/output error", DiskFailedError),
        ("Corruption: block checksum mismatch\nmore", RowsDamagedError),
        ("Invalid argument: something new", RowsDamagedError),
        ("DB instance already closed", RowsDamagedError),
    ],
)
def test_what_rocksdb_says_becomes_an_error_that_tells_what_to_do(
    place: RocksPlace, said: str, error: type[StorageError]
) -> None:
    """A full disk is no damage: what helps is another thing."""

    def fail() -> None:
        raise Exception(said)

    with pytest.raises(error) as told:
        rocks._translated(place.path, fail)
    assert "\n" not in str(told.value)


def test_a_panic_is_damage_and_an_interrupt_is_not(place: RocksPlace) -> None:
    """The one must not end the node, and the other must."""
    panic = type("PanicException", (BaseException,), {})
    for raised, error in ((panic, RowsDamagedError), (KeyboardInterrupt, KeyboardInterrupt)):

        def fail(raised: type[BaseException] = raised) -> None:
            raise raised

        with pytest.raises(error):
            rocks._translated(place.path, fail)


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 1 MiB, which is how a full disk looks to RocksDB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


def test_a_write_that_finds_no_room_fails_and_does_not_wait_for_some(
    place: RocksPlace, small_files: None
) -> None:
    """RocksDB holds writes up until there is room, with the interpreter's lock in its hand."""
    store = open_cache(place, KEY, os.urandom, NOW)
    with pytest.raises(StorageError):
        for number in range(100):
            store.put(b"answers", b"%d" % number, bytes(100_000), SOON, NOW, 64 * MIB)
    store.close()
    place.throw_away()
    open_cache(place, KEY, os.urandom, NOW).close()


def test_a_write_that_rocksdb_would_hold_up_is_tried_again_and_then_given_up(
    place: RocksPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A burst is waited for, a disk that stands still is not."""
    monkeypatch.setattr(rocks, "STALL_S", 0)
    rows = place.open()
    assert isinstance(rows, rocks.RocksKeyValues)
    real, refused = rows._opened, [3]

    class Stalling:
        def write(self, batch: Any, options: Any) -> None:
            if refused[0]:
                refused[0] -= 1
                raise Exception("Result incomplete: Write stall")
            real.write(batch, options)

    rows._opened = Stalling()  # type: ignore[assignment]
    rows.write([(b"k", b"v")])
    refused[0] = rocks.STALLS_MAX
    with pytest.raises(DiskFailedError, match="keep up"):
        rows.write([(b"k", b"w")])
    rows._opened = real
    assert rows.get(b"k") == b"v"
    rows.close()
