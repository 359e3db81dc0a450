"""Caches in real homes: on the disk, sealed, and never in the way of the rest of the home."""

import asyncio
import random
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import covey
from covey.node.backup import restore_home
from covey.node.main import create_home
from covey.node.service import Service
from covey.storage.rocks import CacheMissingError

from .processes import Device
from .test_no_plaintext import deflated, spellings

pytest.importorskip("rocksdict")

CANARIES = ("zimtschnecke", "quokkakey", "the axolotl sleeps under the harbour", "pangolinfield")


@pytest.fixture
def key(tmp_path: Path) -> covey.KeyFile:
    return covey.KeyFile(tmp_path / "key")


@pytest.fixture
async def home(tmp_path: Path, key: covey.KeyFile) -> Path:
    await create_home(tmp_path / "home", "laptop", "laptop", key)
    return tmp_path / "home"


async def test_a_cache_is_there_when_the_home_is_opened_again(
    home: Path, key: covey.KeyFile
) -> None:
    """And is on the disk of this device alone, where no other user can look."""
    async with covey.open(home, unlock=key) as node:
        await node.cache("answers").put("tea", {"text": "green", "blob": b"\0" * 9})
    async with covey.open(home, unlock=key) as node:
        assert await node.cache("answers").get("tea") == {"text": "green", "blob": b"\0" * 9}
        assert (await node.engine.caches.stats())["kept"] == "on the disk"
        report = await Service(node.engine, lambda: None).call("storage", {})
        assert report["caches"] > 500

    assert (home / "cache").stat().st_mode & 0o777 == 0o700


async def test_nothing_of_a_cache_is_readable_in_any_file_of_the_home(
    home: Path, key: covey.KeyFile
) -> None:
    """Neither key, value nor name: while it runs, and after."""
    name, entry, text, field = CANARIES
    hits = []

    def look() -> int:
        files = [path for path in home.rglob("*") if path.is_file()]
        for path in files:
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue  # RocksDB removes files while one looks.
            pieces = [content, *deflated(content)]
            for canary in CANARIES:
                if any(form in piece for form in spellings(canary) for piece in pieces):
                    hits.append(f"{canary} in {path.name}")
        return len(files)

    async with covey.open(home, unlock=key) as node:
        cache = node.cache(name)
        await cache.put(entry, {field: text})
        await cache.put(entry.encode(), text.encode() * 1_000)
        assert look() > 10
        await cache.delete(entry)
        await node.cache(name + "2").put(entry, text)
        await cache.clear()
        look()
    look()

    assert hits == []


