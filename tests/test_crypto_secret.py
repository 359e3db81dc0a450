"""Secret: key bytes do not leave by accident."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import pytest

from covey.crypto.secret import Secret

KEY = bytes(range(32))


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    secret: Secret


def test_every_way_to_print_it_shows_only_the_word_secret() -> None:
    """Logs, tracebacks and f-strings are where keys leak."""
    secret = Secret(KEY)

    assert {repr(secret), str(secret), f"{secret}", f"{secret!r}", f"{secret!s}"} == {"<secret>"}
    assert repr(Holder(secret)) == "Holder(secret=<secret>)"


def test_reveal_is_the_way_out() -> None:
    """One name to search for in a review."""
    assert Secret(KEY).reveal() == KEY


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_cannot_be_pickled(protocol: int) -> None:
    """A pickle is plain text on a disk or in a queue."""
    with pytest.raises(TypeError):
        pickle.dumps(Secret(KEY), protocol=protocol)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, Secret.__getstate__, json.dumps])
def test_it_cannot_be_copied_or_taken_apart(duplicate: object) -> None:
    """Generic code that walks objects must stop here."""
    assert callable(duplicate)
    with pytest.raises(TypeError):
        duplicate(Secret(KEY))
    with pytest.raises(TypeError):
        dataclasses.asdict(Holder(Secret(KEY)))


def test_it_has_no_dictionary_and_no_hash() -> None:
    """Neither vars() nor a set may get at the bytes."""
    assert not hasattr(Secret(KEY), "__dict__")
    with pytest.raises(TypeError):
        hash(Secret(KEY))


def test_it_equals_only_a_secret_with_the_same_bytes() -> None:
    """Plain bytes would compare in variable time; they are another type and never equal."""
    assert Secret(KEY) == Secret(bytes(KEY))
    assert Secret(KEY) != Secret(KEY[:-1] + b"\0")
    assert Secret(KEY) != Secret(KEY[:-1])
    assert Secret(b"") == Secret(b"")
    assert Secret(KEY) != KEY


def test_a_bytearray_is_not_taken() -> None:
    """It could change behind our back, and libsodium's binding does not take it either."""
    with pytest.raises(AssertionError):
        Secret(bytearray(KEY))  # type: ignore[arg-type, unused-ignore]
