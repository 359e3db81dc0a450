"""Holding: which databases wait, for what, and until when; whatever the clock does."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.node.holding import MINUTE_MS, Hold, Moment, hold_of, holds, next_look_ms
from covey.node.surroundings import Surroundings, overruled
from covey.sync.policy import Policy

NOON_MS = 20_000 * 86_400_000 + 12 * 3_600_000
HOME = Surroundings(metered=False, mains=True)

minutes = st.integers(0, 24 * 60 - 1)
hours = st.tuples(minutes, minutes).filter(lambda pair: pair[0] != pair[1])
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: minutes * 60)
moments_ms = st.integers(0, 2**42)
maybe = st.sampled_from((True, False, None))


def quiet(start: int, end: int) -> str:
    return f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}"


policies = st.builds(
    Policy,
    mode=st.sampled_from(("full", "periodic")),
    priority=st.sampled_from(("high", "medium", "low", "none")),
    interval_minutes=st.integers(1, 60 * 24 * 366),
    unmetered=st.booleans(),
    charging=st.booleans(),
    quiet=st.just("") | hours.map(lambda pair: quiet(*pair)),
)
surroundings = st.builds(Surroundings, maybe, maybe, st.none() | st.integers(0, 100), offsets)


def at(hour: int, minute: int = 0, offset_s: int = 0) -> Moment:
    """A moment of one day by the clock of the wall, at home."""
    wall_ms = 20_000 * 86_400_000 + (hour * 60 + minute) * MINUTE_MS
    return Moment(replace(HOME, utc_offset_s=offset_s), wall_ms - offset_s * 1000, {})


def rule(policy: Policy, moment: Moment) -> str | None:
    hold = hold_of("notes", policy, moment)
    return None if hold is None else hold.rule


@pytest.mark.parametrize("metered", [True, None])
def test_an_unmetered_network_is_waited_for_where_nothing_says_that_it_is(
    metered: bool | None,
) -> None:
    """The bill is the person's, so what nobody knows counts as metered."""
    moment = Moment(Surroundings(metered=metered, mains=True), NOON_MS, {})

    hold = hold_of("media", Policy(unmetered=True), moment)

    assert hold is not None
    assert (hold.rule, hold.waiting_for) == ("unmetered", "an unmetered network")
    assert ("covey settings" in hold.because) == (metered is None)


@pytest.mark.parametrize("mains", [False, None])
def test_mains_is_waited_for_where_nothing_says_that_it_is_there(mains: bool | None) -> None:
    """An empty battery cannot be taken back either."""
    moment = Moment(Surroundings(metered=False, mains=mains), NOON_MS, {})

    assert rule(Policy(charging=True), moment) == "charging"


def test_a_person_who_knows_better_is_believed() -> None:
    """Where the system says nothing, or something else, the setting of the device counts."""
    unknown = Surroundings()

    around = overruled(unknown, metered=False, mains=True)

    moment = Moment(around, NOON_MS, {})
    assert rule(Policy(unmetered=True, charging=True), moment) is None
    assert overruled(around, None, None) == around


def test_what_is_not_urgent_waits_on_a_nearly_empty_battery() -> None:
    """A conversation still goes at 5 %, photos do not."""
    moment = Moment(Surroundings(False, False, 5), NOON_MS, {})

    assert rule(Policy(priority="low"), moment) == "battery"
    assert rule(Policy(priority="medium"), moment) is None


def test_quiet_hours_may_begin_on_one_day_and_end_on_the_next() -> None:
    """Most quiet hours are nights. The first minute belongs to them, the end does not."""
    night = Policy(quiet="22:00-06:30")

    said = {hour: rule(night, at(*hour)) for hour in ((21, 59), (22, 0), (0, 0), (6, 29), (6, 30))}

    assert said == {
        (21, 59): None,
        (22, 0): "quiet",
        (0, 0): "quiet",
        (6, 29): "quiet",
        (6, 30): None,
    }


def test_quiet_hours_are_those_of_the_place() -> None:
    """Who travels sleeps by the clock of where they are; the summer's hour counts as well."""
    night = Policy(quiet="22:00-06:00")
    five_ahead = at(23, 0, offset_s=5 * 3600)

    assert rule(night, five_ahead) == "quiet"
    assert rule(night, five_ahead._replace(around=HOME)) is None


