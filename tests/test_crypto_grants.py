"""Grants: sealed keys, tags and discovery hints, beyond the frozen vectors."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_box_seal, crypto_box_seal_open

from covey.crypto.entry import key_id
from covey.crypto.errors import FormatError, OpenError
from covey.crypto.grants import (
    BOX_BYTES,
    CONTROL_SCOPE,
    database_tag,
    discovery_hint,
    discovery_key,
    matches_hint,
    open_key,
    scope_tag,
    seal_key,
    tag_key,
)
from covey.crypto.identity import DeviceKeys
from covey.crypto.secret import Secret

KEYS = DeviceKeys.decode(bytes(range(96)))
MESH = b"m" * 16
KEY = bytes(range(50, 82))
KEY_ID = key_id(KEY)


def draw(n: int) -> bytes:
    return hashlib.shake_256(b"entropy of a test").digest(n)


def sealed(key: bytes = KEY, epoch: int = 7) -> bytes:
    box: bytes = seal_key(key, MESH, CONTROL_SCOPE, epoch, KEYS.sig_pk, KEYS.seal_pk, draw)
    return box


def test_libsodium_opens_what_we_seal() -> None:
    """The box is built by hand, so that its randomness is an argument: same box, other maker."""
    plain = crypto_box_seal_open(sealed(), KEYS.seal_pk, KEYS.seal_secret().reveal())

    assert plain[:16] == b"covey-grant-v1--"
    assert plain[16:48] == MESH + CONTROL_SCOPE
    assert plain[48:52] == (7).to_bytes(4, "big")
    assert plain[52:] == KEYS.sig_pk + KEY


def test_a_box_for_a_former_key_opens_and_one_for_a_later_key_does_not() -> None:
    """Others have not heard of the new key yet; and who has an old copy must not have it."""
    renewed = KEYS.renewed(Secret(b"n" * 32))
    box = seal_key(KEY, MESH, CONTROL_SCOPE, 7, renewed.sig_pk, renewed.seal_pk, draw)

    assert open_key(sealed(), renewed, MESH, CONTROL_SCOPE, 7, KEY_ID) == KEY
    assert open_key(box, renewed, MESH, CONTROL_SCOPE, 7, KEY_ID) == KEY
    with pytest.raises(OpenError):
        open_key(box, KEYS, MESH, CONTROL_SCOPE, 7, KEY_ID)


def test_we_open_what_libsodium_seals() -> None:
    """An implementation that calls `crypto_box_seal` itself is as good as ours."""
    plain = crypto_box_seal_open(sealed(), KEYS.seal_pk, KEYS.seal_secret().reveal())
    box = crypto_box_seal(plain, KEYS.seal_pk)

    assert open_key(box, KEYS, MESH, CONTROL_SCOPE, 7, KEY_ID) == KEY


def test_box_depends_on_the_entropy_and_hides_the_key() -> None:
    """Two boxes with one ephemeral key would show that they hold the same plaintext."""
    other = seal_key(KEY, MESH, CONTROL_SCOPE, 7, KEYS.sig_pk, KEYS.seal_pk, lambda n: b"e" * n)

    assert len(sealed()) == BOX_BYTES == len(other)
    assert sealed()[:32] != other[:32]
    assert KEY not in sealed()


@settings(max_examples=60)
@given(st.integers(0, BOX_BYTES * 8 - 1))
def test_any_flipped_bit_of_a_box_is_refused(bit: int) -> None:
    """A box travels inside a signed entry, but does not rely on it."""
    box = bytearray(sealed())
    box[bit // 8] ^= 1 << bit % 8

    # X25519 ignores the top bit of a public key, but the nonce is a hash of all its bits.
    with pytest.raises(OpenError):
        open_key(bytes(box), KEYS, MESH, CONTROL_SCOPE, 7, KEY_ID)


@settings(max_examples=60)
@given(st.binary(max_size=200) | st.binary(min_size=BOX_BYTES, max_size=BOX_BYTES))
def test_random_bytes_are_no_box(box: bytes) -> None:
    """What a stranger sends ends in an OpenError and nothing else."""
    with pytest.raises(OpenError):
        open_key(box, KEYS, MESH, CONTROL_SCOPE, 7, KEY_ID)


def test_key_that_is_not_the_named_one_is_refused_without_showing_it() -> None:
    """A granter must not give two devices two keys under one name."""
    with pytest.raises(OpenError) as caught:
        open_key(sealed(key=bytes(32)), KEYS, MESH, CONTROL_SCOPE, 7, KEY_ID)

    assert KEY.hex()[:8] not in str(caught.value)


@pytest.mark.parametrize("public", [bytes(32), (1).to_bytes(32, "little")])
def test_sealing_to_a_key_of_small_order_is_refused(public: bytes) -> None:
    """Everyone could open such a box."""
    with pytest.raises(FormatError):
        seal_key(KEY, MESH, CONTROL_SCOPE, 1, KEYS.sig_pk, public, draw)


def test_tags_differ_by_database_level_use_and_mesh() -> None:
    """A tag that fits two scopes would mix their entries."""
    ours, theirs = tag_key(KEY), tag_key(bytes(32))
    tags = [scope_tag(k, d, p) for k in (ours, theirs) for d in ("a", "b", "a\0") for p in range(4)]
    tags += [database_tag(k, d) for k in (ours, theirs) for d in ("a", "b", "a\0")]

    assert len(set(tags)) == len(tags)
    assert {len(tag) for tag in tags} == {16}
    assert CONTROL_SCOPE not in tags


def test_surrogate_in_a_database_name_is_refused() -> None:
    """It has no UTF-8, and an error of Python's own would pass the gate."""
    with pytest.raises(FormatError):
        scope_tag(KEY, "a\ud800", 0)


def test_privacy_level_that_does_not_exist_is_a_bug() -> None:
    """Its byte would make a scope that no level may read."""
    with pytest.raises(AssertionError):
        scope_tag(KEY, "a", 4)


@settings(max_examples=50)
@given(st.binary(min_size=8, max_size=8), st.binary(max_size=20))
def test_hint_matches_its_key_only(n8: bytes, junk: bytes) -> None:
    """Members recognise members; a stranger's hint means nothing and harms nothing."""
    ours, theirs = discovery_key(KEY), discovery_key(bytes(32))
    hint = discovery_hint(ours, n8)

    assert matches_hint(ours, hint) and len(hint) == 16
    assert not matches_hint(theirs, hint)
    assert not matches_hint(ours, junk)
