"""Lanes: the events of one run, sorted into what a picture of it shows. No drawing here.

A lane is a device: when its process ran or slept, where it was, what struck it, when its user
wrote. Beside them stand the kind of network, the splits of it, and all faults together. What the
trace does not tell exactly (a device that is mended is at home again) is added here.

Times are virtual milliseconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from .outcome import Outcome
from .plan import Plan
from .trace import Event
from .world import Violation

HOME = "home"
NOWHERE = "None"
"""What the trace calls the place of a device that is out of reach."""

AFTERWARDS_MS_MIN = 120_000
"""So much is shown of the time after the world was mended, or half as much as before it. A world
that never settles is waited for much longer, and nothing is to be seen in that."""

WRITES = frozenset({"put", "put-together", "delete"})
MARKS = (
    "attacked",
    "put back",
    "cloned from",
    "start failed",
    "power cut",
    "crash",
    "clock",
    "fault",
    "refused",
)
"""Events that are drawn as marks, the gravest first."""

_TOLD_OTHERWISE = frozenset(
    {"attack", "put-back", "clone", "crash", "set-wall", "sleep", "stop", "move", "law", "split"}
)
"""Faults that have a bar or a mark of their own."""
_UNDOING = frozenset({"mend", "mend-all"})


@dataclass(frozen=True, slots=True)
class Bar:
    """From one moment to another something was so."""

    from_ms: int
    to_ms: int
    kind: str
    label: str = ""


@dataclass(slots=True)
class Lane:
    """One device."""

    name: str
    level: str = "full"
    states: list[Bar] = field(default_factory=list)
    """Kinds: starting, up, asleep. Where there is none, it was down."""
    places: list[Bar] = field(default_factory=list)
    """Kinds: away (out of reach), elsewhere (the label says where). Where there is none: home."""
    marks: list[Event] = field(default_factory=list)
    writes_ms: list[int] = field(default_factory=list)
    violations: list[tuple[int, Violation]] = field(default_factory=list)
    """With their numbers in the list of all."""


@dataclass(slots=True)
class Picture:
    """One run. See the module."""

    until_ms: int
    """What came later stands at the right edge."""
    is_cut_short: bool
    lanes: list[Lane]
    laws: list[Bar]
    """Kinds are names of laws."""
    splits: list[Bar]
    faults: list[Event]
    mended_ms: int | None
    settled_ms: int | None
    world_violations: list[tuple[int, Violation]]
    """Those of no one device."""


def picture_of(outcome: Outcome) -> Picture:
    """What happened in a run, sorted by where it is shown."""
    plan, events = outcome.plan, outcome.timeline
    whole_ms = until_ms = max(outcome.virtual_ms, plan.end_ms, 1)
    mended = next((event.at_ms for event in events if event.kind == "mended"), None)
    if mended is not None:
        until_ms = min(whole_ms, mended + max(AFTERWARDS_MS_MIN, plan.end_ms // 2))
    settled = next((event.at_ms for event in events if event.kind == "settled"), None)
    lanes = _lanes(outcome, until_ms)
    numbered = list(enumerate(outcome.violations, 1))
    for number, violation in numbered:
        if violation.device in lanes:
            lanes[violation.device].violations.append((number, violation))
    return Picture(
        until_ms,
        until_ms < whole_ms,
        list(lanes.values()),
        _laws(plan, mended, until_ms),
        _splits(plan, mended, until_ms),
        [event for event in events if event.kind == "fault" and _doing(event) not in _UNDOING],
        mended,
        settled,
        [(number, v) for number, v in numbered if v.device not in lanes],
    )


def _lanes(outcome: Outcome, until_ms: int) -> dict[str, Lane]:
    plan = outcome.plan
    lanes = {part.name: Lane(part.name, part.level) for part in plan.cast}
    lives = {
        part.name: _Life(lanes[part.name], NOWHERE if place is None else place)
        for part, place in zip(plan.cast, plan.places, strict=True)
    }
    for event in outcome.timeline:
        if event.kind == "mended":
            for life in lives.values():
                life.goes(event.at_ms, HOME)
        # Whoever still runs when a run is over is ended with it, and that is no crash.
        if not event.device or (event.kind == "crash" and event.at_ms >= outcome.virtual_ms):
            continue
        if event.kind == "cloned from":
            original = lives.get(event.detail)
            lanes.setdefault(event.device, Lane(event.device))
            place = original.place if original is not None else HOME
            lives.setdefault(event.device, _Life(lanes[event.device], place, event.at_ms))
        if event.device in lives:
            lives[event.device].happens(event)
    for life in lives.values():
        life.ends(until_ms)
    for step in plan.steps:
        if step.do in WRITES and step.args.get("device") in lanes and step.at_ms < plan.end_ms:
            lanes[step.args["device"]].writes_ms.append(step.at_ms)
    return lanes


class _Life:
    """Follows one device through the events."""

    _STATE_AFTER = {  # noqa: RUF012 never changed
        "start": "starting", "up": "up", "wake": "up", "sleep": "asleep", "stop": "down",
        "crash": "down", "power cut": "down", "start failed": "down",
    }  # fmt: skip

    def __init__(self, lane: Lane, place: str, since_ms: int = 0) -> None:
        self.lane = lane
        self.place = place
        self._state = "down"
        self._state_since_ms = self._place_since_ms = since_ms

    def happens(self, event: Event) -> None:
        state = self._STATE_AFTER.get(event.kind)
        if state is not None:
            self._becomes(event.at_ms, state)
        elif event.kind == "moves":
            self.goes(event.at_ms, event.detail)
        if event.kind not in MARKS:
            return
        if event.kind != "fault" or _doing(event) not in _TOLD_OTHERWISE | _UNDOING:
            self.lane.marks.append(event)

    def goes(self, at_ms: int, place: str) -> None:
        if self.place != HOME and at_ms > self._place_since_ms:
            kind = "away" if self.place == NOWHERE else "elsewhere"
            self.lane.places.append(Bar(self._place_since_ms, at_ms, kind, self.place))
        self.place, self._place_since_ms = place, at_ms

    def ends(self, at_ms: int) -> None:
        self._becomes(at_ms, "down")
        self.goes(at_ms, HOME)

    def _becomes(self, at_ms: int, state: str) -> None:
        if self._state != "down" and at_ms > self._state_since_ms:
            self.lane.states.append(Bar(self._state_since_ms, at_ms, self._state))
        self._state, self._state_since_ms = state, at_ms


def _laws(plan: Plan, mended_ms: int | None, until_ms: int) -> list[Bar]:
    """Which kind of network there was everywhere."""
    changes = [(0, plan.law), *_law_steps(plan)]
    if mended_ms is not None:
        changes.append((mended_ms, "lan"))
    ends = [at_ms for at_ms, _ in changes[1:]] + [until_ms]
    bars: list[Bar] = []
    for (at_ms, law), end_ms in zip(changes, ends, strict=True):
        if bars and bars[-1].kind == law:
            bars[-1] = Bar(bars[-1].from_ms, end_ms, law, law)
        elif end_ms > at_ms:
            bars.append(Bar(at_ms, end_ms, law, law))
    return bars


def _law_steps(plan: Plan) -> Iterator[tuple[int, str]]:
    for step in sorted(plan.steps, key=lambda step: step.at_ms):
        if step.do == "law" and step.args.get("place") is None and step.at_ms < plan.end_ms:
            yield step.at_ms, str(step.args.get("law"))


def _splits(plan: Plan, mended_ms: int | None, until_ms: int) -> list[Bar]:
    """When some devices were cut off from all others; `mend-all` ends every split."""
    begun: list[tuple[int, str]] = []
    bars: list[Bar] = []
    end_ms = mended_ms if mended_ms is not None else until_ms
    for step in sorted(plan.steps, key=lambda step: step.at_ms):
        if step.at_ms >= plan.end_ms:
            break
        if step.do == "split":
            begun.append((step.at_ms, ", ".join(map(str, step.args.get("group", ())))))
        elif step.do == "mend-all":
            bars += [Bar(at_ms, step.at_ms, "split", group) for at_ms, group in begun]
            begun.clear()
    bars += [Bar(at_ms, end_ms, "split", group) for at_ms, group in begun]
    return sorted(bars, key=lambda bar: bar.from_ms)


def _doing(event: Event) -> str:
    """Which step a fault was: the first word of its detail."""
    return event.detail.split(" ", 1)[0]
