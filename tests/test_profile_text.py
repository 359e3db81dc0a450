"""Profiles as files: read whole or refused with the line, and written to be read back."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from covey.sync.policy import Said, Value
from covey.sync.profile import COMPANION
from covey.sync.profile_text import (
    PROFILE_BYTES_MAX,
    ProfileError,
    parse_profile,
    profile_text,
)

from .test_policy_text import VALUES

A, B, GONE = (letter * 32 for letter in (b"a", b"b", b"g"))
NAMED = {A: "phone", B: 'my "old" box.'}

WHOLE = """\
[tags]
Work = "private"

[everything]
quiet = "22:00-07:00"

[databases.media]
mode = "window"
window = "30d"
[databases.media.tags]
cats = "family"

[devices."Anna's phone"]
unmetered = true
charging = false
[devices."Anna's phone".databases.media]
blobs = "thumbnail"
mode = "default"
"""


def said_in(text: str) -> dict[tuple[str, str], dict[str, Value | None]]:
    found: dict[tuple[str, str], dict[str, Value | None]] = {}
    for part in parse_profile(text, "p.toml"):
        found.setdefault((part.device, part.database), {}).update(part.settings)
    return found


def test_a_profile_says_what_its_tables_say() -> None:
    """Every kind of table that there is."""
    assert said_in(WHOLE) == {
        ("", ""): {"tag.work": "private", "quiet": "22:00-07:00"},
        ("", "media"): {"mode": "window", "window_days": 30, "tag.cats": "family"},
        ("Anna's phone", ""): {"unmetered": True, "charging": False},
        ("Anna's phone", "media"): {"blobs": "thumbnail", "mode": None},
    }
    assert [part.line for part in parse_profile(WHOLE, "p")] == [1, 4, 10, 7, 16, 13]


@pytest.mark.parametrize(
    "text",
    [
        'databases.media.mode = "full"',
        'databases = { media = { mode = "full" } }',
        '[databases]\nmedia.mode = "full"',
        "[databases.'media']\n\"mode\" = '''full'''",
        '["data\\u0062ases" . media] # [x]\nmode = """\\\n   full"""',
    ],
)
def test_every_way_to_write_it_in_toml_is_one(text: str) -> None:
    """People edit with what their editor makes of it."""
    assert said_in(text) == {("", "media"): {"mode": "full"}}


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("", 1, "it says nothing; there are [everything]"),
        ("[databases.media]\n\n[everything]", 1, "it says nothing"),
        ('[tags]\nx = "private"\n[database.media]\nmode = "full"', 3, "did you mean databases?"),
        ('\n\nmode = "full"', 3, "no table 'mode'"),
        ('[everything]\nmode = "full"\nmod = "full"', 3, "did you mean mode?"),
        ('[databases.media]\n# mode\n"mode" = "fulll"', 3, "did you mean full?"),
        ("[databases.media]\nwindow = 90", 2, "'window' is int; a text in quotes"),
        ('[databases.media]\nmode = ["full"]', 2, "is list"),
        ("[databases.media]\nquiet = 07:00:00", 2, "is time"),
        ("[databases.media]\nmode = true", 2, "mode='yes' is not understood"),
        ('[databases]\nmedia = "full"', 2, "'media' is no table"),
        ('[[databases]]\nmode = "full"', 1, "'databases' is no table"),
        ("everything = 1", 1, "'everything' is no table"),
        ('[databases.m]\nmode = "full"\n[databases.m.more]\nx = 1', 3, "'more' is a table"),
        ('[databases.m]\ntag.x = "private"', 2, "[databases.NAME.tags]"),
        ('[everything]\n"tag.x" = "private"', 2, "[tags]"),
        ('[devices.a]\ntags = { x = "private" }', 2, "[tags]"),
        ('[tags]\nx = "secret"', 2, "device, private, family or public"),
        ('[tags]\nX = "private"\nx = "private"', 3, "tag.x is set twice"),
        ('[devices.a]\ndatabases = "x"', 2, "'databases' is no table"),
        ('[devices.a.databases]\nm = { mode = "full", mod = "x" }', 2, "did you mean mode?"),
        ('[databases.""]\nmode = "full"', 1, "1 to 64 bytes"),
        ('[databases."a\\u001b"]\nmode = "full"', 1, "that print"),
        ('x = """\n[everything]\n"""\n[everything]\nmod = "x"', 1, "no table 'x'"),
        # What tomllib refuses: duplicates and broken syntax.
        ('[everything]\nmode = "full"\nmode = "full"\nquiet = "off"', 3, "no TOML"),
        ('[tags]\nx = "private"\n\n[everything]\nmode = "full"\n[tags]\n', 6, "no TOML"),
        ("[everything]\nmode = full\n", 2, "no TOML: invalid value"),
        ('[everything]\nmode = "full', 2, "no TOML"),
        ("[everything]\nmode = 1" + "0" * 5_000, 2, "no TOML"),
    ],
)
def test_what_is_not_allowed_is_refused_with_its_line(text: str, line: int, told: str) -> None:
    """Nothing is left out in silence, and nobody has to search."""
    with pytest.raises(ProfileError) as refused:
        parse_profile(text, "my profile.toml")

    assert str(refused.value).startswith(f"my profile.toml:{line}: ")
    assert told in str(refused.value)
    assert str(refused.value).isprintable()


def test_size_and_depth_are_bounded() -> None:
    """A file of the wrong kind must not take the node's memory, or its stack."""
    for text in ("# " + "x" * PROFILE_BYTES_MAX, "x = " + "[" * 20_000, "x=" + "{a=" * 9_000):
        with pytest.raises(ProfileError, match=r"^p:\d+: "):
            parse_profile(text, "p")


