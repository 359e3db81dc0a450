"""The timeline: what it shows is what happened, nothing overlaps, and nothing in it is markup.

The page is looked at as a parser sees it, and the places of labels are computed: a drawing that
nobody looks at every day must not fall apart unseen.
"""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import ClassVar
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.simulations.durations import duration, ticks
from covey.simulations.outcome import Outcome
from covey.simulations.plan import Plan, Step
from covey.simulations.planning import plan_of
from covey.simulations.runner import run_plan
from covey.simulations.scenarios import DAY_MS, SCENARIOS
from covey.simulations.templates import Part
from covey.simulations.timeline import timeline
from covey.simulations.timeline_drawing import (
    LABEL_ROOM,
    LEFT,
    NAME_CHARACTERS_MAX,
    RIGHT,
    SHAPES,
    draw,
)
from covey.simulations.timeline_lanes import MARKS, Bar, Lane, picture_of
from covey.simulations.trace import Event
from covey.simulations.world import Violation

HOSTILE = '"><script>alert(1)</script>\u202e\x07&amp;'


def outcome_of(
    events: list[Event],
    steps: tuple[Step, ...] = (),
    violations: tuple[Violation, ...] = (),
    names: tuple[str, ...] = ("laptop", "phone"),
    end_ms: int = 100_000,
) -> Outcome:
    cast = tuple(Part(name) for name in names)
    plan = Plan("test", 1, cast, "wifi", ("home",) * len(cast), (), steps, end_ms)
    return Outcome(
        plan, list(violations), "d1", 0, end_ms, None, 0, 0, {}, 0, 0, 0, 0, {}, timeline=events
    )


def lane_of(events: list[Event], name: str = "phone") -> Lane:
    lanes = picture_of(outcome_of(events)).lanes
    return next(lane for lane in lanes if lane.name == name)


def svg_of(outcome: Outcome) -> ElementTree.Element:
    return ElementTree.fromstring(draw(picture_of(outcome)))


