"""Drawing: a `Picture` as one SVG, of which everything that could be long or hostile is escaped.

From above to below: when the world was mended and had settled, the axis of time, the kind of
network and its splits, how many faults there were, then a lane for each device. Marks that would
lie on one another are drawn as one, which tells of all of them when pointed at; so there are never
more shapes than there is room for. Colours come from the page's style sheet, by class.

Lengths are in pixels of a drawing `WIDTH` wide, which the page scales.
"""

from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import TypeVar

from .durations import duration, ticks
from .timeline_lanes import MARKS, Bar, Lane, Picture
from .trace import Event
from .world import Violation

T = TypeVar("T")

WIDTH = 1_200
LEFT, RIGHT = 170, 1_176
"""Where the axis of time begins and ends."""
TICKS_MAX = 10
NAME_CHARACTERS_MAX = 18
LABEL_ROOM = 6.4
"""How wide a letter of a label is, at most."""
NEAR = 11
"""Marks nearer to each other than this are one."""
BADGE_NEAR = 28
TOLD_MAX = 8
"""How many events one mark tells of."""
FAULTS_HEIGHT = 26

SHAPES = {
    "crash": '<path class="line" d="M-4-4 4 4M-4 4 4-4"/>',
    "power cut": '<path class="solid" d="M1.5-6-4 1H-.5L-1.5 6 4-1H.5Z"/>',
    "start failed": '<rect class="line" x="-4" y="-4" width="8" height="8"/>',
    "put back": '<path class="past" d="M4-5V5L-5 0Z"/>',
    "cloned from": '<circle class="past" cx="-2" r="3.5"/><circle class="past" cx="3" r="3.5"/>',
    "clock": '<circle class="line" r="4.5"/><path class="line" d="M0-3V0H2.5"/>',
    "attacked": '<path class="attack" d="M0-6 5 0 0 6-5 0Z"/>',
    "fault": '<path class="fault" d="M0-5 4.5 4H-4.5Z"/>',
    "refused": '<circle class="ring" r="3"/>',
}
"""Each mark around its middle."""


def draw(picture: Picture) -> str:
    """The SVG."""
    lane_height = next(
        height for count, height in ((8, 34), (20, 26), (10**9, 20)) if len(picture.lanes) <= count
    )
    top = 100
    bottom = top + lane_height * len(picture.lanes)
    under = 26 if len(picture.lanes) > 12 else 6
    scale = _Scale(picture.until_ms)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {bottom + under}" role="img" '
        f'aria-label="{len(picture.lanes)} devices over {duration(picture.until_ms)}">',
        _axis(scale, bottom, again=under > 6),
        _network(picture, scale),
        _faults(picture.faults, scale, 92),
    ]
    for at, lane in enumerate(picture.lanes):
        parts.append(_lane(lane, scale, top + at * lane_height, lane_height))
    parts.append(_moments(picture, scale, bottom))
    parts += [
        _badges(lane.violations, scale, top + (at + 0.5) * lane_height)
        for at, lane in enumerate(picture.lanes)
    ]
    parts.append(_badges(picture.world_violations, scale, 92 - FAULTS_HEIGHT / 2))
    parts.append("</svg>")
    return "\n".join(parts)


class _Scale:
    """Virtual time to pixels."""

    def __init__(self, until_ms: int) -> None:
        self.until_ms = until_ms

    def __call__(self, at_ms: float) -> float:
        share = min(max(at_ms / self.until_ms, 0), 1)
        return round(LEFT + share * (RIGHT - LEFT), 1)


def _axis(scale: _Scale, bottom: float, *, again: bool) -> str:
    parts = []
    for at_ms in ticks(scale.until_ms, TICKS_MAX):
        x, label = scale(at_ms), "0" if at_ms == 0 else duration(at_ms)
        parts.append(f'<path class="grid" d="M{x} 52V{bottom}"/>')
        parts.append(f'<text class="tick" x="{x}" y="46">{label}</text>')
        if again:
            parts.append(f'<text class="tick" x="{x}" y="{bottom + 16}">{label}</text>')
    return "".join(parts)


def _network(picture: Picture, scale: _Scale) -> str:
    """The kind of network as a band with its name, the splits as a band on it."""
    parts = ['<text class="name" x="148" y="66">network</text>']
    for at, bar in enumerate(picture.laws):
        parts.append(_bar(bar, scale, 53, 15, f"law{at % 2}", f"the network is {bar.label}"))
        room = scale(bar.to_ms) - scale(bar.from_ms)
        if len(bar.label) * LABEL_ROOM + 8 <= room:
            x = scale(bar.from_ms) + 5
            parts.append(f'<text class="inside" x="{x}" y="64">{_safe(bar.label)}</text>')
    for bar in picture.splits:
        parts.append(_bar(bar, scale, 69, 3, "split", f"{bar.label} cut off from all others"))
    return "".join(parts)