WORDS = "abandon ability able about above absent absorb abstract absurd abuse access accident"


@pytest.mark.parametrize(
    "text",
    [
        '[everything]\npassphrase = "hunter2secret"',
        '[everything]\n"my token" = "hunter2secret"',
        f'[everything]\nmode = "{WORDS}"',
        f'[databases."{WORDS}"]\nmode = "full"',
        '[tags]\nab12cd34ef56ab12cd34ef56ab12cd34 = "private"',
        '[everything]\nmode = "ab12cd34ef56ab12cd34ef56ab12cd34"',
        'ab12cd34ef56ab12cd34ef56ab12cd34 = "x"',
        f'"{WORDS}" = 1',
        f'["{WORDS}"]\n["{WORDS}"]\n',
    ],
)
def test_what_looks_like_a_secret_is_neither_taken_nor_repeated(text: str) -> None:
    """It was pasted at the wrong place, and the log of the mesh is for ever."""
    with pytest.raises(ProfileError) as refused:
        parse_profile(text, "p")

    for secret in ("hunter2", "abandon ability", "ab12cd34"):
        assert secret not in str(refused.value)


@given(st.text(max_size=60) | st.text("[]{}=\"'\\.,#\n\r modetagsverything", max_size=60))
def test_whatever_is_in_a_file_is_said_or_refused(text: str) -> None:
    """A profile that ends the command with a trace helps nobody."""
    try:
        assert parse_profile(text, "p")
    except ProfileError as error:
        assert str(error).startswith("p:")


tags = {"tag.work": st.just("private"), 'tag.a "b\\': st.just("device")}
places = st.tuples(st.sampled_from((b"", A, B)), st.sampled_from(("", "media", 'a.b "c\\"')))


@st.composite
def mesh_said(draw: st.DrawFn) -> dict[tuple[bytes, str], dict[str, Value]]:
    """What people may have said: of a device everything but tags."""
    found = {}
    for device, database in draw(st.lists(places, max_size=4, unique=True)):
        optional = VALUES if device else {**VALUES, **tags}
        said = draw(st.fixed_dictionaries({}, optional=optional).filter(bool))
        found[device, database] = said
    return found


@given(mesh_said())
def test_what_is_written_is_read_back_as_the_same(
    said: dict[tuple[bytes, str], dict[str, Value]],
) -> None:
    """Over names that TOML has to quote."""
    text = profile_text(said, {(b"", "own"): {"priority": "low"}}, NAMED)
    wanted = {(NAMED.get(device, ""), name): settings for (device, name), settings in said.items()}

    assert said_in(text) == {("", "own"): {"priority": "low"}, **wanted}


def test_a_name_that_does_not_print_is_escaped() -> None:
    """A device names itself, and the page is shown on a terminal."""
    text = profile_text({(A, ""): {"mode": "full"}}, {}, {A: "evil\x1b[2J\u202e\n"})

    assert text.replace("\n", "").isprintable()
    assert list(tomllib.loads(text)["devices"]) == ["evil\x1b[2J\u202e\n"]


def test_the_default_profile_is_shown_with_what_people_said_over_it() -> None:
    """One page tells what counts, and who said so."""
    said: Said = {
        (b"", "media"): {"blobs": "all"},
        (A, "media"): {"mode": "summary"},
        (GONE, "media"): {"mode": "full"},
        (b"", ""): {"tag.work": "private"},
    }
    text = profile_text(said, COMPANION, NAMED)

    assert 'blobs = "all"  # said by the mesh\npriority = "low"\n' in text
    assert 'work = "private"  # said by the mesh' in text
    assert '[devices.phone.databases.media]\nmode = "summary"  # said by the mesh' in text
    found = said_in(text)
    assert found["", "cache"] == {"mode": "local-only", "priority": "none"}
    assert found["", ""] == {
        "tag.personal": "private",
        "tag.confidential": "device",
        "tag.work": "private",
    }
    assert len([place for place in found if place[0]]) == 1
