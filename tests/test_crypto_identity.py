"""Identity: keys, certificates, ids and names, beyond the frozen vectors."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult_base

from covey.crypto.errors import FormatError
from covey.crypto.identity import (
    CROCKFORD,
    DeviceKeys,
    check_name,
    check_public_keys,
    make_certificate,
    parse_shown_id,
    read_certificate,
    shown_id,
    verify,
)
from covey.crypto.secret import Secret

SECRET = bytes(range(96))
KEYS = DeviceKeys.decode(SECRET)
MESH = b"m" * 16
CERTIFICATE = make_certificate(KEYS, MESH, 1_767_225_600_000)
TYPOS_UNNOTICED = 6  # of the 7,936 of the frozen ids; a fair 10-bit check lets 7.75 pass
VECTORS = Path(__file__).parent / "vectors" / "covey_crypto.json"


def frozen_ids() -> list[str]:
    return [case["shown_id"] for case in json.loads(VECTORS.read_text("utf-8"))["shown_ids"]]


def test_generate_draws_three_separate_keys() -> None:
    """One key used by two protocols lets a flaw in one harm the other."""
    source = iter(range(256))
    keys = DeviceKeys.generate(lambda n: bytes(next(source) for _ in range(n)))

    assert keys.encode().reveal() == SECRET
    assert len({keys.sig_pk, keys.dh_pk, keys.seal_pk}) == 3
    assert keys.dh_secret().reveal() == SECRET[32:64]
    assert keys.seal_secret().reveal() == SECRET[64:]


@pytest.mark.parametrize("size", [0, 95, 97, 64, 96 + 31, 96 + 32 * 32])
def test_device_keys_of_another_size_are_refused(size: int) -> None:
    """A damaged store must not yield a device with other keys."""
    with pytest.raises(FormatError):
        DeviceKeys.decode(bytes(size))


def test_former_seal_keys_are_kept_up_to_a_bound_and_any_can_be_the_present_one() -> None:
    """Others seal to a former one until they have heard of the new one."""
    keys, seals = KEYS, [KEYS.seal_pk]
    for number in range(40):
        keys = keys.renewed(Secret(bytes([100 + number]) * 32))
        seals.insert(0, keys.seal_pk)
    again = DeviceKeys.decode(keys.encode().reveal())

    assert (again.sig_pk, again.dh_pk, again.seal_pk) == (KEYS.sig_pk, KEYS.dh_pk, seals[0])
    assert [public_of(seal) for seal in again.seal_secrets()] == seals[:32]
    chosen = again.receiving_with(seals[31])
    assert chosen is not None and chosen.seal_pk == seals[31]
    assert public_of(chosen.seal_secret()) == seals[31]
    assert {public_of(seal) for seal in chosen.seal_secrets()} == set(seals[:32])
    assert again.receiving_with(seals[32]) is None


def public_of(seal: Secret) -> bytes:
    public: bytes = crypto_scalarmult_base(seal.reveal())
    return public


def test_repr_of_device_keys_shows_the_short_id_and_no_secret() -> None:
    """Device keys are passed around a lot, so they end up in tracebacks."""
    shown = f"{KEYS!r} {KEYS} {[KEYS]}"

    assert shown_id(KEYS.sig_pk)[:9] in shown
    for secret in (SECRET[:32], SECRET[32:64], SECRET[64:]):
        assert secret.hex() not in shown and repr(secret)[2:-1] not in shown
    assert KEYS.sig_pk.hex() not in shown


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.deepcopy])
def test_device_keys_cannot_be_serialised(
    duplicate: Callable[[object], object],
) -> None:
    """The wrapper around each key holds for what contains it."""
    with pytest.raises(TypeError):
        duplicate(KEYS)


def test_signature_verifies_for_its_key_and_message_only() -> None:
    """The base of everything that is signed."""
    signature = KEYS.sign(b"message")
    other = DeviceKeys.decode(SECRET[::-1])

    assert verify(KEYS.sig_pk, b"message", signature)
    assert not verify(KEYS.sig_pk, b"messagf", signature)
    assert not verify(other.sig_pk, b"message", signature)


@pytest.mark.parametrize("public", [b"", KEYS.sig_pk[:31], KEYS.sig_pk + b"\0"])
def test_verify_says_no_to_a_key_of_another_size(public: bytes) -> None:
    """libsodium's binding reads 32 bytes whatever it is given, past the end if need be."""
    assert not verify(public, b"message", KEYS.sign(b"message"))


