"""The one-shot timer that blobs, notes and the log wait with."""

from covey.node.alarm import Alarm

from .fake_clock import FakeClock


class Told:
    """An alarm, and at which moments it went off."""

    def __init__(self) -> None:
        self.clock = FakeClock(now_ms=0)
        self.moments: list[int] = []
        self.alarm = Alarm(self.clock, self.go_off)
        self.again_ms: int | None = None

    def go_off(self) -> None:
        self.moments.append(self.clock.monotonic_ms())
        if self.again_ms is not None:
            self.alarm.set(self.again_ms)


async def test_an_alarm_goes_off_once_at_its_time() -> None:
    """What is awaited is one thing, and nobody is told of it twice."""
    told = Told()
    told.alarm.set(10)
    await told.clock.advance(9)
    early = list(told.moments)
    await told.clock.advance(100)

    assert early == []
    assert told.moments == [10]


async def test_setting_a_set_alarm_changes_nothing() -> None:
    """Else whoever asks often enough would put it off for ever, or make a timer for each call."""
    told = Told()
    told.alarm.set(10)
    await told.clock.advance(5)
    told.alarm.set(10)
    told.alarm.set(1)
    waiting = told.clock.sleeping
    await told.clock.advance(100)

    assert waiting == 1
    assert told.moments == [10]


async def test_a_stopped_alarm_is_silent_and_can_be_set_again() -> None:
    """A closed node must not act, and what was written at once need not be written later."""
    told = Told()
    told.alarm.stop()
    told.alarm.set(10)
    told.alarm.stop()
    told.alarm.stop()
    await told.clock.advance(100)
    silent = list(told.moments)
    told.alarm.set(10)
    await told.clock.advance(100)

    assert silent == []
    assert told.moments == [110]


async def test_what_it_does_may_set_it_again_and_stop_ends_that() -> None:
    """Care for blobs comes round every hour by setting its alarm when that goes off."""
    told = Told()
    told.again_ms = 10
    told.alarm.set(10)
    await told.clock.advance(30)
    told.alarm.stop()
    await told.clock.advance(100)

    assert told.moments == [10, 20, 30]
