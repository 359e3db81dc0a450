"""Links: one spelling for each record, and nothing else is taken for a link."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.storage.link_text import (
    LINKS_PER_RECORD_MAX,
    Declared,
    Link,
    Target,
    link_to,
    links_in,
    target_of,
)
from covey.sync.errors import BadValueError

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
PIECES = st.text("~/01a:covey", max_size=12)


@given(NAMES, NAMES, st.none() | NAMES)
def test_a_link_names_what_it_was_made_of(collection: str, id: str, database: str | None) -> None:
    """An id may hold a slash, a tilde or anything else."""
    target = target_of(link_to(collection, id, database), "here")

    assert target == Target(database or "here", collection, id)


@given(PIECES)
def test_a_record_has_one_spelling(text: str) -> None:
    """With two, a link would lead there and not back."""
    target = target_of({"link": f"covey:{text}"}, "here")

    if target is not None:
        whole = link_to(target.collection, target.id, target.database)
        short = link_to(target.collection, target.id)
        assert {"link": f"covey:{text}"} in (whole, short)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "covey:people/ann",
        ["covey:people/ann"],
        {"link": "https://example.org/a"},
        {"link": "covey:people"},
        {"link": "covey:people/"},
        {"link": "covey:/ann"},
        {"link": "covey:a/b/c/d"},
        {"link": "covey:people/a~2"},
        {"link": "covey:people/ann~"},
        {"link": ["covey:people/ann"]},
        {"link": "covey:people/ann", "more": 1},
        {"LINK": "covey:people/ann"},
        {},
    ],
)
def test_what_only_looks_like_a_link_is_none(value: Any) -> None:
    """An application may use the word for something else, and its value stays what it is."""
    assert target_of(value, "here") is None


@pytest.mark.parametrize("names", [("", "a"), ("a", ""), ("a", "b", ""), (1, "a")])
def test_a_link_to_nothing_is_refused(names: tuple[Any, ...]) -> None:
    """Written down, it would dangle for ever."""
    with pytest.raises(BadValueError):
        link_to(*names)


def test_types_are_paths_without_places_in_lists() -> None:
    """The third friend is as much a friend as the first."""
    record = {
        "author": link_to("people", "ann"),
        "meta": {"about": [link_to("places", "rome"), [link_to("places", "oslo")]]},
        "text": "covey:people/bob",
    }

    assert links_in(record, "home", {}) == [
        Link("author", Target("home", "people", "ann")),
        Link("meta.about", Target("home", "places", "oslo")),
        Link("meta.about", Target("home", "places", "rome")),
    ]


def test_a_declared_field_holds_an_id_or_a_list_of_ids() -> None:
    """Most records were written before anybody thought of links."""
    record = {"thread": "t1", "tags": ["a", "", 3, "b", "a"], "at": 5, "other": "x"}
    to = Declared("home", "threads")
    declared = {"thread": to, "tags": Declared("words", "tags"), "at": to, "gone": to}

    assert links_in(record, "home", declared) == [
        Link("tags", Target("words", "tags", "a")),
        Link("tags", Target("words", "tags", "b")),
        Link("thread", Target("home", "threads", "t1")),
    ]


def test_links_of_one_record_are_bounded() -> None:
    """A record of ten megabytes could hold half a million."""
    record = {"to": [link_to("c", f"{n}") for n in range(LINKS_PER_RECORD_MAX + 5)]}

    assert len(links_in(record, "home", {})) == LINKS_PER_RECORD_MAX


def test_a_deep_record_is_read_to_its_end() -> None:
    """The deepest that a record may be."""
    value: Any = link_to("c", "x")
    for _ in range(60):
        value = [value] if isinstance(value, dict) else {"a": value}

    assert [link.target.id for link in links_in({"deep": value}, "home", {})] == ["x"]
