"""Entry: sealing, identifying, opening and signing, beyond the frozen vectors."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.crypto.entry import (
    BODY_BYTES_MAX,
    CONTROL_SCOPE,
    CT_BYTES_MAX,
    CT_SIZES,
    KIND_CHANGE_SET,
    KIND_MEMBERSHIP,
    SEQ_MAX,
    ZERO_ID,
    Heading,
    auth_ref,
    ct_hash,
    decode_header,
    encode_header,
    entry_id,
    key_id,
    open_sealed,
    seal,
    sign_entry,
    verify_entry,
)
from covey.crypto.errors import BodyTooLargeError, CryptoError, FormatError, OpenError
from covey.crypto.identity import DeviceKeys

KEYS = DeviceKeys.decode(bytes(range(96)))
KEY = bytes(range(100, 132))
HEADING = Heading(
    kind=KIND_CHANGE_SET,
    mesh=b"m" * 16,
    scope=b"s" * 16,
    author=KEYS.sig_pk,
    instance=b"i" * 16,
    auth_ref=auth_ref([b"h" * 32]),
    key_id=key_id(KEY),
)
PREV = b"p" * 32
SALT = b"saltsalt"

bodies = st.binary(max_size=600)
ids = st.binary(min_size=32, max_size=32).filter(lambda value: value != ZERO_ID)
places = st.tuples(st.integers(2, SEQ_MAX), ids) | st.just((1, ZERO_ID))
salts = st.binary(min_size=8, max_size=8)


@settings(max_examples=100)
@given(bodies, places, salts)
def test_what_was_sealed_opens_at_its_place(
    body: bytes, place: tuple[int, bytes], salt: bytes
) -> None:
    """The writer and every receiver must agree about an entry, wherever it stands."""
    seq, prev = place
    ct, written = seal(HEADING, KEY, seq, prev, salt, body)
    received, ad, nonce = entry_id(HEADING, seq, prev, salt, ct)

    assert received == written
    assert open_sealed(KEY, ad, nonce, ct) == body
    assert len(ct) in CT_SIZES


@settings(max_examples=100)
@given(bodies, st.data())
def test_any_flipped_bit_of_the_ciphertext_is_refused(body: bytes, data: st.DataObject) -> None:
    """A mailbox or a disk may change bytes; nobody may apply them."""
    ct, written = seal(HEADING, KEY, 2, PREV, SALT, body)
    changed = flip(ct, data.draw(st.integers(0, len(ct) * 8 - 1)))
    received, ad, nonce = entry_id(HEADING, 2, PREV, SALT, changed)

    assert received != written
    with pytest.raises(OpenError):
        open_sealed(KEY, ad, nonce, changed)


@settings(max_examples=200)
@given(st.integers(0, 252 * 8 - 1))
def test_any_flipped_bit_of_the_header_is_refused_or_is_another_entry(bit: int) -> None:
    """Author, place, key and authority of an entry are all fixed by its id and its cipher."""
    ct, written = seal(HEADING, KEY, 2, PREV, SALT, b"body")
    header = encode_header(HEADING, 2, PREV, SALT, len(ct), ct_hash(ct))
    changed = flip(header, bit)
    if bit < 220 * 8:  # the rest is ct_hash, which the cipher does not cover but the id does
        with pytest.raises(OpenError):
            open_sealed(KEY, changed[:220], changed[192:216], ct)
    try:
        read = decode_header(changed)
    except FormatError:
        return

    # All else is bound by the derived nonce; ct_len may become another real size.
    assert bit >= 216 * 8
    assert read.entry_id != written


@settings(max_examples=50)
@given(st.integers(0, 255))
def test_another_key_does_not_open(bit: int) -> None:
    """Not even one that differs in a single bit."""
    ct, _ = seal(HEADING, KEY, 2, PREV, SALT, b"body")
    _, ad, nonce = entry_id(HEADING, 2, PREV, SALT, ct)

    with pytest.raises(OpenError) as caught:
        open_sealed(flip(KEY, bit), ad, nonce, ct)

    assert KEY.hex() not in str(caught.value) and "body" not in str(caught.value)


@settings(max_examples=100)
@given(st.binary(max_size=260) | st.binary(min_size=247, max_size=247).map(lambda b: b"CVE1\1" + b))
def test_random_bytes_are_no_header(data: bytes) -> None:
    """A proof of a fork that is made up ends in a FormatError and nothing else."""
    with pytest.raises(FormatError):
        decode_header(data)


@pytest.mark.parametrize(
    ("seq", "prev"), [(0, ZERO_ID), (0, PREV), (1, PREV), (2, ZERO_ID), (2**64, PREV), (-1, PREV)]
)
def test_place_that_does_not_exist_is_refused(seq: int, prev: bytes) -> None:
    """The first entry of a log, and no other, has no predecessor."""
    ct, _ = seal(HEADING, KEY, 2, PREV, SALT, b"body")

    with pytest.raises(FormatError):
        entry_id(HEADING, seq, prev, SALT, ct)


@pytest.mark.parametrize("size", [0, 16, 271, 273, 32 + 272 - 1, CT_BYTES_MAX, CT_BYTES_MAX + 1])
def test_ciphertext_of_a_size_that_no_entry_has_is_refused(size: int) -> None:
    """Who has no key can still tell junk, before storing a megabyte of it."""
    with pytest.raises(FormatError):
        entry_id(HEADING, 2, PREV, SALT, bytes(size))


def test_largest_body_fits_and_one_byte_more_does_not() -> None:
    """The limit must be one that the caller can know beforehand."""
    ct, written = seal(HEADING, KEY, 2, PREV, SALT, bytes(BODY_BYTES_MAX))
    received, ad, nonce = entry_id(HEADING, 2, PREV, SALT, ct)

    assert received == written and len(ct) <= CT_BYTES_MAX
    assert len(open_sealed(KEY, ad, nonce, ct)) == BODY_BYTES_MAX
    with pytest.raises(BodyTooLargeError) as caught:
        seal(HEADING, KEY, 2, PREV, SALT, bytes(BODY_BYTES_MAX + 1))
    assert caught.value.exit_code == 3


def test_few_sizes_show() -> None:
    """A mailbox sees one of a few hundred sizes and never the length of a body."""
    assert len(CT_SIZES) == 256
    assert min(CT_SIZES) == 256 + 16
    assert max(CT_SIZES) == BODY_BYTES_MAX + 4 + 16 == 1_032_208


def test_sealing_under_another_key_than_the_heading_names_is_a_bug() -> None:
    """Nobody could ever open such an entry, and it would stand in the chain for ever."""
    with pytest.raises(AssertionError):
        seal(HEADING, bytes(32), 2, PREV, SALT, b"body")


@pytest.mark.parametrize("kind", [0, 3, 255])
def test_unknown_kind_is_refused(kind: int) -> None:
    """The kind byte comes from a peer."""
    with pytest.raises(FormatError):
        replace(HEADING, kind=kind)


def test_membership_operations_live_in_the_control_scope_and_nothing_else_does() -> None:
    """An entry of one kind must never be taken for the other."""
    with pytest.raises(FormatError):
        replace(HEADING, kind=KIND_MEMBERSHIP)
    with pytest.raises(FormatError):
        replace(HEADING, scope=CONTROL_SCOPE)

    assert replace(HEADING, kind=KIND_MEMBERSHIP, scope=CONTROL_SCOPE).scope == CONTROL_SCOPE


def test_each_field_of_the_heading_changes_id_and_nonce() -> None:
    """Nothing about an entry may be exchanged without changing its name."""
    other = b"o" * 32
    headings = [
        HEADING,
        replace(HEADING, kind=KIND_MEMBERSHIP, scope=CONTROL_SCOPE),
        replace(HEADING, mesh=other[:16]),
        replace(HEADING, scope=other[:16]),
        replace(HEADING, author=other),
        replace(HEADING, instance=other[:16]),
        replace(HEADING, auth_ref=other),
        replace(HEADING, key_id=other),
    ]
    ct = bytes(272)
    seen = [entry_id(heading, 2, PREV, SALT, ct) for heading in headings]
    seen += [entry_id(HEADING, 3, PREV, SALT, ct), entry_id(HEADING, 2, other, SALT, ct)]
    seen += [entry_id(HEADING, 2, PREV, b"tlastlas", ct)]

    assert len({written for written, _, _ in seen}) == len(seen)
    assert len({nonce for _, _, nonce in seen}) == len(seen)


def test_signature_is_for_one_author_and_one_entry() -> None:
    """One signature vouches for a whole chain, so it must not fit anything else."""
    other = DeviceKeys.decode(bytes(range(1, 97)))
    signature = sign_entry(KEYS, PREV)

    assert verify_entry(KEYS.sig_pk, PREV, signature)
    assert not verify_entry(other.sig_pk, PREV, signature)
    assert not verify_entry(KEYS.sig_pk, ZERO_ID, signature)
    assert not verify_entry(KEYS.sig_pk, PREV, KEYS.sign(PREV))
    assert not verify_entry(KEYS.sig_pk, PREV, b"")


@settings(max_examples=50)
@given(st.integers(0, 511))
def test_any_flipped_bit_of_a_signature_is_refused(bit: int) -> None:
    """A second valid signature of one entry would be a second spelling."""
    assert not verify_entry(KEYS.sig_pk, PREV, flip(sign_entry(KEYS, PREV), bit))


@settings(max_examples=50)
@given(st.sets(ids, min_size=2, max_size=6))
def test_auth_ref_takes_heads_in_ascending_order_only(heads: set[bytes]) -> None:
    """The order travels on the wire: any other order would be a second spelling."""
    ordered = sorted(heads)

    assert len(auth_ref(ordered)) == 32
    with pytest.raises(FormatError):
        auth_ref(ordered[::-1])
    with pytest.raises(FormatError):
        auth_ref([*ordered, ordered[-1]])


def test_auth_ref_of_no_heads_is_that_of_the_genesis() -> None:
    """The first operation of a mesh has no parents and refers to that."""
    assert auth_ref([]) != auth_ref([ZERO_ID])


def test_errors_of_the_floor_share_a_base() -> None:
    """The gate that decodes a peer's bytes catches one class."""
    assert all(issubclass(e, CryptoError) for e in (OpenError, FormatError, BodyTooLargeError))


def flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
