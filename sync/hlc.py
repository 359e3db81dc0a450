"""Hybrid logical clock: stamps that grow like time and never go back.

A stamp is 64 bits: `milliseconds since 1970 << 16 | counter`. Stamps are for people (what was
written when) and for the rule last-writer-wins between writes that are concurrent by causality;
nothing is ever accepted, refused or delayed because of one. A clock that is wrong is shown.

Promises: the stamps that one node gives out strictly increase, whatever its wall clock does; a
remote stamp never drags ours more than HLC_AHEAD_MS_MAX ahead of our wall clock. Reads no
clock: the caller passes the wall time in milliseconds.

Spec: docs/protocol.md, section 3; Kulkarni et al., "Logical Physical Clocks", 2014.
"""

from .limits import HLC_AHEAD_MS_MAX

HLC_MAX = 2**64 - 1
_COUNTER_BITS = 16


def tick(last: int, wall_ms: int) -> int:
    """The stamp of a new local event: more than `last`, and not less than the wall clock says."""
    assert 0 <= last < HLC_MAX and 0 <= wall_ms < 2**48
    # 65,536 events in one millisecond overflow into the next one, which is what is wanted.
    return max(last + 1, wall_ms << _COUNTER_BITS)


def merge(last: int, remote: int, wall_ms: int) -> int:
    """`last` after a remote stamp was seen: the next `tick` exceeds both.

    A remote stamp that is more than HLC_AHEAD_MS_MAX ahead of the wall clock counts as exactly
    that far ahead.
    """
    ahead_max = (wall_ms + HLC_AHEAD_MS_MAX) << _COUNTER_BITS
    return max(last, min(remote, ahead_max))


def wall_ms_of(hlc: int) -> int:
    """The milliseconds of a stamp."""
    return hlc >> _COUNTER_BITS
