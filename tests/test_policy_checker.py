"""I20 to I22: the simulator's own rules of travel say what the program's say, in other words."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from covey.simulations.checkers.settings import wrong_settings
from covey.simulations.checkers.travel import (
    Side,
    forbidden,
    forbidden_asked,
    holders,
    may_read_of,
    side,
)
from covey.sync.operations import POLICY, Operation
from covey.sync.policy import (
    DIRECTIONS,
    MODES,
    Item,
    Party,
    Policy,
    Said,
    decide,
    decide_asked,
    layers_for,
    policy_of,
)
from covey.sync.profile import COMPANION
from covey.sync.registry import LEVELS, Registry

A, B, C = (letter * 32 for letter in (b"a", b"b", b"c"))
DATABASES = (*sorted(name for _, name in COMPANION if name), "notes", "")

levels = st.sampled_from(("full", "limited", "guest", "mailbox", ""))
policies = st.builds(
    Policy,
    mode=st.sampled_from((*MODES, "quantum")),
    direction=st.sampled_from((*DIRECTIONS, "up")),
    consent=st.booleans(),
)
words = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.sampled_from(MODES),
        "direction": st.sampled_from(DIRECTIONS),
        "consent": st.booleans(),
        "priority": st.just("high"),
    },
)


def a_side(party: Party) -> Side:
    return Side(
        party.id, party.level, party.policy.mode, party.policy.direction, party.policy.consent
    )


@given(st.integers(0, 3), st.sampled_from((A, B, C)), levels, levels, policies, policies)
def test_two_spellings_of_the_rule_agree(
    privacy: int, author: bytes, ours: str, theirs: str, one: Policy, other: Policy
) -> None:
    """Where they part, one of them has misread docs/protocol.md."""
    a, b = Party(A, ours, one), Party(B, theirs, other)
    item = Item(privacy, author)

    assert decide(item, a, b).allowed == (not forbidden(privacy, author, a_side(a), a_side(b)))
    assert decide_asked(item, a, b).allowed == (
        not forbidden_asked(privacy, author, a_side(a), a_side(b))
    )


@given(
    st.dictionaries(
        st.tuples(st.sampled_from((A, B, b"")), st.sampled_from(("notes", "cache", ""))), words
    ),
    st.sampled_from((A, B)),
    st.sampled_from(DATABASES[:-1]),
)
def test_two_ways_to_the_nearest_word_agree(said: Said, device: bytes, database: str) -> None:
    """The profile included: the checkers have one of their own."""
    policy = policy_of(layers_for(said, COMPANION, device, database))
    found = side(Registry(settings=said), device, database)

    assert found == Side(device, "", policy.mode, policy.direction, policy.consent)


def test_two_tables_of_levels_agree() -> None:
    """A level that is added to the one is missed in the other."""
    for level, privacies in LEVELS.items():
        assert may_read_of(level) == frozenset(privacies) - {0}


def test_what_one_device_may_not_have_of_another_comes_through_a_third() -> None:
    """And not through one that does not have it."""
    member = SimpleNamespace(level="full", active=True)
    registry: Any = SimpleNamespace(
        devices=dict.fromkeys((A, B, C), member), settings={(B, "notes"): {"direction": "send"}}
    )

    assert holders(registry, 1, "notes", B, (A, B, C)) == {A, B, C}
    assert holders(registry, 1, "notes", A, (A, B, C)) == {A, C}
    assert holders(registry, 1, "cache", A, (A, B, C)) == {A}
    assert holders(registry, 1, "embeddings", A, (A, B, C)) == {A}


def operations(*said: tuple[bytes, bytes, tuple[bytes, ...], bytes, dict[str, Any]]) -> Any:
    """Policy operations: id, author, parents, device and what was set."""
    return {
        id: (
            author,
            Operation(POLICY, parents, 1, {"device": device, "database": "notes", "set": words}),
        )
        for id, author, parents, device, words in said
    }


def problems(settings: dict[str, Any], device: bytes, told: Any) -> list[str]:
    registry = Registry(settings={(device, "notes"): settings})
    return list(wrong_settings(registry, told, {A}))


def test_a_word_counts_if_it_is_the_last_of_those_who_may_speak() -> None:
    """Of two words at once either may count."""
    first, second, third = b"1" * 32, b"2" * 32, b"3" * 32
    told = operations(
        (first, A, (), b"", {"mode": "full"}),
        (second, A, (first,), b"", {"mode": "window"}),
        (third, A, (first,), b"", {"mode": None}),
    )

    assert problems({"mode": "window"}, b"", told) == problems({}, b"", told) == []
    assert "not the last word" in problems({"mode": "full"}, b"", told)[0]


def test_a_device_speaks_for_itself_and_not_of_consent() -> None:
    """Nor for others."""
    id = b"1" * 32
    assert problems({"mode": "full"}, B, operations((id, B, (), B, {"mode": "full"}))) == []
    for device, words in ((B, {"consent": True}), (b"", {"mode": "full"}), (C, {"mode": "full"})):
        told = operations((id, B, (), device, words))
        assert "by nobody who may" in problems(words, device, told)[0]
        assert problems({}, device, told) == []
