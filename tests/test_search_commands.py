"""`covey search`, by a home of which no node runs."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import Device, homes


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """A device with records in two collections, one of them with signs that command a terminal."""
    folder: Path = tmp_path_factory.mktemp("search")
    with homes(folder, "laptop") as (device,):
        device.init()
        device.run("put", "memory", "facts", "once", json.dumps({"text": "coffee, once TEA"}))
        device.run("put", "memory", "notes", "most", json.dumps({"text": "tea, green tea"}))
        device.run("put", "memory", "notes", "bad", json.dumps({"text": "a\u202eb \u001b[2J rum"}))
        yield device


def test_all_collections_are_searched_and_hits_are_marked(laptop: Device) -> None:
    """The marks are places in the snippet, so that an application can show them in its own way."""
    records = laptop.run("search", "memory", "tea")["records"]

    assert [(one["collection"], one["id"]) for one in records] == [
        ("notes", "most"),
        ("facts", "once"),
    ]
    assert [[one["snippet"][a:b] for a, b in one["marks"]] for one in records] == [
        ["tea", "tea"],
        ["TEA"],
    ]
    assert records[0]["score"] > records[1]["score"] > 0


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (("tea", "--collection", "facts"), ["once"]),
        (("tea", "--limit", "1"), ["most"]),
        (("tea", "green"), ["most"]),
        (('"green tea"',), ["most"]),
        (('"tea green"',), ["most"]),
        (('"once green"',), []),
        (("tea", "--collection", "'; DROP TABLE records; --"), []),
        (('" OR 1=1 --',), []),
    ],
)
def test_words_collection_and_limit_say_what_is_found(
    laptop: Device, asked: tuple[str, ...], found: list[str]
) -> None:
    records = laptop.run("search", "memory", *asked)["records"]

    assert [one["id"] for one in records] == found


def test_people_see_lines_that_command_no_terminal(laptop: Device) -> None:
    shown = laptop.attempt("search", "memory", "rum").stdout

    assert "notes/bad" in shown
    assert "\\u202e" in shown
    assert "\u202e" not in shown
    assert "\u001b[2J" not in shown


def test_nothing_found_is_said_and_is_no_failure(laptop: Device) -> None:
    run = laptop.attempt("search", "memory", "water")

    assert (run.returncode, run.stdout) == (0, "")
    assert "no records" in run.stderr


@pytest.mark.parametrize("limit", ["0", "-1", "many", "9" * 400])
def test_a_limit_that_is_none_is_refused(laptop: Device, limit: str) -> None:
    assert laptop.attempt("search", "memory", "tea", "--limit", limit).returncode == 2
