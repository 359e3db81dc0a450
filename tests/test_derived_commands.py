"""`covey links`, `covey link` and `covey views`, by a home of which no node runs."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import covey

from .processes import Device, homes


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """A device with a message, its thread and an author that is not here."""
    folder: Path = tmp_path_factory.mktemp("links")
    with homes(folder, "laptop") as (device,):
        device.init()
        message = {"author": {"link": "covey:people/ann"}, "thread": "t1", "text": "hi"}
        device.run("put", "chat", "messages", "m1", json.dumps(message))
        device.run("put", "chat", "threads", "t1", json.dumps({"title": "a\u202eb"}))
        device.run("link", "add", "chat", "messages", "thread", "threads")
        yield device


def test_links_are_shown_there_and_back(laptop: Device) -> None:
    """Programs read JSON, and see where a link leads to nothing."""
    there = laptop.run("links", "chat", "messages", "m1", "--depth", "2")
    back = laptop.run("links", "chat", "threads", "t1", "--back")

    assert [(row["type"], row["id"], row["record"]) for row in there["links"]] == [
        ("author", "ann", None),
        ("thread", "t1", {"title": "a\u202eb"}),
    ]
    assert [row["id"] for row in back["links"]] == ["m1"]
    assert there["complete"]


def test_people_are_told_what_dangles_and_what_was_cut_off(laptop: Device) -> None:
    """Foreign text commands no terminal here either."""
    shown = laptop.attempt("links", "chat", "messages", "m1")
    cut = laptop.attempt("links", "chat", "messages", "m1", "--limit", "1")
    none = laptop.attempt("links", "chat", "threads", "t1")

    assert "people/ann  (dangling: not here)" in shown.stdout
    assert "\\u202e" in shown.stdout
    assert "\u202e" not in shown.stdout
    assert "more than 1: see --limit" in cut.stderr
    assert (none.returncode, none.stderr) == (0, "it links to nothing\n")


def test_a_record_that_is_not_there_ends_with_one(laptop: Device) -> None:
    """A script must tell no links from no record."""
    assert laptop.attempt("links", "chat", "messages", "m2").returncode == 1
    assert laptop.attempt("links", "chat", "messages", "m1", "--depth", "0").returncode == 2


def test_declared_fields_are_listed_and_taken_back(laptop: Device) -> None:
    """Whoever wonders why a text is a link looks here."""
    laptop.run("link", "add", "chat", "notes", "room", "rooms", "--to-db", "house")
    listed = laptop.attempt("link")

    assert "chat/notes     room    house/rooms" in listed.stdout
    assert laptop.run("link", "add", "chat", "messages", "thread", "threads") == {"declared": False}
    assert laptop.run("link", "remove", "chat", "notes", "room") == {"declared": False}
    assert laptop.attempt("link", "remove", "chat", "notes", "room").returncode == 1
    assert [row["field"] for row in laptop.run("link", "list")["fields"]] == ["thread"]


def test_views_are_listed_and_dropped(laptop: Device) -> None:
    """What an application of another process left."""

    async def keep_a_view() -> None:
        async with covey.open(laptop.home, unlock=covey.KeyFile(laptop.key)) as node:
            view = node.register_view("ids", 3, "chat", "messages", lambda id, _: [((id,), None)])
            assert await view.count() == 1

    asyncio.run(keep_a_view())

    listed = laptop.attempt("views")
    assert listed.stdout.splitlines()[1].split() == ["ids", "3", "chat/messages", "1", "0", "0"]
    assert laptop.run("views", "drop", "ids") == {"name": "ids", "dropped": True}
    assert laptop.attempt("views", "drop", "ids").returncode == 1
    assert laptop.attempt("views").stderr == "no views\n"
