"""Pages that name files, tests, commands or other pages are compared with what is there."""

import re
from pathlib import Path

import pytest

from covey.cli.main import COMMANDS
from covey.sync.session_phases import diagram

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    "README.md",
    "CHANGELOG.md",
    *(page.relative_to(ROOT).as_posix() for page in ROOT.glob("docs/**/*.md")),
)
README_LINES_MAX = 120


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    """A dead link is the first thing a newcomer finds."""
    targets = re.findall(r"\]\(([^)#]+)", text(page))
    local = [target for target in targets if "://" not in target]

    assert [target for target in local if not (ROOT / page).parent.joinpath(target).exists()] == []


def test_tests_named_in_the_threat_model_exist() -> None:
    """A promise that names a test nobody can run is worse than none."""
    named = set(re.findall(r"`(test_\w+)`", text("docs/threat-model.md")))
    sources = (path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/test_*.py"))
    there = {name for source in sources for name in re.findall(r"def (test_\w+)\(", source)}

    assert named - there == set()


def test_files_named_in_the_architecture_exist() -> None:
    """The map is read before the code, and believed."""
    named = set(re.findall(r"`([a-z_]+/[\w/]*\.\w+)`", text("docs/ARCHITECTURE.md")))

    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_drawing_of_a_session_is_the_table_the_machine_moves_by() -> None:
    """A drawing made by hand is true on the day it was made. `make docs` makes this one."""
    assert f"```mermaid\n{diagram()}```" in text("docs/ARCHITECTURE.md")


def test_the_readme_is_read_in_five_minutes() -> None:
    """Whoever tries Covey has not decided yet to read about it."""
    assert len(text("README.md").splitlines()) <= README_LINES_MAX


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "docs/threat-model.md"])
def test_commands_named_for_people_exist(page: str) -> None:
    """A command that does not exist costs a newcomer the minute they had."""
    named = set(re.findall(r"(?:`|^\$ )covey ([a-z]+)", text(page), flags=re.MULTILINE))

    assert named - COMMANDS.keys() == set()
