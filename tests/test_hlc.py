"""The hybrid logical clock: it grows, stays near real time, and forgives wrong clocks."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from covey.sync.hlc import merge, tick, wall_ms_of
from covey.sync.limits import HLC_AHEAD_MS_MAX

walls = st.integers(0, 2**44)
stamps = st.integers(0, 2**62)


@given(stamps, st.lists(st.tuples(walls, st.none() | stamps), max_size=20))
def test_stamps_of_one_node_strictly_increase_whatever_its_clock_does(
    start: int, events: list[tuple[int, int | None]]
) -> None:
    """Two writes of one device must never look simultaneous, let alone reversed."""
    given_out = [start]
    last = start
    for wall_ms, remote in events:
        if remote is not None:
            last = merge(last, remote, wall_ms)
        last = tick(last, wall_ms)
        given_out.append(last)

    assert all(a < b for a, b in pairwise(given_out))


@given(stamps, walls)
def test_the_next_stamp_exceeds_an_honest_remote_one(last: int, wall_ms: int) -> None:
    """An answer must sort after what it answers."""
    remote = tick(0, wall_ms)

    assert tick(merge(last, remote, wall_ms), wall_ms) > remote


@given(stamps, walls)
def test_a_remote_stamp_never_drags_ours_far_ahead_of_the_wall(remote: int, wall_ms: int) -> None:
    """One device in the year 2100 must not take the whole mesh there."""
    after = merge(tick(0, wall_ms), remote, wall_ms)

    assert wall_ms_of(after) <= wall_ms + HLC_AHEAD_MS_MAX


@given(walls)
def test_a_stamp_tells_its_wall_time(wall_ms: int) -> None:
    """It is what `covey history` shows."""
    assert wall_ms_of(tick(0, wall_ms)) == wall_ms or wall_ms == 0


def test_more_events_than_the_counter_holds_run_into_the_next_millisecond() -> None:
    """A burst of writes must not stop at 65,536 in a millisecond."""
    stamp = tick(0, 1000)
    for _ in range(70_000):
        stamp = tick(stamp, 1000)

    assert wall_ms_of(stamp) == 1001
