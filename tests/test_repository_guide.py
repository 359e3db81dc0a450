"""docs/data/repositories.md: its examples run as they stand there."""

import re
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

PAGE = Path(__file__).resolve().parent.parent / "docs" / "data" / "repositories.md"


def test_the_examples_of_the_guide_pass(pytester: pytest.Pytester) -> None:
    """They are pasted before they are read."""
    blocks = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    for name, block in blocks:
        (pytester.path / name).write_text(block, "utf-8")
    always = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:asyncio")

    told = pytester.runpytest_inprocess(*always, "-W", "error", "--rootdir", str(pytester.path))

    assert len(blocks) == 3
    told.assert_outcomes(passed=3)


def test_what_the_guide_names_is_there() -> None:
    """A name that does not exist costs a reader the trust in all others."""
    import covey

    named = set(re.findall(r"covey\.([A-Z]\w+)", PAGE.read_text("utf-8")))

    assert named and named <= set(covey.__all__)
