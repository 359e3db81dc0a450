"""Holding: which databases wait just now on this device, why, and when to look again.

What belongs on a device is decided in `covey.sync.policy`; this is about when it goes. A database
is *held* while a condition of this device's own policy is not met. A held database stays in all
digests and counts, so nobody is told that it is synced; this device neither wants, sends nor
announces anything of it, and asks its peers for the same.

Fail closed: an unknown network counts as metered, and unknown power as a battery, because the bill
and the empty battery are the person's. Settings of the device say otherwise (`metered`, `mains`).

Pure: policies, surroundings and clock are arguments. Wall time is milliseconds since 1970; it may
jump. Spec: docs/protocol.md, section 12; docs/cli.md, `status` and `settings`.
"""

from collections.abc import Mapping
from typing import NamedTuple

from ..sync.policy import Policy, quiet_minutes
from .surroundings import Surroundings

MINUTE_MS = 60_000
DAY_MINUTES = 24 * 60
LOW_BATTERY_PERCENT = 15
"""On battery below this, databases of priority low and none wait for mains."""


class Hold(NamedTuple):
    """A database waits, by which rule, and for what."""

    rule: str
    """`unmetered`, `charging`, `battery`, `quiet` or `periodic`."""
    because: str
    """Why it waits now; a sentence without its full stop."""
    waiting_for: str
    """What would end the waiting: `an unmetered network`."""


class Moment(NamedTuple):
    """Everything that changes by the hour."""

    around: Surroundings
    wall_ms: int
    exchanged: Mapping[str, int]
    """Database to the wall time of its last periodic exchange; absent if there was none."""


def holds(policies: Mapping[str, Policy], moment: Moment) -> dict[str, Hold]:
    """The databases that are held now, in the order given, each with its first reason."""
    held = {}
    for database, policy in policies.items():
        hold = hold_of(database, policy, moment)
        if hold is not None:
            held[database] = hold
    return held


def hold_of(database: str, policy: Policy, moment: Moment) -> Hold | None:
    """Why this database waits now; None if it may go.

    Rules in the order of what a person can do about them: network, power, battery, hours, interval.
    """
    for rule in (_by_network, _by_power, _by_battery, _by_hours):
        hold = rule(policy, moment)
        if hold is not None:
            return hold
    return _by_interval(database, policy, moment)


def next_look_ms(policies: Mapping[str, Policy], moment: Moment) -> int | None:
    """The wall time, after now, at which `holds` may first differ by the clock alone.

    None if time changes nothing. Surroundings and the clock itself may change before: whoever
    waits reads them in between as well.
    """
    looks = []
    for database, policy in policies.items():
        quiet = quiet_minutes(policy.quiet)
        if quiet is not None:
            looks += [_next_minute_ms(minute, moment) for minute in quiet]
        last_ms = moment.exchanged.get(database)
        if policy.mode == "periodic" and last_ms is not None:
            # Of a clock that was set back: it is due until the clock comes to its last exchange.
            due_ms = _due_ms(database, policy, moment) or last_ms
            looks += [due_ms] if due_ms > moment.wall_ms else []
    return min(looks, default=None)


def _by_network(policy: Policy, moment: Moment) -> Hold | None:
    metered = moment.around.metered
    if not policy.unmetered or metered is False:
        return None
    if metered:
        because = "this network costs by volume"
    else:
        because = "nothing says whether this network costs by volume; `covey settings` can"
    return Hold("unmetered", because, "an unmetered network")


def _by_power(policy: Policy, moment: Moment) -> Hold | None:
    mains = moment.around.mains
    if not policy.charging or mains:
        return None
    if mains is None:
        because = "nothing says whether this device is on mains; `covey settings` can"
    else:
        because = "this device runs on its battery"
    return Hold("charging", because, "mains")


def _by_battery(policy: Policy, moment: Moment) -> Hold | None:
    battery, mains = moment.around.battery, moment.around.mains
    if policy.priority not in ("low", "none") or mains is not False or battery is None:
        return None
    if battery >= LOW_BATTERY_PERCENT:
        return None
    because = f"the battery is at {battery} %, and this is not urgent"
    return Hold("battery", because, f"mains, or {LOW_BATTERY_PERCENT} % of charge")


def _by_hours(policy: Policy, moment: Moment) -> Hold | None:
    quiet = quiet_minutes(policy.quiet)
    if quiet is None:
        return None
    start, end = quiet
    minute = _local_ms(moment) // MINUTE_MS % DAY_MINUTES
    # The end may lie on the next day.
    within = start <= minute < end if start < end else minute >= start or minute < end
    if not within:
        return None
    ends = f"{end // 60:02}:{end % 60:02}"
    return Hold("quiet", f"these are its quiet hours, {policy.quiet}", f"{ends}, local time")


def _by_interval(database: str, policy: Policy, moment: Moment) -> Hold | None:
    due_ms = _due_ms(database, policy, moment)
    if due_ms is None or due_ms <= moment.wall_ms:
        return None
    left = -(-(due_ms - moment.wall_ms) // MINUTE_MS)
    because = f"it is exchanged every {_duration(policy.interval_minutes)}"
    return Hold("periodic", because, f"its next exchange, in {_duration(left)}")


def _due_ms(database: str, policy: Policy, moment: Moment) -> int | None:
    """When a periodic database goes next; None if it is not periodic, or was never exchanged.

    A last exchange in the future means that the clock was set back. It is due then: one exchange
    too many harms nobody, and waiting for a moment years ahead would.
    """
    last_ms = moment.exchanged.get(database)
    if policy.mode != "periodic" or last_ms is None or last_ms > moment.wall_ms:
        return None
    return last_ms + policy.interval_minutes * MINUTE_MS


def _local_ms(moment: Moment) -> int:
    return moment.wall_ms + moment.around.utc_offset_s * 1000


def _next_minute_ms(minute: int, moment: Moment) -> int:
    """The wall time, after now, of the next such minute of the local day."""
    local_ms = _local_ms(moment)
    left_ms = (minute * MINUTE_MS - local_ms) % (DAY_MINUTES * MINUTE_MS)
    return moment.wall_ms + (left_ms or DAY_MINUTES * MINUTE_MS)


def _duration(minutes: int) -> str:
    """A number of minutes as people say it; at least a minute."""
    for size, word in ((DAY_MINUTES, "day"), (60, "hour")):
        if minutes >= size and minutes % size == 0:
            return _count(minutes // size, word)
    if minutes > 60:
        return f"{_count(minutes // 60, 'hour')} {_count(minutes % 60, 'minute')}"
    return _count(minutes, "minute")


def _count(number: int, word: str) -> str:
    return f"{number} {word}" + ("" if number == 1 else "s")
