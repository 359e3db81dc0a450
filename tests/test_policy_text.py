"""Settings as people write them: one spelling each way, and a useful no to every other one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.sync.policy import (
    BANDWIDTH_MAX,
    BLOB_BYTES_MAX,
    BLOB_RULES,
    DIRECTIONS,
    INTERVAL_MINUTES_MAX,
    KEYS,
    MODES,
    NARROWED,
    PRIORITIES,
    TAG_PRIVACIES,
    WINDOW_DAYS_MAX,
    Value,
    is_setting,
)
from covey.sync.policy_text import (
    PolicyTextError,
    fold_tag,
    parse_setting,
    parse_settings,
    shown_key,
    shown_settings,
    shown_value,
)

quiet = st.tuples(st.integers(0, 1439), st.integers(0, 1439)).filter(lambda t: t[0] != t[1])
VALUES: dict[str, st.SearchStrategy[Value]] = {
    "mode": st.sampled_from(MODES),
    "direction": st.sampled_from(DIRECTIONS),
    "priority": st.sampled_from(PRIORITIES),
    "consent": st.booleans(),
    "window_days": st.integers(1, WINDOW_DAYS_MAX),
    "interval_minutes": st.integers(1, INTERVAL_MINUTES_MAX),
    "unmetered": st.booleans(),
    "charging": st.booleans(),
    "quiet": quiet.map(lambda t: f"{t[0] // 60:02}:{t[0] % 60:02}-{t[1] // 60:02}:{t[1] % 60:02}")
    | st.just(""),
    "bandwidth": st.integers(0, BANDWIDTH_MAX),
    "blobs": st.sampled_from(BLOB_RULES),
    "blob_bytes": st.integers(0, BLOB_BYTES_MAX),
    "narrowed": st.sampled_from(NARROWED),
}
"""Every value that can be said."""

settings_said = st.fixed_dictionaries(
    {},
    optional={
        **{key: values | st.none() for key, values in VALUES.items()},
        "tag.work": st.sampled_from(TAG_PRIVACIES) | st.none(),
    },
).filter(bool)


def test_there_is_a_spelling_for_every_key() -> None:
    """A key that cannot be written or shown is one that nobody can set."""
    assert set(VALUES) == set(KEYS)
    for key in KEYS:
        assert parse_setting(shown_key(key), "default") == (key, None)


@given(settings_said)
def test_what_is_shown_is_read_back_as_the_same(said: dict[str, Value | None]) -> None:
    """People copy what they see."""
    assert parse_settings(shown_settings(said).split(" ")) == said


@given(st.sampled_from([shown_key(key) for key in KEYS]), st.text(max_size=14))
def test_whatever_is_written_is_a_setting_or_is_refused(name: str, text: str) -> None:
    """What is refused must not have been half understood; what is taken has one spelling."""
    try:
        key, value = parse_setting(name, text)
    except PolicyTextError as error:
        assert "allowed" in str(error)
        return
    assert value is None or is_setting(key, value)
    assert parse_setting(name, shown_value(key, value)) == (key, value)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("mode=window", "mode", "window"),
        ("window=90d", "window_days", 90),
        ("interval=6h", "interval_minutes", 360),
        ("interval=30m", "interval_minutes", 30),
        ("interval=2d", "interval_minutes", 2_880),
        ("consent=no", "consent", False),
        ("quiet=22:00-07:00", "quiet", "22:00-07:00"),
        ("quiet=off", "quiet", ""),
        ("bandwidth=500KiB/s", "bandwidth", 512_000),
        ("bandwidth=off", "bandwidth", 0),
        ("blobs=default", "blobs", None),
        ("blob-size=5MiB", "blob_bytes", 5 << 20),
        ("mode=default", "mode", None),
        ("tag.Personal=private", "tag.personal", "private"),
        ("tag.x=default", "tag.x", None),
    ],
)
def test_what_people_write(text: str, key: str, value: Value | None) -> None:
    """The spellings that the pages promise."""
    assert parse_settings([text]) == {key: value}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mode=fulll", "did you mean full?"),
        ("mode=Full", "did you mean full?"),
        ("mode=local_only", "did you mean local-only?"),
        ("mode=", "full, summary, metadata, window, on-demand, periodic or local-only"),
        ("mod=full", "did you mean mode?"),
        ("blob_size=5MiB", "did you mean blob-size?"),
        ("window_days=5", "did you mean window?"),
        ("window=90", "1d to 36500d"),
        ("window=0d", "1d to 36500d"),
        ("window=-5d", "1d to 36500d"),
        ("window=1.5d", "1d to 36500d"),
        ("window=36501d", "1d to 36500d"),
        ("window=٩d", "1d to 36500d"),
        ("interval=0m", "30m, 6h or 1d"),
        ("interval=6", "30m, 6h or 1d"),
        ("interval=9999999h", "30m, 6h or 1d"),
        ("consent=true", "yes or no"),
        ("quiet=22-07", "22:00-07:00"),
        ("quiet=07:00-07:00", "22:00-07:00"),
        ("quiet=", "22:00-07:00"),
        ("bandwidth=0B/s", "500KiB/s"),
        ("bandwidth=500KiB", "500KiB/s"),
        ("bandwidth=500KB/s", "500KiB/s"),
        ("blob-size=2000GiB", "at most 1024GiB"),
        ("blobs=thumbnails", "did you mean thumbnail?"),
        ("tag.=private", "name of a tag"),
        (f"tag.{'x' * 29}=private", "1 to 28 bytes"),
        ("tag.a\x1b=private", "that print"),
        ("tag.x=secret", "device, private, family or public"),
        ("mode", "KEY=VALUE"),
        ("", "KEY=VALUE"),
        ("=full", "no setting ''"),
    ],
)
def test_a_bad_spelling_is_refused_with_what_is_allowed(text: str, told: str) -> None:
    """The sentence must be enough to write it right the second time."""
    with pytest.raises(PolicyTextError) as refused:
        parse_settings([text])

    assert told in str(refused.value)
    assert "\n" not in str(refused.value) and str(refused.value).isprintable()


def test_nothing_and_the_same_twice_are_refused() -> None:
    """Which of the two was meant?"""
    with pytest.raises(PolicyTextError, match="nothing is set"):
        parse_settings([])
    with pytest.raises(PolicyTextError, match="window is set twice"):
        parse_settings(["window=9d", "window=9d"])
    with pytest.raises(PolicyTextError, match="set twice"):
        parse_settings(["tag.A=private", "tag.a=device"])
    with pytest.raises(PolicyTextError, match="more than 64"):
        parse_settings([f"tag.{i}=private" for i in range(65)])


def test_what_was_not_meant_for_here_is_not_repeated_whole() -> None:
    """A secret that was pasted at the wrong place would end in a terminal's history."""
    secret = "correct horse battery staple " * 9

    with pytest.raises(PolicyTextError) as refused:
        parse_settings([f"mode={secret}"])
    assert secret[:60] not in str(refused.value)


def test_tags_are_one_in_whatever_case() -> None:
    """Whoever writes Confidential means confidential."""
    assert fold_tag(" Confidential ") == fold_tag("confidential")


def test_rules_of_conflicts_are_settings_like_others() -> None:
    """A profile that is shown can be loaded again."""
    assert parse_setting("rule.facts.mood", "max") == ("rule.facts.mood", "max")
    assert parse_setting("rule", "default") == ("rule", None)
    assert parse_setting("rule.facts.$deleted", "delete-wins")[1] == "delete-wins"
    for name, text in (("rule.facts", "maxx"), ("rule.facts.$deleted", "max"), ("ruler", "max")):
        with pytest.raises(PolicyTextError):
            parse_setting(name, text)
    with pytest.raises(PolicyTextError, match="too long"):
        parse_setting("rule." + "x" * 400, "max")
