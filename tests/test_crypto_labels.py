"""Labels: every hash, signature and key derivation starts with one of its own.

The labels are found in the source text, so a new one cannot be forgotten here: every bytes literal
in the two pure floors that starts with `cvy-` or `covey-` counts.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOORS = ("crypto", "sync")
PROLOGUE = b"cvy-noise-v1"  # heads the Noise prologue, which is not hashed by us


def labels() -> list[tuple[bytes, str, bool]]:
    """Each label with the file and line it stands in, and whether it is a module constant."""
    found = []
    for path in sorted(p for floor in FLOORS for p in (ROOT / floor).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            id(node.value) for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, bytes):
                continue
            if node.value.startswith((b"cvy-", b"covey-")):
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                found.append((node.value, place, id(node) in constants))
    return found


def documented() -> set[bytes]:
    text = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    table = text[text.index("## 11. Labels") :]
    found = re.findall(r"`((?:cvy|covey)-[^`]*)`", table)
    return {label.replace("\\0", "\0").encode() for label in found}


def test_no_label_is_used_twice() -> None:
    """Two uses of one label could be played against each other."""
    counts = Counter(label for label, _, _ in labels())
    twice = [(label, place) for label, place, _ in labels() if counts[label] > 1]

    assert len(counts) >= 10
    assert twice == []


def test_no_label_is_the_beginning_of_another() -> None:
    """A signed text starts with its label: one must not continue into another."""
    all_labels = {label for label, _, _ in labels()} | documented()
    clashes = [(a, b) for a in all_labels for b in all_labels if a != b and b.startswith(a)]

    assert clashes == []


def test_every_label_has_the_size_of_its_use() -> None:
    """BLAKE2b pads shorter personalisations; the label of a signature ends with a zero byte."""
    wrong = [
        (label, place)
        for label, place, _ in labels()
        if len(label) != 16 and not label.endswith(b"\0") and label != PROLOGUE
    ]

    assert wrong == []


def test_every_label_is_a_module_constant() -> None:
    """A reader finds the labels at the top of the module that uses them."""
    assert [(label, place) for label, place, constant in labels() if not constant] == []


def test_every_label_is_in_the_specification() -> None:
    """Who implements the protocol from the document must not miss one."""
    table = documented()

    assert len(table) >= 30
    assert [(label, place) for label, place, _ in labels() if label not in table] == []