def _faults(faults: Sequence[Event], scale: _Scale, base: float) -> str:
    """How many faults there were, in columns."""
    parts = ['<text class="name" x="148" y="88">faults</text>']
    columns: dict[int, list[Event]] = {}
    for event in faults:
        columns.setdefault(int((scale(event.at_ms) - LEFT) // 6), []).append(event)
    parts.append(f'<path class="grid" d="M{LEFT} {base}H{RIGHT}"/>')
    for column, events in sorted(columns.items()):
        height = min(4 + 4 * (len(events) - 1), FAULTS_HEIGHT - 8)
        parts.append(
            f'<rect class="fault" x="{LEFT + column * 6}" y="{base - height}" width="5" '
            f'height="{height}">{_title(_told(events))}</rect>'
        )
    return "".join(parts)


def _lane(lane: Lane, scale: _Scale, y: float, height: float) -> str:
    middle, half = y + height / 2, height * 0.2
    level = "" if lane.level == "full" else f' <tspan class="muted">{_safe(lane.level)}</tspan>'
    room = NAME_CHARACTERS_MAX - (len(lane.level) + 1 if level else 0)
    parts = [
        f'<text class="name" x="148" y="{middle + 4}">{_safe(lane.name, room)}{level}'
        f"{_title(f'{lane.name}, {lane.level}')}</text>",
        f'<path class="down" d="M{LEFT} {middle}H{RIGHT}"/>',
    ]
    for bar in lane.states:
        parts.append(_bar(bar, scale, middle - half, half * 2, bar.kind, bar.kind))
    for bar in lane.places:
        told = "out of reach" if bar.kind == "away" else f"at {bar.label}"
        parts.append(_bar(bar, scale, middle + half, 3, bar.kind, told))
    columns = {round(scale(at_ms)): None for at_ms in lane.writes_ms}
    ticks_of_writes = "".join(f"M{x} {middle - half - 5}v4" for x in columns)
    if ticks_of_writes:
        parts.append(f'<path class="write" d="{ticks_of_writes}"/>')
    for x, events in _clusters(lane.marks, lambda event: scale(event.at_ms), NEAR):
        gravest = min(events, key=lambda event: MARKS.index(event.kind))
        parts.append(
            f'<g transform="translate({x} {round(middle, 1)})"><circle class="halo" r="7"/>'
            f"{SHAPES[gravest.kind]}{_title(_told(events))}</g>"
        )
    return "".join(parts)


def _moments(picture: Picture, scale: _Scale, bottom: float) -> str:
    """The moments from which on nothing bad happened, and everybody held the same."""
    parts = []
    for row, (label, at_ms) in enumerate(
        (("mended", picture.mended_ms), ("settled", picture.settled_ms))
    ):
        if at_ms is None:
            continue
        x, y = scale(at_ms), 12 + row * 16
        since = f" {duration(at_ms)}" if row == 0 else ""
        if row and picture.mended_ms is not None:
            since = f" {duration(at_ms - picture.mended_ms)} later"
        right = x > RIGHT - 150
        anchor, at = ("end", x - 5) if right else ("start", x + 5)
        parts.append(f'<path class="{label}" d="M{x} {y - 9}V34M{x} 52V{bottom}"/>')
        parts.append(
            f'<text class="moment" text-anchor="{anchor}" x="{at}" y="{y}">{label}{since}</text>'
        )
    return "".join(parts)


def _badges(violations: Sequence[tuple[int, Violation]], scale: _Scale, y: float) -> str:
    parts = []
    for x, group in _clusters(violations, lambda one: scale(one[1].at_ms), BADGE_NEAR):
        number = f"{group[0][0]}" + ("+" if len(group) > 1 else "")
        width = 10 + 6 * len(number)
        told = [f"{at}: {violation}" for at, violation in group]
        parts.append(
            f'<g><rect class="violation" x="{x - width / 2}" y="{y - 8}" width="{width}" '
            f'height="16" rx="8"/><text class="number" x="{x}" y="{y + 3.5}">{number}</text>'
            f"{_title(_few(told))}</g>"
        )
    return "".join(parts)


def _clusters(
    things: Iterable[T], place: Callable[[T], float], near: float
) -> list[tuple[float, list[T]]]:
    """Things sorted by place, those near to the first of a group in one group."""
    groups: list[tuple[float, list[T]]] = []
    for thing in sorted(things, key=place):
        if groups and place(thing) - groups[-1][0] < near:
            groups[-1][1].append(thing)
        else:
            groups.append((place(thing), [thing]))
    return groups


def _bar(bar: Bar, scale: _Scale, y: float, height: float, kind: str, told: str) -> str:
    x, end = scale(bar.from_ms), scale(bar.to_ms)
    when = f"{told}, {duration(bar.from_ms)} to {duration(bar.to_ms)}"
    return (
        f'<rect class="{kind}" x="{x}" y="{round(y, 1)}" width="{max(round(end - x, 1), 1)}" '
        f'height="{round(height, 1)}">{_title(when)}</rect>'
    )


def _told(events: Sequence[Event]) -> str:
    return _few(
        [
            f"{duration(event.at_ms)}: "
            + (event.detail if event.kind == "fault" else f"{event.kind} {event.detail}".strip())
            for event in events
        ]
    )


def _few(lines: Sequence[str]) -> str:
    more = [f"and {len(lines) - TOLD_MAX} more"] if len(lines) > TOLD_MAX else []
    return "\n".join([*lines[:TOLD_MAX], *more])


def _title(text: str) -> str:
    return f"<title>{_safe(text, 2_000)}</title>"


def _safe(text: str, characters_max: int = NAME_CHARACTERS_MAX) -> str:
    """Text that may stand anywhere in the page: nothing in it is markup or invisible."""
    if len(text) > characters_max:
        text = text[: characters_max - 1] + "…"
    return escape("".join(c if c.isprintable() or c == "\n" else "�" for c in text))