def test_a_periodic_database_waits_from_one_exchange_to_the_next() -> None:
    """It goes when its interval has passed, and at once if it never went."""
    policy = Policy(mode="periodic", interval_minutes=90)
    just = Moment(HOME, NOON_MS, {"notes": NOON_MS - 60 * MINUTE_MS})

    assert hold_of("notes", policy, just) == Hold(
        "periodic",
        "it is exchanged every 1 hour 30 minutes",
        "its next exchange, in 30 minutes",
    )
    assert rule(policy, just._replace(wall_ms=NOON_MS + 30 * MINUTE_MS)) is None
    assert rule(policy, just._replace(exchanged={})) is None
    assert next_look_ms({"notes": policy}, just) == NOON_MS + 30 * MINUTE_MS


def test_a_clock_that_is_set_back_does_not_hold_a_database_for_years() -> None:
    """A last exchange in the future means nothing; one exchange too many harms nobody."""
    policy = Policy(mode="periodic", interval_minutes=60)

    assert rule(policy, Moment(HOME, 1_000_000, {"notes": NOON_MS})) is None


@given(st.dictionaries(st.text(max_size=3), policies, max_size=4), surroundings, moments_ms)
def test_what_has_no_condition_is_never_held(
    wishes: dict[str, Policy], around: Surroundings, wall_ms: int
) -> None:
    """Whatever the surroundings are: a database waits only for what its policy names."""
    held = holds(wishes, Moment(around, wall_ms, {}))

    for database, hold in held.items():
        policy = wishes[database]
        named = {
            "unmetered": policy.unmetered,
            "charging": policy.charging,
            "battery": policy.priority in ("low", "none"),
            "quiet": bool(policy.quiet),
            "periodic": False,  # Never exchanged, so always due.
        }
        assert named[hold.rule]
        assert hold.because and hold.waiting_for


@given(policies, surroundings, moments_ms, st.integers(0, 2**42), st.floats(0, 1))
def test_nothing_changes_before_the_next_look(
    policy: Policy, around: Surroundings, wall_ms: int, last_ms: int, share: float
) -> None:
    """Nobody polls: if a hold could begin or end before it is looked at, it would be missed."""
    moment = Moment(around, wall_ms, {"notes": last_ms})
    look_ms = next_look_ms({"notes": policy}, moment)
    end_ms = wall_ms + 3 * 86_400_000 if look_ms is None else look_ms

    between_ms = wall_ms + int((end_ms - 1 - wall_ms) * share)

    assert look_ms is None or look_ms > wall_ms
    assert rule(policy, moment) == rule(policy, moment._replace(wall_ms=between_ms))


@given(hours, offsets, moments_ms)
def test_quiet_hours_are_as_long_as_they_say_on_every_day(
    bounds: tuple[int, int], offset_s: int, wall_ms: int
) -> None:
    """Counted minute by minute over a day that begins anywhere."""
    start, end = bounds
    policy, around = Policy(quiet=quiet(start, end)), replace(HOME, utc_offset_s=offset_s)
    day = [Moment(around, wall_ms + minute * MINUTE_MS, {}) for minute in range(24 * 60)]

    count = sum(rule(policy, moment) == "quiet" for moment in day)

    assert count == (end - start) % (24 * 60)


@given(st.integers(1, 60 * 24 * 366), st.integers(0, 2**42), st.lists(moments_ms, min_size=1))
def test_whatever_the_clock_does_a_periodic_database_waits_one_interval_at_most(
    interval: int, last_ms: int, readings: list[int]
) -> None:
    """Clocks jump to and fro. The wait that is left never exceeds the interval."""
    policy = Policy(mode="periodic", interval_minutes=interval)
    for wall_ms in readings:
        moment = Moment(HOME, wall_ms, {"notes": last_ms})
        if rule(policy, moment) is not None:
            look_ms = next_look_ms({"notes": policy}, moment)

            assert look_ms is not None and 0 < look_ms - wall_ms <= interval * MINUTE_MS
            assert rule(policy, moment._replace(wall_ms=look_ms)) is None


def test_the_next_look_after_a_clock_was_set_back_is_its_last_exchange() -> None:
    """From there on the interval counts again, so a hold begins."""
    policy, moment = Policy(mode="periodic"), Moment(HOME, 0, {"notes": 1})

    assert rule(policy, moment) is None
    assert next_look_ms({"notes": policy}, moment) == 1
    assert rule(policy, moment._replace(wall_ms=1)) == "periodic"
