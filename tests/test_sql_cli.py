"""`covey sql`: what a person and a program see, with real homes and processes."""

import csv
import io
from pathlib import Path

import pytest

from .processes import Device

pytest.importorskip("duckdb")

ASK = "SELECT text, count(*) AS n FROM memory.facts GROUP BY text ORDER BY n DESC, text"


def test_sql_answers_with_and_without_a_running_node(tmp_path: Path) -> None:
    """As a table, as JSON and as CSV."""
    device = Device(tmp_path, "laptop")
    device.init()
    for id, text in (("a", "tea"), ("b", "tea"), ("c", "a, b")):
        device.run("put", "memory", "facts", id, "-", stdin=f'{{"text": "{text}", "j": [1]}}')

    alone = device.run("sql", ASK)
    device.up("--no-mdns")
    try:
        running = device.run("sql", "-", "tea", stdin=ASK.replace("GROUP", "WHERE text = ? GROUP"))
        shown = device.attempt("sql", ASK, "--limit", "1")
        as_csv = device.attempt(
            "sql", "SELECT text, j, NULL z FROM memory.facts ORDER BY 1", "--csv"
        )
        refused = device.attempt("sql", "DELETE FROM memory.facts")
        missing = device.attempt("sql", "SELECT * FROM memory.nothing")
        both = device.attempt("sql", ASK, "--csv", "--json")
    finally:
        device.down()

    assert alone == {"columns": ["text", "n"], "rows": [["tea", 2], ["a, b", 1]], "whole": True}
    assert running["rows"] == [["tea", 2]]
    assert shown.stdout == "text  n\ntea   2\n" and "there is more" in shown.stderr
    assert list(csv.reader(io.StringIO(as_csv.stdout))) == [
        ["text", "j", "z"], ["a, b", "[1]", ""], ["tea", "[1]", ""], ["tea", "[1]", ""],
    ]  # fmt: skip
    assert refused.returncode == 2 and "only a SELECT" in refused.stderr
    assert missing.returncode == 2 and "memory.nothing" in missing.stderr
    assert both.returncode == 2
