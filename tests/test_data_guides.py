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


def files() -> dict[tuple[str, str], str]:
    """(guide, file) -> the blocks of the guide that name the file."""
    found: dict[tuple[str, str], str] = {}
    for guide in sorted(GUIDES.glob("*.md")):
        for block in re.findall(r"```python\n(.*?)```", guide.read_text("utf-8"), re.S):
            name = re.match(r"# (\w+\.py)\n", block)
            if name is not None:
                key = (guide.name, name[1])
                found[key] = found.get(key, "") + block
    return found


def examples() -> list[tuple[str, str]]:
    """Those that are tests; the others of a guide are what they import."""
    return [key for key in files() if key[1].startswith("test_")]


@pytest.mark.parametrize("example", examples(), ids="/".join)
def test_the_examples_of_a_guide_pass(pytester: pytest.Pytester, example: tuple[str, str]) -> None:
    """They are pasted before they are read."""
    guide, test = example
    for (of, name), content in files().items():
        if of == guide:
            (pytester.path / name).write_text(content, "utf-8")
    pytester.syspathinsert()
    always = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:asyncio")
    told = pytester.runpytest_inprocess(*always, "-W", "error", test)

    assert told.ret == pytest.ExitCode.OK
