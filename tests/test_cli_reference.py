"""docs/cli.md is what the commands themselves say."""

from pathlib import Path

from covey.cli.main import COMMANDS
from covey.cli.reference import reference

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"


def test_the_page_of_commands_is_current() -> None:
    """A page that lags behind the program is believed all the same. `make docs` writes it."""
    assert PAGE.read_text(encoding="utf-8") == reference()


def test_the_page_names_every_command_and_exit_code() -> None:
    """Whoever writes a script looks here first."""
    page = reference()

    assert all(f"### covey {name}\n" in page for name in COMMANDS)
    assert all(f"\n| {code} | " in page for code in (*range(8), 70, 130, 141))


def test_the_page_is_the_same_on_every_machine() -> None:
    """A default that names a home folder would change the page with whoever writes it."""
    assert str(Path.home()) + "/" not in reference()
