"""The fold of the membership log: one registry from one set, in whatever order it arrived.

The model is the rule as section 4 of docs/protocol.md words it, computed anew for every operation
by walking to its ancestors; the histories it is compared on are made of entitled and of
unentitled operations by devices that know more or less of what went before.
"""

from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from covey.sync.membership import Membership, fold
from covey.sync.operations import Operation, encode_operation
from covey.sync.policy import is_setting
from covey.sync.registry import LEVELS
from covey.sync.session_limits import CONTROL_SCOPE

from .membership_history import (
    LEVEL_NAMES,
    NAMES,
    SCOPE,
    History,
    key,
    mesh_id,
    read_certificate,
)

SAID = st.sampled_from(("full", "summary", "quantum", True, False, 7, None))


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Histories with forks, merges, useless operations, and authors who may not."""
    history = History()
    for _ in range(draw(st.integers(0, 14))):
        known = sorted(history.operations)
        after = draw(
            st.one_of(st.none(), st.lists(st.sampled_from(known), max_size=3, unique=True))
        )
        author, name = draw(st.sampled_from(NAMES)), draw(st.sampled_from(NAMES))
        match draw(st.sampled_from(("enroll", "enroll", "grant", "rename", "policy", "weather"))):
            case "enroll":
                level = draw(st.sampled_from((*LEVEL_NAMES, "royal")))
                role = draw(st.sampled_from(("admin", "member")))
                history.enroll(author, name, level, role, after=after)
            case "grant":
                to = tuple(draw(st.sets(st.sampled_from(NAMES), min_size=1, max_size=3)))
                scope = draw(st.sampled_from((SCOPE, CONTROL_SCOPE)))
                database = draw(st.sampled_from(("memory", "")))
                privacy = draw(st.integers(0, 3))
                history.grant(author, to, privacy, scope=scope, database=database, after=after)
            case "rename":
                history.rename(author, name, draw(st.text("xyz", max_size=3)), after=after)
            case "policy":
                said: dict[str, Any] = {draw(st.sampled_from(("mode", "consent"))): draw(SAID)}
                history.policy(author, draw(st.sampled_from((name, ""))), "m", **said, after=after)
            case kind:
                history.write(author, kind, {"device": key(name)}, after=after)
    return history


def ancestors(history: History, id: bytes) -> set[bytes]:
    found: set[bytes] = set()
    for parent in history.operations[id][1].parents:
        found |= {parent} | ancestors(history, parent)
    return found


def depth(history: History, id: bytes) -> int:
    parents = history.operations[id][1].parents
    return 1 + max((depth(history, parent) for parent in parents), default=0)


def model(history: History, ids: set[bytes]) -> tuple[dict[bytes, tuple[str, str]], set[bytes]]:
    """Level and role of each device, and the operations that count, of a closed set."""
    devices: dict[bytes, tuple[str, str]] = {}
    counting: set[bytes] = set()
    for id in ids:
        author, operation = history.operations[id]
        before, _ = model(history, ancestors(history, id)) if operation.parents else ({}, None)
        if _model_counts(history, author, operation, before):
            counting.add(id)
    replaced = {
        (past, _admitted(history.operations[id][1]))
        for id in counting
        for past in ancestors(history, id)
    }
    for id in counting:
        author, operation = history.operations[id]
        details = operation.details
        if (id, _admitted(operation)) in replaced:
            continue
        if operation.kind == "genesis":
            device, joined = details["sig"], ("full", "admin")
        elif operation.kind == "enroll":
            device, joined = details["cert"][20:52], (details["level"], details["role"])
        else:
            continue
        known = devices.get(device, joined)
        devices[device] = (
            min(known[0], joined[0], key=LEVEL_NAMES.index),
            min(known[1], joined[1], key=("member", "admin").index),
        )
    return devices, counting


def _admitted(operation: Operation) -> bytes:
    """The device that a genesis or an enrolment admits; b"" for other kinds."""
    match operation.kind:
        case "genesis":
            return bytes(operation.details["sig"])
        case "enroll":
            return bytes(operation.details["cert"][20:52])
    return b""


def _model_counts(
    history: History, author: bytes, operation: Operation, before: dict[bytes, tuple[str, str]]
) -> bool:
    details = operation.details
    level, role = before.get(author, ("", ""))
    match operation.kind:
        case "genesis":
            return mesh_id(encode_operation(operation)) == history.mesh
        case "enroll":
            known = details["level"] in LEVEL_NAMES
            return (
                role == "admin"
                and known
                and (details["role"] == "member" or details["level"] == "full")
            )
        case "rename":
            return (role == "admin" or (bool(level) and details["device"] == author)) and (
                details["device"] in before and details["name"] != ""
            )
        case "policy":
            own = details["device"] == author and "consent" not in details["set"]
            device = details["device"]
            return (role == "admin" or (bool(level) and own)) and (not device or device in before)
        case "grant":
            control = details["scope"] == CONTROL_SCOPE
            return (
                level == "full"
                and control == (details["database"] == "")
                and all(
                    recipient in before
                    and before[recipient][0] != "mailbox"
                    and (control or details["privacy"] in LEVELS[before[recipient][0]])
                    for recipient, _ in details["sealed"]
                )
            )
    return False


def _model_settings(history: History, counting: set[bytes]) -> dict[tuple[bytes, str], Any]:
    """Of each device the last word on each key: by depth, then id."""
    settings: dict[tuple[bytes, str], Any] = {}
    for id in sorted(counting, key=lambda id: (depth(history, id), id)):
        details = history.operations[id][1].details
        if history.operations[id][1].kind != "policy":
            continue
        known = settings.setdefault((details["device"], details["database"]), {})
        for key_name, value in details["set"].items():
            if value is None:
                known.pop(key_name, None)
            elif is_setting(key_name, value):
                known[key_name] = value
    return settings


@given(histories())
@settings(max_examples=150, deadline=None)
def test_fold_says_what_the_rule_says(history: History) -> None:
    """The fast fold with its bit sets must be the slow rule that people can read."""
    devices, counting = model(history, set(history.operations))
    registry = history.fold()

    assert {d.sig_pk: (d.level, d.role) for d in registry.devices.values()} == devices
    assert {grant.id for grant in registry.grants} == {
        id for id in counting if history.operations[id][1].kind == "grant"
    }
    others = {id for id, (_, op) in history.operations.items() if op.kind == "weather"}
    assert registry.ignored.keys() == history.operations.keys() - counting - others
    assert registry.settings == _model_settings(history, counting)
    assert registry.unknown_kinds == (("weather",) if others else ())


@given(histories(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_order_and_pieces_of_arrival_do_not_matter(history: History, rng: Random) -> None:
    """Two devices that hold the same operations must agree who belongs, or nothing else can."""
    arriving = list(history.operations.items())
    rng.shuffle(arriving)
    membership = Membership(read_certificate, mesh_id, history.mesh)
    while arriving:
        count = rng.randint(1, 3)
        membership.add(dict(arriving[:count]))
        arriving = arriving[count:]

    assert membership.registry == history.fold()
    assert membership.parked == 0


@given(histories(), st.data())
@settings(max_examples=100, deadline=None)
def test_fold_of_a_past_is_the_fold_of_just_these_operations(
    history: History, data: st.DataObject
) -> None:
    """An entry is judged by what its author knew, however much has happened since."""
    heads = data.draw(st.lists(st.sampled_from(sorted(history.operations)), min_size=1, max_size=3))
    membership = Membership(read_certificate, mesh_id, history.mesh)
    membership.add(history.operations)
    past = set(heads).union(*(ancestors(history, head) for head in heads))
    alone = {id: history.operations[id] for id in past}
    expected = fold(alone, read_certificate=read_certificate, mesh_id=mesh_id, mesh=history.mesh)
    at = membership.at(heads)

    assert at is not None and replace(at, heads=expected.heads) == expected
    for name in NAMES:
        device = expected.devices.get(key(name))
        standing = membership.standing(key(name), heads)
        assert standing == ((device.level, device.role) if device else None)
