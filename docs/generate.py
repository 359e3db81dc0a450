"""Writes what is generated under docs/: the page of commands, and the drawing of a session.

Run by `make docs`. Tests compare what is committed with what this would write.
"""

from pathlib import Path

from covey.cli.reference import reference
from covey.sync.session_phases import diagram

DOCS = Path(__file__).resolve().parent
DRAWING_BEGINS = "<!-- session diagram, written by `make docs` -->\n"
DRAWING_ENDS = "<!-- end of session diagram -->\n"


def main() -> None:
    (DOCS / "cli.md").write_text(reference(), encoding="utf-8")
    page = DOCS / "ARCHITECTURE.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(DRAWING_BEGINS)
    _, _, after = rest.partition(DRAWING_ENDS)
    drawing = f"{DRAWING_BEGINS}```mermaid\n{diagram()}```\n{DRAWING_ENDS}"
    page.write_text(f"{before}{drawing}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
