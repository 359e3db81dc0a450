"""The Python API: values come back as they went in, here and on the other device."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pytest

import covey
from covey.node import happenings
from covey.node.blobs import NoBlobError
from covey.node.happenings import LaggingError
from covey.node.main import create_home
from covey.storage.errors import HomeBusyError
from covey.sync.errors import BadValueError
from covey.sync.values import Counter, Text, Vector

from .fake_clock import settle
from .memory_world import World, carry, meet

VALUES: dict[str, Any] = {
    "nothing": None,
    "yes": True,
    "integer": -(2**63 - 1),
    "float": 1.5,
    "whole float": 2.0,
    "text": "naïve \u2615",
    "bytes": b"\x00\xff",
    "time": datetime(2024, 2, 29, 12, 30, 0, 123_000, tzinfo=UTC),
    "counter": Counter(3),
    "document": Text("a long text"),
    "vector": Vector([0.5, -1.0, 2.25]),
    "list": [1, [b"x", None], {"a": 1}],
    "map": {"inner": {"when": datetime(1999, 1, 1, tzinfo=UTC)}},
    "empty": {"list": [], "map": {}, "text": ""},
}


def same(found: Any, expected: Any) -> bool:
    """Equal, and of equal type all the way down."""
    if type(found) is not type(expected):
        return False
    if isinstance(found, dict):
        return found.keys() == expected.keys() and all(same(found[k], expected[k]) for k in found)
    if isinstance(found, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    if isinstance(found, Counter):
        return bool(found.total == expected.total)
    if isinstance(found, Text):
        return bool(found.content == expected.content)
    return bool(found == expected)


async def test_every_type_comes_back_as_it_went_in_here_and_on_the_other_device() -> None:
    """A time that returns as a text, or bytes as base64, is another record."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put(VALUES, id="r")
        await laptop.collection().put({"more": 1}, id="again")
        await laptop.collection().put(VALUES, id="again")
        await carry(laptop, phone)
        laptop = await world.restart(laptop)

        for device in (laptop, phone):
            once, twice = await device.collection().get("r"), await device.collection().get("again")
            assert same(once, VALUES), once
            assert same(twice, {"more": 1, **VALUES}), twice
            written = await device.collection().put(VALUES, id="r")
            assert not written.changed


async def test_counters_add_up_and_texts_merge_across_devices() -> None:
    """That is what these two types are for."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"cups": Counter(1), "note": Text("tea")}, id="r")
        await carry(laptop, phone)
        for device, by, text in ((laptop, 2, "green tea"), (phone, 5, "tea, hot")):
            record = await device.collection().get("r")
            assert record is not None
            cups = Counter(record["cups"].total + by)
            await device.collection().put({"cups": cups, "note": Text(text)}, id="r")
        await meet(laptop, phone)

        for device in (laptop, phone):
            record = await device.collection().get("r")
            assert record is not None
            assert record["cups"].total == 8
            assert record["note"].content == "green tea, hot"


async def test_a_watch_sees_local_and_synced_changes_of_its_collection_and_no_others() -> None:
    """An application redraws from it, and needs to know who wrote."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        await laptop.collection().put({"x": 1}, id="r")
        await carry(laptop, phone)
        one, whole = phone.collection().watch(), phone.node.database("memory").watch()
        async with one, whole:
            await phone.collection().put({"y": 1}, id="r")
            await phone.collection("other").put({"o": 1}, id="o")
            await phone.collection("facts", "second").put({"s": 1}, id="s")
            await laptop.collection().put({"z": 1}, id="r")
            await laptop.collection().put({"new": b"x"}, id="n")
            await laptop.collection().delete("n")
            await carry(laptop, phone)
        changes = [change async for change in one]

        ours, theirs = phone.node.device_id, laptop.node.device_id
        # Of one record in order; of several as they can be applied.
        assert [(c.op, c.id, c.origin, c.record) for c in changes if c.id == "r"] == [
            ("put", "r", ours, {"x": 1, "y": 1}),
            ("put", "r", theirs, {"x": 1, "y": 1, "z": 1}),
        ]
        assert [(c.op, c.id, c.origin, c.record) for c in changes if c.id != "r"] == [
            ("put", "n", theirs, {"new": b"x"}),
            ("delete", "n", theirs, None),
        ]
        assert [c.collection for c in [c async for c in whole]] == [
            "facts",
            "other",
            *["facts"] * 3,
        ]


async def test_what_a_watcher_does_to_a_record_does_not_reach_the_node() -> None:
    """A listener that edits what it was given must not corrupt what others read and write."""
    async with World() as world:
        laptop = await world.founder("laptop")
        phone = await world.member(laptop, "phone")
        watches = [device.collection().watch() for device in (laptop, phone)]
        await laptop.collection().put({"tags": ["a"]}, id="r")
        await laptop.collection().put({"n": 1}, id="r")
        await carry(laptop, phone)
        for watch in watches:
            watch.close()
            async for change in watch:
                assert change.record is not None
                change.record["tags"].append("evil")
                change.record["evil"] = 1

        for device in (laptop, phone):
            await device.collection().put({"tags": ["a"], "o": 1}, id="r")
            assert await device.collection().get("r") == {"tags": ["a"], "n": 1, "o": 1}


