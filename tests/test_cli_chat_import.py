"""`covey import` of an export: the node reads the file, the command says what became of it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from .fake_node import FakeNode, fake_node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FakeNode]:
    with fake_node(tmp_path / "home") as running:
        yield running


def bring(node: FakeNode, *arguments: str) -> Result:
    return node.run("import", "memory", "messages", *arguments)


def test_the_node_is_given_the_absolute_path_and_the_collections(node: FakeNode) -> None:
    """It runs elsewhere, and a relative path would mean another file there."""
    bring(node, "e.zip", "--format", "claude", "--conversations", "talks")

    (params,) = node.asked("import_chat")
    assert params == {
        "database": "memory",
        "collection": "messages",
        "format": "claude",
        "conversations": "talks",
        "attachments": None,
        "file": os.path.abspath("e.zip"),
    }


def test_people_are_told_what_was_left_out_and_no_terminal_is_commanded(node: FakeNode) -> None:
    """The place of a fault holds names out of a file that anybody may have made."""
    result = bring(node, "e.zip", "--format", "chatgpt")

    assert result.exit_code == 0
    assert "7 records of 2 conversations read, 5 written, 1 unchanged" in result.stderr
    assert "no id; left out" in result.stderr and "\x1b" not in result.stderr
    assert "1 left alone, as they were deleted here before" in result.stderr


def test_programs_get_the_counts_and_what_was_left_out(node: FakeNode) -> None:
    """A script decides by them whether to look closer."""
    told = json.loads(bring(node, "e.zip", "--format", "chatgpt", "--json").stdout)

    assert (told["written"], told["broken"]) == (5, 1)
    assert [row["why"] for row in told["left_out"]] == ["no id"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("e.zip", "--format", "chatgpt", "--id-field", "id"),
        ("-", "--format", "chatgpt"),
        ("e.zip", "--format", "whatsapp"),
        ("e.jsonl", "--conversations", "talks"),
        ("e.jsonl", "--attachments", "files"),
    ],
)
def test_what_does_not_go_together_is_refused(node: FakeNode, arguments: tuple[str, ...]) -> None:
    """An option that is silently passed over is believed to have worked."""
    assert bring(node, *arguments).exit_code == 2
    assert node.asked("import_chat") == []
