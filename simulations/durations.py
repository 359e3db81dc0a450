"""Durations as people read them, and round steps for an axis of time. In milliseconds."""

from itertools import pairwise

UNITS_MS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1))

_STEPS_MS = tuple(
    number * dict(UNITS_MS)[unit]
    for unit, numbers in (
        ("ms", (1, 2, 5, 10, 20, 50, 100, 200, 500)),
        ("s", (1, 2, 5, 10, 15, 30)),
        ("min", (1, 2, 5, 10, 15, 30)),
        ("h", (1, 2, 3, 6, 12)),
        ("d", (1, 2, 5, 10, 20, 50, 100)),
    )
    for number in numbers
)


def duration(span_ms: float) -> str:
    """The two largest units of a duration that are not 0: `2 d 6 h`, `3 min`, `1.25 s`, `40 ms`."""
    whole = round(span_ms)
    if whole < 1_000:
        return f"{whole} ms"
    if whole < 10_000:
        return f"{whole / 1_000:.2f}".rstrip("0").rstrip(".") + " s"
    for (unit, size), (smaller, smaller_size) in pairwise(UNITS_MS):
        if whole >= size:
            count, rest = whole // size, whole % size // smaller_size
            shown = rest and smaller != "ms"
            return f"{count} {unit} {rest} {smaller}" if shown else f"{count} {unit}"
    raise AssertionError(whole)


def ticks(until_ms: int, count_max: int) -> list[int]:
    """Round moments from 0 up to `until_ms`, at most so many and the one at 0."""
    step = next((step for step in _STEPS_MS if until_ms / step <= count_max), 0)
    step = step or -(-until_ms // (count_max * _STEPS_MS[-1])) * _STEPS_MS[-1]
    return list(range(0, until_ms + 1, step))