async def test_a_watcher_that_is_too_slow_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has to read the records anew, and can only know that from us."""
    monkeypatch.setattr(happenings, "BACKLOG_EVENTS_MAX", 2)
    async with World() as world:
        laptop = await world.founder("laptop")
        async with laptop.collection().watch() as changes:
            for number in range(5):
                await laptop.collection().put({"n": number}, id="r")

            with pytest.raises(LaggingError, match="3 changes were dropped"):
                await anext(aiter(changes))


async def test_closing_the_node_ends_its_watches() -> None:
    """A program that waits for changes must be able to end."""
    async with World() as world:
        laptop = await world.founder("laptop")

        async def listen() -> int:
            return sum([1 async for _ in laptop.collection().watch()])

        listening = asyncio.ensure_future(listen())
        await settle()
        await laptop.collection().put({"x": 1}, id="r")
        await laptop.node.close()
        await laptop.node.close()

        assert await asyncio.wait_for(listening, 10) == 1


async def test_find_and_transactions_work_as_the_readme_shows() -> None:
    """The first twenty lines that anybody writes."""
    async with World() as world:
        laptop = await world.founder("laptop")
        memory = laptop.node.database("memory")
        async with memory.transaction() as tx:
            tx.put("facts", {"text": "likes tea", "n": 2}, "a")
            tx.put("facts", {"text": "likes coffee", "n": 1}, "b")
            tx.delete("facts", "none")
        assert [w.changed for w in tx.results] == [True, True, False]
        facts = memory.collection("facts")
        written = await facts.put({"text": "no id"})
        results = await facts.put_many([("a", {"n": 3}), (None, {"n": 4})])

        assert len(written.id) == 20 and results[0].id == "a"
        assert [r.id for r in await facts.find(text="tea")] == ["a"]
        assert [r.id for r in await facts.find({"n": 1})] == ["b"]
        assert [r.value["n"] for r in await facts.find(order="n", descending=True, limit=3)] == [
            4,
            3,
            1,
        ]


async def test_a_home_is_opened_with_async_with_and_let_go_of_after(tmp_path: Path) -> None:
    """A second program is told that the home is busy; the next one finds what was written."""
    home, key = tmp_path / "home", covey.KeyFile(tmp_path / "covey.key")
    await create_home(home, "laptop", "laptop", key)
    async with covey.open(home, unlock=key) as node:
        assert node.device_name == "laptop" and node.port is None
        await node.database("memory").collection("facts").put({"x": 1}, id="r")
        with pytest.raises(HomeBusyError):
            await covey.open(home, unlock=key)
    node = await covey.open(home, unlock=key)
    try:
        assert await node.database("memory").collection("facts").get("r") == {"x": 1}
    finally:
        await node.close()


async def test_what_is_nested_too_deep_for_anything_is_refused_in_words() -> None:
    """An application that passes on what it was sent gets an error that it knows."""
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    async with World() as world:
        laptop = await world.founder("laptop")
        with pytest.raises(BadValueError, match="nested deeper than 32"):
            await laptop.collection().put({"deep": deep}, id="r")


async def test_a_beginning_may_hold_a_zero_character(tmp_path: Path) -> None:
    """SQLite ends many texts there. In a home, as another SQLite than its own reads them so."""
    home, key = tmp_path / "home", covey.KeyFile(tmp_path / "covey.key")
    await create_home(home, "laptop", "laptop", key)
    async with covey.open(home, unlock=key) as node:
        facts = node.database("memory").collection("facts")
        await facts.put_many([("one", {"t": "a\0b"}), ("other", {"t": "ab"})])

        assert [found.id for found in await facts.find({"t": {"prefix": "a\0"}})] == ["one"]
        assert [found.id for found in await facts.find({"t": "a\0b"})] == ["one"]


async def test_an_application_makes_a_small_stand_in_of_every_blob_that_is_put(
    tmp_path: Path,
) -> None:
    """A list of long recordings shows the first words of each, and fetches none of them."""
    home, key = tmp_path / "home", covey.KeyFile(tmp_path / "covey.key")
    await create_home(home, "laptop", "laptop", key)
    (tmp_path / "talk.txt").write_bytes(b"first words and many more")
    (tmp_path / "noise.bin").write_bytes(bytes(1_000))

    def first_words(content: BinaryIO, media_type: str) -> covey.Variant | None:
        if media_type != "text/plain":
            return None
        return covey.Variant(content.read(11), "text/plain")

    async with covey.open(home, unlock=key) as node:
        node.register_variant("preview", first_words)
        talks = node.database("media").collection("talks")
        talk = await talks.put_blob(
            "talk", "sound", tmp_path / "talk.txt", media_type="text/plain", name="talk.txt"
        )
        noise = await talks.put_blob("noise", "sound", tmp_path / "noise.bin")
        small = [piece async for piece in talks.read_blob("talk", "sound", variant="preview")]
        whole = [piece async for piece in talks.read_blob("talk", "sound")]
        with pytest.raises(NoBlobError):
            await anext(talks.read_blob("noise", "sound", variant="preview"))
        with pytest.raises(BadValueError):
            node.register_variant("Not A Name", first_words)

    assert [name for name, *_ in talk.variants] == ["preview"]
    assert noise.variants == ()
    assert b"".join(small) == b"first words"
    assert b"".join(whole) == b"first words and many more"
