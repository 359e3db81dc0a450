"""A change of policy: what it would do is known before it is done, and nonsense is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.sync.policy import DIRECTIONS, MODES, Item, Party, Policy, Said, Settings, decide
from covey.sync.policy_change import (
    Amount,
    Change,
    Difference,
    Group,
    Origin,
    difference,
    is_narrower,
    new_settings,
    policy_with_origins,
    reached,
    said_with,
)
from covey.sync.policy_sense import idle_setting, odd_settings
from covey.sync.profile import COMPANION

A, B, C, GONE = (letter * 32 for letter in (b"a", b"b", b"c", b"g"))
PRIVATE = 1


def parties(**policies: Policy) -> dict[bytes, Party]:
    ids = {"a": A, "b": B, "c": C}
    return {id: Party(id, "full", policies.get(name, Policy())) for name, id in ids.items()}


def compare(
    groups: list[Group], before: dict[bytes, Party], after: dict[bytes, Party]
) -> Difference:
    return difference(
        groups, ["m"], [A, B, C], A, lambda id, _: before[id], lambda id, _: after[id]
    )


def test_what_would_have_been_said_is_what_was_said_and_the_change() -> None:
    """Taking back leaves what stands behind it."""
    said: Said = {(b"", "m"): {"mode": "full", "priority": "low"}}
    changes = [
        Change(b"", "m", {"mode": None, "charging": True}),
        Change(A, "m", {"mode": "window"}),
        Change(b"", "m", {"charging": False}),
    ]

    assert said_with(said, changes) == {
        (b"", "m"): {"priority": "low", "charging": False},
        (A, "m"): {"mode": "window"},
    }
    assert said == {(b"", "m"): {"mode": "full", "priority": "low"}}


def test_what_is_so_already_is_not_said_again() -> None:
    """Each operation is kept for ever, by every device."""
    said: Said = {(b"", "m"): {"mode": "full", "charging": True}}
    change = Change(b"", "m", {"mode": "full", "charging": 1, "quiet": None, "priority": "low"})

    assert new_settings(said, change) == {"charging": 1, "priority": "low"}
    assert new_settings({}, Change(A, "", {"mode": None})) == {}


def test_each_key_comes_from_the_nearest_word() -> None:
    """So that a person finds the line to change."""
    said: Said = {(A, "media"): {"mode": "summary"}, (b"", ""): {"charging": True}}
    policy, origins = policy_with_origins(said, COMPANION, A, "media")

    assert policy == Policy(mode="summary", charging=True, priority="low", blobs="thumbnail")
    assert origins["mode"] == Origin("mesh", A, "media")
    assert origins["charging"] == Origin("mesh")
    assert origins["blobs"] == Origin("profile", b"", "media")
    assert origins["consent"] == Origin("default")
    assert set(origins) == set(Policy._fields)


def test_an_item_reaches_whom_it_can_come_to_over_others() -> None:
    """A phone that takes only from the laptop still gets what the tablet wrote."""
    everybody = parties()
    sensor = parties(b=Policy(direction="send"))
    wall = parties(a=Policy(direction="receive"))
    item = Item(PRIVATE, A)

    assert reached(item, everybody, A) == {B, C}
    assert reached(item, sensor, A) == {C}
    assert reached(Item(PRIVATE, B), sensor, B) == {A, C}
    assert reached(item, wall, A) == frozenset()
    assert reached(item, parties(b=Policy(consent=False)), A) == {C}


def test_what_starts_and_stops_is_counted_for_each_device() -> None:
    """A preview that counted the wrong side would have people agree to something else."""
    groups = [
        Group("m", Item(PRIVATE, A), 10, 20, 1_000),
        Group("m", Item(PRIVATE, B), 1, 2, 300),
        Group("m", Item(PRIVATE, GONE), 3, 4, 50),
        Group("n", Item(PRIVATE, A), 9, 9, 9),
    ]
    before, after = parties(c=Policy(mode="local-only")), parties(b=Policy(mode="on-demand"))
    found = compare(groups, before, after)

    assert found.stops == {B: Amount(13, 24, 1_050)}
    assert found.starts == {C: Amount(14, 26, 1_350)}
    assert found.narrows
    assert compare(groups, before, before) == Difference({}, {}, False)
    widened = compare(groups, before, parties())
    assert (widened.stops, widened.narrows) == ({}, False)


def test_a_change_narrows_also_where_nothing_is_here_yet() -> None:
    """Else the first record after it would be missed, and nobody was asked."""
    narrower = parties(b=Policy(mode="window", window_days=30))

    assert compare([], parties(), parties(b=Policy(direction="send"))).narrows
    assert not compare([], parties(), parties(b=Policy(priority="low"))).narrows
    assert is_narrower(
        [Party(A, "full", Policy()), Party(B, "full", Policy())],
        [Party(A, "full", Policy()), narrower[B]._replace(floor=600)],
    )


policies = st.builds(
    Policy,
    mode=st.sampled_from(MODES),
    direction=st.sampled_from(DIRECTIONS),
    consent=st.booleans(),
)


@given(
    *[st.tuples(policies, policies, policies)] * 2,
    st.sampled_from((A, B, C)),
    st.sampled_from((PRIVATE, 2, 3)),
)
def test_the_count_agrees_with_the_rule_for_every_pair(
    before: tuple[Policy, ...], after: tuple[Policy, ...], author: bytes, privacy: int
) -> None:
    """What stops is what came before and does not any more, by `decide` and nothing else."""
    was, will = (parties(a=p[0], b=p[1], c=p[2]) for p in (before, after))
    item = Item(privacy, author)
    found = compare([Group("m", item, 1, 1, 1)], was, will)

    def comes(sides: dict[bytes, Party], id: bytes) -> bool:
        direct = decide(item, sides[author], sides[id]).allowed
        (third,) = {A, B, C} - {author, id}
        return direct or (
            decide(item, sides[author], sides[third]).allowed
            and decide(item, sides[third], sides[id]).allowed
        )

    for id in {A, B, C} - {author}:
        assert (id in found.stops) == (comes(was, id) and not comes(will, id))
        assert (id in found.starts) == (comes(will, id) and not comes(was, id))
    assert found.narrows or not found.stops


# What says nothing -------------------------------------------------------------------------------

FULL, LOCAL = Policy(), Policy(mode="local-only")


@pytest.mark.parametrize(
    ("said", "outcome", "told"),
    [
        ({"window_days": 30}, FULL, "window=30d says nothing while mode is not window"),
        ({"window_days": 30}, Policy(mode="window"), None),
        ({"interval_minutes": 60}, FULL, "interval=1h says nothing while mode is not periodic"),
        ({"interval_minutes": 60}, Policy(mode="periodic"), None),
        ({"blobs": "all"}, Policy(mode="metadata"), "without their blobs"),
        ({"blobs": "on-demand"}, Policy(mode="metadata"), None),
        ({"blob_bytes": 5}, Policy(mode="summary"), "blob-size=5B says nothing"),
        ({"blob_bytes": 0}, Policy(mode="summary"), None),
        ({"blob_bytes": 5}, Policy(mode="summary", blobs="all"), None),
        ({"consent": True}, LOCAL, "consent=yes says nothing while mode is local-only"),
        ({"consent": False}, LOCAL, None),
        ({"direction": "send"}, LOCAL, "direction=send says nothing"),
        ({"quiet": "22:00-07:00"}, LOCAL, "quiet=22:00-07:00 says nothing"),
        ({"quiet": ""}, LOCAL, None),
        ({"mode": "local-only", "priority": "none"}, LOCAL, None),
        ({"window_days": None}, FULL, None),
    ],
)
def test_a_setting_without_any_effect_is_refused(
    said: Settings, outcome: Policy, told: str | None
) -> None:
    """Whoever sets it believes that it does something."""
    why = idle_setting(said, [outcome])

    assert (why is None) if told is None else (why is not None and told in why)
    assert idle_setting(said, []) is None


def test_a_setting_that_has_an_effect_somewhere_is_not_idle() -> None:
    """`window=30d` of everything, where one database has mode window."""
    assert idle_setting({"window_days": 30}, [FULL, Policy(mode="window")]) is None


@pytest.mark.parametrize(
    ("said", "outcome", "is_everything", "told"),
    [
        ({"consent": False}, Policy(consent=False), True, "nothing travels between"),
        ({"mode": "local-only"}, LOCAL, True, "nothing travels between"),
        ({"mode": "local-only"}, LOCAL, False, None),
        ({"mode": "full"}, Policy(consent=False), False, "consent is withdrawn"),
        ({"priority": "high"}, LOCAL, False, "the priority counts only"),
        ({"mode": "on-demand"}, Policy(mode="on-demand", direction="receive"), False, "either way"),
        ({"direction": "send"}, Policy(mode="on-demand", direction="send"), False, "adds nothing"),
        ({"mode": "window"}, Policy(mode="window", direction="send"), False, "bounds only"),
        ({"quiet": "07:00-06:00"}, Policy(), False, "wrong way round"),
        ({"quiet": "22:00-07:00"}, Policy(), False, None),
        ({"tag.cats": "public"}, Policy(), False, "guests get them"),
        ({"tag.cats": "family"}, Policy(), False, None),
        ({"priority": None, "quiet": None}, LOCAL, False, None),
    ],
)
def test_what_is_odd_is_said_and_done(
    said: dict[str, Any], outcome: Policy, is_everything: bool, told: str | None
) -> None:
    """A person may mean it."""
    odd = list(odd_settings(said, [outcome], is_everything))

    assert (odd == []) if told is None else (len(odd) == 1 and told in odd[0])
