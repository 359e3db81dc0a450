"""Plan: everything that users and fate do in one run, as data.

A seed makes a plan (`planning.py`), and the plan is run (`runner.py`). Nothing else decides what
happens, so a plan can be printed, kept in a file, cut down to what matters (`shrink.py`) and run
again. A step is a moment, the name of a doing and its arguments; a step whose device is down, or
that means nothing after another was taken away, does nothing.

A step may wait for a session to be in a certain phase (`when`) instead of a moment alone: then it
happens at the first message that finds a session of its device there, after its moment.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .. import CoveyError
from .templates import Part

FORMAT = 1
STEPS_MAX = 100_000
DEVICES_MAX = 200
PLAN_BYTES_MAX = 32 << 20


class PlanError(CoveyError):
    """A file is no plan, or not one of this version. Nothing was run."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Step:
    """At `at_ms` of virtual time, `do` with these arguments; JSON values only."""

    at_ms: int
    do: str
    args: dict[str, Any]
    fault: str = ""
    """The kind of fault that strikes here. Empty for what users do, and for the end of a fault."""

    def to_row(self) -> list[Any]:
        """As it stands in a file; without a fourth part if no fault strikes."""
        return [self.at_ms, self.do, self.args, *([self.fault] if self.fault else [])]


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. `seed` is of the run itself: delays, keys, torn writes."""

    scenario: str
    seed: int
    cast: tuple[Part, ...]
    law: str
    places: tuple[str | None, ...]
    """Where each device of the cast is at the start."""
    faults: tuple[str, ...]
    """The kinds of fault that this plan may hold."""
    steps: tuple[Step, ...]
    end_ms: int
    """When the world is mended and has to settle."""

    def without(self, unwanted: set[int]) -> "Plan":
        """The plan less the steps with these indexes."""
        kept = tuple(step for at, step in enumerate(self.steps) if at not in unwanted)
        return replace(self, steps=kept)

    def to_json(self) -> str:
        document = {
            "covey_plan": FORMAT,
            "scenario": self.scenario,
            "seed": self.seed,
            "cast": [asdict(part) for part in self.cast],
            "law": self.law,
            "places": list(self.places),
            "faults": list(self.faults),
            "end_ms": self.end_ms,
        }
        head = json.dumps(document, indent=1)[:-2]
        steps = ",\n  ".join(json.dumps(step.to_row()) for step in self.steps)
        return f'{head},\n "steps": [\n  {steps}\n ]\n}}\n'


def read_plan(text: str, where: str = "the plan") -> Plan:
    """A plan from its JSON. Raises PlanError."""
    try:
        document = json.loads(text)
        if document["covey_plan"] != FORMAT:
            raise PlanError(
                f"{where}: a plan of format {document['covey_plan']}, this program reads {FORMAT}"
            )
        plan = Plan(
            str(document["scenario"]),
            int(document["seed"]),
            tuple(Part(**part) for part in document["cast"]),
            str(document["law"]),
            tuple(document["places"]),
            tuple(document["faults"]),
            tuple(_step(*row) for row in document["steps"]),
            int(document["end_ms"]),
        )
    except PlanError:
        raise
    except RecursionError:
        raise PlanError(f"{where} is no plan of covey simulate: it is nested too deep") from None
    except OverflowError:
        raise PlanError(f"{where} is no plan of covey simulate: a number is infinite") from None
    except (ValueError, KeyError, TypeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise PlanError(f"{where} is no plan of covey simulate ({problem})") from None
    if not 1 <= len(plan.cast) <= DEVICES_MAX or len(plan.cast) != len(plan.places):
        raise PlanError(f"{where}: 1 to {DEVICES_MAX} devices, each with a place")
    if len(plan.steps) > STEPS_MAX:
        raise PlanError(f"{where}: {len(plan.steps)} steps, {STEPS_MAX} allowed")
    return plan


def _step(at_ms: Any, do: Any, args: Any, fault: Any = "") -> Step:
    """A row of a file. Those of older versions do not tell which fault struck."""
    return Step(int(at_ms), str(do), dict(args), str(fault))


def load_plan(path: Path) -> Plan:
    """A plan from a file. Raises PlanError."""
    try:
        if path.stat().st_size > PLAN_BYTES_MAX:
            raise PlanError(f"{path}: over {PLAN_BYTES_MAX} bytes, no plan is that large")
        return read_plan(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: {error}") from None
