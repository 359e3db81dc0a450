"""Waiting: entries of one log never overtake one another, whatever becomes known in which order."""

from hypothesis import given
from hypothesis import strategies as st

from covey.node.projection import Key
from covey.node.waiting import Waiting

RECORDS: list[Key] = [(1, "facts", id) for id in "abc"]
touched = st.lists(st.sampled_from(RECORDS), min_size=1, max_size=3)


@given(st.lists(st.tuples(touched, st.booleans()), min_size=1, max_size=12), st.randoms())
def test_an_entry_is_next_iff_no_earlier_one_may_touch_its_records(entries, random) -> None:  # type: ignore[no-untyped-def]
    """The rule that makes what becomes of a record independent of the order of arrival."""
    waiting = Waiting()
    left = {}
    for seq, (records, readable) in enumerate(entries, 1):
        waiting.add((7, seq), records if readable else None)
        left[seq] = (set(records), readable)
    while left:
        assert len(waiting) == len(left)
        for seq, (records, _) in left.items():
            before = [left[earlier] for earlier in left if earlier < seq]
            free = all(readable and not records & theirs for theirs, readable in before)
            if not left[seq][1]:
                free = all(readable for _, readable in before)
            assert waiting.is_next((7, seq)) == free
        seq = random.choice(list(left))
        records, readable = left[seq]
        if readable:
            waiting.remove((7, seq))
            del left[seq]
        else:
            waiting.read((7, seq), sorted(records))
            left[seq] = (records, True)
    assert not waiting.stands_before(7, RECORDS)


def test_who_waits_for_a_change_is_looked_at_again_when_one_of_them_comes() -> None:
    """Nothing but the change itself says that the wait is over."""
    waiting = Waiting()
    waiting.add((1, 1), RECORDS[:1])
    waiting.wait_for((1, 1), frozenset({b"x", b"y"}))
    waiting.came([b"z"])
    still = waiting.places()
    waiting.came([b"y"])

    assert still == [((1, 1), frozenset({b"x", b"y"}))]
    assert waiting.places() == [((1, 1), None)]


def test_places_come_in_the_order_of_each_log() -> None:
    """An earlier entry must be tried first, also if it was taken up later."""
    waiting = Waiting()
    for seq in (3, 1, 2):
        waiting.add((5, seq), RECORDS[:1])

    assert [place for place, _ in waiting.places()] == [(5, 1), (5, 2), (5, 3)]
