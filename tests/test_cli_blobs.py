"""The commands for blobs: what they ask of the node, and what they print."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .fake_node import FakeNode, fake_node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FakeNode]:
    with fake_node(tmp_path) as running:
        yield running


PLACE = ("memory", "facts", "tea", "photo")


def asked(node: FakeNode) -> dict[str, object]:
    """What the node was asked last."""
    calls = [params for name, params in node.service.asked if not name.endswith(" done")]
    return dict(calls[-1])


def test_put_names_the_file_absolutely_and_guesses_its_type(node: FakeNode) -> None:
    """The node that reads it stands in another folder."""
    result = node.run("blob", "put", *PLACE, "cat.png")

    assert result.exit_code == 0, result.output
    assert asked(node)["file"] == os.path.abspath("cat.png")
    assert asked(node)["type"] == "image/png"


def test_a_type_that_is_given_is_not_guessed(node: FakeNode) -> None:
    """The name of a file is often wrong."""
    node.run("blob", "put", *PLACE, "cat.png", "--type", "text/plain")

    assert asked(node)["type"] == "text/plain"


def test_get_without_a_name_takes_the_blob_s_own_in_this_folder(node: FakeNode) -> None:
    """Which name that is, the node decides, for it must be a safe one."""
    node.run("blob", "get", *PLACE)

    assert asked(node)["file"] == os.path.abspath(".")
    assert asked(node)["is_folder"] is True


def test_get_to_standard_output_is_the_content_and_nothing_else(node: FakeNode) -> None:
    """It is piped into a viewer."""
    result = node.run("blob", "get", *PLACE, "-o", "-")

    assert result.exit_code == 0, result.output
    assert result.stdout_bytes == b"\x00\xffhi"


@pytest.mark.parametrize(
    ("text", "size"), [("500M", 500 << 20), ("20G", 20 << 30), ("7", 7), ("1K", 1024), ("none", 0)]
)
def test_sizes_are_read_as_people_write_them(node: FakeNode, text: str, size: int) -> None:
    """A limit in plain bytes is mistyped by a thousand."""
    assert node.run("blob", "quota", text).exit_code == 0
    assert asked(node)["bytes"] == size


@pytest.mark.parametrize("text", ["", "G", "-5", "1.5G", "5X", "0", "٣G", "9" * 16])
def test_what_is_no_size_is_wrong_usage(node: FakeNode, text: str) -> None:
    """To take it for another one could put everything away."""
    result = node.run("blob", "quota", "--", text)

    assert result.exit_code == 2
    assert "500M" in result.output
