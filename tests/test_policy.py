"""Policies: what travels between two devices, rule by rule, and what a person may set."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.sync.policy import (
    BUCKET_MAX,
    DAY_MS,
    KEYS,
    MODES,
    Item,
    Party,
    Policy,
    Said,
    blob_comes,
    bucket_at,
    decide,
    floor_at,
    is_for_admins,
    is_setting,
    layers_for,
    policy_of,
    quiet_minutes,
)
from covey.sync.profile import COMPANION
from covey.sync.registry import LEVELS

A, B, OTHER = (letter * 32 for letter in (b"a", b"b", b"c"))
PRIVATE, FAMILY, PUBLIC = 1, 2, 3


def between(
    item: Item, one: Policy | None = None, other: Policy | None = None, level: str = "full"
) -> tuple[bool, str]:
    """What is decided of an item on its way from A to B."""
    said = decide(item, Party(A, "full", one or Policy()), Party(B, level, other or Policy()))
    assert said.because
    return said.allowed, said.rule


# What travels ------------------------------------------------------------------------------------


def test_nothing_stands_against_it_by_default() -> None:
    """Data of a device with full trust go to all devices with full trust."""
    assert between(Item(PRIVATE, A)) == (True, "full")
    assert between(Item(PRIVATE, OTHER)) == (True, "full")


@pytest.mark.parametrize("level", ["full", "limited", "guest", "mailbox", "", "royal"])
@pytest.mark.parametrize("privacy", [0, 1, 2, 3, 4, -1])
def test_privacy_and_trust_level_come_before_every_wish(level: str, privacy: int) -> None:
    """No setting widens what a level may hold, and what is not known is nobody's."""
    allowed, rule = between(Item(privacy, A), level=level)

    assert allowed == (privacy in LEVELS.get(level, ()))
    if not allowed:
        assert rule in ("membership", "privacy", "trust-level")
        assert (rule == "privacy") == (privacy == 0)


@pytest.mark.parametrize("narrow", [Policy(consent=False), Policy(mode="local-only")])
def test_a_database_without_consent_or_local_goes_neither_way(narrow: Policy) -> None:
    """Whichever side it is said of."""
    rule = "local-only" if narrow.consent else "consent"

    assert between(Item(PUBLIC, A), one=narrow) == (False, rule)
    assert between(Item(PUBLIC, A), other=narrow) == (False, rule)


def test_direction_send_gives_what_the_device_wrote_and_takes_nothing() -> None:
    """A sensor."""
    send = Policy(direction="send")

    assert between(Item(PRIVATE, A), one=send) == (True, "full")
    assert between(Item(PRIVATE, OTHER), one=send) == (False, "direction")
    assert between(Item(PRIVATE, A), other=send) == (False, "direction")


def test_direction_receive_keeps_what_the_device_wrote_and_passes_on_the_rest() -> None:
    """A wall display on which somebody may type."""
    receive = Policy(direction="receive")

    assert between(Item(PRIVATE, A), one=receive) == (False, "direction")
    assert between(Item(PRIVATE, OTHER), one=receive) == (True, "full")
    assert between(Item(PRIVATE, A), other=receive) == (True, "full")


def test_on_demand_gives_what_the_device_wrote_and_takes_when_it_asks() -> None:
    """Embeddings made on the phone reach the desktop; the desktop's stay there."""
    demand = Policy(mode="on-demand")

    assert between(Item(PRIVATE, A), one=demand) == (True, "full")
    assert between(Item(PRIVATE, A), other=demand) == (False, "on-demand")


def test_a_window_takes_buckets_from_its_floor_on_and_what_has_no_bucket() -> None:
    """What was born before there were buckets has no age to go by."""
    narrow = Party(B, "full", Policy(mode="window"), floor=10)
    wide = Party(A, "full", Policy())
    ages = {bucket: decide(Item(PRIVATE, A, bucket), wide, narrow).rule for bucket in (0, 9, 10)}

    assert ages == {0: "window", 9: "window", 10: "window"}
    assert [decide(Item(PRIVATE, A, b), wide, narrow).allowed for b in (0, 9, 10)] == [
        True,
        False,
        True,
    ]
    assert not decide(Item(PRIVATE, A, 9), narrow, wide).allowed


def test_a_policy_of_a_newer_version_is_not_sent_by() -> None:
    """Unknown means no."""
    assert between(Item(PRIVATE, A), one=Policy(mode="quantum")) == (False, "unknown")
    assert between(Item(PRIVATE, A), other=Policy(direction="up")) == (False, "unknown")


policies = st.builds(
    Policy,
    mode=st.sampled_from((*MODES, "quantum")),
    direction=st.sampled_from(("both", "send", "receive", "up")),
    consent=st.booleans(),
)
parties = st.builds(
    Party,
    st.sampled_from((A, B)),
    st.sampled_from((*LEVELS, "")),
    policies,
    st.integers(0, 3),
)
items = st.builds(Item, st.integers(-1, 4), st.sampled_from((A, B, OTHER)), st.integers(0, 3))


@given(items, policies, policies, st.sampled_from(tuple(LEVELS)), st.integers(0, 3))
def test_what_two_devices_have_in_common_is_the_same_from_both_sides(
    item: Item, one: Policy, other: Policy, level: str, floor: int
) -> None:
    """Or their digests would never be equal."""
    a, b = Party(A, "full", one, floor), Party(B, level, other)

    assert decide(item, a, b).allowed == decide(item, b, a).allowed


@given(items, parties, parties)
def test_no_wish_opens_what_standing_closes(item: Item, one: Party, other: Party) -> None:
    """Levels and consent bind whatever a device wants."""
    if decide(item, one, other).allowed:
        assert all(item.privacy in LEVELS[p.level] and p.policy.consent for p in (one, other))
        assert "local-only" not in (one.policy.mode, other.policy.mode)


