"""The journal: whatever is logged by whomever, no content reaches a line."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.node.journal import Journal, admit, close_journal, open_journal

CANARY = "the-canary-sings"


@pytest.fixture
def journal_file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "journal"
    handler = open_journal(path, logging.DEBUG)
    yield path
    close_journal(handler)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_event_is_one_line_with_its_fields(journal_file: Path) -> None:
    """Programs read this file, and people search it."""
    Journal().note("link.ended", reason="timeout", bytes=12, device="K7QM-2F8X")

    (line,) = lines(journal_file)
    assert line.pop("at") > 0
    assert line == {
        "level": "INFO",
        "event": "link.ended",
        "reason": "timeout",
        "bytes": 12,
        "device": "K7QM-2F8X",
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"content": CANARY},
        {"reason": CANARY},
        {"reason": f"said {CANARY}"},
        {"count": CANARY},
        {"count": {"nested": CANARY}},
        {"device": CANARY},
        {"device": "192.0.2.1:7654"},
        {"kind": [CANARY]},
        {"bytes": CANARY.encode()},
        {CANARY: 1},
        {"count": True},
        {"count": float("nan")},
        {"count": 10**30},
    ],
)
def test_what_is_not_on_the_list_is_stripped_and_counted(
    journal_file: Path, fields: dict[str, object]
) -> None:
    """A careless call must show up, but without what it wanted to say."""
    Journal().note("batch.stored", **fields)

    (line,) = lines(journal_file)
    assert line.keys() == {"at", "level", "event", "stripped"}
    assert line["stripped"] == 1


def test_an_event_that_is_no_word_of_ours_is_a_defect() -> None:
    """Events are written in the code, never made from data."""
    with pytest.raises(AssertionError):
        Journal().note(f"said {CANARY}")


def test_messages_of_other_loggers_are_not_written(journal_file: Path) -> None:
    """asyncio and aiohttp quote whatever went wrong, and what went wrong may be content."""
    for name in ("asyncio", "aiohttp.server", "covey", "anything"):
        logging.getLogger(name).error("failed on %s", CANARY, extra={"note": CANARY})
    try:
        raise ValueError(CANARY)
    except ValueError:
        logging.getLogger("asyncio").exception("lost: %s", CANARY, stack_info=True)

    written = lines(journal_file)
    assert CANARY not in journal_file.read_text()
    assert len(written) == 5
    assert written[-1]["error"] == "ValueError"
    assert written[-1]["where"].startswith("test_journal.py:")


def test_a_record_built_by_hand_is_stripped_as_well(journal_file: Path) -> None:
    """The formatter is the last gate, whoever made the record."""
    logging.getLogger("covey").info("x", extra={"journal": ("event", {"reason": CANARY})})

    assert CANARY not in journal_file.read_text()


def test_the_file_is_its_owners_alone(journal_file: Path) -> None:
    """Even counts and short ids are nobody else's business."""
    Journal().note("started")

    assert journal_file.stat().st_mode & 0o777 == 0o600


def test_standard_error_gets_the_same_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Under systemd or in a container there is no file."""
    handler = open_journal(None)
    Journal().warn("store.full", bytes=5)
    close_journal(handler)

    assert json.loads(capsys.readouterr().err)["event"] == "store.full"


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(["count", "bytes", "reason", "device", "kind", "text"]) | st.text()


@given(st.dictionaries(names, json_like, max_size=5))
def test_whatever_is_passed_only_numbers_and_short_words_come_out(
    fields: dict[str, object],
) -> None:
    """The list is of forms as well as of names."""
    for value in admit(fields).values():
        assert isinstance(value, int | float) or (
            isinstance(value, str) and len(value) <= 131 and value.isascii() and " " not in value
        )
