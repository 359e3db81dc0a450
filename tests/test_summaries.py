"""Summaries: what is large stays behind where a summary is wanted, and comes when asked for."""

from pathlib import Path
from typing import Any

import pytest

from covey.node.blobs import once
from covey.node.service import Service
from covey.node.summaries import ASIDE_BYTES_MIN, VALUE_TYPE
from covey.sync.policy import is_for_admins, is_setting
from covey.sync.policy_text import PolicyTextError, parse_setting
from covey.sync.values import BlobRef

from .loopback import Device, meet, nodes, until
from .test_sharing import say, settled

LONG = {"lines": ["a long chapter " * 200] * 8, "n": [1, 2.5, None, True]}


async def library(opened: Any) -> tuple[Device, Device]:
    """A laptop that has chapters with a summary of two fields, and a phone that wants summaries."""
    laptop, phone = await opened.mesh("laptop", "phone")
    await say(laptop, None, "books", **{"summary.chapters": "title,when"})
    await say(laptop, phone, "books", mode="summary")
    chapters = laptop.node.database("books").collection("chapters")
    await chapters.put({"title": "One", "body": LONG, "note": "short"}, id="1")
    await meet(laptop, phone)
    return laptop, phone


async def shown(device: Device, **more: Any) -> Any:
    params = {"database": "books", "collection": "chapters", "id": "1", "meta": True, **more}
    return await Service(device.engine, lambda: None).call("get", params)


async def test_a_phone_has_the_summary_and_fetches_the_rest_when_asked(tmp_path: Path) -> None:
    """A record is useful before its chapters are there, and says what is not."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await library(opened)
        here, there = await shown(laptop), await shown(phone)

        assert here["body"] == LONG and "behind" not in here["_meta"]
        assert (there["title"], there["note"], there["_meta"]["behind"]) == (
            "One",
            "short",
            ["body"],
        )
        assert there["body"]["$blob"]["type"] == VALUE_TYPE
        chapters = phone.node.database("books").collection("chapters")
        left = await chapters.get("1")
        assert left is not None and isinstance(left["body"], BlobRef)
        assert (await shown(phone, whole=True))["body"] == LONG
        # What was fetched is here now.
        assert (await shown(phone))["body"] == LONG
        assert (await chapters.get("1") or {})["body"] == LONG


async def test_a_device_that_wants_everything_gets_it_by_itself(tmp_path: Path) -> None:
    """A summary is for those that ask for no more."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await opened.mesh("laptop", "phone")
        await say(laptop, None, "books", **{"summary.chapters": "title"})
        chapters = laptop.node.database("books").collection("chapters")
        await chapters.put({"title": "One", "body": LONG}, id="1")
        await meet(laptop, phone)
        there = phone.node.database("books").collection("chapters")
        found: list[Any] = []

        async def look() -> None:
            found.append(await there.get("1", timeout=60))

        await look()
        assert found == [{"title": "One", "body": LONG}]


async def test_what_is_short_or_in_the_summary_or_nobody_named_stays_in_the_record(
    tmp_path: Path,
) -> None:
    """The summary itself always travels, however long it is."""
    async with nodes(tmp_path) as opened:
        laptop, _ = await library(opened)
        chapters = laptop.node.database("books").collection("chapters")
        await chapters.put({"title": "x" * 2 * ASIDE_BYTES_MIN, "note": "y" * 100}, id="2")
        await laptop.node.database("books").collection("notes").put({"text": "z" * 50_000}, id="3")
        records = await laptop.records()

        assert records["books", "chapters", "2"]["title"] == "x" * 2 * ASIDE_BYTES_MIN
        assert records["books", "notes", "3"] == {"text": "z" * 50_000}
        assert records["books", "chapters", "1"]["body"]["$blob"]["type"] == VALUE_TYPE


async def test_a_write_that_is_refused_leaves_nothing_beside(tmp_path: Path) -> None:
    """The room is free again."""
    async with nodes(tmp_path) as opened:
        laptop, phone = await library(opened)
        chapters = laptop.node.database("books").collection("chapters")

        def files() -> int:
            return len([p for p in (laptop.home / "blobs").rglob("*") if p.is_file()])

        before = files()
        with pytest.raises(Exception, match="JSON form"):
            await chapters.put({"body": LONG, "bad": object()}, id="9")
        await until(lambda: files() == before)
        assert await chapters.get("9") is None
        await settled(laptop, phone)


async def test_a_blob_that_only_says_to_be_a_value_is_left_as_it_is(tmp_path: Path) -> None:
    """A member may put anything under that media type; it is read as nothing that it is not."""
    async with nodes(tmp_path) as opened:
        laptop, _ = await library(opened)
        chapters = laptop.node.database("books").collection("chapters")
        for content in (b"{", b'{"$time": "never"}', b"\xff" * 9):
            await chapters.put_blob("1", "body", once(content), media_type=VALUE_TYPE)
            there = await shown(laptop)
            assert there["_meta"]["behind"] == ["body"]


def test_a_summary_is_a_setting_of_admins() -> None:
    """It changes what others can search, so not everybody says it."""
    assert parse_setting("summary.chapters", "title,when") == ("summary.chapters", "title,when")
    assert parse_setting("summary.chapters", "default") == ("summary.chapters", None)
    assert is_for_admins(b"a" * 32, "summary.chapters") and is_setting("summary.c", "a")
    for name, text in (
        ("summary.", "a"),
        ("summary.c", ""),
        ("summary.c", "a,,b"),
        ("summary.c", "x" * 65),
    ):
        with pytest.raises(PolicyTextError):
            parse_setting(name, text)