# What may be set ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "good", "bad"),
    [
        ("mode", MODES, ("FULL", "", 1, None, True)),
        ("direction", ("both", "send", "receive"), ("up", 0)),
        ("priority", ("high", "none"), ("urgent", 1)),
        ("consent", (True, False), ("yes", 1, 0)),
        ("window_days", (1, 36_500), (0, -1, 36_501, True, "90")),
        ("interval_minutes", (1, 527_040), (0, 527_041, False)),
        (
            "quiet",
            ("", "22:00-07:00", "00:00-23:59"),
            ("22-7", "24:00-07:00", "07:00-07:00", "٢٢:00-07:00", 7),
        ),
        ("bandwidth", (0, 2**40), (-1, 2**40 + 1, "1M")),
        ("blobs", ("", "all", "thumbnail", "on-demand"), ("some", False)),
        ("blob_bytes", (0, 5), (-1, 1.5)),
        ("narrowed", ("keep", "remove"), ("burn",)),
        ("tag.personal", ("device", "private", "family", "public"), ("secret", 1)),
        ("warp", (), (1, "full", True)),
        ("tag.", (), ("private",)),
    ],
)
def test_a_key_has_the_values_that_it_may_have(
    key: str, good: tuple[object, ...], bad: tuple[object, ...]
) -> None:
    """What another device said is checked here before it counts."""
    assert [is_setting(key, value) for value in good] == [True] * len(good)
    assert [is_setting(key, value) for value in bad] == [False] * len(bad)


def test_the_nearest_word_counts_key_by_key() -> None:
    """Of the phone's media, else of media, else of the phone, else of everything."""
    said: Said = {
        (B, "media"): {"mode": "summary"},
        (b"", "media"): {"mode": "window", "window_days": 30},
        (B, ""): {"window_days": 7, "unmetered": True},
        (b"", ""): {"unmetered": False, "charging": True},
    }
    layers = layers_for(said, COMPANION, B, "media")

    assert policy_of(layers) == Policy(
        mode="summary",
        window_days=30,
        unmetered=True,
        charging=True,
        priority="low",
        blobs="thumbnail",
    )
    assert policy_of(layers_for(said, COMPANION, A, "notes")) == Policy(charging=True)


def test_the_profile_is_made_of_settings_and_stands_behind_what_people_said() -> None:
    """DESIGN 8, row by row."""
    said: Said = {(b"", ""): {"mode": "full"}}
    rows = {
        database: policy_of(layers_for({}, COMPANION, A, database)) for _, database in COMPANION
    }

    assert all(is_setting(k, v) for layer in COMPANION.values() for k, v in layer.items())
    assert {name: (p.priority, p.mode, p.blob_rule) for name, p in rows.items() if name} == {
        "profile": ("high", "full", "all"),
        "conversations": ("medium", "full", "all"),
        "personality": ("high", "full", "all"),
        "embeddings": ("low", "on-demand", "on-demand"),
        "analytics": ("low", "periodic", "all"),
        "media": ("low", "full", "thumbnail"),
        "cache": ("none", "local-only", "on-demand"),
    }
    assert policy_of(layers_for(said, COMPANION, A, "cache")).mode == "full"


def test_consent_tags_and_what_is_about_everybody_are_for_admins() -> None:
    """A device decides about itself, and about nothing else."""
    of_itself = {key: is_for_admins(A, key) for key in (*KEYS, "tag.x")}

    assert [key for key, admins in of_itself.items() if admins] == ["consent", "tag.x"]
    assert all(is_for_admins(b"", key) for key in KEYS)


# Blobs and buckets -------------------------------------------------------------------------------


def test_which_blobs_come_by_themselves() -> None:
    """By the rule that was set, else by the mode, and never above the size."""
    for mode, rule in product(MODES, ("", "all", "thumbnail", "on-demand")):
        policy = Policy(mode=mode, blobs=rule, blob_bytes=100)
        by_mode = "all" if mode in ("full", "window", "periodic") else "on-demand"
        counts = rule or by_mode
        assert blob_comes(policy, 100, False) == (counts == "all")
        assert blob_comes(policy, 100, True) == (counts in ("all", "thumbnail"))
        assert not blob_comes(policy, 101, True)


def test_buckets_are_of_thirty_days_and_bounded_whatever_a_clock_says() -> None:
    """A clock that is years off must not make a bucket that no table holds."""
    month = 30 * DAY_MS

    assert [bucket_at(ms) for ms in (-(10**15), 0, month - 1, month)] == [1, 1, 1, 2]
    assert bucket_at(2**63) == BUCKET_MAX
    assert floor_at(Policy(), 100 * month) == 0
    assert floor_at(Policy(mode="window", window_days=30), 100 * month) == 100
    assert floor_at(Policy(mode="window", window_days=31), 100 * month) == 99
    assert floor_at(Policy(mode="window"), 0) == 1


def test_quiet_hours_are_minutes_of_a_day() -> None:
    """They may go past midnight."""
    assert quiet_minutes("22:30-07:05") == (22 * 60 + 30, 7 * 60 + 5)
    assert quiet_minutes("00:00-00:01") == (0, 1)


@given(st.text(max_size=12))
def test_quiet_hours_take_one_spelling(text: str) -> None:
    """Whatever else is written is refused, not guessed."""
    minutes = quiet_minutes(text)
    if minutes is not None:
        (a, b), (c, d) = divmod(minutes[0], 60), divmod(minutes[1], 60)
        assert text == f"{a:02}:{b:02}-{c:02}:{d:02}"
