"""Presence: members recognise each other's hints, others see noise that never repeats."""

from hypothesis import given
from hypothesis import strategies as st

from covey.node.ports import Address, Sighting
from covey.node.presence import HINT_LIFE_MS, Presence

from .fake_clock import SeededEntropy

KEY = bytes([1]) * 32
OLD_KEY = bytes([2]) * 32
STRANGERS_KEY = bytes([3]) * 32


def sighting(properties: dict[str, str]) -> Sighting:
    return Sighting("0123abcd", (Address("192.0.2.1", 7),), tuple(sorted(properties.items())))


def test_members_recognise_one_another_and_nobody_else() -> None:
    """This is what makes two laptops find each other without telling the café who they are."""
    hint = sighting(Presence([KEY]).properties(0, SeededEntropy().draw))

    assert Presence([KEY]).recognise(hint)
    assert not Presence([STRANGERS_KEY]).recognise(hint)


def test_the_bytes_are_those_of_the_protocol() -> None:
    """Another implementation reads docs/protocol.md, section 10."""
    properties = Presence([KEY]).properties(0, lambda size: b"\7" * size)

    assert properties.keys() == {"v", "h"}
    assert properties["v"] == "1"
    assert properties["h"].startswith("07" * 8)
    assert len(properties["h"]) == 32


def test_a_hint_is_fresh_every_fifteen_minutes() -> None:
    """Whoever watches must not be able to follow a device through the day."""
    presence, draw = Presence([KEY]), SeededEntropy().draw
    first = presence.properties(0, draw)
    still = presence.properties(HINT_LIFE_MS - 1, draw)
    later = presence.properties(HINT_LIFE_MS, draw)

    assert first == still
    assert first["h"][:16] != later["h"][:16]
    assert presence.changes_at_ms() == 2 * HINT_LIFE_MS


def test_a_new_key_is_used_at_once_and_the_old_one_still_recognised() -> None:
    """A removed device must be shut out now; one that has not heard of it yet must be found."""
    presence, draw = Presence([OLD_KEY]), SeededEntropy().draw
    before = sighting(presence.properties(0, draw))
    presence.use_keys([KEY, OLD_KEY])
    after = sighting(presence.properties(1, draw))

    assert presence.recognise(before)
    assert Presence([KEY]).recognise(after)
    assert not Presence([OLD_KEY]).recognise(after)


texts = st.text(max_size=40)


@given(st.dictionaries(st.sampled_from(["v", "h", "t"]) | texts, texts, max_size=8))
def test_whatever_is_announced_is_recognised_or_not(properties: dict[str, str]) -> None:
    """Anybody can announce anything; none of it may stop the node."""
    assert not Presence([KEY]).recognise(sighting(properties))


def test_a_hint_in_another_spelling_is_none() -> None:
    """One value, one encoding."""
    properties = Presence([KEY]).properties(0, lambda size: b"\xab" * size)

    assert not Presence([KEY]).recognise(sighting({**properties, "h": properties["h"].upper()}))
    assert not Presence([KEY]).recognise(sighting({**properties, "v": "2"}))


def test_no_key_is_shown() -> None:
    """Reprs end in logs."""
    assert KEY.hex() not in repr(Presence([KEY])) and str(KEY) not in repr(Presence([KEY]))
