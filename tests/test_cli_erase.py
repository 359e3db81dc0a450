"""`covey erase` and `covey export --about`: nothing goes without a yes, and with a receipt."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .fake_node import FakeNode, fake_node
from .fake_service import RECEIPT

MARA = ("erase", "memory", "--about", "author=mara", "--via", "thread")


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FakeNode]:
    with fake_node(tmp_path / "home") as running:
        yield running


def test_nothing_is_erased_without_a_yes(node: FakeNode) -> None:
    """A script that forgot to say so must not be taken at its word."""
    result = node.run(*MARA)

    assert result.exit_code == 2 and "nothing was deleted" in result.stderr
    assert [params.get("dry_run") for params in node.asked("erase")] == [True]


def test_with_a_yes_the_receipt_says_who_has_proved_it(node: FakeNode) -> None:
    """And what is not erased is never left unsaid. Names of devices command no terminal."""
    result = node.run(*MARA, "--yes")

    assert result.exit_code == 0
    assert node.asked("erase")[1] == {
        "database": "memory",
        "about": {"author": "mara"},
        "via": ["thread"],
    }
    assert "2 records and 1 blobs of memory" in result.stdout and "\x1b" not in result.stdout
    assert "proved at 2026-01-01T10:00:01Z" in result.stdout
    assert "tablet: not yet proved" in result.stdout
    assert "guest: does not share this database" in result.stdout
    assert "not erased: the history" in result.stderr
    assert "1 more may only be deleted by another device" in result.stderr


def test_programs_get_the_receipt(node: FakeNode) -> None:
    """Somebody may have to hand it over."""
    told = json.loads(node.run(*MARA, "--yes", "--json").stdout)
    assert told["receipt"] == RECEIPT

    listed = json.loads(node.run("erase", "--receipts", "--json").stdout)
    assert listed == {"erasures": [RECEIPT]}
    assert "2 records" in node.run("erase", "--receipts").stdout


def test_nothing_to_erase_is_said_and_nobody_is_asked(node: FakeNode) -> None:
    """A yes to nothing would be a receipt for nothing."""
    node.service.erasable = 0
    result = node.run(*MARA)

    assert (result.exit_code, result.stdout) == (0, "0 records and 1 blobs\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("erase",),
        ("erase", "memory"),
        ("erase", "--about", "a=1"),
        ("erase", "memory", "--about", "a=1", "--record", "c", "i"),
        ("erase", "memory", "--about", "author"),
        ("erase", "memory", "--receipts"),
        ("export", "memory", "--via", "thread"),
    ],
)
def test_what_is_not_clear_is_refused(node: FakeNode, arguments: tuple[str, ...]) -> None:
    """To erase more than was meant cannot be undone."""
    assert node.run(*arguments).exit_code == 2
    assert node.asked("erase") == []


def test_one_record_is_named_by_collection_and_id(node: FakeNode) -> None:
    """A conversation, say, and by `--via` its messages."""
    node.run("erase", "memory", "--record", "conversations", "c1", "--via", "thread", "--dry-run")

    (params,) = node.asked("erase")
    assert params["record"] == {"collection": "conversations", "id": "c1"}


def test_an_export_about_somebody_says_so_to_the_node(node: FakeNode) -> None:
    """Else it would be an export of everybody."""
    node.run("export", "memory", "--about", "author=mara", "--via", "message")

    (params,) = node.asked("export")
    assert params == {"database": "memory", "about": {"author": "mara"}, "via": ["message"]}
