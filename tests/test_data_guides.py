"""docs/data/: the examples of the guides run, as a reader would run them.

A block of Python names its file in its first line; all blocks of one name are one file.
"""

import re
from pathlib import Path

import pytest

# Loaded before, because a run inside of this process forgets what it has imported, and the next
# guide would get other classes of the same names.
import covey.node.data.message_views
import covey.simulations.mesh  # noqa: F401

pytest_plugins = ["pytester"]

GUIDES = Path(__file__).resolve().parent.parent / "docs" / "data"


def examples() -> dict[tuple[str, str], str]:
    """(guide, file) -> the blocks of the guide that name the file."""
    found: dict[tuple[str, str], str] = {}
    for guide in sorted(GUIDES.glob("*.md")):
        for block in re.findall(r"```python\n(.*?)```", guide.read_text("utf-8"), re.S):
            name = re.match(r"# (test_\w+\.py)\n", block)
            if name is not None:
                key = (guide.name, name[1])
                found[key] = found.get(key, "") + block
    return found


@pytest.mark.parametrize("example", examples(), ids="/".join)
def test_the_examples_of_a_guide_pass(pytester: pytest.Pytester, example: tuple[str, str]) -> None:
    """They are pasted before they are read."""
    (pytester.path / example[1]).write_text(examples()[example], "utf-8")
    always = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:asyncio")
    told = pytester.runpytest_inprocess(*always, "-W", "error", example[1])

    assert told.ret == pytest.ExitCode.OK