class Page(HTMLParser):
    """The tags and attributes of a page, and its text."""

    VOID: ClassVar[set[str]] = {"meta"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


# Lanes -----------------------------------------------------------------------------------------


def test_a_lane_shows_when_a_device_ran_and_slept() -> None:
    """That is the first thing anybody looks for."""
    lane = lane_of(
        [
            Event(0, "phone", "start"),
            Event(5, "phone", "up"),
            Event(100, "phone", "sleep"),
            Event(300, "phone", "wake"),
            Event(400, "phone", "crash"),
            Event(900, "phone", "start"),
            Event(905, "phone", "up"),
        ]
    )

    assert lane.states == [
        Bar(0, 5, "starting"),
        Bar(5, 100, "up"),
        Bar(100, 300, "asleep"),
        Bar(300, 400, "up"),
        Bar(900, 905, "starting"),
        Bar(905, 100_000, "up"),
    ]
    assert [mark.kind for mark in lane.marks] == ["crash"]


def test_a_start_that_fails_leaves_the_device_down() -> None:
    """A device that only tried must not look as if it ran."""
    lane = lane_of([Event(50, "phone", "start"), Event(70, "phone", "start failed", "WrongKey")])

    assert lane.states == [Bar(50, 70, "starting")]
    assert [mark.kind for mark in lane.marks] == ["start failed"]


def test_a_lane_shows_where_a_device_was_until_the_world_was_mended() -> None:
    """Mending brings everybody home without a step that says so."""
    lane = lane_of(
        [
            Event(10, "phone", "moves", "office"),
            Event(20, "phone", "moves", "None"),
            Event(30, "phone", "moves", "home"),
            Event(40, "phone", "moves", "None"),
            Event(90, "", "mended"),
        ]
    )

    assert lane.places == [
        Bar(10, 20, "elsewhere", "office"),
        Bar(20, 30, "away", "None"),
        Bar(40, 90, "away", "None"),
    ]


def test_a_copy_has_a_lane_from_when_it_was_made() -> None:
    """A clone is a machine of its own, and no member of the cast."""
    events = [
        Event(5, "phone", "moves", "office"),
        Event(50, "phone-copy", "cloned from", "phone"),
        Event(60, "phone-copy", "start"),
        Event(70, "", "mended"),
    ]
    lane = lane_of(events, "phone-copy")

    assert lane.states == [Bar(60, 100_000, "starting")]
    assert lane.places == [Bar(50, 70, "elsewhere", "office")]
    assert [mark.kind for mark in lane.marks] == ["cloned from"]


def test_a_split_lasts_until_everything_is_joined_again() -> None:
    """What heals a split is another step, which may heal others as well."""
    steps = (
        Step(10, "split", {"group": ["phone"]}),
        Step(20, "split", {"group": ["laptop"]}),
        Step(50, "mend-all", {}),
        Step(60, "split", {"group": ["laptop", "phone"]}),
    )
    picture = picture_of(outcome_of([Event(99, "", "mended")], steps))

    assert picture.splits == [
        Bar(10, 50, "split", "phone"),
        Bar(20, 50, "split", "laptop"),
        Bar(60, 99, "split", "laptop, phone"),
    ]


def test_the_kind_of_network_is_shown_until_it_changes() -> None:
    """A law of one place is not that of all."""
    steps = (
        Step(10, "law", {"law": "mobile"}),
        Step(20, "law", {"law": "lan", "place": "office"}),
        Step(30, "law", {"law": "mobile"}),
    )
    picture = picture_of(outcome_of([Event(100, "", "mended")], steps))

    assert [(bar.from_ms, bar.to_ms, bar.kind) for bar in picture.laws] == [
        (0, 10, "wifi"),
        (10, 100, "mobile"),
        (100, 100_000, "lan"),
    ]


def test_being_ended_with_the_run_is_no_crash() -> None:
    """A world that never settled would seem to have killed everybody at last."""
    lane = lane_of([Event(50_000, "phone", "crash"), Event(100_000, "phone", "crash")])

    assert [mark.at_ms for mark in lane.marks] == [50_000]


def test_a_long_wait_for_a_world_that_never_settles_is_not_drawn_in_full() -> None:
    """It would leave a sixth of the picture for all that happened."""
    late = Violation("I2", 1_000_000, "", "never settled")
    outcome = outcome_of([Event(100_000, "", "mended")], violations=(late,))
    outcome.virtual_ms = 1_000_000
    picture = picture_of(outcome)
    page = Page(timeline(outcome))

    assert (picture.until_ms, picture.is_cut_short) == (220_000, True)
    assert "The picture ends at 3 min 40 s" in page.text
    assert "never settled" in page.text


def test_what_undoes_a_fault_is_no_fault() -> None:
    """The row of faults would show twice as many."""
    events = [
        Event(10, "phone", "fault", "cut source=phone target=laptop"),
        Event(20, "phone", "fault", "mend source=phone target=laptop"),
        Event(30, "", "fault", "mend-all"),
    ]
    picture = picture_of(outcome_of(events))

    assert picture.faults == events[:1]
    assert picture.lanes[1].marks == events[:1]


def test_writes_stand_in_the_lane_of_who_was_asked_to_write() -> None:
    """Conflicts come from writes on two sides, so one must see them."""
    steps = (
        Step(10, "put", {"device": "phone"}),
        Step(20, "delete", {"device": "laptop"}),
        Step(30, "read", {"device": "phone"}),
    )
    laptop, phone = picture_of(outcome_of([], steps)).lanes

    assert (laptop.writes_ms, phone.writes_ms) == ([20], [10])


def test_a_real_run_shows_its_faults_where_they_happened() -> None:
    """The runner has to note what a plan did: a step that waits has no moment of its own."""
    steps = (
        Step(30, "full", {"device": "phone", "on": True}),
        Step(40, "reset", {"device": "laptop", "one": "laptop", "other": "phone", "half": True}),
        Step(50, "split", {"group": ["phone"]}),
        Step(60, "crash", {"device": "phone", "power": True}),
    )
    plan = plan_of(SCENARIOS["two-devices"], 1, hours=0.001, operations=0)
    outcome = run_plan(replace(plan, steps=steps))
    laptop, phone = picture_of(outcome).lanes

    assert outcome.ok
    assert [(mark.kind, mark.detail) for mark in phone.marks] == [
        ("fault", "full on=True"),
        ("power cut", ""),
    ]
    assert [mark.detail for mark in laptop.marks] == ["reset one=laptop other=phone half=True"]
    assert [event.at_ms for event in picture_of(outcome).faults] == [30, 40, 50, 60]
    assert phone.states[-1].kind == "up" and phone.states[-1].from_ms >= plan.end_ms


# The drawing -----------------------------------------------------------------------------------


def test_every_mark_has_a_shape() -> None:
    """A kind that is added must be drawn."""
    assert set(SHAPES) == set(MARKS)


@pytest.mark.parametrize("end_ms", [2_000, 180_000, 5_400_000, 3 * DAY_MS, 30 * DAY_MS])
def test_labels_of_the_axis_do_not_overlap(end_ms: int) -> None:
    """From seconds to a month there is one drawing."""
    svg = svg_of(outcome_of([], end_ms=end_ms))
    labels = [
        (float(text.get("x", "")), text.text or "")
        for text in svg.iter("text")
        if text.get("class") == "tick" and text.get("y") == "46"
    ]

    assert 3 <= len(labels) <= 11
    for (x, label), (next_x, next_label) in pairwise(labels):
        assert x + len(label) * LABEL_ROOM / 2 < next_x - len(next_label) * LABEL_ROOM / 2


@pytest.mark.parametrize(
    ("mended_ms", "settled_ms"), [(0, 1), (50_000, 50_500), (98_000, 99_000), (99_999, 100_000)]
)
def test_the_moments_of_mending_and_settling_have_readable_labels(
    mended_ms: int, settled_ms: int
) -> None:
    """They are nearly always close together, and often at the very end."""
    svg = svg_of(outcome_of([Event(mended_ms, "", "mended"), Event(settled_ms, "", "settled")]))
    boxes = []
    for text in svg.iter("text"):
        if text.get("class") == "moment":
            x, width = float(text.get("x", "")), len(text.text or "") * LABEL_ROOM
            start = x if text.get("text-anchor") == "start" else x - width
            boxes.append((start, start + width, float(text.get("y", ""))))

    assert len(boxes) == 2
    assert all(start >= LEFT and end <= RIGHT + 24 for start, end, _ in boxes)
    assert abs(boxes[0][2] - boxes[1][2]) >= 14


@given(st.lists(st.tuples(st.integers(0, 99_999), st.sampled_from(MARKS)), max_size=60))
def test_marks_never_lie_on_one_another_and_none_is_lost(marks: list[tuple[int, str]]) -> None:
    """A device that dies again and again is drawn once, and tells of all when pointed at."""
    svg = svg_of(outcome_of([Event(at_ms, "phone", kind, "x") for at_ms, kind in marks]))
    groups = [g for g in svg.iter("g") if "translate" in g.get("transform", "")]
    places = sorted(float(re.findall(r"[\d.]+", g.get("transform", ""))[0]) for g in groups)
    told = sum(_told(g.findtext("title") or "") for g in groups)

    assert all(b - a >= 10 for a, b in pairwise(places))
    assert told == len(marks)


def _told(title: str) -> int:
    lines = title.split("\n")
    more = re.fullmatch(r"and (\d+) more", lines[-1])
    return len(lines) - 1 + int(more[1]) if more else len(lines)


def test_the_drawing_stays_small_however_much_happens() -> None:
    """A page of fifty thousand events must open in a browser."""
    kinds = ("crash", "start", "up", "sleep", "wake", "fault", "refused")
    events = [
        Event(at * 50, f"d{at % 50}", kinds[at // 50 % len(kinds)], "x") for at in range(50_000)
    ]
    names = tuple(f"d{at}" for at in range(50))
    page = timeline(outcome_of(events, names=names, end_ms=2_500_000))

    assert len(page) < 8_000_000


@pytest.mark.parametrize("count", [1, 2, 12, 50, 200])
def test_every_device_has_a_lane_of_its_own_with_its_name(count: int) -> None:
    """Two lanes or two hundred: names must not run into each other."""
    names = tuple(f"device-{at}" for at in range(count))
    svg = svg_of(outcome_of([], names=names))
    placed = {
        text.text: float(text.get("y", ""))
        for text in svg.iter("text")
        if text.get("class") == "name" and (text.text or "").startswith("device-")
    }
    heights = sorted(placed.values())

    assert set(placed) == set(names)
    assert all(b - a >= 16 for a, b in pairwise(heights))
    assert heights[-1] < float(svg.get("viewBox", "").split()[3])


def test_a_long_name_is_cut_and_told_in_full_when_pointed_at() -> None:
    """It would run out of the picture."""
    name = "the laptop of somebody who likes names"
    svg = svg_of(outcome_of([], names=(name,)))
    (text,) = [t for t in svg.iter("text") if (t.text or "").startswith("the laptop")]

    assert len(text.text or "") <= NAME_CHARACTERS_MAX
    assert name in (text.findtext("title") or "")


def test_violations_are_numbered_in_the_picture_as_in_the_list_below_it() -> None:
    """Whoever sees a red badge wants to read what it means."""
    violations = (
        Violation("I3", 40_000, "phone", "lost a write"),
        Violation("I3", 40_001, "phone", "lost another"),
        Violation("I2", 90_000, "", "never settled"),
    )
    outcome = outcome_of([], violations=violations)
    badges = [t.text for t in svg_of(outcome).iter("text") if t.get("class") == "number"]
    page = Page(timeline(outcome))

    assert badges == ["1+", "3"]
    assert all(violation.message in page.text for violation in violations)
    assert "3 violations" in page.text


# The page --------------------------------------------------------------------------------------


def test_the_page_stands_alone() -> None:
    """It is sent around and opened anywhere: no script, and nothing from elsewhere."""
    outcome = run_plan(plan_of(SCENARIOS["two-devices"], 1))
    text = timeline(outcome, "covey simulate two-devices --seed 1")
    page = Page(text)

    assert set(page.tags).isdisjoint({"script", "link", "img", "iframe", "object", "a"})
    assert {"src", "href"}.isdisjoint(name for name, _ in page.attributes)
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert "http" not in text and "url(" not in text and "@import" not in text
    assert "prefers-color-scheme: dark" in text


def test_the_page_has_the_numbers_of_the_report() -> None:
    """The picture says when, the numbers say how much."""
    outcome = run_plan(plan_of(SCENARIOS["two-devices"], 1))
    page = Page(timeline(outcome, "covey simulate two-devices --seed 1"))

    assert "covey simulate two-devices --seed 1" in page.text
    assert "nothing violated" in page.text
    assert f"{outcome.writes} tried, {outcome.acknowledged} acknowledged" in page.text
    assert f"{outcome.messages:,} of {outcome.message_bytes:,} bytes" in page.text
    assert all(f"{count:,}" in page.text for count in outcome.bytes_by_kind.values())
    assert all(what in page.text for marks in outcome.high_water.values() for what in marks)
    assert outcome.digest in page.text


def test_names_and_messages_from_elsewhere_are_no_markup() -> None:
    """A plan may come from anybody, and its page is opened in a browser."""
    events = [
        Event(5, HOSTILE, "crash", HOSTILE),
        Event(6, HOSTILE, "moves", HOSTILE),
        Event(7, HOSTILE, "fault", HOSTILE),
        Event(8, f"{HOSTILE}-copy", "cloned from", HOSTILE),
    ]
    steps = (Step(9, "law", {"law": HOSTILE}), Step(10, "split", {"group": [HOSTILE]}))
    outcome = outcome_of(
        events, steps, (Violation(HOSTILE, 5, HOSTILE, HOSTILE),), names=(HOSTILE, "phone")
    )
    outcome.plan = replace(outcome.plan, scenario=HOSTILE, law=HOSTILE, faults=(HOSTILE,))
    text = timeline(outcome, HOSTILE)
    page = Page(text)

    assert "script" not in page.tags
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert "\u202e" not in text and "\x07" not in text


# Durations -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("span_ms", "text"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1 s"),
        (1_250, "1.25 s"),
        (61_000, "1 min 1 s"),
        (180_000, "3 min"),
        (3_600_000, "1 h"),
        (3_660_500, "1 h 1 min"),
        (2 * DAY_MS + 6 * 3_600_000, "2 d 6 h"),
        (30 * DAY_MS, "30 d"),
    ],
)
def test_a_duration_is_told_in_its_two_largest_units(span_ms: int, text: str) -> None:
    """`2592000000 ms` is a month to nobody."""
    assert duration(span_ms) == text


@given(st.integers(1, 400 * DAY_MS), st.integers(3, 20))
def test_ticks_are_few_and_evenly_spread(until_ms: int, count_max: int) -> None:
    """An axis begins at 0 and has as many labels as there is room for."""
    moments = ticks(until_ms, count_max)
    steps = {b - a for a, b in pairwise(moments)}

    assert moments[0] == 0 and moments[-1] <= until_ms
    assert len(moments) <= count_max + 1
    assert len(steps) <= 1
