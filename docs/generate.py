"""Writes what is generated under docs/: the page of commands, a drawing, and tables.

Run by `make docs`. Tests compare what is committed with what this would write.
"""

from pathlib import Path

from covey.cli.reference import reference
from covey.simulations.reference import tables
from covey.sync.session_phases import diagram

DOCS = Path(__file__).resolve().parent


def main() -> None:
    (DOCS / "cli.md").write_text(reference(), encoding="utf-8")
    put("ARCHITECTURE.md", "session diagram", f"```mermaid\n{diagram()}```\n")
    for name, table in tables().items():
        put("simulation.md", f"table of {name}", table)


def put(page: str, what: str, text: str) -> None:
    """Write what stands between the two marks of a page."""
    begins, ends = f"<!-- {what}, written by `make docs` -->\n", f"<!-- end of {what} -->\n"
    path = DOCS / page
    before, found, rest = path.read_text(encoding="utf-8").partition(begins)
    _, closed, after = rest.partition(ends)
    assert found and closed, f"{page}: no place for {what}"
    path.write_text(f"{before}{begins}{text}{ends}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