async def test_damaged_files_are_made_anew_and_all_else_is_whole(
    home: Path, key: covey.KeyFile
) -> None:
    """Every file of the cache ruined, one after the other."""
    dice = random.Random(3)
    async with covey.open(home, unlock=key) as node:
        await node.database("memory").collection("facts").put({"text": "stays"}, id="r")
        for number in range(40):
            await node.cache("answers").put(f"{number}", dice.randbytes(50_000))
    ruined = {}
    for victim in sorted(path.name for path in (home / "cache").iterdir()):
        found = list((home / "cache").glob(victim))
        for path in found:
            path.write_bytes(dice.randbytes(path.stat().st_size // 2))
        ruined[victim] = len(found)
        async with covey.open(home, unlock=key) as node:
            for number in range(40):
                value = await node.cache("answers").get(f"{number}")
                assert value is None or len(value) == 50_000
            await node.cache("answers").put("new", victim)
            assert await node.cache("answers").get("new") == victim
            assert await node.database("memory").collection("facts").get("r") == {"text": "stays"}
            rows = [row async for row in node.engine.directory.journal_rows()]

    assert ruined["CURRENT"] == 1 and len(ruined) > 6
    assert {row["reason"] for row in rows if row.get("event") == "cache_made_anew"} == {
        "its files were damaged"
    }


async def test_a_backup_has_no_cache_and_what_is_restored_begins_without(
    home: Path, key: covey.KeyFile, tmp_path: Path
) -> None:
    """A backup is made of what cannot be made again."""
    async with covey.open(home, unlock=key) as node:
        await node.cache("answers").put("big", random.Random(1).randbytes(4 << 20))
        assert node.engine.back_up is not None
        await node.engine.back_up(tmp_path / "backup", False)
    assert (tmp_path / "backup").stat().st_size < 2 << 20
    restore_home(tmp_path / "backup", tmp_path / "restored", lambda _: key)
    assert not (tmp_path / "restored" / "cache").exists()
    async with covey.open(tmp_path / "restored", unlock=key) as node:
        assert await node.cache("answers").get("big") is None
        await node.cache("answers").put("big", 1)
        assert await node.cache("answers").get("big") == 1


async def test_a_cloned_home_goes_on_with_a_cache_of_its_own(
    home: Path, key: covey.KeyFile, tmp_path: Path
) -> None:
    """Copied while it ran, as people do."""
    clone = tmp_path / "clone"
    async with covey.open(home, unlock=key) as node:
        await node.cache("answers").put("tea", "green")
        with suppress(shutil.Error):  # Files that RocksDB removes meanwhile.
            shutil.copytree(home, clone)
        async with covey.open(clone, unlock=key) as other:
            assert await other.cache("answers").get("tea") in ("green", None)
            await other.cache("answers").put("tea", "black")
            assert await other.cache("answers").get("tea") == "black"
        assert await node.cache("answers").get("tea") == "green"


async def test_the_cache_of_another_home_is_made_anew(
    home: Path, key: covey.KeyFile, tmp_path: Path
) -> None:
    """A folder that was copied over is sealed under another key."""
    await create_home(tmp_path / "other", "phone", "phone", key)
    async with covey.open(home, unlock=key) as node:
        await node.cache("answers").put("tea", "green")
    shutil.copytree(home / "cache", tmp_path / "other" / "cache")
    async with covey.open(tmp_path / "other", unlock=key) as node:
        assert await node.cache("answers").get("tea") is None
        await node.cache("answers").put("tea", "black")
        assert await node.cache("answers").get("tea") == "black"


async def test_without_the_extra_the_error_names_it_and_nothing_else_breaks(
    home: Path, key: covey.KeyFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home whose cache cannot be opened is a home."""
    async with covey.open(home, unlock=key) as node:
        await node.cache("answers").put("tea", "green")
    monkeypatch.setitem(sys.modules, "rocksdict", None)
    async with covey.open(home, unlock=key) as node:
        with pytest.raises(CacheMissingError, match=r"covey\[cache\]"):
            await node.cache("answers").get("tea")
        with pytest.raises(CacheMissingError):
            await node.cache("answers").put("tea", 1)
        await node.database("memory").collection("facts").put({"a": 1}, id="r")
        await node.engine.caches.clear_all()
        assert await node.cache("answers").get("tea") is None

    assert not (home / "cache").exists()


FILL = """
import asyncio, sys
import covey

async def main():
    async with covey.open(sys.argv[1], unlock=covey.KeyFile(sys.argv[2])) as node:
        for name in sys.argv[3:]:
            await node.cache(name).put("who", "mara")

asyncio.run(main())
"""


def fill(device: Device, *names: str) -> None:
    """An application that keeps something for a while."""
    program = [sys.executable, "-c", FILL, str(device.home), str(device.key), *names]
    subprocess.run(program, check=True)


def test_people_and_programs_see_what_caches_hold(tmp_path: Path) -> None:
    """With and without a running node; and clearing leaves nothing in the folder."""
    device = Device(tmp_path, "laptop")
    device.init()
    assert device.run("cache")["caches"] == []
    assert not (device.home / "cache").exists()
    fill(device, "answers", "drafts")
    alone = device.run("cache", "stats")
    device.up("--no-mdns")
    try:
        shown = device.attempt("cache").stdout
        cleared = device.run("cache", "clear", "answers")
        again = device.attempt("cache", "clear", "answers").stdout
        running = device.run("cache", "stats")
        refused = device.attempt("cache", "clear", "a\nb")
        told = device.attempt("cache", "clear").stdout
    finally:
        device.down()

    assert [(one["name"], one["values"]) for one in alone["caches"]] == [
        ("answers", 1), ("drafts", 1)
    ]  # fmt: skip
    assert alone["bytes"] == sum(one["bytes"] for one in alone["caches"]) < 2_000
    assert "answers" in shown and "drafts" in shown and "256.0 MiB, on the disk" in shown
    assert (cleared, again) == (
        {"name": "answers", "values": 1},
        "0 values of answers were thrown away\n",
    )
    assert [one["name"] for one in running["caches"]] == ["drafts"]
    assert refused.returncode == 2 and "name" in refused.stderr
    assert told == "all caches were thrown away\n"
    assert not (device.home / "cache").exists()


def test_erasing_from_the_command_line_throws_the_caches_away(tmp_path: Path) -> None:
    """Whoever was erased may be in them."""
    device = Device(tmp_path, "laptop")
    device.init()
    device.run("put", "memory", "facts", "r", '{"author": "mara"}')
    fill(device, "answers")
    assert (device.home / "cache").exists()
    done = device.run("erase", "memory", "--about", "author=mara", "--yes", "--timeout", "1")

    assert done["records"] == 1
    assert not (device.home / "cache").exists()


async def test_many_at_once_some_of_whom_go_leave_counts_that_are_those_of_the_rows(
    home: Path, key: covey.KeyFile
) -> None:
    """Calls run in threads; a count that is wrong by one would never be right again."""
    dice = random.Random(9)
    async with covey.open(home, unlock=key) as node:
        names = ("a", "b", "c")

        async def one(number: int) -> None:
            cache = node.cache(dice.choice(names))
            match dice.randrange(1, 9) if number % 50 else 0:
                case 0:
                    await cache.clear()
                case 1 | 2:
                    await cache.delete(f"{number % 20}")
                case 3 | 4:
                    await cache.get(f"{number % 20}")
                case _:
                    await cache.put(f"{number % 20}", b"x" * dice.randrange(3_000))

        tasks = [asyncio.ensure_future(one(number)) for number in range(400)]
        for turn in range(40):
            await asyncio.sleep(0)
            tasks[dice.randrange(len(tasks))].cancel()
            if turn % 8 == 0:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done = await asyncio.gather(*tasks, return_exceptions=True)
        counted = await node.engine.caches.contents()
    async with covey.open(home, unlock=key) as node:
        again = await node.engine.caches.contents()

    assert {type(each) for each in done} == {type(None), asyncio.CancelledError}
    assert counted == again and counted.whole.values > 10
