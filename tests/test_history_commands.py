"""`covey history` and `covey get --at`, by a home of which no node runs."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .processes import Device, homes


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """A device with a record that was written twice, and one that was deleted."""
    folder: Path = tmp_path_factory.mktemp("history")
    with homes(folder, "laptop") as (device,):
        device.init()
        device.run("put", "memory", "facts", "tea", json.dumps({"kind": "green"}))
        device.run("put", "memory", "facts", "tea", json.dumps({"kind": "a\u202eb"}))
        device.run("put", "memory", "facts", "gone", json.dumps({"n": 1}))
        device.run("delete", "memory", "facts", "gone")
        yield device


def test_each_version_is_read_by_the_time_that_history_tells(laptop: Device) -> None:
    """What a person copies from the one command fits the other."""
    versions = laptop.run("history", "memory", "facts", "tea")["versions"]

    assert [one["record"] for one in versions] == [{"kind": "a\u202eb"}, {"kind": "green"}]
    for one in versions:
        read = laptop.run("get", "memory", "facts", "tea", "--at", one["time"])
        assert read == one["record"]


def test_people_see_versions_as_lines_that_command_no_terminal(laptop: Device) -> None:
    shown = laptop.attempt("history", "memory", "facts", "tea")
    gone = laptop.attempt("history", "memory", "facts", "gone", "--limit", "1")

    assert "\\u202e" in shown.stdout
    assert "\u202e" not in shown.stdout
    assert gone.stdout.rstrip().endswith("  deleted")


def test_a_collection_is_found_as_it_was(laptop: Device) -> None:
    """On the real library: what was is judged in a table of the reading connection."""
    *_, oldest = laptop.run("history", "memory", "facts", "tea")["versions"]
    find = ("find", "memory", "facts", "kind=green", "--order", "kind")

    then = laptop.run(*find, "--at", oldest["time"])
    assert then == {"records": [{"id": "tea", "kind": "green"}], "erased": 0}
    assert laptop.run(*find)["records"] == []
    assert laptop.run("find", "memory", "facts", "--at", "2001-01-01T00:00:00Z")["records"] == []


@pytest.mark.parametrize("more", [("--text", "tea"), ("--after", "x"), ("--explain",)])
def test_what_is_about_today_does_not_go_with_a_time(laptop: Device, more: tuple[str, ...]) -> None:
    run = laptop.attempt("find", "memory", "facts", "--at", "2026-01-31T18:00:00Z", *more)

    assert run.returncode == 2
    assert "not with --at" in run.stderr


def test_what_was_not_there_is_said(laptop: Device) -> None:
    """Not written yet, deleted, and never heard of."""
    for asked in (
        ("get", "memory", "facts", "tea", "--at", "2001-01-01T00:00:00Z"),
        ("get", "memory", "facts", "gone", "--at", "2999-01-01T00:00:00Z"),
        ("history", "memory", "facts", "none"),
    ):
        run = laptop.attempt(*asked)
        assert run.returncode == 1
        assert "no record facts/" in run.stderr


@pytest.mark.parametrize(
    "more",
    [
        ("--at", ""),
        ("--at", "yesterday"),
        ("--at", "2026-01-31T18:00"),
        ("--at", "9" * 500),
        ("--at", "2026-01-31T18:00:00Z", "--meta"),
        ("--at", "2026-01-31T18:00:00Z", "--whole"),
    ],
)
def test_what_is_no_time_or_does_not_go_with_one_is_refused(
    laptop: Device, more: tuple[str, ...]
) -> None:
    """An option that would do nothing is not taken in silence."""
    run = laptop.attempt("get", "memory", "facts", "tea", *more)

    assert run.returncode == 2
    assert "at" in run.stderr
