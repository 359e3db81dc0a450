"""Mesh timeline: what happened in a test, as the page that `covey simulate` draws of its runs.

The page is drawn from a plan and its outcome. A test has no plan, so what it did is told as one:
its partitions, kinds of network and writes, which the events name.
"""

import time
from collections.abc import Iterator

from .mesh_stage import MeshStage
from .outcome import Outcome
from .plan import Plan, Step
from .templates import Part
from .timeline import timeline

HOME = "home"
FIRST_LAW = "lan"
_WRITES = ("put", "delete")


def page(stage: MeshStage, seed: int, replay: str = "") -> str:
    """The page, as HTML that stands alone."""
    world = stage.world
    engines = ((name, device.last_engine) for name, device in stage.devices.items())
    cast = tuple(
        Part(name, level="full" if engine is None else engine.our_device().level)
        for name, engine in engines
    )
    writes = sum(event.kind in _WRITES for event in world.trace.events)
    plan = Plan(
        "test", seed, cast, FIRST_LAW, (HOME,) * len(cast), (), tuple(_steps(stage)), world.now_ms
    )
    outcome = Outcome(
        plan=plan,
        violations=world.violations,
        digest=world.trace.digest,
        events=world.loop.turns_total,
        virtual_ms=world.now_ms,
        settled_ms=None,
        messages=world.trace.messages,
        message_bytes=world.trace.message_bytes,
        bytes_by_kind={},
        writes=writes,
        acknowledged=writes,
        refused=0,
        conflicts=0,
        high_water={},
        timeline=world.trace.events,
        cpu_s=time.process_time() - stage.began_s,
    )
    return timeline(outcome, replay)


def _steps(stage: MeshStage) -> Iterator[Step]:
    """The plan that the test turned out to be."""
    for event in stage.world.trace.events:
        match event.kind:
            case "partition":
                yield Step(event.at_ms, "split", {"group": [event.detail]})
            case "heal" if not event.detail:
                yield Step(event.at_ms, "mend-all", {})
            case "law":
                name, _, place = event.detail.partition(" at ")
                yield Step(event.at_ms, "law", {"law": name, "place": place or None})
            case "put" | "delete":
                yield Step(event.at_ms, event.kind, {"device": event.device})
