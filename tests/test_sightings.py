"""Sightings: what a stranger on the network can make us keep, which is little."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.node.ports import Address, Sighting
from covey.node.sightings import (
    ADDRESSES_MAX,
    SIGHTINGS_MAX,
    SightingBook,
    read_properties,
    read_sighting,
)

GOOD = {b"v": b"1", b"h": b"0" * 32}


def test_a_good_announcement_becomes_a_sighting() -> None:
    """With its addresses in the order given, nearest first."""
    sighting = read_sighting("0123abcd", ["192.0.2.1", "2001:db8::1"], 7, GOOD)

    assert sighting == Sighting(
        "0123abcd",
        (Address("192.0.2.1", 7), Address("2001:db8::1", 7)),
        (("h", "0" * 32), ("v", "1")),
    )


@pytest.mark.parametrize(
    "instance", ["", "0123abc", "0123ABCD", "my laptop", "0123abcd\n", "../../etc"]
)
def test_a_label_that_no_node_of_ours_draws_is_refused(instance: str) -> None:
    """Labels would end on screens and in logs."""
    assert read_sighting(instance, ["192.0.2.1"], 7, GOOD) is None


@pytest.mark.parametrize("port", [None, 0, -1, 65_536])
def test_what_is_no_port_is_refused(port: int | None) -> None:
    """Nothing could be dialled there."""
    assert read_sighting("0123abcd", ["192.0.2.1"], port, GOOD) is None


def test_without_an_address_there_is_no_sighting() -> None:
    """A host name alone is never resolved: that would ask the network whom to trust."""
    assert read_sighting("0123abcd", [], 7, GOOD) is None


def test_only_eight_addresses_are_taken() -> None:
    """Each of them costs an attempt to connect."""
    sighting = read_sighting("0123abcd", [f"192.0.2.{n}" for n in range(50)], 7, GOOD)

    assert sighting is not None
    assert len(sighting.addresses) == ADDRESSES_MAX


@pytest.mark.parametrize(
    "properties",
    [
        {b"v": b"\x1b[31m"},
        {b"v\0": b"1"},
        {b"v": b"\xc3\xa4"},
        {b"v": b"1" * 65},
        {b"k" * 65: b"1"},
        {bytes([65 + n]): b"1" for n in range(9)},
    ],
)
def test_properties_that_are_long_many_or_unprintable_are_refused(
    properties: dict[bytes, bytes | None],
) -> None:
    """A terminal must never see them, nor the memory many of them."""
    assert read_properties(properties) is None


@given(st.dictionaries(st.binary(max_size=80), st.none() | st.binary(max_size=80), max_size=12))
def test_any_properties_are_refused_or_short_and_printable(
    properties: dict[bytes, bytes | None],
) -> None:
    """The TXT record is bytes from anybody."""
    pairs = read_properties(properties)

    assert pairs is None or all(
        len(part) <= 64 and (part.isprintable() or part == "") and part.isascii()
        for pair in pairs
        for part in pair
    )


def test_only_news_is_passed_on() -> None:
    """Announcements are repeated on every interface and family."""
    book = SightingBook()
    first = Sighting("0123abcd", (Address("192.0.2.1", 7),), ())
    moved = Sighting("0123abcd", (Address("192.0.2.2", 7),), ())

    assert [book.is_news(each) for each in (first, first, moved, moved, first)] == [
        True,
        False,
        True,
        False,
        True,
    ]


def test_who_said_goodbye_is_news_again() -> None:
    """A node that was restarted must be dialled at once."""
    book = SightingBook()
    sighting = Sighting("0123abcd", (Address("192.0.2.1", 7),), ())
    book.is_news(sighting)
    book.forget("0123abcd")

    assert book.is_news(sighting)


def test_at_most_64_are_kept() -> None:
    """Somebody who announces thousands of nodes gets the memory of 64."""
    book = SightingBook()
    for n in range(1000):
        book.is_news(Sighting(f"{n:08x}", (Address("192.0.2.1", 7),), ()))

    assert len(book) == SIGHTINGS_MAX
