"""`covey storage` as people and programs see it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .fake_node import FakeNode, fake_node
from .fake_service import REPORT


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FakeNode]:
    with fake_node(tmp_path / "home") as running:
        yield running


def test_people_see_where_the_room_went_and_what_would_help(node: FakeNode) -> None:
    """Names come from other devices, and must not command a terminal."""
    shown = node.run("storage").stdout

    assert "10 B of 40 B" in shown and "1 / 2" in shown
    assert "caches of applications  9 B" in re.sub("  +", "  ", shown)
    assert "history of the mesh" in shown and "1.0 KiB" in shown
    assert "would delete 2 records and pack 5 documents" in shown
    assert "2.0 KiB are free" in shown
    assert "\x1b" not in shown and "\u202e" not in shown


def test_programs_get_the_report_as_it_is(node: FakeNode) -> None:
    """Monitoring reads numbers, not tables."""
    assert json.loads(node.run("storage", "--json").stdout) == REPORT
    assert json.loads(node.run("storage", "tidy", "--json").stdout)["expired"] == 2


def test_a_rule_is_sent_as_it_was_typed(node: FakeNode) -> None:
    """What is not named is left to the node."""
    shown = node.run("storage", "keep", "memory", "facts", "--days", "3").stdout

    (params,) = node.asked("storage_keep")
    assert params == {
        "database": "memory",
        "collection": "facts",
        "withdraw": False,
        "days": 3,
        "expires": None,
        "warm": None,
        "cold": None,
    }
    assert "deleted 3 days after their last change" in shown and "\x1b" not in shown


def test_tidying_says_what_it_did(node: FakeNode) -> None:
    """Records were deleted: that is never silent."""
    shown = node.run("storage", "tidy").stdout

    assert "2 records reached their time and were deleted" in shown
    assert "1 more may only be deleted by another device" in shown
    assert "5 documents packed: 90 B are 30 B now" in shown


def test_withdrawing_goes_with_nothing_else(node: FakeNode) -> None:
    """Half of a rule cannot be withdrawn."""
    arguments = ("storage", "keep", "memory", "facts", "--withdraw", "--days", "3")

    assert node.run(*arguments).exit_code == 2
    assert node.asked("storage_keep") == []
