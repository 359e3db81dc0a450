"""Words for people: every kind of event has some, and no event can make them fail or lie."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.cli.log_commands import event_line
from covey.node.wording import ALARMS, SENTENCES, words

from .fake_service import HOSTILE

ROOT = Path(__file__).resolve().parent.parent
TELLING = frozenset({"tell", "tally", "note_of", "alarm", "NodeEvent"})
"""What is called to make an event; its first argument is the kind."""
PASSING_ON = frozenset({"node/audit.py", "node/engine.py", "node/trust.py"})
"""Files in which a kind may be a variable: they hand on what others tell."""
ANNOUNCING = "node/announcing.py"
"""Returns pairs of a kind and its fields, which `trust` hands on."""

PHONE = {"name": "Phone", "short_id": "9RTB-C400", "level": "full"}


def tellings() -> Iterator[tuple[str, str, ast.Call]]:
    """(file, name of what is called, call) of every event that a node can make."""
    for path in sorted(ROOT.glob("node/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and len(node.args) >= 2:
                called = node.func
                name = called.attr if isinstance(called, ast.Attribute) else ast.unparse(called)
                if name in TELLING:
                    yield path.relative_to(ROOT).as_posix(), name, node


def kinds_of(call: ast.Call) -> list[str]:
    """The texts that its first argument can be, also by a choice between two."""
    return [
        node.value
        for node in ast.walk(call.args[0])
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]


def kinds_announced() -> Iterator[str]:
    """The kinds of the pairs that one registry after another comes to."""
    for node in ast.walk(ast.parse((ROOT / ANNOUNCING).read_text(encoding="utf-8"))):
        match node:
            case ast.Tuple(elts=[ast.Constant(value=str(kind)), ast.Dict() | ast.Call()]):
                yield kind


TOLD = sorted(
    {(name == "alarm", kind) for _, name, call in tellings() for kind in kinds_of(call)}
    | {(False, kind) for kind in kinds_announced()}
)


@pytest.mark.parametrize(("is_alarm", "kind"), TOLD)
def test_every_kind_that_is_told_has_words(is_alarm: bool, kind: str) -> None:
    """An event that nobody worded reaches people as a list of fields."""
    assert kind in (ALARMS if is_alarm else SENTENCES)


def test_the_kinds_are_read_off_the_source() -> None:
    """A walk that finds nothing would pass every test that rests on it."""
    kinds = {kind for _, kind in TOLD}

    assert {"connected", "synced", "enrolled", "met", "fork", "disk_trouble"} <= kinds
    assert {"revoked", "level", "role", "renamed", "rotated", "adopted", "request"} <= kinds


def test_a_kind_is_a_literal_where_it_is_told() -> None:
    """Kinds that are computed cannot be held against the table."""
    computed = [
        f"{file}:{call.lineno}"
        for file, _, call in tellings()
        if not kinds_of(call) and file not in PASSING_ON
    ]

    assert computed == []


@pytest.mark.parametrize(
    ("kind", "detail", "told"),
    [
        ("connected", {"device": "9RTB-C400", "name": "Phone"}, "Phone connected"),
        ("met", {"device": "9RTB-C400", "name": None}, "9RTB-C400 was met for the first time"),
        (
            "synced",
            {
                "name": "Phone",
                "databases": ["memory", "notes"],
                "received": 1,
                "sent": 2,
                "received_bytes": 700,
                "sent_bytes": 2048,
            },
            "In sync with Phone: 1 entry (700 B) received, 2 entries (2.0 KiB) sent"
            " of memory, notes",
        ),
        (
            "moved",
            {"database": "memory", "from": "private", "to": "family"},
            "A record in memory was moved from private to family; devices that had it may keep"
            " copies",
        ),
        (
            "sync_cut",
            {"name": "Phone", "received": 0, "sent": 0, "why": ["connection_lost"]},
            "Sync with Phone was cut off: connection lost; no entries moved",
        ),
        (
            "batch_refused",
            {
                "name": "Phone",
                "why": ["unknown scope"],
                "times": 3,
                "first": "2026-01-01T10:00:00Z",
                "last": "2026-01-01T10:00:40Z",
            },
            "What Phone sent was refused: unknown scope"
            " (3 times, from 2026-01-01T10:00:00Z to 2026-01-01T10:00:40Z)",
        ),
        ("disconnected", {"name": "Phone", "reason": "too_slow"}, "Phone disconnected (too slow)"),
        (
            "quarantined",
            {"name": "Phone", "entries": 1, "why": ["change set: truncated"]},
            "1 entry of Phone cannot be applied and was set aside: change set: truncated",
        ),
        (
            "imported",
            {"database": "memory", "written": 10_000, "unchanged": 1},
            "10,000 records imported into memory, 1 record unchanged",
        ),
        ("enrolled", {"device": PHONE, "by": "Laptop"}, "Laptop admitted Phone with level full"),
        ("enrolled", PHONE, "This device admitted Phone with level full"),
        ("revoked", {"device": PHONE, "by": "Laptop"}, "Laptop removed Phone"),
        (
            "revoked",
            {"device": "Phone", "by": {"name": "Tablet"}, "contested": True},
            "Tablet removed Phone, which a device senior to it may still contest",
        ),
        (
            "level",
            {"device": "Phone", "level": "guest", "by": "Laptop"},
            "Phone has the level guest now",
        ),
        (
            "role",
            {"device": "Phone", "role": "admin", "by": "Laptop"},
            "Phone is admin of the mesh now",
        ),
        (
            "renamed",
            {"device": "9RTB-C400", "name": "Handy", "before": "Phone"},
            "Phone is called Handy now",
        ),
        ("rotated", {"scopes": 3, "why": "schedule"}, "New keys for 3 scopes: schedule"),
        ("recovery_set", {"by": "Laptop"}, "The mesh has another paper key"),
        (
            "shelved",
            {"device": "Phone", "entries": 2},
            "2 entries of Phone from after its removal were put on the shelf",
        ),
        (
            "adopted",
            {"device": "Phone", "by": "Laptop", "entries": 2},
            "What Phone wrote was adopted from the shelf",
        ),
        (
            "enrolled",
            {"device": {"name": "TV", "short_id": "9RTB-C400", "level": "guest", "days": 7}},
            "This device admitted TV with level guest for 7 days",
        ),
        (
            "enrolled",
            {"name": "TV", "short_id": "9RTB-C400", "level": "full", "paper_key": True},
            "The paper key admitted TV with level full through this device",
        ),
        (
            "enrolled",
            {"device": "TV", "by": "Laptop", "expires": "2026-01-01T10:00:00Z"},
            "Laptop admitted TV until 2026-01-01T10:00:00Z",
        ),
        ("expired", {"device": "Guest"}, "The time of Guest in the mesh is over"),
        ("request", {"name": "TV", "id": "1", "by": "Phone"}, "Phone asks to admit TV"),
        ("restored", {}, "This home was restored from a backup"),
        ("backed_up", {"bytes": 2048}, "A backup was written (2.0 KiB)"),
        (
            "alarm",
            {"kind": "fork", "device": "9RTB-C400", "instance": "ab"},
            "ALARM: there are two stores of 9RTB-C400 that wrote under one instance;"
            " was it copied?",
        ),
        (
            "log_kept",
            {"days": 30, "events": 500},
            "The log now keeps at most 500 events of the last 30 days",
        ),
    ],
)
def test_an_event_reads_as_a_sentence(kind: str, detail: dict[str, Any], told: str) -> None:
    """People read these on the day that something is wrong."""
    assert words(kind, detail) == told


def test_a_kind_without_words_is_told_with_its_fields() -> None:
    """A newer version may have written it."""
    assert words("moon_phase", {"shape": "full", "at": 3}) == "moon phase  shape=full  at=3"
    assert words("alarm", {"kind": "moon", "at": 3}) == "ALARM: moon  at=3"


NAMES = ["device", "name", "by", "level", "entries", "databases", "why", "times", "last", "kind"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.sampled_from([*SENTENCES, *ALARMS, "unknown"]),
    st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), VALUES, max_size=6),
)
def test_whatever_stands_in_an_event_it_has_words(kind: str, detail: dict[str, Any]) -> None:
    """The log is read by versions that did not write it, and after somebody edited it."""
    assert isinstance(words(kind, detail), str)
    assert event_line({"event": kind, **detail}).isprintable()


@pytest.mark.parametrize("kind", SENTENCES)
def test_a_name_from_another_device_commands_no_terminal(kind: str) -> None:
    """A device chooses its name, and everybody else reads it in the log."""
    detail = {name: HOSTILE for name in (*NAMES, "before", "message", "database", "reason")}

    assert event_line({"time": HOSTILE, "event": kind, **detail}).isprintable()
