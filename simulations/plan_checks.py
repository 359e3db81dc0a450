"""Plan checks: whether a plan that somebody hands in can be run at all, and if not, what is wrong.

A plan that `planning.py` makes always can. One from a file may have been edited by hand or come
from another version; it is told its first fault, as one line, before anything runs. What a device
would refuse by itself (a name that is too long) is left to the device.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..node.ledger import PRIVACY_NAMES
from ..node.pairing_frames import DEVICE_TYPES, LEVELS
from ..sync.policy import WINDOW_DAYS_MAX, is_setting
from ..sync.registry import ROLES
from .data_checks import are_values, is_declaration, is_question, is_version
from .doings import DOINGS, FAULTS
from .doings.fault import PHASES
from .doings.process_doings import CLONE
from .hostile.registry import MISBEHAVIOURS
from .pairings import PICTURES
from .plan import Plan, PlanError, Step, load_plan
from .planning import HOURS_MAX
from .run import NO_SESSION
from .sim_disk import Fate
from .sim_network import LAWS, Tampering

END_MS_MAX = int(HOURS_MAX * 3_600_000)

Test = Callable[[Any, frozenset[str]], bool]
"""Whether a value is right, given the names of all devices."""


def load_checked(path: Path) -> Plan:
    """A plan from a file, which can be run. Raises PlanError."""
    plan = load_plan(path)
    check_plan(plan, str(path))
    return plan


def check_plan(plan: Plan, where: str = "the plan") -> None:
    """Raises PlanError with the first thing that is wrong with a plan."""
    names = [part.name for part in plan.cast]
    if not all(isinstance(name, str) for name in names):
        raise PlanError(f"{where}: the name of a device is a text")
    if len(set(names)) < len(names):
        raise PlanError(f"{where}: two devices have one name")
    for part in plan.cast:
        _one_of(where, f"the level of {part.name}", part.level, LEVELS)
        _one_of(where, f"the kind of {part.name}", part.kind, DEVICE_TYPES)
    _one_of(where, "the law", plan.law, LAWS)
    if not 0 < plan.end_ms <= END_MS_MAX:
        raise PlanError(f"{where}: ends at {plan.end_ms} ms, 1 to {END_MS_MAX} allowed")
    if not all(_is_place(place, frozenset()) for place in plan.places):
        raise PlanError(f"{where}: a place is a text or null")
    came = [str(step.args.get("device")) for step in plan.steps if step.do == "newcomer"]
    if not {*names}.isdisjoint(came):
        raise PlanError(f"{where}: a newcomer has the name of a device that is there")
    cloned = [str(step.args.get("device")) for step in plan.steps if step.do == "clone"]
    known = frozenset([*names, *came, *(f"{name}{CLONE}" for name in cloned)])
    for at, step in enumerate(plan.steps, 1):
        problem = _problem(step, plan.end_ms, known)
        if problem:
            raise PlanError(f"{where}: step {at} ({step.do}): {problem}")


def _one_of(where: str, what: str, value: object, allowed: Iterable[str]) -> None:
    known = list(allowed)
    if value not in known:
        raise PlanError(f"{where}: {what} is {value!r}, not one of {', '.join(known)}")


def _problem(step: Step, end_ms: int, names: frozenset[str]) -> str:
    if step.do not in DOINGS:
        return "this version cannot do that"
    if step.fault and step.fault not in FAULTS:
        return f"is of a kind of fault that this version does not know: {step.fault!r}"
    if not 0 <= step.at_ms < end_ms:
        return f"is at {step.at_ms} ms, and the plan lasts from 0 to {end_ms}"
    for key, test in NEEDS.get(step.do, {}).items():
        if key not in step.args:
            return f"lacks {key!r}"
        if not test(step.args[key], names):
            return f"cannot have this {key!r}"
    for key, test in _MAY_HAVE.items():
        if key in step.args and not test(step.args[key], names):
            return f"cannot have this {key!r}"
    return ""


# What values are right -------------------------------------------------------------------------


def _is_device(value: Any, names: frozenset[str]) -> bool:
    return isinstance(value, str) and value in names


def _is_text(value: Any, _: frozenset[str]) -> bool:
    return isinstance(value, str)


def _is_number(value: Any, _: frozenset[str]) -> bool:
    return isinstance(value, int)


def _is_time(value: Any, _: frozenset[str]) -> bool:
    return isinstance(value, int) and 0 <= value <= END_MS_MAX


def _is_days(value: Any, _: frozenset[str]) -> bool:
    return isinstance(value, int) and 0 <= value <= WINDOW_DAYS_MAX


def _is_place(value: Any, _: frozenset[str]) -> bool:
    return value is None or isinstance(value, str)


def _is_rate(value: Any, _: frozenset[str]) -> bool:
    return value is None or (isinstance(value, int) and value > 0)


def _are_fields(value: Any, _: frozenset[str]) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _are_settings(value: Any, _: frozenset[str]) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(said is None or is_setting(key, said) for key, said in value.items())
    )


def _is_device_or_all(value: Any, names: frozenset[str]) -> bool:
    return value == "" or _is_device(value, names)


def _are_records(value: Any, names: frozenset[str]) -> bool:
    return isinstance(value, list) and all(
        isinstance(record, list)
        and len(record) == 2
        and isinstance(record[0], str)
        and _are_fields(record[1], names)
        for record in value
    )


def _is_known(value: Any, _: frozenset[str]) -> bool:
    return value is None or isinstance(value, bool)


def _is_policy(value: Any, _: frozenset[str]) -> bool:
    return isinstance(value, dict) and all(is_setting(key, said) for key, said in value.items())


def _are_devices(value: Any, names: frozenset[str]) -> bool:
    return isinstance(value, list) and all(_is_device(name, names) for name in value)


def _are_numbers(value: Any, names: frozenset[str]) -> bool:
    return isinstance(value, list) and all(_is_number(number, names) for number in value)


def _among(allowed: Iterable[str]) -> Test:
    known = tuple(allowed)
    return lambda value, _: value in known


_RECORD: dict[str, Test] = {
    "device": _is_device,
    "database": _is_text,
    "collection": _is_text,
}
_PAIR: dict[str, Test] = {"source": _is_device, "target": _is_device}
_DEVICE: dict[str, Test] = {"device": _is_device}
_ABOUT: dict[str, Test] = {"device": _is_device, "target": _is_device}
_DOOM: dict[str, Test] = {
    **_DEVICE,
    "ahead": _is_number,
    "fate": _among(fate.value for fate in Fate),
}

NEEDS: Mapping[str, Mapping[str, Test]] = {
    "put": {**_RECORD, "id": _is_text, "fields": _are_fields},
    "put-together": {**_RECORD, "records": _are_records},
    "put-blob": {**_RECORD, "id": _is_text, "size": _is_number, "number": _is_number},
    "delete": {**_RECORD, "id": _is_text},
    "read": {**_RECORD, "id": _is_text},
    "rename": {**_DEVICE, "name": _is_text},
    "sync": _DEVICE,
    "revoke": _ABOUT,
    "set-level": {**_ABOUT, "level": _among(LEVELS)},
    "set-role": {**_ABOUT, "role": _among(ROLES)},
    "adopt": _ABOUT,
    "rotate-keys": _DEVICE,
    "leave": _DEVICE,
    "window": {**_ABOUT, "database": _is_text, "days": _is_days},
    "jot": {**_RECORD, "id": _is_text, "text": _is_text},
    "relabel": {**_RECORD, "id": _is_text, "privacy": _among(PRIVACY_NAMES)},
    "policy": {
        **_DEVICE,
        "target": _is_device_or_all,
        "database": _is_text,
        "set": _are_settings,
    },
    "resolve": {**_DEVICE, "database": _is_text, "pick": _is_number},
    "undo": {**_DEVICE, "database": _is_text, "pick": _is_number},
    "fetch": {**_DEVICE, "database": _is_text, "timeout_ms": _is_time},
    "ask": {**_RECORD, "id": _is_text, "timeout_ms": _is_time},
    "newcomer": {**_DEVICE, "kind": _among(DEVICE_TYPES)},
    "pair": {**_DEVICE, "newcomers": _are_devices, "level": _among(LEVELS)},
    "cut": _PAIR,
    "mend": _PAIR,
    "split": {"group": _are_devices},
    "mend-all": {},
    "law": {"law": _among(LAWS)},
    "reset": {"one": _is_device, "other": _is_device},
    "tamper": {**_PAIR, "how": _among(how.value for how in Tampering)},
    "slow-reader": _DEVICE,
    "move": _DEVICE,
    "multicast": {**_DEVICE, "on": lambda value, _: isinstance(value, bool)},
    "doom-commit": _DOOM,
    "doom-call": _DOOM,
    "full": {**_DEVICE, "on": lambda value, _: isinstance(value, bool)},
    "rot": {**_DEVICE, "file": _among(("store.db", "instance.token"))},
    "set-wall": {**_DEVICE, "error_ms": _is_number},
    "drift": {**_DEVICE, "ppm": _is_number},
    "sleep": _DEVICE,
    "wake": _DEVICE,
    "crash": _DEVICE,
    "start": _DEVICE,
    "stop": _DEVICE,
    "keep-image": {**_DEVICE, "image": _is_text},
    "put-back": {**_DEVICE, "image": _is_text},
    "clone": _DEVICE,
    "put-data": {**_RECORD, "id": _is_text, "fields": _are_fields},
    "set-fields": {**_RECORD, "id": _is_text, "extra": are_values},
    "declare": {**_DEVICE, "database": _is_text, "declares": is_declaration},
    "question": {**_DEVICE, "database": _is_text, "question": is_question},
    "sweep": {**_DEVICE, "database": _is_text},
    "forget-about": {**_DEVICE, "database": _is_text, "who": _is_text},
    "enter": {**_RECORD, "id": _is_text, "text": _is_text},
    "remember": {**_RECORD, "id": _is_text},
    "install-schema": {**_DEVICE, "database": _is_text, "version": is_version},
    "migrate-schema": {**_DEVICE, "database": _is_text, "version": is_version},
    "write-page": {
        **_DEVICE,
        "database": _is_text,
        "id": _is_text,
        "text": _is_text,
        "extra": are_values,
    },
    "surround": {**_DEVICE, "metered": _is_known, "mains": _is_known},
    "say-policy": {**_DEVICE, "database": _is_text, "said": _is_policy},
    "version": {**_DEVICE, "versions": _are_numbers},
    "attack": {**_DEVICE, "name": _among(MISBEHAVIOURS)},
}
"""Doing -> the arguments that it cannot do without."""

_MAY_HAVE: Mapping[str, Test] = {
    "device": _is_device,
    "when": _among((NO_SESSION, *PHASES)),
    "take": _is_number,
    "value": _is_text,
    "place": _is_place,
    "privacy": _among(PRIVACY_NAMES),
    "bytes_per_ms": _is_rate,
    "battery": _is_rate,
    "extra": lambda value, _: isinstance(value, dict),
    "features": lambda value, _: isinstance(value, list),
    "picture": _among(("", *PICTURES)),
    "declines": _is_device,
    "gives_up": _is_device,
    "after_ms": _is_time,
    "thinks_ms": _is_time,
    "gives_up_ms": _is_time,
    "window_ms": _is_time,
}
"""Arguments that must be right wherever they stand."""
