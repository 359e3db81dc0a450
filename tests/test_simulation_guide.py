"""docs/simulation.md: its examples run, and what it says of the simulator is so."""

import re
import shlex
from pathlib import Path

import pytest

from covey.cli.simulate_commands import simulate

# Loaded before, because a run inside of this process forgets what it has imported.
from covey.simulations.mesh import Mesh
from covey.simulations.reference import tables

pytest_plugins = ["pytester"]

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "simulation.md").read_text("utf-8")
FAILING = "test_failing.py"


def examples() -> dict[str, str]:
    """File -> the blocks of the page that name it in their first line."""
    found: dict[str, str] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.S):
        name = re.match(r"# (\w+\.py)\n", block)
        assert name is not None, f"an example says which file it is: {block[:60]}"
        found[name[1]] = found.get(name[1], "") + block
    return found


def run(pytester: pytest.Pytester, name: str) -> pytest.RunResult:
    """As a reader does: one file in an empty folder, without a setting."""
    (pytester.path / name).write_text(examples()[name], "utf-8")
    always = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:asyncio")
    return pytester.runpytest_inprocess(*always, "-W", "error", name)


@pytest.mark.parametrize("name", [name for name in examples() if name != FAILING])
def test_the_examples_of_the_guide_pass(pytester: pytest.Pytester, name: str) -> None:
    """They are pasted before they are read."""
    told = run(pytester, name)

    assert told.ret == pytest.ExitCode.OK


def test_the_report_in_the_guide_is_what_its_failing_example_prints(
    pytester: pytest.Pytester,
) -> None:
    """It teaches how to read such a report, so it must be a real one; times may differ."""
    (shown,) = re.findall(r"```text\n(E .*?)```", PAGE, re.S)

    told = run(pytester, FAILING)

    printed = [re.sub(r"\d", "0", line) for line in told.outlines]
    lines = [re.sub(r"\d", "0", line) for line in shown.splitlines()]
    assert [line for line in lines if line not in printed] == []


@pytest.mark.parametrize("name", tables())
def test_the_tables_of_the_guide_are_what_the_simulator_does(name: str) -> None:
    """A list of claims made by hand is true on the day it was made. `make docs` makes these."""
    begins = f"<!-- table of {name}, written by `make docs` -->\n"

    assert f"{begins}{tables()[name]}<!-- end of table of {name} -->" in PAGE


def test_the_guide_names_everything_that_a_mesh_can_do() -> None:
    """What is not in the guide is used by nobody."""
    public = {name for name in dir(Mesh) if not name.startswith("_")} | vars(Mesh()).keys()
    below = {"stage"}

    assert {name for name in public - below if f"mesh.{name}" not in PAGE} == set()


def test_the_commands_of_the_guide_are_understood() -> None:
    """A command that is refused costs a reader the trust in all others."""
    commands = re.findall(r"^\$ covey simulate (.*)$", PAGE, re.M)

    for command in commands:
        simulate.make_context("simulate", shlex.split(command))

    assert len(commands) >= 5
