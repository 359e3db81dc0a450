"""Counters: names of ours, and no way to find out from them who talked to whom."""

import pytest

from covey.node.counters import COUNTERS_MAX, Counters


def test_counters_begin_at_nothing_and_add_up() -> None:
    """Health checks and tests read them."""
    counters = Counters()
    counters.add("b.two", 2)
    counters.add("a.one")
    counters.add("b.two")

    assert counters.totals() == {"a.one": 1, "b.two": 3}
    assert counters["never.seen"] == 0


@pytest.mark.parametrize("name", ["", "Upper", "192.0.2.1", "a b", "a..b", "channel.K7QM-2F8X"])
def test_a_name_that_is_no_word_of_ours_is_refused(name: str) -> None:
    """An address or an id in a name would turn a health page into a record of contacts."""
    with pytest.raises(AssertionError):
        Counters().add(name)


def test_the_number_of_names_is_bounded() -> None:
    """Names that a peer can multiply would fill the memory."""
    counters = Counters()
    for n in range(COUNTERS_MAX):
        counters.add(f"name.n{n}")

    with pytest.raises(AssertionError):
        counters.add("one.more")