@pytest.mark.parametrize("size", [0, 63, 65])
def test_border_between_signature_and_message_cannot_be_moved(size: int) -> None:
    """libsodium takes both in one piece: the same bytes, cut elsewhere, must not verify."""
    signed = KEYS.sign(b"message") + b"message"

    assert not verify(KEYS.sig_pk, signed[size:], signed[:size])


@settings(max_examples=150)
@given(st.integers(0, 188 * 8 - 1))
def test_any_flipped_bit_of_a_certificate_is_refused(bit: int) -> None:
    """A certificate is taken whole or not at all."""
    data = bytearray(CERTIFICATE)
    data[bit // 8] ^= 1 << bit % 8

    with pytest.raises(FormatError):
        read_certificate(bytes(data))


@settings(max_examples=50)
@given(st.binary(max_size=200) | st.binary(min_size=184, max_size=184).map(lambda b: b"CVC1" + b))
def test_random_bytes_are_no_certificate(data: bytes) -> None:
    """What a stranger sends ends in a FormatError and nothing else."""
    with pytest.raises(FormatError):
        read_certificate(data)


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("public", [b"", bytes(31), bytes(33), bytes(32), b"\xff" * 32])
def test_public_key_that_no_device_has_is_refused(position: int, public: bytes) -> None:
    """The founder's keys come without a certificate and are checked all the same."""
    keys = [KEYS.sig_pk, KEYS.dh_pk, KEYS.seal_pk]
    check_public_keys(*keys)
    keys[position] = public

    with pytest.raises(FormatError):
        check_public_keys(*keys)


@settings(max_examples=50)
@given(st.binary(min_size=32, max_size=32))
def test_shown_id_survives_case_and_hyphens(sig_pk: bytes) -> None:
    """Whatever a person does to the layout, the id stays the same."""
    shown = shown_id(sig_pk)

    assert len(shown) == 42
    assert parse_shown_id(shown.lower()) == shown
    assert parse_shown_id(shown.replace("-", "")) == shown
    assert parse_shown_id(shown.replace("0", "O").replace("1", "l")) == shown


def test_wrong_check_character_is_always_noticed() -> None:
    """The first 32 characters fix the check, so no other check is accepted."""
    for shown in frozen_ids():
        for at in (40, 41):
            for typo in set(CROCKFORD) - {shown[at]}:
                with pytest.raises(FormatError):
                    parse_shown_id(shown[:at] + typo + shown[at + 1 :])


def test_wrong_character_in_the_id_is_noticed_as_often_as_ten_bits_can() -> None:
    """The id is compared by people: this is exactly what its check is worth."""
    passed = tried = 0
    for shown in frozen_ids():
        for at in (i for i in range(40) if shown[i] != "-"):
            for typo in set(CROCKFORD) - {shown[at]}:
                tried += 1
                try:
                    parse_shown_id(shown[:at] + typo + shown[at + 1 :])
                except FormatError:
                    continue
                passed += 1

    assert tried == 8 * 32 * 31
    assert passed == TYPOS_UNNOTICED


@settings(max_examples=100)
@given(st.text(max_size=60))
def test_any_text_is_an_id_in_canonical_form_or_refused(text: str) -> None:
    """Command lines take ids from anywhere."""
    try:
        shown = parse_shown_id(text)
    except FormatError as error:
        assert str(error).isascii() and "\n" not in str(error)
        return

    assert parse_shown_id(shown) == shown


@settings(max_examples=200)
@given(st.text(max_size=50))
def test_any_text_is_a_name_that_stays_or_is_refused(text: str) -> None:
    """What was accepted once is accepted by every peer that gets it."""
    try:
        name = check_name(text)
    except FormatError as error:
        assert str(error).isascii() and "\n" not in str(error)
        return

    assert check_name(name) == name
    assert 1 <= len(name) <= 40
    assert name.isprintable() or not name.isascii()


def test_half_of_a_surrogate_pair_is_no_name() -> None:
    """It cannot be written as UTF-8, so it would fail far from where it came in."""
    with pytest.raises(FormatError) as caught:
        check_name("a\ud800")

    assert "U+D800" in str(caught.value)
